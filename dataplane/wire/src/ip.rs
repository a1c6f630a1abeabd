//! Inner packets: IPv4 (RFC 791) and IPv6 (RFC 8200), and what they carry.
//!
//! Enters: plaintext from a peer, or a packet from the inner side. Leaves: views whose lengths hold. Strict where a length
//! is relied on, lenient elsewhere: options and extension headers are stepped over and not judged, header checksums are
//! looked at only where packets are merged, and fragments are not looked into (EN-16).

mod ecn;
mod icmp;
mod transport;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::TrafficClass;
use crate::bytes::field;
use crate::checksum::Sum;

pub use ecn::{decapsulate_ecn, set_ecn};
pub use icmp::{UNREACHABLE_LEN_MAX, Unreachable, unreachable};
pub use transport::{Icmp, Tcp, TcpFlags, Transport, Udp};

/// Bytes of an IPv4 header without options.
pub const IPV4_HEADER_LEN: usize = 20;
/// Bytes of an IPv6 header without extension headers.
pub const IPV6_HEADER_LEN: usize = 40;

/// Numbers of protocols (IANA, "Protocol Numbers").
pub mod protocol {
    /// Hop-by-hop options of IPv6.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP of IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// Routing header of IPv6.
    pub const ROUTING: u8 = 43;
    /// Fragment header of IPv6.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMP of IPv6.
    pub const ICMPV6: u8 = 58;
    /// Destination options of IPv6.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Mobility header of IPv6.
    pub const MOBILITY: u8 = 135;
    /// Host identity protocol.
    pub const HOST_IDENTITY: u8 = 139;
    /// Shim6.
    pub const SHIM6: u8 = 140;
}

/// Most extension headers that are stepped over, so that a packet of nothing else costs little. Real packets have at most
/// one of each kind (RFC 8200 §4.1); what comes behind is taken for an unknown protocol.
const EXTENSIONS_MAX: usize = 8;

/// Why bytes are no IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpError {
    /// The first four bits are neither 4 nor 6, or there are none.
    Version,
    /// A header is cut off, or shorter than it can be.
    Truncated,
    /// A length claims more bytes than there are.
    Length,
}

impl fmt::Display for IpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "neither IPv4 nor IPv6",
            Self::Truncated => "a header is cut off",
            Self::Length => "a length claims more than there is",
        })
    }
}

impl core::error::Error for IpError {}

/// A view of an IP packet, trimmed to its own length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Version 4.
    V4(Ipv4<'a>),
    /// Version 6.
    V6(Ipv6<'a>),
}

impl<'a> Packet<'a> {
    /// Checks version, header length and total length; bytes behind the packet are left out of the view.
    ///
    /// # Errors
    /// [`IpError`]: the bytes are dropped. [`IpError::Version`] may still be something that a controller asked for (WG-50).
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IpError> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => Ipv4::parse(bytes).map(Self::V4),
            Some(6) => Ipv6::parse(bytes).map(Self::V6),
            _ => Err(IpError::Version),
        }
    }

    /// The packet, from its first header byte to its last payload byte.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::V4(packet) => packet.bytes,
            Self::V6(packet) => packet.bytes,
        }
    }

    /// The sender.
    #[inline]
    pub fn source(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.source().into(),
            Self::V6(packet) => packet.source().into(),
        }
    }

    /// The receiver.
    #[inline]
    pub fn destination(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.destination().into(),
            Self::V6(packet) => packet.destination().into(),
        }
    }

    /// DSCP and ECN.
    #[inline]
    pub fn class(&self) -> TrafficClass {
        TrafficClass(match self {
            Self::V4(packet) => packet.header[1],
            Self::V6(packet) => packet.header[0] << 4 | packet.header[1] >> 4,
        })
    }

    /// Time to live, or hop limit.
    pub fn hop_limit(&self) -> u8 {
        match self {
            Self::V4(packet) => packet.header[8],
            Self::V6(packet) => packet.header[7],
        }
    }

    /// What lies behind options and extension headers.
    ///
    /// # Errors
    /// [`IpError::Truncated`]: an extension header is cut off.
    pub fn payload(&self) -> Result<Payload<'a>, IpError> {
        match self {
            Self::V4(packet) => Ok(packet.payload()),
            Self::V6(packet) => packet.payload(),
        }
    }

    /// The header of the transport protocol, its lengths checked.
    ///
    /// # Errors
    /// [`IpError::Truncated`] or [`IpError::Length`], of an extension header or of UDP, TCP or ICMP.
    pub fn transport(&self) -> Result<Transport<'a>, IpError> {
        Transport::parse(&self.payload()?)
    }

    /// The sum of the pseudo header of TCP, UDP (RFC 9293 §3.1, RFC 768) and ICMPv6 (RFC 8200 §8.1); `len` counts transport
    /// header and payload.
    #[inline]
    pub fn pseudo_sum(&self, protocol: u8, len: usize) -> Sum {
        let addresses = match self {
            Self::V4(packet) => Sum::of_header(field::<12, 8, _>(packet.header)),
            Self::V6(packet) => Sum::of_header(field::<8, 32, _>(packet.header)),
        };
        addresses.and_word(u16::from(protocol)).and_double_word(len as u32)
    }
}

