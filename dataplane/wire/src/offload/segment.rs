//! One super-packet as the packets that it stands for.
//!
//! Hot:
//! 1. `plan`, once per super-packet: check that every length holds, and sum all header fields that stay.
//! 2. `emit_header`, once per segment: copy the header, patch what changes, sum the payload, complete the checksums.
//!
//! The payload is read once, for its sum, and not moved.

use core::ops::Range;

use crate::DropReason;
use crate::bytes::field_mut;
use crate::checksum::Sum;
use crate::ip::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, Packet, Tcp, TcpFlags, Transport, Udp};
use crate::offload::VnetHeader;

/// Most bytes of headers that a segment may have: the largest IPv4 and TCP headers are 120 together, and an IPv6 packet may
/// have extension headers.
pub const HEADER_LEN_MAX: usize = 192;

/// Where the checksum of UDP stands in its header.
const UDP_CHECKSUM_AT: usize = 6;

/// How a packet from the inner side becomes packets: `count` of them, each of which is headers that
/// [`Segmentation::emit_header`] writes, and a range of the payload.
#[derive(Clone, Copy, Debug)]
pub struct Segmentation {
    kind: Kind,
    count: usize,
    /// Bytes before the payload of each segment.
    header_len: usize,
    /// Payload bytes of each segment but the last.
    payload_len: usize,
    /// Bytes of the whole super-packet, headers included once.
    total_len: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Passes as it is.
    Plain,
    /// One packet whose checksum covers it from `start` on, and stands at `at`.
    Complete { start: usize, at: usize },
    /// Segments of TCP or UDP.
    Split { network: Network, transport_at: usize, transport: Segments, sum: Sum },
}

/// What changes in the network header of each segment.
#[derive(Clone, Copy, Debug)]
enum Network {
    /// Identification of the first segment, and the sum of what stays.
    V4 {
        identification: u16,
        sum: Sum,
    },
    V6,
}

/// What changes in the transport header of each segment.
#[derive(Clone, Copy, Debug)]
enum Segments {
    /// Sequence number of the first segment, and the flags of the super-packet.
    Tcp {
        sequence: u32,
        flags: TcpFlags,
    },
    Udp,
}

/// Flags that only the last segment has.
const FLAGS_LAST: u8 = TcpFlags::FIN.0 | TcpFlags::PSH.0;
/// Flags that only the first segment has (RFC 3168 §6.1.2: told once).
const FLAGS_FIRST: u8 = TcpFlags::CWR.0;

impl Segmentation {
    /// Plans how a packet of the inner side is sent. Bytes behind the packet are left out.
    ///
    /// # Errors
    /// [`DropReason::OutboundMalformed`]: it is no IP packet, or not what its `virtio_net_hdr` says.
    pub fn plan(vnet: &VnetHeader, packet: &[u8]) -> Result<Self, DropReason> {
        let ip = Packet::parse(packet).map_err(|_| DropReason::OutboundMalformed)?;
        let plan = match vnet.gso_type & !VnetHeader::GSO_ECN {
            VnetHeader::GSO_NONE => Self::whole(vnet, &ip),
            VnetHeader::GSO_TCPV4 | VnetHeader::GSO_TCPV6 | VnetHeader::GSO_UDP_L4 => Self::split(vnet, &ip),
            _ => None,
        };
        plan.filter(|plan| plan.header_len <= HEADER_LEN_MAX).ok_or(DropReason::OutboundMalformed)
    }

    /// Plans a packet that stays one.
    fn whole(vnet: &VnetHeader, ip: &Packet<'_>) -> Option<Self> {
        let total_len = ip.as_bytes().len();
        let (kind, header_len) = if vnet.flags & VnetHeader::NEEDS_CSUM == 0 {
            (Kind::Plain, 0)
        } else {
            let start = usize::from(vnet.csum_start);
            let at = start + usize::from(vnet.csum_offset);
            // A checksum inside of the network header would overwrite what was just checked.
            let network_len = match ip {
                Packet::V4(v4) => v4.header_len(),
                Packet::V6(_) => IPV6_HEADER_LEN,
            };
            if start < network_len {
                return None;
            }
            // An odd offset would put the checksum across two words of its own sum.
            if at + 2 > total_len || !vnet.csum_offset.is_multiple_of(2) {
                return None;
            }
            (Kind::Complete { start, at }, at + 2)
        };
        Some(Self { kind, count: 1, header_len, payload_len: total_len - header_len, total_len })
    }

