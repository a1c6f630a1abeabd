//! What of a packet decides whether it continues another.

use crate::InterfaceId;
use crate::bytes::field;
use crate::checksum::Sum;
use crate::ip::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, Tcp, TcpFlags, Udp, protocol};
use crate::{Ecn, offload::VnetHeader};

/// IPv4 without options, or IPv6; both with the whole header present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// `None` for what has no whole IP header, and so no flow.
    #[inline]
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 if packet.len() >= IPV4_HEADER_LEN => Some(Self::V4),
            6 if packet.len() >= IPV6_HEADER_LEN => Some(Self::V6),
            _ => None,
        }
    }

    /// Bytes of the IP header, and so the place of the transport header.
    #[inline]
    pub(super) const fn header_len(self) -> usize {
        match self {
            Self::V4 => IPV4_HEADER_LEN,
            Self::V6 => IPV6_HEADER_LEN,
        }
    }
}

/// Which flow a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// Ports in the lower 32 bits, then the protocol, the version (8 bits each) and the interface (16).
    pub(super) tag: u64,
    /// Both addresses: 8 bytes of IPv4, or 32 of IPv6.
    pub(super) addresses: [u64; 4],
}

impl Flow {
    /// The bits of the tag that a packet without ports shares with the flows it may belong to: version and interface.
    pub(super) const FENCE: u64 = !0 << 40;

    #[inline]
    fn new(interface: InterfaceId, family: Family, packet: &[u8], protocol: u8, ports: [u8; 4]) -> Self {
        let mut addresses = [0; 4];
        match family {
            Family::V4 => {
                if let Some(header) = packet.first_chunk::<IPV4_HEADER_LEN>() {
                    addresses[0] = u64::from_ne_bytes(*field::<12, 8, _>(header));
                }
            }
            Family::V6 => {
                if let Some(header) = packet.first_chunk::<IPV6_HEADER_LEN>() {
                    let (words, _) = field::<8, 32, _>(header).as_chunks::<8>();
                    for (address, word) in addresses.iter_mut().zip(words) {
                        *address = u64::from_ne_bytes(*word);
                    }
                }
            }
        }
        let version = match family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        let tag = u64::from(interface.0) << 48
            | version << 40
            | u64::from(protocol) << 32
            | u64::from(u32::from_ne_bytes(ports));
        Self { tag, addresses }
    }

    /// Stands for all flows between the two ends of a packet.
    pub(super) fn fence(interface: InterfaceId, family: Family, packet: &[u8]) -> Self {
        Self::new(interface, family, packet, 0, [0; 4])
    }
}

/// A packet that may be merged, if another is there that it continues.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) family: Family,
    pub(super) is_tcp: bool,
    /// Bytes before the payload.
    pub(super) header_len: usize,
    /// At least 1.
    pub(super) payload_len: usize,
    /// All header fields that must be equal in the packets of a run, beside the flow and the options.
    pub(super) constants: [u64; 2],
    /// Options of TCP.
    pub(super) options: &'a [u8],
    /// Of TCP; 0 for UDP.
    pub(super) sequence: u32,
    /// Of IPv4; 0 for IPv6.
    pub(super) identification: u16,
    /// PSH is set: nothing may follow.
    pub(super) push: bool,
}

/// Reads flow and candidate of a packet.
///
/// `None` where the packet has no flow that could be told from its headers: a fragment, IP options or extension headers,
/// lengths that do not hold. Protocols but TCP and UDP are flows whose packets are never merged. `Some` with no candidate
/// where the packet has a flow, and is never merged itself.
#[inline]
pub(super) fn read(
    interface: InterfaceId,
    family: Family,
    packet: &[u8],
) -> Option<(Flow, Option<Candidate<'_>>)> {
    let network = match family {
        Family::V4 => read_v4(packet)?,
        Family::V6 => read_v6(packet)?,
    };
    let (_, transport) = packet.split_at_checked(family.header_len())?;
    match network.protocol {
        protocol::TCP => {
            let header = transport.first_chunk::<{ Tcp::HEADER_LEN }>()?;
            let flow = Flow::new(interface, family, packet, protocol::TCP, *field::<0, 4, _>(header));
            Some((flow, read_tcp(family, &network, header, transport)))
        }
        protocol::UDP => {
            let header = transport.first_chunk::<{ Udp::HEADER_LEN }>()?;
            let flow = Flow::new(interface, family, packet, protocol::UDP, *field::<0, 4, _>(header));
            Some((flow, read_udp(family, &network, header, transport)))
        }
        protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::FRAGMENT
        | protocol::AUTHENTICATION
        | protocol::DESTINATION_OPTIONS
        | protocol::MOBILITY
        | protocol::HOST_IDENTITY
        | protocol::SHIM6 => None,
        other => Some((Flow::new(interface, family, packet, other, [0; 4]), None)),
    }
}

/// What matters of an IP header.
struct Network {
    protocol: u8,
    identification: u16,
    constants: u64,
    /// Marked CE: leaves alone, so that no mark is spread over packets that did not have it.
    congested: bool,
}

