//! One spelling for each address.

use core::net::{IpAddr, SocketAddr};

/// The address with an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) made IPv4.
///
/// A dual-stack socket reports IPv4 peers as `::ffff:a.b.c.d`. Everything above the socket's edge sees the one canonical
/// spelling, so that equal ends compare equal (DX-11).
pub const fn canonical_ip(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The socket address with an IPv4-mapped IPv6 address made IPv4. The port stays, and so do flow label and scope of a true
/// IPv6 address.
pub const fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv6Addr, SocketAddrV6};

    // DX-11
    #[test]
    fn mapped_addresses_become_ipv4_and_nothing_else_changes() {
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:51820".parse().unwrap();
        assert_eq!(canonical(mapped), "192.0.2.7:51820".parse().unwrap());
        assert_eq!(canonical_ip(mapped.ip()), "192.0.2.7".parse::<IpAddr>().unwrap());

        let v4: SocketAddr = "192.0.2.7:51820".parse().unwrap();
        assert_eq!(canonical(v4), v4);

        // IPv4-compatible addresses and the loopback are not mapped ones.
        for other in ["::192.0.2.7", "::1", "::", "::fffe:192.0.2.7", "64:ff9b::192.0.2.7"] {
            let ip: Ipv6Addr = other.parse().unwrap();
            assert_eq!(canonical_ip(ip.into()), IpAddr::V6(ip));
        }

        let link_local = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 0xabcde, 3));
        assert_eq!(canonical(link_local), link_local, "flow label and scope stay");
    }
}