    /// Plans a super-packet.
    fn split(vnet: &VnetHeader, ip: &Packet<'_>) -> Option<Self> {
        let payload = ip.payload().ok()?;
        let transport_at = payload.offset;
        let agrees = vnet.flags & VnetHeader::NEEDS_CSUM == 0 || usize::from(vnet.csum_start) == transport_at;
        if !agrees {
            return None;
        }
        let (transport_len, transport) =
            match (vnet.gso_type & !VnetHeader::GSO_ECN, ip, ip.transport().ok()?) {
                (VnetHeader::GSO_TCPV4, Packet::V4(_), Transport::Tcp(tcp))
                | (VnetHeader::GSO_TCPV6, Packet::V6(_), Transport::Tcp(tcp)) => {
                    (tcp.header_len(), Segments::Tcp { sequence: tcp.sequence(), flags: tcp.flags() })
                }
                (VnetHeader::GSO_UDP_L4, _, Transport::Udp(_)) => (Udp::HEADER_LEN, Segments::Udp),
                _ => return None,
            };
        let network = match ip {
            Packet::V4(v4) => Network::V4 {
                identification: v4.identification(),
                sum: Network::constant_sum(ip.as_bytes().get(..transport_at)?)?,
            },
            Packet::V6(_) => Network::V6,
        };
        let header_len = transport_at + transport_len;
        let total_len = ip.as_bytes().len();
        let payload_len = usize::from(vnet.gso_size);
        let count = (total_len - header_len).checked_add(payload_len.checked_sub(1)?)? / payload_len;
        let header = ip.as_bytes().get(transport_at..header_len)?;
        let sum = transport.constant_sum(header)?.and(ip.pseudo_sum(payload.protocol, 0));
        let kind = Kind::Split { network, transport_at, transport, sum };
        Some(Self { kind, count: count.max(1), header_len, payload_len, total_len })
    }

    /// How many packets there are; at least one. May be more than one send train holds.
    #[inline]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Bytes that [`Segmentation::emit_header`] writes, for each segment the same; 0 for a packet that passes as it is.
    #[inline]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// Bytes of each packet but the last, headers included.
    #[inline]
    pub const fn segment_len(&self) -> usize {
        if self.count == 1 { self.total_len } else { self.header_len + self.payload_len }
    }

    /// Bytes of the last packet, headers included.
    #[inline]
    pub const fn last_len(&self) -> usize {
        self.total_len - (self.count - 1) * self.payload_len
    }

    /// Where in the super-packet the payload of a segment lies. Empty behind the last one.
    #[inline]
    pub fn payload(&self, index: usize) -> Range<usize> {
        let start =
            self.header_len.saturating_add(index.saturating_mul(self.payload_len)).min(self.total_len);
        start..start.saturating_add(self.payload_len).min(self.total_len)
    }

    /// Writes the headers of segment `index` to the front of `out`, with the checksum over the payload, and returns how many
    /// bytes they are and where in `packet` the payload lies that follows them.
    ///
    /// `None`, and nothing sensible in `out`, where the call is wrong: no such segment, another packet than was planned, or
    /// less room than [`Segmentation::header_len`].
    ///
    /// Cost: a copy of the headers and one pass over the payload, which is not copied.
    #[inline]
    pub fn emit_header(&self, index: usize, packet: &[u8], out: &mut [u8]) -> Option<(usize, Range<usize>)> {
        if index >= self.count {
            return None;
        }
        let range = self.payload(index);
        let payload = packet.get(range.clone())?;
        let header = out.get_mut(..self.header_len)?;
        header.copy_from_slice(packet.get(..self.header_len)?);
        match &self.kind {
            Kind::Plain => {}
            Kind::Complete { start, at } => {
                let checksum = Sum::of(packet.get(*start..self.total_len)?).checksum();
                // Of the protocols that offload their checksum, UDP alone has no zero. TCP has, and no other code for it.
                let checksum = if *at == *start + UDP_CHECKSUM_AT { never_zero(checksum) } else { checksum };
                *header.get_mut(*at..)?.first_chunk_mut()? = checksum.to_be_bytes();
            }
            Kind::Split { network, transport_at, transport, sum } => {
                let (ip, rest) = header.split_at_mut_checked(*transport_at)?;
                network.patch(ip, index, self.header_len + payload.len())?;
                let transport_len = rest.len() + payload.len();
                let sum = sum.and(Sum::of(payload)).and_word(transport_len as u16);
                let place = Place {
                    offset: index * self.payload_len,
                    first: index == 0,
                    last: index + 1 == self.count,
                };
                transport.patch(rest, &place, transport_len, sum)?;
            }
        }
        Some((self.header_len, range))
    }
}