/// A view of an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4<'a> {
    header: &'a [u8; IPV4_HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> Ipv4<'a> {
    #[inline]
    fn parse(bytes: &'a [u8]) -> Result<Self, IpError> {
        let header = bytes.first_chunk::<IPV4_HEADER_LEN>().ok_or(IpError::Truncated)?;
        let total = usize::from(u16::from_be_bytes(*field::<2, 2, _>(header)));
        let packet = Self { header, bytes: bytes.get(..total).ok_or(IpError::Length)? };
        let header_len = packet.header_len();
        if header_len < IPV4_HEADER_LEN || header_len > total {
            return Err(IpError::Truncated);
        }
        Ok(packet)
    }

    /// The sender.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        (*field::<12, 4, _>(self.header)).into()
    }

    /// The receiver.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        (*field::<16, 4, _>(self.header)).into()
    }

    /// Bytes of the header, options included.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.header[0] & 0x0f) * 4
    }

    /// The identification.
    #[inline]
    pub fn identification(&self) -> u16 {
        u16::from_be_bytes(*field::<4, 2, _>(self.header))
    }

    fn payload(&self) -> Payload<'a> {
        let flags_and_offset = u16::from_be_bytes(*field::<6, 2, _>(self.header));
        let fragment = Fragment::of(flags_and_offset & 0x2000 != 0, flags_and_offset & 0x1fff);
        Payload { protocol: self.header[9], fragment, offset: self.header_len(), packet: self.bytes }
    }
}

/// A view of an IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6<'a> {
    header: &'a [u8; IPV6_HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> Ipv6<'a> {
    #[inline]
    fn parse(bytes: &'a [u8]) -> Result<Self, IpError> {
        let header = bytes.first_chunk::<IPV6_HEADER_LEN>().ok_or(IpError::Truncated)?;
        let payload_len = usize::from(u16::from_be_bytes(*field::<4, 2, _>(header)));
        let bytes = bytes.get(..IPV6_HEADER_LEN + payload_len).ok_or(IpError::Length)?;
        Ok(Self { header, bytes })
    }

    /// The sender.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        (*field::<8, 16, _>(self.header)).into()
    }

    /// The receiver.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        (*field::<24, 16, _>(self.header)).into()
    }

    fn payload(&self) -> Result<Payload<'a>, IpError> {
        let mut found = Payload {
            protocol: self.header[6],
            fragment: Fragment::Whole,
            offset: IPV6_HEADER_LEN,
            packet: self.bytes,
        };
        for _ in 0..EXTENSIONS_MAX {
            let kind = found.protocol;
            // RFC 8200 §4.2 to §4.6: all are multiples of 8 bytes, but for the authentication header (RFC 4302 §2.2).
            let unit = match kind {
                protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::FRAGMENT
                | protocol::DESTINATION_OPTIONS
                | protocol::MOBILITY
                | protocol::HOST_IDENTITY
                | protocol::SHIM6 => 8,
                protocol::AUTHENTICATION => 4,
                _ => break,
            };
            let extension = found.bytes().first_chunk::<8>().ok_or(IpError::Truncated)?;
            let len = match kind {
                protocol::FRAGMENT => 8,
                _ => 8 + usize::from(extension[1]) * unit,
            };
            if found.bytes().len() < len {
                return Err(IpError::Truncated);
            }
            found.protocol = extension[0];
            found.offset += len;
            if kind == protocol::FRAGMENT {
                let offset_and_more = u16::from_be_bytes(*field::<2, 2, _>(extension));
                // Of several such headers, one that says "all of it" takes nothing back.
                match Fragment::of(offset_and_more & 1 != 0, offset_and_more >> 3) {
                    Fragment::Whole => {}
                    part => found.fragment = part,
                }
                if found.fragment == Fragment::Later {
                    break;
                }
            }
        }
        Ok(found)
    }
}

/// Which part of a packet a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it. An atomic fragment of IPv6 (RFC 6946) is one too.
    Whole,
    /// The part with the transport header.
    First,
    /// A part without.
    Later,
}

impl Fragment {
    fn of(more: bool, offset: u16) -> Self {
        match (more, offset) {
            (false, 0) => Self::Whole,
            (true, 0) => Self::First,
            _ => Self::Later,
        }
    }
}

/// What a packet carries behind options and extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The number of the transport protocol.
    pub protocol: u8,
    /// Which part of a packet it is.
    pub fragment: Fragment,
    /// Where in the packet the payload begins.
    pub offset: usize,
    packet: &'a [u8],
}

impl<'a> Payload<'a> {
    /// The payload itself.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.packet.get(self.offset..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
