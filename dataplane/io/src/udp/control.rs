//! Control messages (cmsg(3)) to and from bytes, without unsafe.
//!
//! Out: segment size, traffic class, source address. In: train stride, traffic class, destination address. A buffer that the
//! kernel filled is trusted no more than any other bytes: lengths are checked, and what is not known is skipped.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dataplane_wire::{Ecn, TrafficClass};

/// Bytes of a control message's header, and what each is aligned to.
const HEADER_LEN: usize = size_of::<libc::cmsghdr>();
const ALIGN: usize = size_of::<usize>();
const LEVEL: usize = offset_of!(libc::cmsghdr, cmsg_level);
const KIND: usize = offset_of!(libc::cmsghdr, cmsg_type);
/// `cmsg_len` is a `size_t` for the kernel, whatever the C library makes of it.
const LEN_BYTES: usize = size_of::<usize>();

/// Bytes of a control message with `payload` bytes, padding included.
const fn space(payload: usize) -> usize {
    HEADER_LEN.next_multiple_of(ALIGN) + payload.next_multiple_of(ALIGN)
}

/// `ipi_spec_dst`: on send the source; on receive the address to answer from, which is where the datagram came to unless that
/// was a broadcast.
const PKTINFO_SPEC_DST: usize = offset_of!(libc::in_pktinfo, ipi_spec_dst);
const PKTINFO_LEN: usize = size_of::<libc::in_pktinfo>();
const PKTINFO6_ADDR: usize = offset_of!(libc::in6_pktinfo, ipi6_addr);
const PKTINFO6_IFINDEX: usize = offset_of!(libc::in6_pktinfo, ipi6_ifindex);
const PKTINFO6_LEN: usize = size_of::<libc::in6_pktinfo>();

/// Bytes of all control messages that one outgoing message can have: a 16-bit segment size, an int, the larger pktinfo.
const OUT_LEN: usize = space(2) + space(4) + space(PKTINFO6_LEN);
/// Bytes for all that one incoming message can have: stride and class as ints, pktinfo; twice, since a socket of both families
/// may report some of them in both ways.
const IN_LEN: usize = 2 * (space(4) + space(4) + space(PKTINFO6_LEN));

/// Control messages of one outgoing message.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct ControlOut {
    pub(crate) bytes: [u8; OUT_LEN],
    pub(crate) len: usize,
}

impl ControlOut {
    pub(crate) const EMPTY: Self = Self { bytes: [0; OUT_LEN], len: 0 };

    /// Every message is cut into datagrams of this length (UDP_SEGMENT).
    pub(crate) fn push_segment_len(&mut self, segment_len: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment_len.to_ne_bytes());
    }

    pub(crate) fn push_class(&mut self, class: TrafficClass, remote: &SocketAddr) {
        let value = i32::from(class.0).to_ne_bytes();
        match remote {
            SocketAddr::V4(_) => self.push(libc::IPPROTO_IP, libc::IP_TOS, &value),
            SocketAddr::V6(_) => self.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &value),
        }
    }

    /// The address to send from. One of the other family than the destination's is ignored.
    pub(crate) fn push_source(&mut self, source: IpAddr, remote: &SocketAddr) {
        match (source, remote) {
            (IpAddr::V4(source), SocketAddr::V4(_)) => {
                let mut info = [0; PKTINFO_LEN];
                info[PKTINFO_SPEC_DST..PKTINFO_SPEC_DST + 4].copy_from_slice(&source.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            (IpAddr::V6(source), SocketAddr::V6(remote)) => {
                let mut info = [0; PKTINFO6_LEN];
                info[PKTINFO6_ADDR..PKTINFO6_ADDR + 16].copy_from_slice(&source.octets());
                // A link-local source means nothing without its link, which is that of the destination.
                let scope = if source.is_unicast_link_local() { remote.scope_id() } else { 0 };
                info[PKTINFO6_IFINDEX..PKTINFO6_IFINDEX + 4].copy_from_slice(&scope.to_ne_bytes());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            _ => {}
        }
    }

    fn push(&mut self, level: i32, kind: i32, payload: &[u8]) {
        let Some(room) = self.bytes.get_mut(self.len..self.len + space(payload.len())) else {
            debug_assert!(false, "OUT_LEN is the sum of all there are");
            return;
        };
        let data = HEADER_LEN.next_multiple_of(ALIGN);
        room[..LEN_BYTES].copy_from_slice(&(data + payload.len()).to_ne_bytes());
        room[LEVEL..LEVEL + 4].copy_from_slice(&level.to_ne_bytes());
        room[KIND..KIND + 4].copy_from_slice(&kind.to_ne_bytes());
        room[data..data + payload.len()].copy_from_slice(payload);
        self.len += space(payload.len());
    }
}

/// Room for the control messages of one incoming message.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct ControlIn {
    pub(crate) bytes: [u8; IN_LEN],
    pub(crate) len: usize,
}

/// What the control messages of a received message said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ControlFacts {
    /// Bytes of each datagram of a train; `None` for a single one.
    pub(crate) stride: Option<u32>,
    pub(crate) ecn: Ecn,
    pub(crate) local_ip: Option<IpAddr>,
}

