//! What is known of a datagram beside its bytes.

use core::net::{IpAddr, SocketAddr};
use core::ops::Range;

use crate::SocketId;

/// Explicit congestion notification, the low two bits of the traffic class (RFC 3168 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// Not ECN-capable transport.
    #[default]
    NotEct = 0b00,
    /// ECN-capable transport, ECT(1).
    Ect1 = 0b01,
    /// ECN-capable transport, ECT(0).
    Ect0 = 0b10,
    /// Congestion experienced.
    Ce = 0b11,
}

impl Ecn {
    /// The mark in the low two bits of an IPv4 TOS or IPv6 traffic class byte.
    pub const fn from_bits(byte: u8) -> Self {
        match byte & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

/// The whole IPv4 TOS or IPv6 traffic class byte: DSCP in the upper six bits, ECN in the lower two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TrafficClass(pub u8);

impl TrafficClass {
    /// What WireGuard handshakes carry: AF41, not ECN-capable (as the Linux kernel's implementation does).
    pub const HANDSHAKE: Self = Self(0x88);

    /// A class with no DSCP and this ECN mark.
    pub const fn ecn_only(ecn: Ecn) -> Self {
        Self(ecn as u8)
    }

    /// The ECN part.
    pub const fn ecn(self) -> Ecn {
        Ecn::from_bits(self.0)
    }
}

/// The two ends of a UDP flow as one socket sees it. The local port is the socket's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FourTuple {
    /// The socket that received, or shall send.
    pub socket: SocketId,
    /// The other end, with IPv4-mapped IPv6 addresses made IPv4 at the socket's edge.
    pub remote: SocketAddr,
    /// Our own address on that path where it is known: the source to reply from.
    pub local_ip: Option<IpAddr>,
}

/// A received datagram, or a GRO train of them, that lies in a receive arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxMeta {
    /// Where it came from and to.
    pub tuple: FourTuple,
    /// The outer ECN mark.
    pub ecn: Ecn,
    /// Byte offset of the first datagram in the arena.
    pub offset: u32,
    /// Bytes of the whole train.
    pub len: u32,
    /// Bytes of each datagram of the train but the last, which may be shorter. Equal to `len` for a single one; never 0
    /// unless `len` is.
    pub stride: u32,
}

impl RxMeta {
    /// The offset and length of every datagram in the train, in order. An empty datagram yields one empty range.
    pub fn segments(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (offset, len, stride) = (self.offset as usize, self.len as usize, (self.stride as usize).max(1));
        let count = len.div_ceil(stride).max(1);
        (0..count).map(move |index| {
            let start = index * stride;
            (offset + start, stride.min(len - start))
        })
    }
}

/// A range of bytes in an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub offset: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The range as an index of a slice.
    #[inline]
    pub const fn range(self) -> Range<usize> {
        self.offset as usize..self.offset as usize + self.len as usize
    }
}

/// How a train of datagrams leaves: everything but the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxMeta {
    /// Socket, destination, and source address where it matters.
    pub tuple: FourTuple,
    /// The outer traffic class.
    pub class: TrafficClass,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn train(len: u32, stride: u32) -> Vec<(usize, usize)> {
        let tuple = FourTuple { socket: SocketId(0), remote: ([127, 0, 0, 1], 1).into(), local_ip: None };
        RxMeta { tuple, ecn: Ecn::NotEct, offset: 100, len, stride }.segments().collect()
    }

    #[test]
    fn segments_of_a_train_cover_it_once_with_a_short_tail() {
        assert_eq!(train(25, 10), [(100, 10), (110, 10), (120, 5)]);
        assert_eq!(train(20, 10), [(100, 10), (110, 10)]);
        assert_eq!(train(7, 7), [(100, 7)]);
        assert_eq!(train(0, 0), [(100, 0)]);
    }
}
