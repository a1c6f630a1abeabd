use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn owner(number: u32) -> Owner {
    Owner { peer: PeerId { slot: number, generation: number ^ 7 }, core: CoreId(number as u8) }
}

fn prefix(text: &str) -> IpPrefix {
    text.parse().expect("a prefix")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Every prefix is looked at.
fn scan(list: &BTreeMap<IpPrefix, Owner>, address: IpAddr) -> Option<Owner> {
    let matching = list.iter().filter(|(prefix, _)| prefix.contains(address));
    matching.max_by_key(|(prefix, _)| prefix.bits()).map(|(_, owner)| *owner)
}

// WG-52
#[test]
fn wg_52_the_longest_of_nested_prefixes_wins() {
    let mut routes = Routes::new();
    for (number, text) in
        ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "2001:db8::/32", "2001:db8::1/128"]
            .into_iter()
            .enumerate()
    {
        assert_eq!(routes.insert(prefix(text), owner(number as u32)), None);
    }
    for (text, number) in [
        ("9.9.9.9", 0),
        ("10.200.0.1", 1),
        ("10.1.2.4", 2),
        ("10.1.2.3", 3),
        ("a::", 4),
        ("2001:db8::2", 5),
        ("2001:db8::1", 6),
    ] {
        assert_eq!(routes.get(address(text)), Some(owner(number)), "{text}");
    }
    assert_eq!(routes.remove(prefix("10.1.0.0/16")), Some(owner(2)));
    assert_eq!(routes.get(address("10.1.2.4")), Some(owner(1)));
    assert_eq!(routes.remove(prefix("0.0.0.0/0")), Some(owner(0)));
    assert_eq!(routes.get(address("9.9.9.9")), None);
}

// WG-60
#[test]
fn wg_60_a_prefix_given_to_another_owner_leaves_the_first() {
    let mut routes = Routes::new();
    routes.insert(prefix("10.0.0.0/24"), owner(1));
    assert_eq!(routes.insert(prefix("10.0.0.0/24"), owner(2)), Some(owner(1)));
    assert_eq!((routes.len(), routes.get(address("10.0.0.77"))), (1, Some(owner(2))));
}

#[test]
fn an_emptied_table_uses_its_memory_again() {
    let mut routes = Routes::new();
    let all: Vec<IpPrefix> = (0..5000_u32)
        .map(|n| IpPrefix::new(Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b9)).into(), 20 + (n % 13) as u8))
        .map(|prefix| prefix.expect("a length of IPv4"))
        .collect();
    let mut first = 0;
    for round in 0..5 {
        for &prefix in &all {
            routes.insert(prefix, owner(1));
        }
        first = if round == 0 { routes.bytes() } else { first };
        for &prefix in &all {
            routes.remove(prefix);
        }
        assert!(routes.is_empty());
        assert_eq!(routes.get(all[0].address()), None);
    }
    assert!(routes.bytes() <= first * 5 / 4, "{} grew from {first}", routes.bytes());
}

#[test]
fn a_hundred_thousand_hosts_take_less_than_200_bytes_each() {
    let mut routes = Routes::new();
    for n in 0..100_000_u32 {
        let host = Ipv4Addr::from_bits(0x0a00_0000 | n.wrapping_mul(2_654_435_761) >> 8);
        routes.insert(IpPrefix::new(host.into(), 32).expect("a host"), owner(n));
    }
    let each = routes.bytes() / routes.len();
    assert!(each < 200, "{each} bytes a prefix");
}

/// Addresses of both families whose bits differ in few places, so that prefixes nest and share ways.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let sparse = (0_u32..32, 0_u32..32).prop_map(|(a, b)| 0x0a01_0203 ^ (1 << a) ^ (1 << b));
    let v4 = prop_oneof![3 => sparse, 1 => any::<u32>()].prop_map(|bits| Ipv4Addr::from_bits(bits).into());
    let near = (0_u32..128, 0_u32..128).prop_map(|(a, b)| (0x2001_0db8_u128 << 96) ^ (1 << a) ^ (1 << b));
    let v6 = prop_oneof![3 => near, 1 => any::<u128>()].prop_map(|bits| Ipv6Addr::from_bits(bits).into());
    prop_oneof![v4, v6]
}

fn prefixes() -> impl Strategy<Value = IpPrefix> {
    (addresses(), 0_u8..=128).prop_map(|(address, len)| {
        let full = if address.is_ipv4() { 32 } else { 128 };
        // Often the full length, as most allowed IPs are hosts.
        IpPrefix::new(address, if len > 100 { full } else { len % (full + 1) })
            .expect("a length of the family")
    })
}

proptest! {
    // WG-51, WG-52, WG-60
    #[test]
    fn any_history_of_changes_matches_like_a_scan_over_all_prefixes(
        changes in prop::collection::vec((prefixes(), any::<bool>(), 0_u32..9), 1..150),
        probes in prop::collection::vec(addresses(), 50),
    ) {
        let (mut routes, mut list) = (Routes::new(), BTreeMap::new());
        for (number, (prefix, remove, again)) in changes.iter().enumerate() {
            // Some removals are of a prefix that was put in.
            let known = changes[number.saturating_sub(*again as usize)].0;
            let (did, should) = match remove {
                true => (routes.remove(known), list.remove(&known)),
                false => (routes.insert(*prefix, owner(number as u32)), list.insert(*prefix, owner(number as u32))),
            };
            prop_assert_eq!(did, should);
            prop_assert_eq!(routes.len(), list.len());
        }
        for address in probes.into_iter().chain(changes.iter().map(|(prefix, ..)| prefix.address())) {
            prop_assert_eq!(routes.get(address), scan(&list, address), "{}", address);
            let in_two_steps = routes.find(address).and_then(|place| routes.owner(place));
            prop_assert_eq!(in_two_steps, scan(&list, address), "{} in two steps", address);
        }
    }
}
