//! Views of UDP, TCP and ICMP headers.

use crate::bytes::field;
use crate::ip::{Fragment, IpError, Payload, protocol};

/// What a packet carries, as far as it is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// A UDP datagram.
    Udp(Udp<'a>),
    /// A TCP segment.
    Tcp(Tcp<'a>),
    /// A message of ICMP or ICMPv6.
    Icmp(Icmp<'a>),
    /// A part of a packet, which is not looked into.
    Fragment,
    /// Another protocol, by its number.
    Other(u8),
}

impl<'a> Transport<'a> {
    /// Reads the header that a payload begins with.
    pub(super) fn parse(payload: &Payload<'a>) -> Result<Self, IpError> {
        if payload.fragment != Fragment::Whole {
            return Ok(Self::Fragment);
        }
        match payload.protocol {
            protocol::UDP => Udp::parse(payload.bytes()).map(Self::Udp),
            protocol::TCP => Tcp::parse(payload.bytes()).map(Self::Tcp),
            protocol::ICMP | protocol::ICMPV6 => Icmp::parse(payload.bytes()).map(Self::Icmp),
            other => Ok(Self::Other(other)),
        }
    }
}

/// A view of a UDP datagram (RFC 768).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    header: &'a [u8; Udp::HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Udp<'a> {
    /// Bytes of the header.
    pub const HEADER_LEN: usize = 8;

    /// The length field rules; bytes behind it are left out of the view. A length of zero (RFC 2675 §4) is no length here.
    fn parse(bytes: &'a [u8]) -> Result<Self, IpError> {
        let (header, rest) = bytes.split_first_chunk().ok_or(IpError::Truncated)?;
        let len = usize::from(u16::from_be_bytes(*field::<4, 2, { Udp::HEADER_LEN }>(header)));
        let payload_len = len.checked_sub(Self::HEADER_LEN).ok_or(IpError::Truncated)?;
        Ok(Self { header, payload: rest.get(..payload_len).ok_or(IpError::Length)? })
    }

    /// The sender's port.
    pub fn source_port(&self) -> u16 {
        u16::from_be_bytes(*field::<0, 2, _>(self.header))
    }

    /// The receiver's port.
    pub fn destination_port(&self) -> u16 {
        u16::from_be_bytes(*field::<2, 2, _>(self.header))
    }

    /// The checksum; zero for none.
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes(*field::<6, 2, _>(self.header))
    }

    /// What follows the header.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// The flags of a TCP header: the lower eight of them (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Echo of congestion experienced (RFC 3168 §6.1).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168 §6.1).
    pub const CWR: Self = Self(0x80);

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// A view of a TCP segment (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp<'a> {
    header: &'a [u8; Tcp::HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> Tcp<'a> {
    /// Bytes of the header without options.
    pub const HEADER_LEN: usize = 20;

    fn parse(bytes: &'a [u8]) -> Result<Self, IpError> {
        let segment = Self { header: bytes.first_chunk().ok_or(IpError::Truncated)?, bytes };
        if segment.header_len() < Self::HEADER_LEN {
            return Err(IpError::Truncated);
        }
        if segment.header_len() > bytes.len() {
            return Err(IpError::Length);
        }
        Ok(segment)
    }

    /// The sender's port.
    pub fn source_port(&self) -> u16 {
        u16::from_be_bytes(*field::<0, 2, _>(self.header))
    }

    /// The receiver's port.
    pub fn destination_port(&self) -> u16 {
        u16::from_be_bytes(*field::<2, 2, _>(self.header))
    }

    /// The sequence number of the first byte.
    pub fn sequence(&self) -> u32 {
        u32::from_be_bytes(*field::<4, 4, _>(self.header))
    }

    /// The acknowledgement number.
    pub fn acknowledgement(&self) -> u32 {
        u32::from_be_bytes(*field::<8, 4, _>(self.header))
    }

    /// Bytes of the header, options included.
    pub fn header_len(&self) -> usize {
        usize::from(self.header[12] >> 4) * 4
    }

    /// The flags.
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(self.header[13])
    }

    /// The receive window, not scaled.
    pub fn window(&self) -> u16 {
        u16::from_be_bytes(*field::<14, 2, _>(self.header))
    }

    /// The options, padding included.
    pub fn options(&self) -> &'a [u8] {
        self.bytes.get(Self::HEADER_LEN..self.header_len()).unwrap_or_default()
    }

    /// What follows the header.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.header_len()..).unwrap_or_default()
    }
}

/// A view of a message of ICMP (RFC 792) or ICMPv6 (RFC 4443 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp<'a> {
    header: &'a [u8; Icmp::HEADER_LEN],
    body: &'a [u8],
}

impl<'a> Icmp<'a> {
    /// Bytes of the header: type, code, checksum, and four whose meaning is the type's.
    pub const HEADER_LEN: usize = 8;

    fn parse(bytes: &'a [u8]) -> Result<Self, IpError> {
        let (header, body) = bytes.split_first_chunk().ok_or(IpError::Truncated)?;
        Ok(Self { header, body })
    }

    /// The type.
    pub fn kind(&self) -> u8 {
        self.header[0]
    }

    /// The code, whose meaning is the type's.
    pub fn code(&self) -> u8 {
        self.header[1]
    }

    /// What follows the header.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}
