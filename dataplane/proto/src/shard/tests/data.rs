//! Packets both ways, their padding, their trains, and how they wait.

use dataplane_wire::offload::VnetHeader;

use super::pair::MemTx;
use super::*;

#[test]
fn packets_arrive_both_ways_as_they_were_sent() {
    let mut pair = Pair::connected();
    for len in [20, 28, 29, 64, 1399, 1420] {
        let packet = udp4(1, 2, len, 7);
        assert_eq!(pair.send(A, &packet), Outcome::Queued);
        assert_eq!(pair.carry(A), [(pair.sides[B].peer, packet)]);
        let packet = udp4(2, 1, len, 8);
        assert_eq!(pair.send(B, &packet), Outcome::Queued);
        assert_eq!(pair.carry(B), [(pair.sides[A].peer, packet)]);
    }
    assert_eq!((pair.sides[A].all_drops(), pair.sides[B].all_drops()), (vec![], vec![]));
}

#[test]
fn a_super_packet_arrives_as_its_segments() {
    let mut pair = Pair::connected();
    // Few segments are copied, many sealed from where they lie, very many in more than one train.
    for (payload, segments) in [(1380 * 3, 3), (1380 * 10 + 5, 11), (60_000, 44), (65_000, 48)] {
        let (vnet, packet) = tcp_super(1, 2, payload, 1380, Ecn::NotEct);
        assert_eq!(pair.send_super(A, &vnet, &packet), Outcome::Queued);
        let delivered = pair.carry(A);
        assert_eq!(delivered.len(), segments);
        let text: Vec<u8> = delivered.iter().flat_map(|(_, segment)| segment[40..].to_vec()).collect();
        assert_eq!(text, packet[40..]);
    }
    assert_eq!((pair.sides[A].all_drops(), pair.sides[B].all_drops()), (vec![], vec![]));
}

// WG-47
#[test]
fn wg_47_plaintext_is_padded_with_zeros_to_16_bytes_but_not_past_the_mtu() {
    let mut pair = Pair::connected();
    for (len, padded) in
        [(20, 32), (32, 32), (33, 48), (1408, 1408), (1409, 1420), (1420, 1420), (1421, 1421)]
    {
        assert_eq!(pair.send(A, &udp4(1, 2, len, 7)), Outcome::Queued);
        let sent = pair.take(A);
        assert_eq!(sent[0].bytes.len(), padded + 32, "a packet of {len}");
        let plain = pair.plaintext(A, &sent[0]);
        assert_eq!((plain.len(), &plain[..len]), (padded, &udp4(1, 2, len, 7)[..]));
        assert!(plain[len..].iter().all(|&byte| byte == 0));
    }
    // The last segment of a train that is sealed from where it lies.
    let (vnet, packet) = tcp_super(1, 2, 1380 * 9 + 7, 1380, Ecn::NotEct);
    pair.send_super(A, &vnet, &packet);
    let sent = pair.take(A);
    let plain = pair.plaintext(A, &sent[9]);
    assert_eq!((plain.len(), &plain[40..47], plain[47]), (48, &packet[packet.len() - 7..], 0));
}

// EN-4
#[test]
fn en_4_a_train_has_at_most_64_segments_and_65507_bytes_and_only_its_last_is_shorter() {
    let mut pair = Pair::connected();
    // 1420 inner bytes are 1452 outer ones, of which 45 fit; 140 are 176; 1000 of 60 are cut at 64.
    for (payload, mss, expected) in [
        (1380 * 47 + 100, 1380, vec![(45, 1452, 1452), (3, 1452, 176)]),
        (100 * 100, 100, vec![(64, 176, 176), (36, 176, 176)]),
        (20 * 130 + 1, 20, vec![(64, 96, 96), (64, 96, 96), (3, 96, 80)]),
    ] {
        let (vnet, packet) = tcp_super(1, 2, payload, mss, Ecn::NotEct);
        assert_eq!(pair.send_super(A, &vnet, &packet), Outcome::Queued);
        assert_eq!(pair.sides[A].tx.trains(), expected);
        pair.carry(A);
    }
    assert_eq!(pair.sides[A].all_drops(), []);
}

