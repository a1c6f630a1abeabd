//! What benches share: numbers from a seed, and addresses made of them.
#![forbid(unsafe_code)]

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