impl Network {
    /// The sum of an IPv4 header without total length, identification and checksum.
    fn constant_sum(header: &[u8]) -> Option<Sum> {
        let (fixed, options) = header.split_first_chunk::<IPV4_HEADER_LEN>()?;
        let mut fixed = *fixed;
        *field_mut::<2, 4, _>(&mut fixed) = [0; 4];
        *field_mut::<10, 2, _>(&mut fixed) = [0; 2];
        Some(Sum::of_header(&fixed).and(Sum::of(options)))
    }

    #[inline]
    fn patch(&self, header: &mut [u8], index: usize, total_len: usize) -> Option<()> {
        match self {
            Self::V4 { identification, sum } => {
                let header = header.first_chunk_mut::<IPV4_HEADER_LEN>()?;
                let (total_len, identification) =
                    (total_len as u16, identification.wrapping_add(index as u16));
                let checksum = sum.and_word(total_len).and_word(identification).checksum();
                *field_mut::<2, 2, _>(header) = total_len.to_be_bytes();
                *field_mut::<4, 2, _>(header) = identification.to_be_bytes();
                *field_mut::<10, 2, _>(header) = checksum.to_be_bytes();
            }
            Self::V6 => {
                let header = header.first_chunk_mut::<IPV6_HEADER_LEN>()?;
                *field_mut::<4, 2, _>(header) = ((total_len - IPV6_HEADER_LEN) as u16).to_be_bytes();
            }
        }
        Some(())
    }
}

/// Where a segment lies among the others.
struct Place {
    /// Payload bytes before it.
    offset: usize,
    first: bool,
    last: bool,
}

impl Segments {
    /// The sum of a transport header without what changes, and of the protocol's number in the pseudo header.
    fn constant_sum(&self, header: &[u8]) -> Option<Sum> {
        match self {
            Self::Tcp { .. } => {
                let (fixed, options) = header.split_first_chunk::<{ Tcp::HEADER_LEN }>()?;
                let mut fixed = *fixed;
                *field_mut::<4, 4, _>(&mut fixed) = [0; 4];
                fixed[13] = 0;
                *field_mut::<16, 2, _>(&mut fixed) = [0; 2];
                Some(Sum::of_header(&fixed).and(Sum::of(options)))
            }
            Self::Udp => Some(Sum::of(header.get(..4)?)),
        }
    }

    /// `sum` covers pseudo header and payload, and what [`Segments::constant_sum`] does.
    #[inline]
    fn patch(&self, header: &mut [u8], place: &Place, transport_len: usize, sum: Sum) -> Option<()> {
        match self {
            Self::Tcp { sequence, flags } => {
                let header = header.first_chunk_mut::<{ Tcp::HEADER_LEN }>()?;
                let sequence = sequence.wrapping_add(place.offset as u32);
                let not_here =
                    if place.first { 0 } else { FLAGS_FIRST } | if place.last { 0 } else { FLAGS_LAST };
                let flags = flags.0 & !not_here;
                let checksum = sum.and_double_word(sequence).and_word(u16::from(flags)).checksum();
                *field_mut::<4, 4, _>(header) = sequence.to_be_bytes();
                header[13] = flags;
                *field_mut::<16, 2, _>(header) = checksum.to_be_bytes();
            }
            Self::Udp => {
                let header = header.first_chunk_mut::<{ Udp::HEADER_LEN }>()?;
                let checksum = never_zero(sum.and_word(transport_len as u16).checksum());
                *field_mut::<4, 2, _>(header) = (transport_len as u16).to_be_bytes();
                *field_mut::<UDP_CHECKSUM_AT, 2, _>(header) = checksum.to_be_bytes();
            }
        }
        Some(())
    }
}

/// A checksum of UDP: zero would say that there is none, so its other spelling is sent (RFC 768).
#[inline]
const fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}