#[test]
fn a_super_packet_of_several_trains_waits_until_there_is_room_for_all_of_them() {
    let mut pair = Pair::connected();
    pair.sides[A].tx.trains_max = 2;
    let (vnet, packet) = tcp_super(1, 2, 1380 * 47, 1380, Ecn::NotEct);
    assert_eq!(pair.send(A, &udp4(1, 2, 64, 7)), Outcome::Queued);
    assert_eq!(pair.send_super(A, &vnet, &packet), Outcome::Blocked);
    assert_eq!(pair.take(A).len(), 1);
    assert_eq!(pair.send_super(A, &vnet, &packet), Outcome::Queued);
    assert_eq!(pair.take(A).len(), 47);
    assert_eq!(pair.sides[A].all_drops(), []);
}

#[test]
fn single_packets_up_to_what_a_datagram_holds_pass_and_longer_ones_are_counted() {
    let mut pair = Pair::connected();
    for len in [9000, 65_475] {
        let packet = udp4(1, 2, len, 7);
        assert_eq!(pair.send(A, &packet), Outcome::Queued);
        assert_eq!(pair.carry(A), [(pair.sides[B].peer, packet)]);
    }
    let too_long = udp4(1, 2, 65_476, 7);
    assert_eq!(pair.send(A, &too_long), Outcome::Dropped(DropReason::TxTooBig));
    assert_eq!(pair.send(A, &[0x55; 40]), Outcome::Dropped(DropReason::OutboundMalformed));
    assert_eq!(pair.sides[A].all_drops(), [("outbound_malformed", 1), ("tx_too_big", 1)]);
}

// WG-56
#[test]
fn wg_56_packets_leave_in_the_order_in_which_they_came_over_staging_and_copying_and_sealing() {
    let mut pair = Pair::new();
    let mut expected = Vec::new();
    for number in 0..40_u8 {
        if number == 20 {
            expected.extend(pair.handshake(A).into_iter().map(|(_, packet)| packet[30]));
        }
        if number % 5 == 0 {
            let (vnet, mut packet) = tcp_super(1, 2, 100 * (usize::from(number) / 2 + 2), 100, Ecn::NotEct);
            packet[40..].fill(number);
            pair.send_super(A, &vnet, &packet);
        } else {
            pair.send(A, &udp4(1, 2, 120, number));
        }
    }
    let rest = pair.carry(A);
    let numbers: Vec<u8> = rest.iter().map(|(_, packet)| packet[60]).collect();
    assert!(expected.len() > 20 && numbers.is_sorted() && numbers.len() > 20, "{numbers:?}");
}

// WG-40
#[test]
fn wg_40_at_most_128_packets_wait_the_oldest_goes_first_and_the_rest_is_sent_in_order() {
    let mut pair = Pair::new();
    for number in 0..150_u8 {
        assert_eq!(pair.send(A, &udp4(1, 2, 64, number)), Outcome::Staged);
    }
    assert_eq!(pair.sides[A].all_drops(), [("staged_overflow", 22)]);
    let numbers: Vec<u8> = pair.handshake(A).iter().map(|(_, packet)| packet[40]).collect();
    assert_eq!(numbers, (22..150).collect::<Vec<_>>());
}

// WG-39
#[test]
fn wg_39_what_waits_is_purged_when_the_node_gives_up() {
    let mut pair = Pair::new();
    for number in 0..5 {
        pair.send(A, &udp4(1, 2, 64, number));
    }
    let peer = pair.sides[A].peer;
    let wanted = Event::WantHandshake { peer, cause: HandshakeCause::NoSession };
    assert_eq!(pair.sides[A].events(), [wanted]);
    pair.command(A, Command::PurgeStaged { peer });
    assert_eq!(pair.sides[A].all_drops(), [("staged_purged", 5)]);
    assert_eq!(pair.handshake(A), []);
    // A packet from now on asks anew, at once.
    pair.command(A, Command::ExpireSessions { peer, receiving: true });
    pair.sides[A].events();
    pair.send(A, &udp4(1, 2, 64, 9));
    assert_eq!(pair.sides[A].events(), [wanted]);
}

