//! A peer's path in 40 bytes, so that it shares a cache line with what every packet writes.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 16 | remote address, IPv4 mapped into IPv6, as two numbers, which fit registers |
//! | 16 | 16 | our own address likewise; `::` where it is not known |
//! | 32 | 4 | IPv6 scope |
//! | 36 | 2 | remote port |
//! | 38 | 2 | socket |
//!
//! All zero is no path: nothing can be sent to port 0 of `::`. The flow label is not kept: sockets neither give nor take one.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use dataplane_wire::{FourTuple, SocketId};

/// What stands before an IPv4 address in IPv6 (RFC 4291 §2.5.5.2).
const MAPPED: u64 = 0xffff;

/// A [`FourTuple`], or none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    remote: [u64; 2],
    local: [u64; 2],
    scope: u32,
    port: u16,
    socket: u16,
}

const _: () = assert!(size_of::<Packed>() == 40);

impl Packed {
    /// No path.
    pub(super) const NONE: Self = Self { remote: [0; 2], local: [0; 2], scope: 0, port: 0, socket: 0 };

    #[inline]
    pub(super) fn new(tuple: &FourTuple) -> Self {
        let scope = match tuple.remote {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(remote) => remote.scope_id(),
        };
        Self {
            remote: mapped(tuple.remote.ip()),
            local: tuple.local_ip.map_or([0; 2], mapped),
            scope,
            port: tuple.remote.port(),
            socket: tuple.socket.0,
        }
    }

    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.remote == [0; 2] && *self == Self::NONE
    }

    #[inline]
    pub(super) fn tuple(&self) -> Option<FourTuple> {
        if self.is_none() {
            return None;
        }
        let remote = match unmapped(self.remote) {
            IpAddr::V4(ip) => SocketAddr::from((ip, self.port)),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, self.port, 0, self.scope).into(),
        };
        let local_ip = (self.local != [0; 2]).then(|| unmapped(self.local));
        Some(FourTuple { socket: SocketId(self.socket), remote, local_ip })
    }

    /// Leaves our own address to the kernel.
    pub(super) fn forget_local(&mut self) {
        self.local = [0; 2];
    }

    /// Whether the other end and the socket are those of another path.
    pub(super) fn leads_as(&self, other: &Self) -> bool {
        let end = |path: &Self| (path.remote, path.scope, path.port, path.socket);
        end(self) == end(other)
    }

    /// Whether our own end is that of another path.
    pub(super) fn comes_from_as(&self, other: &Self) -> bool {
        (self.local, self.socket) == (other.local, other.socket)
    }
}

#[inline]
fn mapped(ip: IpAddr) -> [u64; 2] {
    match ip {
        IpAddr::V4(ip) => [0, MAPPED << 32 | u64::from(ip.to_bits())],
        IpAddr::V6(ip) => [(ip.to_bits() >> 64) as u64, ip.to_bits() as u64],
    }
}

#[inline]
fn unmapped([high, low]: [u64; 2]) -> IpAddr {
    if high == 0 && low >> 32 == MAPPED {
        Ipv4Addr::from_bits(low as u32).into()
    } else {
        Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip() -> impl Strategy<Value = IpAddr> {
        let v6 = (1..u128::MAX).prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical());
        prop_oneof![any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())), v6]
    }

    proptest! {
        #[test]
        fn a_path_is_what_it_was_before_it_was_packed(
            socket in any::<u16>(), ip in ip(), port in any::<u16>(), scope in any::<u32>(), local in prop::option::of(ip()),
        ) {
            let remote = match ip {
                IpAddr::V4(ip) => SocketAddr::from((ip, port)),
                IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
            };
            let tuple = FourTuple { socket: SocketId(socket), remote, local_ip: local };
            let packed = Packed::new(&tuple);
            prop_assert_eq!(packed.tuple(), Some(tuple));
            let mut without = packed;
            without.forget_local();
            prop_assert_eq!(without.tuple(), Some(FourTuple { local_ip: None, ..tuple }));
            prop_assert!(packed.leads_as(&without));
        }
    }

    #[test]
    fn no_path_is_none() {
        assert_eq!(Packed::NONE.tuple(), None);
    }
}
