//! Socket addresses as the kernel writes them, to and from bytes, without unsafe.

use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of the larger of the two: `sockaddr_in6`.
const ADDR_LEN: usize = size_of::<libc::sockaddr_in6>();
const _: () = assert!(size_of::<libc::sockaddr_in>() <= ADDR_LEN);

/// Offsets of the fields; the family is first in both.
const FAMILY: usize = offset_of!(libc::sockaddr_in, sin_family);
const V4_PORT: usize = offset_of!(libc::sockaddr_in, sin_port);
const V4_ADDR: usize = offset_of!(libc::sockaddr_in, sin_addr);
const V6_PORT: usize = offset_of!(libc::sockaddr_in6, sin6_port);
const V6_ADDR: usize = offset_of!(libc::sockaddr_in6, sin6_addr);
const V6_SCOPE: usize = offset_of!(libc::sockaddr_in6, sin6_scope_id);

/// A `sockaddr_in` or `sockaddr_in6`, with its length.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct RawAddr {
    pub(crate) bytes: [u8; ADDR_LEN],
    pub(crate) len: u32,
}

impl RawAddr {
    pub(crate) const EMPTY: Self = Self { bytes: [0; ADDR_LEN], len: ADDR_LEN as u32 };

    pub(crate) fn from_addr(addr: &SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        match addr {
            SocketAddr::V4(v4) => {
                raw.put(FAMILY, &(libc::AF_INET as libc::sa_family_t).to_ne_bytes());
                raw.put(V4_PORT, &v4.port().to_be_bytes());
                raw.put(V4_ADDR, &v4.ip().octets());
                raw.len = size_of::<libc::sockaddr_in>() as u32;
            }
            SocketAddr::V6(v6) => {
                raw.put(FAMILY, &(libc::AF_INET6 as libc::sa_family_t).to_ne_bytes());
                raw.put(V6_PORT, &v6.port().to_be_bytes());
                raw.put(V6_ADDR, &v6.ip().octets());
                raw.put(V6_SCOPE, &v6.scope_id().to_ne_bytes());
            }
        }
        raw
    }

    /// The address, with an IPv4-mapped one made IPv4 (DX-11), without flow label, and with a scope only where it means
    /// something: so that two datagrams from one place compare equal.
    pub(crate) fn to_addr(self) -> Option<SocketAddr> {
        let family = i32::from(libc::sa_family_t::from_ne_bytes(self.field(FAMILY)));
        if family == libc::AF_INET && self.len as usize >= size_of::<libc::sockaddr_in>() {
            let ip = Ipv4Addr::from(self.field::<4>(V4_ADDR));
            return Some(SocketAddrV4::new(ip, u16::from_be_bytes(self.field(V4_PORT))).into());
        }
        if family != libc::AF_INET6 || (self.len as usize) < ADDR_LEN {
            return None;
        }
        let ip = Ipv6Addr::from(self.field::<16>(V6_ADDR));
        let port = u16::from_be_bytes(self.field(V6_PORT));
        if let Some(v4) = ip.to_ipv4_mapped() {
            return Some(SocketAddrV4::new(v4, port).into());
        }
        let scope = if ip.is_unicast_link_local() { u32::from_ne_bytes(self.field(V6_SCOPE)) } else { 0 };
        Some(SocketAddrV6::new(ip, port, 0, scope).into())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[at..at + N]);
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(addr: &str) -> SocketAddr {
        RawAddr::from_addr(&addr.parse().unwrap()).to_addr().unwrap()
    }

    #[test]
    fn addresses_survive_the_way_through_the_kernels_form() {
        for addr in ["192.0.2.1:51820", "[2001:db8::1]:1", "[fe80::1%3]:65535"] {
            assert_eq!(there_and_back(addr), addr.parse().unwrap());
        }
    }

    // DX-11
    #[test]
    fn mapped_addresses_become_ipv4() {
        assert_eq!(there_and_back("[::ffff:192.0.2.1]:7"), "192.0.2.1:7".parse().unwrap());
    }

    #[test]
    fn a_scope_stays_only_on_link_local_addresses() {
        let raw = RawAddr::from_addr(&SocketAddrV6::new(Ipv6Addr::LOCALHOST, 7, 9, 4).into());
        assert_eq!(raw.to_addr(), Some("[::1]:7".parse().unwrap()));
    }

    #[test]
    fn unknown_families_and_short_addresses_are_no_address() {
        assert_eq!(RawAddr::EMPTY.to_addr(), None);
        let mut short = RawAddr::from_addr(&"[::1]:7".parse().unwrap());
        short.len = 16;
        assert_eq!(short.to_addr(), None);
    }
}