impl ControlIn {
    pub(crate) const EMPTY: Self = Self { bytes: [0; IN_LEN], len: 0 };
    /// Bytes of room.
    pub(crate) const LEN: usize = IN_LEN;

    pub(crate) fn facts(&self) -> ControlFacts {
        let mut facts = ControlFacts::default();
        let mut rest = self.bytes.get(..self.len).unwrap_or(&self.bytes);
        while let Some((level, kind, payload, behind)) = next_message(rest) {
            rest = behind;
            match (level, kind) {
                (libc::SOL_UDP, libc::UDP_GRO) => facts.stride = int(payload).filter(|&stride| stride > 0),
                // One byte for IPv4, an int for IPv6; a big-endian machine would find the int's value in its last byte.
                (libc::IPPROTO_IP, libc::IP_TOS) => {
                    facts.ecn = Ecn::from_bits(payload.first().copied().unwrap_or(0));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    facts.ecn = Ecn::from_bits(int(payload).unwrap_or(0) as u8);
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let ip = bytes_at::<4>(payload, PKTINFO_SPEC_DST).map(Ipv4Addr::from);
                    facts.local_ip = ip.map(IpAddr::V4).or(facts.local_ip);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let ip = bytes_at::<16>(payload, PKTINFO6_ADDR).map(Ipv6Addr::from);
                    facts.local_ip = ip.map(|ip| IpAddr::V6(ip).to_canonical()).or(facts.local_ip);
                }
                _ => {}
            }
        }
        facts
    }
}

/// Level, type and payload of the first message, and what stands behind it.
pub(super) fn next_message(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(bytes_at(bytes, 0)?);
    let level = i32::from_ne_bytes(bytes_at(bytes, LEVEL)?);
    let kind = i32::from_ne_bytes(bytes_at(bytes, KIND)?);
    let payload = bytes.get(HEADER_LEN.next_multiple_of(ALIGN)..len)?;
    let behind = bytes.get(len.next_multiple_of(ALIGN)..).unwrap_or(&[]);
    Some((level, kind, payload, behind))
}

fn int(payload: &[u8]) -> Option<u32> {
    bytes_at(payload, 0).map(u32::from_ne_bytes)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts_of(bytes: &[u8]) -> ControlFacts {
        let mut control = ControlIn::EMPTY;
        control.bytes[..bytes.len()].copy_from_slice(bytes);
        control.len = bytes.len();
        control.facts()
    }

    #[test]
    fn what_is_pushed_is_read_back() {
        let mut out = ControlOut::EMPTY;
        let remote = "[2001:db8::2]:1".parse().unwrap();
        out.push_segment_len(1452);
        out.push_class(TrafficClass(0x89), &remote);
        out.push_source("2001:db8::1".parse().unwrap(), &remote);
        assert_eq!(out.len, OUT_LEN);
        let facts = facts_of(&out.bytes[..out.len]);
        assert_eq!(facts.ecn, Ecn::Ect1);
        assert_eq!(facts.local_ip, Some("2001:db8::1".parse().unwrap()));
        assert_eq!(facts.stride, None, "UDP_SEGMENT is no UDP_GRO");
    }

    #[test]
    fn a_source_of_the_other_family_is_left_out() {
        let mut out = ControlOut::EMPTY;
        out.push_source("::1".parse().unwrap(), &"127.0.0.1:1".parse().unwrap());
        assert_eq!(out.len, 0);
    }

    // DX-11
    #[test]
    fn a_mapped_destination_becomes_ipv4() {
        let mut out = ControlOut::EMPTY;
        out.push_source("::ffff:192.0.2.1".parse().unwrap(), &"[::1]:1".parse().unwrap());
        assert_eq!(facts_of(&out.bytes[..out.len]).local_ip, Some("192.0.2.1".parse().unwrap()));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..IN_LEN)) {
            facts_of(&bytes);
        }

        #[test]
        fn any_lengths_are_read_without_a_panic(len in proptest::num::usize::ANY, level in 0i32..42, kind in 0i32..105) {
            let mut bytes = [0xa5; IN_LEN];
            bytes[..LEN_BYTES].copy_from_slice(&len.to_ne_bytes());
            bytes[LEVEL..LEVEL + 4].copy_from_slice(&level.to_ne_bytes());
            bytes[KIND..KIND + 4].copy_from_slice(&kind.to_ne_bytes());
            facts_of(&bytes);
        }
    }
}
