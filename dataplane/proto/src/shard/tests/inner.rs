//! What an inner packet may be when it comes out of the tunnel.

use super::*;

fn deliver(pair: &mut Pair, counter: u64, plain: &[u8]) -> Vec<Vec<u8>> {
    let datagram = pair.forge(A, counter, plain);
    pair.give(B, &[datagram]).into_iter().map(|(_, packet)| packet).collect()
}

// WG-48
#[test]
fn wg_48_a_packet_is_trimmed_to_its_inner_length_and_a_longer_claim_is_dropped() {
    let mut pair = Pair::connected();
    let packet = udp4(1, 2, 61, 7);
    let padded = [&packet[..], &[0; 3]].concat();
    assert_eq!(deliver(&mut pair, 100, &padded), core::slice::from_ref(&packet));
    assert_eq!(deliver(&mut pair, 101, &packet), core::slice::from_ref(&packet));
    assert_eq!(deliver(&mut pair, 102, &packet[..60]), [[0; 0]; 0]);
    let mut ipv6 = vec![0; 64];
    (ipv6[0], ipv6[5], ipv6[6]) = (0x60, 20, 59);
    ipv6[8..40].copy_from_slice(&[ip6(1), ip6(2)].concat());
    assert_eq!(deliver(&mut pair, 103, &ipv6), [ipv6[..60].to_vec()]);
    ipv6[5] = 25;
    assert_eq!(deliver(&mut pair, 104, &ipv6), [[0; 0]; 0]);
    assert_eq!(pair.sides[B].drops(DropReason::InnerMalformed), 2);
}

fn ip6(host: u8) -> [u8; 16] {
    let mut bytes = [0; 16];
    (bytes[0], bytes[15]) = (0xfd, host);
    bytes
}

// WG-50: the whole row, as long as no control layer can ask for another first nibble: `controller::Output` has nothing to ask by.
#[test]
fn wg_50_an_inner_version_other_than_4_and_6_is_dropped() {
    let mut pair = Pair::connected();
    for version in (0..16_u8).filter(|version| ![4, 6].contains(version)) {
        let mut packet = udp4(1, 2, 64, 7);
        packet[0] = version << 4 | 5;
        assert_eq!(deliver(&mut pair, 100 + u64::from(version), &packet), [[0; 0]; 0]);
    }
    assert_eq!(pair.sides[B].drops(DropReason::InnerMalformed), 14);
}

/// Gives B another peer, which has a prefix.
fn add_other(pair: &mut Pair, prefix: &str) -> PeerId {
    let other = PeerId { slot: 77, generation: 0 };
    let counters = std::sync::Arc::default();
    pair.command(B, Command::AddPeer { peer: other, interface: INTERFACE, connection: 0x7f_0000, counters });
    route(pair, other, prefix);
    other
}

fn route(pair: &mut Pair, peer: PeerId, prefix: &str) {
    let prefix = prefix.parse().unwrap();
    pair.command(B, Command::SetRoute { interface: INTERFACE, peer, core: CoreId(0), prefix });
}

// WG-51
#[test]
fn wg_51_the_inner_source_must_be_the_senders_by_its_longest_match() {
    let mut pair = Pair::connected();
    let sender = pair.sides[B].peer;
    add_other(&mut pair, "10.0.0.0/24");
    assert_eq!(deliver(&mut pair, 100, &udp4(1, 2, 64, 7)).len(), 1, "its own host");
    assert_eq!(deliver(&mut pair, 101, &udp4(9, 2, 64, 7)).len(), 0, "in the other's network");
    route(&mut pair, sender, "10.0.0.8/30");
    assert_eq!(deliver(&mut pair, 102, &udp4(9, 2, 64, 7)).len(), 1, "a longer one is its own now");
    assert_eq!(deliver(&mut pair, 103, &udp4(12, 2, 64, 7)).len(), 0);
    let mut unknown = udp4(9, 2, 64, 7);
    unknown[12] = 11;
    assert_eq!(deliver(&mut pair, 104, &unknown).len(), 0, "nobody's");
    assert_eq!(pair.sides[B].drops(DropReason::InnerSource), 3);
}