// WG-56
#[test]
fn what_waits_for_room_goes_on_as_the_arena_empties_and_is_not_overtaken() {
    let mut pair = Pair::new();
    for number in 0..100_u8 {
        pair.send(A, &udp4(1, 2, 1400, number));
    }
    pair.sides[A].tx = MemTx::new(10_000);
    let mut numbers: Vec<u8> = pair.handshake(A).iter().map(|(_, packet)| packet[40]).collect();
    assert_eq!(numbers.len(), 6);
    assert_eq!(pair.sides[A].shard.poll_timeout(), Some(Instant::ZERO), "there is work at once");
    assert_eq!(pair.send(A, &udp4(1, 2, 1400, 100)), Outcome::Staged);
    for _ in 0..20 {
        let Side { shard, tx, .. } = &mut pair.sides[A];
        shard.handle_timeout(pair.now, tx);
        numbers.extend(pair.carry(A).iter().map(|(_, packet)| packet[40]));
    }
    assert_eq!(numbers, (0..=100).collect::<Vec<_>>());
    assert_ne!(pair.sides[A].shard.poll_timeout(), Some(Instant::ZERO));
    assert_eq!(pair.sides[A].all_drops(), []);
}

#[test]
fn a_packet_for_which_the_arena_has_no_room_changes_nothing() {
    let mut pair = Pair::connected();
    pair.sides[A].tx = MemTx::new(3000);
    let (vnet, packet) = tcp_super(1, 2, 1380 * 9, 1380, Ecn::NotEct);
    let before = (*pair.sides[A].shard.totals(), pair.sides[A].transfer());
    assert_eq!(pair.send_super(A, &vnet, &packet), Outcome::Blocked);
    assert_eq!((*pair.sides[A].shard.totals(), pair.sides[A].transfer()), before);
    assert_eq!(pair.take(A), []);
    // The first of two trains would fit.
    pair.sides[A].tx = MemTx::new(66_000);
    let (large_vnet, large) = tcp_super(1, 2, 65_000, 1380, Ecn::NotEct);
    assert_eq!(pair.send_super(A, &large_vnet, &large), Outcome::Blocked);
    assert_eq!((*pair.sides[A].shard.totals(), pair.take(A)), (before.0, vec![]));
    pair.sides[A].tx = MemTx::new(30_000);
    assert_eq!(pair.send_super(A, &vnet, &packet), Outcome::Queued);
    let sent = pair.take(A);
    assert_eq!(sent[0].bytes[8..16], 1_u64.to_le_bytes(), "no counter was lost behind that of the keepalive");
}

// WG-64
#[test]
fn wg_64_transfer_counts_whole_messages_and_not_what_was_refused() {
    let mut pair = Pair::connected();
    assert_eq!((pair.sides[A].transfer(), pair.sides[B].transfer()), ((0, 32), (32, 0)), "the keepalive");
    pair.send(A, &udp4(1, 2, 100, 7));
    pair.carry(A);
    assert_eq!((pair.sides[A].transfer(), pair.sides[B].transfer()), ((0, 176), (176, 0)));
    let foreign_source = pair.forge(A, 100, &udp4(9, 2, 100, 7));
    pair.give(B, &[foreign_source]);
    assert_eq!(pair.sides[B].transfer(), (176, 0));
    let (vnet, packet) = tcp_super(1, 2, 20_000, 1380, Ecn::NotEct);
    pair.send_super(A, &vnet, &packet);
    let sent = pair.take(A);
    let bytes: u64 = sent.iter().map(|datagram| datagram.bytes.len() as u64).sum();
    pair.give(B, &sent);
    assert_eq!((pair.sides[A].transfer(), pair.sides[B].transfer()), ((0, 176 + bytes), (176 + bytes, 0)));
}

// EN-13
#[test]
fn en_13_a_super_packet_that_goes_nowhere_counts_as_its_packets() {
    let mut pair = Pair::connected();
    let (vnet, packet) = tcp_super(1, 99, 3000, 1000, Ecn::NotEct);
    assert_eq!(pair.send_super(A, &vnet, &packet), Outcome::Dropped(DropReason::NoRoute));
    assert_eq!(pair.sides[A].all_drops(), [("no_route", 3)]);
    pair.command(A, Command::RemoveInterface { interface: INTERFACE });
    pair.send_super(A, &vnet, &packet);
    assert_eq!(pair.sides[A].drops(DropReason::InterfaceGone), 3);
    // What is not what its header says is one packet that nobody can tell apart.
    pair.send_super(A, &VnetHeader { gso_size: 0, ..vnet }, &packet);
    assert_eq!(pair.sides[A].drops(DropReason::InterfaceGone), 4);
}