#[inline]
fn read_v4(packet: &[u8]) -> Option<Network> {
    let header = packet.first_chunk::<IPV4_HEADER_LEN>()?;
    let total_len = usize::from(u16::from_be_bytes(*field::<2, 2, _>(header)));
    let fragment = u16::from_be_bytes(*field::<6, 2, _>(header));
    // 0x3fff: more fragments, and the offset. "Don't fragment" and the reserved bit only have to be equal.
    if header[0] != 0x45 || total_len != packet.len() || fragment & 0x3fff != 0 {
        return None;
    }
    Some(Network {
        protocol: header[9],
        identification: u16::from_be_bytes(*field::<4, 2, _>(header)),
        constants: u64::from(header[1]) << 24 | u64::from(header[8]) << 16 | u64::from(fragment),
        congested: Ecn::from_bits(header[1]) == Ecn::Ce,
    })
}

#[inline]
fn read_v6(packet: &[u8]) -> Option<Network> {
    let header = packet.first_chunk::<IPV6_HEADER_LEN>()?;
    let payload_len = usize::from(u16::from_be_bytes(*field::<4, 2, _>(header)));
    if IPV6_HEADER_LEN + payload_len != packet.len() {
        return None;
    }
    let first = u32::from_be_bytes(*field::<0, 4, _>(header));
    Some(Network {
        protocol: header[6],
        identification: 0,
        constants: u64::from(first) << 8 | u64::from(header[7]),
        congested: Ecn::from_bits((first >> 20) as u8) == Ecn::Ce,
    })
}

#[inline]
fn read_tcp<'a>(
    family: Family,
    network: &Network,
    header: &[u8; Tcp::HEADER_LEN],
    transport: &'a [u8],
) -> Option<Candidate<'a>> {
    // The low four bits beside the data offset are reserved, or of no flag that we know how to split.
    let flags = header[13];
    if header[12] & 0x0f != 0 || flags & !TcpFlags::PSH.0 != TcpFlags::ACK.0 || network.congested {
        return None;
    }
    let header_len = usize::from(header[12] >> 4) * 4;
    let options = transport.get(Tcp::HEADER_LEN..header_len)?;
    let payload_len = transport.len() - header_len;
    let acknowledgement = u32::from_be_bytes(*field::<8, 4, _>(header));
    let window = u16::from_be_bytes(*field::<14, 2, _>(header));
    let urgent = u16::from_be_bytes(*field::<18, 2, _>(header));
    let constants = u64::from(acknowledgement) << 32 | u64::from(window) << 16 | u64::from(urgent);
    (payload_len > 0).then_some(Candidate {
        family,
        is_tcp: true,
        header_len: family.header_len() + header_len,
        payload_len,
        constants: [network.constants, constants],
        options,
        sequence: u32::from_be_bytes(*field::<4, 4, _>(header)),
        identification: network.identification,
        push: flags & TcpFlags::PSH.0 != 0,
    })
}

#[inline]
fn read_udp<'a>(
    family: Family,
    network: &Network,
    header: &[u8; Udp::HEADER_LEN],
    transport: &'a [u8],
) -> Option<Candidate<'a>> {
    let len = usize::from(u16::from_be_bytes(*field::<4, 2, _>(header)));
    let checksum = *field::<6, 2, _>(header);
    // Without a checksum (RFC 768) nobody could split the run again without inventing one.
    if len != transport.len() || checksum == [0; 2] || network.congested {
        return None;
    }
    let payload_len = len - Udp::HEADER_LEN;
    (payload_len > 0).then_some(Candidate {
        family,
        is_tcp: false,
        header_len: family.header_len() + Udp::HEADER_LEN,
        payload_len,
        constants: [network.constants, 0],
        options: &[],
        sequence: 0,
        identification: network.identification,
        push: false,
    })
}

impl Candidate<'_> {
    /// Whether all checksums of the packet are right, and spelt the way in which they are written: a zero of TCP or IPv4
    /// spelt 0xffff would not come back when the run is split.
    #[inline]
    pub(super) fn is_intact(&self, packet: &[u8]) -> bool {
        let Some((network, transport)) = packet.split_at_checked(self.family.header_len()) else {
            return false;
        };
        let number = if self.is_tcp { protocol::TCP } else { protocol::UDP };
        let pseudo = match self.family {
            Family::V4 => {
                let Some(header) = network.first_chunk::<IPV4_HEADER_LEN>() else { return false };
                if !Sum::of_header(header).is_intact() || *field::<10, 2, _>(header) == [0xff; 2] {
                    return false;
                }
                Sum::of_header(field::<12, 8, _>(header))
            }
            Family::V6 => {
                let Some(header) = network.first_chunk::<IPV6_HEADER_LEN>() else { return false };
                Sum::of_header(field::<8, 32, _>(header))
            }
        };
        let spelt = !self.is_tcp || transport.get(16..18) != Some(&[0xff; 2]);
        let sum = pseudo.and_word(u16::from(number)).and_word(transport.len() as u16).and(Sum::of(transport));
        spelt && sum.is_intact()
    }

    /// The `gso_type` of a run of such packets, and its `csum_offset`.
    #[inline]
    pub(super) const fn offload(&self) -> (u8, u16) {
        match (self.is_tcp, self.family) {
            (true, Family::V4) => (VnetHeader::GSO_TCPV4, 16),
            (true, Family::V6) => (VnetHeader::GSO_TCPV6, 16),
            (false, _) => (VnetHeader::GSO_UDP_L4, 6),
        }
    }
}