// WG-51, WG-60
#[test]
fn wg_51_a_remembered_source_is_forgotten_when_routes_change() {
    let mut pair = Pair::connected();
    assert_eq!(deliver(&mut pair, 100, &udp4(1, 2, 64, 7)).len(), 1);
    add_other(&mut pair, "10.0.0.1/32");
    assert_eq!(deliver(&mut pair, 101, &udp4(1, 2, 64, 7)).len(), 0, "given to another");
    let sender = pair.sides[B].peer;
    route(&mut pair, sender, "10.0.0.1/32");
    assert_eq!(deliver(&mut pair, 102, &udp4(1, 2, 64, 7)).len(), 1, "and back");
    let prefix = "10.0.0.1/32".parse().unwrap();
    pair.command(B, Command::RemoveRoute { interface: INTERFACE, prefix });
    assert_eq!(deliver(&mut pair, 103, &udp4(1, 2, 64, 7)).len(), 0, "nobody's");
}

// WG-51
#[test]
fn wg_51_a_remembered_source_is_forgotten_when_the_count_of_changes_begins_again() {
    let mut pair = Pair::connected();
    let other = add_other(&mut pair, "10.0.0.9/32");
    let epoch = |pair: &Pair| pair.sides[B].shard.interfaces[0].as_ref().map(|interface| interface.epoch);
    let before = epoch(&pair);
    assert_eq!(deliver(&mut pair, 100, &udp4(1, 2, 64, 7)).len(), 1);
    for interface in pair.sides[B].shard.interfaces.iter_mut().flatten() {
        interface.epoch = u32::MAX - 1;
    }
    while epoch(&pair) != before {
        route(&mut pair, other, "10.0.0.1/32");
    }
    assert_eq!(deliver(&mut pair, 101, &udp4(1, 2, 64, 7)).len(), 0, "given to another meanwhile");
}

// WG-51
#[test]
fn wg_51_an_ipv6_source_that_looks_like_a_remembered_ipv4_one_is_looked_up() {
    let mut pair = Pair::connected();
    assert_eq!(deliver(&mut pair, 100, &udp4(1, 2, 64, 7)).len(), 1);
    let mut ipv6 = vec![0; 40];
    (ipv6[0], ipv6[6]) = (0x60, 59);
    ipv6[20..24].copy_from_slice(&[10, 0, 0, 1]);
    assert_eq!(deliver(&mut pair, 101, &ipv6).len(), 0);
}

// WG-53
#[test]
fn wg_53_the_outer_mark_is_the_inner_one_and_nothing_of_the_dscp() {
    let mut pair = Pair::connected();
    for class in 0..=255 {
        let mut packet = udp4(1, 2, 64, 7);
        packet[1] = class;
        assert_eq!(pair.send(A, &packet), Outcome::Queued);
        assert_eq!(pair.take(A)[0].class.0, class & 3);
    }
    let (vnet, packet) = tcp_super(1, 2, 20_000, 1380, Ecn::Ect0);
    pair.send_super(A, &vnet, &packet);
    assert!(pair.take(A).iter().all(|datagram| datagram.class.0 == 0b10));
}

// WG-53
#[test]
fn wg_53_congestion_outside_marks_what_can_be_marked_and_drops_what_cannot() {
    let mut pair = Pair::connected();
    for (counter, mark) in [0b00, 0b01, 0b10, 0b11].into_iter().enumerate() {
        let (_, packet) = tcp_super(1, 2, 24, 1380, Ecn::from_bits(mark));
        let mut datagram = pair.forge(A, 100 + counter as u64, &packet);
        datagram.class.0 = 0b11;
        let delivered = pair.give(B, &[datagram]);
        if mark == 0 {
            assert_eq!((delivered.len(), pair.sides[B].drops(DropReason::CongestionNotCapable)), (0, 1));
        } else {
            assert_eq!(delivered[0].1[1], 0b11);
            let (_, marked) = tcp_super(1, 2, 24, 1380, Ecn::Ce);
            assert_eq!(delivered[0].1, marked, "checksum included");
        }
    }
    let transparent = deliver(&mut pair, 200, &tcp_super(1, 2, 24, 1380, Ecn::Ce).1);
    assert_eq!(transparent[0][1], 0b11, "a mark inside stays without one outside");
}

// WG-53
#[test]
fn wg_53_handshakes_carry_their_own_class() {
    let mut pair = Pair::new();
    let peer = pair.sides[A].peer;
    let message = HandshakeBytes::copy_from(&[1; 148]).unwrap();
    pair.command(A, Command::SendHandshake { peer, message, retry: false });
    assert_eq!(pair.take(A)[0].class, TrafficClass(0x88));
    let [_, theirs] = pair.keypairs(A);
    pair.install(B, theirs, false);
    assert_eq!(pair.take(B)[0].class, TrafficClass(0x88));
}
