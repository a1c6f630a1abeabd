//! What benches share: numbers from a seed, addresses and packets made of them, and two shards joined in memory.
#![forbid(unsafe_code)]

pub mod alone;
mod pair;

pub use pair::{Pair, inner};

use dataplane_wire::offload::VnetHeader;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Numbers that look random and are the same in every run (SplitMix64).
pub struct Numbers(u64);

impl Numbers {
    /// Numbers that follow from this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next_u64() % end as u64) as usize
    }
}

/// So many hosts of 10.0.0.0/8; a few may be the same.
pub fn hosts_v4(count: usize) -> Vec<IpAddr> {
    let mut numbers = Numbers::new(4);
    let mut host = || Ipv4Addr::from_bits(10 << 24 | (numbers.next_u64() as u32 & 0x00ff_ffff)).into();
    (0..count).map(|_| host()).collect()
}

/// So many hosts of fd00::/8.
pub fn hosts_v6(count: usize) -> Vec<IpAddr> {
    let mut numbers = Numbers::new(6);
    let mut host = || {
        let bits = u128::from(numbers.next_u64()) << 64 | u128::from(numbers.next_u64());
        Ipv6Addr::from_bits(0xfd << 120 | bits >> 8).into()
    };
    (0..count).map(|_| host()).collect()
}

/// An IPv4 header from and to the same inner address, so that both ends of a [`Pair`] take it.
fn ipv4_header(address: Ipv4Addr, protocol: u8, total_len: usize) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0];
    header[2..4].copy_from_slice(&(total_len as u16).to_be_bytes());
    header.extend(address.octets());
    header.extend(address.octets());
    header
}

/// A UDP packet of so many bytes in all; checksums are left out, for nobody on the way looks at them.
pub fn udp_packet(address: Ipv4Addr, len: usize) -> Vec<u8> {
    let mut packet = ipv4_header(address, 17, len);
    packet.extend([0x13, 0x88, 0x13, 0x89]);
    packet.extend(((len - 20) as u16).to_be_bytes());
    packet.resize(len, 0);
    packet
}

/// A TCP super-packet of so many full segments at an MTU of 1420, as a TUN device hands it over.
pub fn tcp_super_packet(address: Ipv4Addr, segments: usize) -> (VnetHeader, Vec<u8>) {
    const PAYLOAD: usize = 1420 - 40;
    let len = 40 + segments * PAYLOAD;
    let mut packet = ipv4_header(address, 6, len);
    packet.extend([0x13, 0x88, 0x13, 0x89, 0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, 0x10, 1, 0, 0, 0, 0, 0]);
    packet.resize(len, 0x5a);
    let vnet = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: VnetHeader::GSO_TCPV4,
        hdr_len: 40,
        gso_size: PAYLOAD as u16,
        csum_start: 20,
        csum_offset: 16,
    };
    (vnet, packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_hosts_come_in_every_run() {
        assert_eq!(hosts_v4(3), hosts_v4(3));
        assert_eq!(hosts_v6(1000)[..3], hosts_v6(3));
        assert!(hosts_v4(1000).iter().all(|host| host.to_string().starts_with("10.")));
        assert!(hosts_v6(1000).iter().all(|host| host.to_string().starts_with("fd")));
    }
}
