//! Answers to packets that have nowhere to go.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bytes::field_mut;
use crate::checksum::Sum;
use crate::ip::{Fragment, IPV4_HEADER_LEN, IPV6_HEADER_LEN, Icmp, Packet, Payload, protocol};

/// Most bytes of an answer: the least MTU of IPv6 (RFC 4443 §2.4 c).
pub const UNREACHABLE_LEN_MAX: usize = 1280;
/// Most bytes of an answer over IPv4 (RFC 1812 §4.3.2.3).
const IPV4_LEN_MAX: usize = 576;
/// Hop limit of an answer: the recommended default (IANA, "IP Parameters").
const HOP_LIMIT: u8 = 64;
/// Class of an answer over IPv4: precedence 6, internetwork control (RFC 1812 §4.3.2.5).
const IPV4_CLASS: u8 = 0xc0;

/// Why a packet has nowhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No peer has the destination. ICMP: host unreachable; ICMPv6: no route to destination.
    Route,
    /// A peer has it, but cannot be reached. ICMP: host unreachable; ICMPv6: address unreachable. This is what WireGuard in
    /// the Linux kernel answers in both cases.
    Address,
}

impl Unreachable {
    /// Type and code of ICMP (RFC 792).
    const fn v4(self) -> [u8; 2] {
        [3, 1]
    }

    /// Type and code of ICMPv6 (RFC 4443 §3.1).
    const fn v6(self) -> [u8; 2] {
        match self {
            Self::Route => [1, 0],
            Self::Address => [1, 3],
        }
    }
}

/// Writes the answer to a packet that has nowhere to go into `out` and returns its length.
///
/// The answer comes from the packet's own destination: the one address that is certain to lie behind the inner side, so
/// that a host which filters by reverse path takes it.
///
/// `None` where there must be no answer: to an ICMP error, a fragment but the first, anything sent to a group or broadcast
/// address or from what is no single host (RFC 1122 §3.2.2, RFC 4443 §2.4 e), or to what is no packet; and where `out` does
/// not hold the answer with as much of the packet as the sender needs to tell whom it concerns. [`UNREACHABLE_LEN_MAX`]
/// bytes are always enough.
pub fn unreachable(why: Unreachable, packet: &[u8], out: &mut [u8]) -> Option<usize> {
    let packet = Packet::parse(packet).ok()?;
    let payload = packet.payload().ok()?;
    if payload.fragment == Fragment::Later
        || is_icmp_error(&packet, &payload)
        || !is_host(packet.source())
        || !is_host(packet.destination())
    {
        return None;
    }
    // The ports of TCP and UDP are in the first eight bytes behind the headers (RFC 792).
    let quoted_min = packet.as_bytes().len().min(payload.offset + 8);
    let (header_len, len_max) = match packet {
        Packet::V4(_) => (IPV4_HEADER_LEN, IPV4_LEN_MAX),
        Packet::V6(_) => (IPV6_HEADER_LEN, UNREACHABLE_LEN_MAX),
    };
    let quoted_at = header_len + Icmp::HEADER_LEN;
    let quoted_len = packet.as_bytes().len().min(len_max.min(out.len()).checked_sub(quoted_at)?);
    if quoted_len < quoted_min {
        return None;
    }
    let len = quoted_at + quoted_len;
    let (header, icmp) = out.get_mut(..len)?.split_at_mut(header_len);
    let (icmp_header, quoted) = icmp.split_first_chunk_mut::<{ Icmp::HEADER_LEN }>()?;
    quoted.copy_from_slice(packet.as_bytes().get(..quoted_len)?);
    let (kind, number) = match &packet {
        Packet::V4(_) => (why.v4(), protocol::ICMP),
        Packet::V6(_) => (why.v6(), protocol::ICMPV6),
    };
    *icmp_header = [kind[0], kind[1], 0, 0, 0, 0, 0, 0];
    let mut sum = Sum::of_header(icmp_header).and(Sum::of(quoted));
    match &packet {
        Packet::V4(ip) => emit_v4(header.first_chunk_mut()?, ip.destination(), ip.source(), len),
        Packet::V6(ip) => {
            // Both addresses are in the sum, so it does not mind that they change places.
            sum = sum.and(packet.pseudo_sum(number, Icmp::HEADER_LEN + quoted_len));
            emit_v6(header.first_chunk_mut()?, ip.destination(), ip.source(), Icmp::HEADER_LEN + quoted_len);
        }
    }
    *field_mut::<2, 2, _>(icmp_header) = sum.checksum().to_be_bytes();
    Some(len)
}

/// Writes an IPv4 header before an ICMP message. Atomic (RFC 6864 §4), so the identification may be zero.
fn emit_v4(out: &mut [u8; IPV4_HEADER_LEN], source: Ipv4Addr, destination: Ipv4Addr, total_len: usize) {
    *field_mut::<0, 2, _>(out) = [0x45, IPV4_CLASS];
    *field_mut::<2, 2, _>(out) = (total_len as u16).to_be_bytes();
    *field_mut::<4, 4, _>(out) = [0, 0, 0x40, 0];
    *field_mut::<8, 4, _>(out) = [HOP_LIMIT, protocol::ICMP, 0, 0];
    *field_mut::<12, 4, _>(out) = source.octets();
    *field_mut::<16, 4, _>(out) = destination.octets();
    *field_mut::<10, 2, _>(out) = Sum::of_header(out).checksum().to_be_bytes();
}

/// Writes an IPv6 header before an ICMPv6 message.
fn emit_v6(out: &mut [u8; IPV6_HEADER_LEN], source: Ipv6Addr, destination: Ipv6Addr, payload_len: usize) {
    *field_mut::<0, 4, _>(out) = [0x60, 0, 0, 0];
    *field_mut::<4, 2, _>(out) = (payload_len as u16).to_be_bytes();
    *field_mut::<6, 2, _>(out) = [protocol::ICMPV6, HOP_LIMIT];
    *field_mut::<8, 16, _>(out) = source.octets();
    *field_mut::<24, 16, _>(out) = destination.octets();
}

/// Whether a packet is an ICMP error, or may be one: what cannot be told is not answered.
fn is_icmp_error(packet: &Packet<'_>, payload: &Payload<'_>) -> bool {
    let kind = payload.bytes().first();
    match (packet, payload.protocol) {
        // Echo, router discovery, timestamp, information, mask and extended echo are questions and answers.
        (Packet::V4(_), protocol::ICMP) => !matches!(kind, Some(0 | 8..=10 | 13..=18 | 42 | 43)),
        // RFC 4443 §2.1: errors have the high bit clear. §2.4 e.2: a redirect is not answered either.
        (Packet::V6(_), protocol::ICMPV6) => !matches!(kind, Some(128..=136 | 138..)),
        // A chain of extension headers longer than we look may end in anything.
        (
            Packet::V6(_),
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HOST_IDENTITY
            | protocol::SHIM6,
        ) => true,
        _ => false,
    }
}

/// Whether an address may belong to one host beyond this one.
fn is_host(ip: IpAddr) -> bool {
    match ip {
        // 0/8 is "this network", 240/4 reserved, with the limited broadcast at its end (RFC 1122 §3.2.1.3, RFC 1112 §4).
        IpAddr::V4(ip) => !ip.is_loopback() && !matches!(ip.octets()[0], 0 | 224..),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast(),
    }
}

#[cfg(test)]
mod tests;
