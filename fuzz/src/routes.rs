//! The table of allowed IPs against a list that is walked from end to end.

use std::net::IpAddr;

use dataplane_proto::IpPrefix;
use dataplane_proto::routes::{Owner, Routes};
use dataplane_wire::{CoreId, PeerId};

use crate::input::Input;

/// Changes of one input at most: the list is slow.
const STEPS_MAX: usize = 400;
/// Memory that a prefix may cost: a node of 64 bytes at most for itself and one for the fork above it, each in a block of
/// which up to half is empty, moved twice.
const BYTES_PER_PREFIX: usize = 2 * 2 * 2 * 64;
/// What an empty table and first blocks of every size hold.
const BYTES_AT_LEAST: usize = 64 * 1024;

#[derive(Default)]
struct List(Vec<(IpPrefix, Owner)>);

impl List {
    fn insert(&mut self, prefix: IpPrefix, owner: Owner) -> Option<Owner> {
        let before = self.remove(prefix);
        self.0.push((prefix, owner));
        before
    }

    fn remove(&mut self, prefix: IpPrefix) -> Option<Owner> {
        let at = self.0.iter().position(|(known, _)| *known == prefix)?;
        Some(self.0.swap_remove(at).1)
    }

    fn get(&self, address: IpAddr) -> Option<Owner> {
        let matching = self.0.iter().filter(|(prefix, _)| prefix.contains(address));
        matching.max_by_key(|(prefix, _)| prefix.bits()).map(|(_, owner)| *owner)
    }
}

/// Prefixes given, given again and taken: each returns the owner that it had, and every address finds the owner of the
/// longest prefix around it.
pub fn routes(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut routes, mut list) = (Routes::new(), List::default());
    let mut peak = 0;
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let operation = input.pick(8);
        let address = address(&mut input);
        let len = input.byte();
        let len = if address.is_ipv4() { len % 33 } else { len % 129 };
        let prefix = IpPrefix::new(address, len).expect("a length of its family");
        match operation {
            0..4 => {
                let number = input.byte();
                let peer = PeerId { slot: number.into(), generation: u32::from(number) + 1 };
                let owner = Owner { peer, core: CoreId(number & 3) };
                assert_eq!(routes.insert(prefix, owner), list.insert(prefix, owner), "{prefix} given");
            }
            4 | 5 => assert_eq!(routes.remove(prefix), list.remove(prefix), "{prefix} taken"),
            6 => {
                let known = list.0.get(usize::from(len) % list.0.len().max(1)).map(|(prefix, _)| *prefix);
                if let Some(known) = known {
                    assert_eq!(routes.remove(known), list.remove(known), "{known} taken");
                }
            }
            _ => {}
        }
        peak = peak.max(list.0.len());
        assert_eq!((routes.len(), routes.is_empty()), (list.0.len(), list.0.is_empty()));
        for address in around(prefix).into_iter().chain([address]) {
            assert_eq!(routes.get(address), list.get(address), "{address}");
        }
    }
    for (prefix, _) in &list.0 {
        for address in around(*prefix) {
            assert_eq!(routes.get(address), list.get(address), "{address}");
        }
    }
    let held = routes.bytes();
    assert!(held <= BYTES_AT_LEAST + peak * BYTES_PER_PREFIX, "{held} bytes for {peak} prefixes");
    for (prefix, owner) in std::mem::take(&mut list.0) {
        assert_eq!(routes.remove(prefix), Some(owner));
        assert_eq!(routes.remove(prefix), None);
    }
    assert!(routes.is_empty());
}

/// Addresses that begin alike, and differ in few bits: tables are interesting where prefixes nest.
fn address(input: &mut Input<'_>) -> IpAddr {
    let (shape, bits) = (input.byte(), input.array::<4>());
    let [a, b, c, d] = bits;
    match shape % 6 {
        0 => IpAddr::from([10, 0, c & 3, d]),
        1 => IpAddr::from(bits),
        2 => IpAddr::from([a & 0xc0, 0, 0, d & 3]),
        3 => IpAddr::from((u128::from(u32::from_be_bytes(bits)) << 96).to_be_bytes()),
        4 => IpAddr::from(((0x2001_0db8_u128 << 96) | u128::from(u32::from_be_bytes(bits))).to_be_bytes()),
        _ => IpAddr::from((u128::from(a) << (b % 121) | u128::from(c) << (d % 121)).to_be_bytes()),
    }
}

/// First and last address of a prefix, and those just outside of it.
fn around(prefix: IpPrefix) -> [IpAddr; 4] {
    let len = u32::from(prefix.bits());
    match prefix.address() {
        IpAddr::V4(first) => {
            let first = first.to_bits();
            let last = first | u32::MAX.checked_shr(len).unwrap_or(0);
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| IpAddr::from(bits.to_be_bytes()))
        }
        IpAddr::V6(first) => {
            let first = first.to_bits();
            let last = first | u128::MAX.checked_shr(len).unwrap_or(0);
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| IpAddr::from(bits.to_be_bytes()))
        }
    }
}