// EN-13
#[test]
fn en_13_of_what_the_inner_side_gives_in_is_out_and_dropped() {
    let mut pair = Pair::connected();
    let peer = pair.sides[A].peer;
    let mut given = 0;
    for number in 0..30_u8 {
        let (vnet, packet) = tcp_super(1, 2, 100 * (usize::from(number) + 2), 100, Ecn::NotEct);
        given += u64::from(number) + 3;
        pair.send(A, &udp4(1, if number % 3 == 0 { 99 } else { 2 }, 64, number));
        pair.send_super(A, &vnet, &packet);
        if number == 20 {
            pair.command(A, Command::ExpireSessions { peer, receiving: true });
        }
    }
    pair.command(A, Command::PurgeStaged { peer });
    let drops: u64 = pair.sides[A].shard.drops().iter().sum();
    assert_eq!(pair.sides[A].shard.totals().tx_packets + drops, given);
    assert!(drops > 0 && pair.sides[A].shard.totals().tx_packets > 0);
}

// EN-8
#[test]
fn en_8_traffic_grows_nothing() {
    let capacities = |shard: &Shard<_>| {
        [
            shard.bytes(),
            shard.opening.capacity(),
            shard.arrivals.capacity(),
            shard.sealing.capacity(),
            shard.train.capacity(),
            shard.scratch.capacity(),
            shard.handshakes.capacity(),
            shard.backlog.capacity(),
            shard.late.capacity(),
            shard.mailbox.capacity(),
        ]
    };
    let mut pair = Pair::connected();
    let before = [A, B].map(|side| capacities(&pair.sides[side].shard));
    for number in 0..200 {
        let (vnet, packet) = tcp_super(1, 2, 100 * number + 100, 100, Ecn::NotEct);
        pair.send_super(A, &vnet, &packet);
        pair.send(A, &udp4(1, 2, number + 64, 7));
        pair.carry(A);
        pair.pass(secs(1));
    }
    assert_eq!([A, B].map(|side| capacities(&pair.sides[side].shard)), before);
}

// WG-57
#[test]
fn wg_57_a_hundred_thousand_peers_take_less_than_2_kib_each_and_every_one_is_found() {
    let mut pair = Pair::connected();
    let idle = pair.sides[B].shard.bytes();
    let peers = 100_000_u32;
    let host = |number: u32| core::net::Ipv4Addr::from_bits(0x0a80_0000 + number);
    for number in 0..peers {
        let peer = PeerId { slot: 100 + number, generation: 0 };
        let connection = number.wrapping_mul(0x9e37_79b9) >> 9;
        let counters = std::sync::Arc::default();
        pair.command(B, Command::AddPeer { peer, interface: INTERFACE, connection, counters });
        let prefix = crate::IpPrefix::new(host(number).into(), 32).expect("a host");
        pair.command(B, Command::SetRoute { interface: INTERFACE, peer, core: CoreId(0), prefix });
    }
    let each = (pair.sides[B].shard.bytes() - idle) / peers as usize;
    assert!(each < 2048, "{each} bytes per idle peer");
    let path = Some(pair.path_to(A));
    for number in (0..peers).step_by(997) {
        let peer = PeerId { slot: 100 + number, generation: 0 };
        pair.command(B, Command::SetPath { peer, generation: 0, path, roams: true });
        let mut packet = udp4(1, 2, 64, 7);
        packet[16..20].copy_from_slice(&host(number).octets());
        let Side { shard, tx, .. } = &mut pair.sides[B];
        assert_eq!(shard.route(INTERFACE, &VnetHeader::PLAIN, &packet).map(|owner| owner.peer), Ok(peer));
        let outcome = shard.handle_packet(pair.now, INTERFACE, peer, &VnetHeader::PLAIN, &packet, tx);
        assert_eq!(outcome, Outcome::Staged);
    }
    assert_eq!(pair.sides[B].events().len(), 101);
}
