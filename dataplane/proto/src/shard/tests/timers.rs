//! Keepalives, answers that do not come, and sessions that grow old.

use std::sync::Arc;

use dataplane_wire::SocketId;

use super::pair::MemTx;
use super::*;

/// The sides and seconds of what was sent, which were all keepalives.
fn keepalives(seen: &[(u64, usize, usize)]) -> Vec<(usize, u64)> {
    assert!(seen.iter().all(|(_, _, len)| *len == 32), "{seen:?}");
    seen.iter().map(|(at, side, _)| (*side, at / 1000)).collect()
}

fn data(pair: &mut Pair, side: usize) {
    assert_eq!(pair.send(side, &udp4(side as u8 + 1, 2 - side as u8, 64, 7)), Outcome::Queued);
    assert_eq!(pair.carry(side).len(), 1);
}

fn wants(pair: &mut Pair, side: usize) -> Vec<HandshakeCause> {
    let events = pair.sides[side].events().into_iter();
    let cause = |event| match event {
        Event::WantHandshake { cause, .. } => Some(cause),
        _ => None,
    };
    events.filter_map(cause).collect()
}

// WG-41
#[test]
fn wg_41_data_that_is_not_answered_is_acknowledged_after_ten_seconds_and_only_once() {
    let mut pair = Pair::connected();
    data(&mut pair, A);
    assert_eq!(keepalives(&pair.pass(secs(100))), [(B, 10)]);
    assert_eq!(wants(&mut pair, A), []);
}

// WG-41
#[test]
fn wg_41_a_keepalive_is_cancelled_by_anything_sent() {
    let mut pair = Pair::connected();
    data(&mut pair, A);
    pair.pass(secs(9));
    data(&mut pair, B);
    assert_eq!(keepalives(&pair.pass(secs(9))), [], "B has answered");
    assert_eq!(keepalives(&pair.pass(secs(80))), [(A, 1)], "and A acknowledges the answer");
}

// WG-41
#[test]
fn wg_41_data_behind_a_keepalive_that_is_due_arms_another() {
    let mut pair = Pair::connected();
    data(&mut pair, A);
    pair.pass(secs(5));
    data(&mut pair, A);
    assert_eq!(keepalives(&pair.pass(secs(100))), [(B, 5), (B, 15)]);
}

// WG-41
#[test]
fn wg_41_idle_peers_are_silent() {
    let mut pair = Pair::new();
    pair.handshake(A);
    assert_eq!(pair.pass(secs(170)), [], "the keepalive of the handshake is not answered by another");
}

// WG-42
#[test]
fn wg_42_data_that_nothing_answers_asks_for_a_handshake_after_15_s_and_jitter() {
    let mut jitters = std::collections::BTreeSet::new();
    let mut pair = Pair::connected();
    for _ in 0..8 {
        pair.send(A, &udp4(1, 2, 64, 7));
        pair.take(A);
        let start = pair.now;
        // More data does not put it off.
        pair.pass(secs(10));
        pair.send(A, &udp4(1, 2, 64, 7));
        pair.take(A);
        pair.pass(millis(4999));
        assert_eq!(wants(&mut pair, A), []);
        while wants(&mut pair, A).is_empty() {
            pair.pass(millis(1));
        }
        let after = pair.now.since(start);
        assert!(after >= secs(15) && after <= millis(15_340), "{after:?}");
        jitters.insert(after);
        pair.handshake(A);
        pair.sides[A].events();
    }
    assert!(jitters.len() > 3, "no jitter: {jitters:?}");
}

// WG-55
#[test]
fn wg_55_silence_forgets_the_source_too() {
    let mut pair = Pair::connected();
    pair.send(A, &udp4(1, 2, 64, 7));
    assert!(pair.take(A)[0].local_ip.is_some());
    pair.pass(secs(16));
    pair.send(A, &udp4(1, 2, 64, 7));
    assert_eq!(pair.take(A)[0].local_ip, None);
}

// WG-44, WG-49
#[test]
fn wg_44_anything_authenticated_ends_the_wait_for_an_answer_an_empty_packet_too() {
    let mut pair = Pair::connected();
    pair.send(A, &udp4(1, 2, 64, 7));
    pair.take(A);
    pair.pass(secs(14));
    let keepalive = pair.forge(B, 500, &[]);
    assert_eq!(pair.give(A, &[keepalive]), []);
    pair.pass(secs(100));
    assert_eq!(wants(&mut pair, A), []);
    assert_eq!(pair.sides[A].shard.totals().rx_keepalives, 1);
}

// WG-43, WG-61
#[test]
fn wg_43_the_persistent_interval_restarts_at_whatever_goes_or_comes() {
    let mut pair = Pair::connected();
    let peer = pair.sides[A].peer;
    pair.command(A, Command::SetKeepalive { peer, interval: secs(25) });
    assert_eq!(keepalives(&pair.pass(secs(60))), [(A, 0), (A, 25), (A, 50)]);
    data(&mut pair, A);
    // B acknowledges what came at 0; that came at 10, so A is due at 35.
    assert_eq!(keepalives(&pair.pass(secs(40))), [(B, 10), (A, 35)]);
    pair.pass(secs(10));
    pair.send(A, &udp4(1, 2, 64, 7));
    pair.take(A);
    assert_eq!(keepalives(&pair.pass(secs(24))), [], "what is lost on the way was sent all the same");
    assert_eq!(keepalives(&pair.pass(secs(2))), [(A, 1)]);
    pair.command(A, Command::SetKeepalive { peer, interval: secs(0) });
    assert_eq!(pair.pass(secs(100)), []);
}

// WG-61
#[test]
fn wg_61_a_persistent_keepalive_without_a_session_asks_for_one_at_once_and_again() {
    let mut pair = Pair::new();
    let peer = pair.sides[A].peer;
    pair.command(A, Command::SetKeepalive { peer, interval: secs(25) });
    assert_eq!(wants(&mut pair, A), [HandshakeCause::NoSession]);
    pair.pass(secs(24));
    assert_eq!(wants(&mut pair, A), []);
    pair.pass(secs(2));
    assert_eq!(wants(&mut pair, A), [HandshakeCause::NoSession]);
}

// WG-61
#[test]
fn wg_61_a_path_that_comes_after_the_interval_sends_at_once_too() {
    let mut pair = Pair::new();
    let (peer, path) = (pair.sides[A].peer, Some(pair.path_to(B)));
    pair.command(A, Command::SetPath { peer, generation: 2, path: None, roams: true });
    pair.command(A, Command::SetKeepalive { peer, interval: secs(25) });
    assert_eq!(wants(&mut pair, A), []);
    pair.command(A, Command::SetPath { peer, generation: 3, path, roams: true });
    assert_eq!(wants(&mut pair, A), [HandshakeCause::NoSession]);
}

// WG-32
#[test]
fn wg_32_only_the_initiator_asks_for_a_new_session_on_a_send_after_120_s() {
    let mut pair = Pair::connected();
    pair.now += secs(120) - Duration::from_nanos(1);
    data(&mut pair, A);
    data(&mut pair, B);
    assert_eq!((wants(&mut pair, A), wants(&mut pair, B)), (vec![], vec![]));
    pair.now += Duration::from_nanos(1);
    data(&mut pair, B);
    assert_eq!((wants(&mut pair, A), wants(&mut pair, B)), (vec![], vec![]));
    data(&mut pair, A);
    assert_eq!((wants(&mut pair, A), wants(&mut pair, B)), (vec![HandshakeCause::Rekey], vec![]));
    for _ in 0..1000 {
        data(&mut pair, A);
    }
    assert_eq!(wants(&mut pair, A), [], "not said again at once");
    pair.now += secs(1);
    data(&mut pair, A);
    assert_eq!(wants(&mut pair, A), [HandshakeCause::Rekey]);
}

// WG-33
#[test]
fn wg_33_the_initiator_refreshes_once_on_a_receipt_after_165_s() {
    let mut pair = Pair::connected();
    pair.now += secs(165) - Duration::from_nanos(1);
    for (side, number) in [(A, 500), (B, 500)] {
        let datagram = pair.forge(side, number, &[]);
        pair.give(1 - side, &[datagram]);
    }
    assert_eq!((wants(&mut pair, A), wants(&mut pair, B)), (vec![], vec![]));
    pair.now += Duration::from_nanos(1);
    let mut wanted = [vec![], vec![]];
    for (side, number) in [(A, 501), (B, 501), (A, 502), (B, 502)] {
        let datagram = pair.forge(side, number, &[]);
        pair.give(1 - side, &[datagram]);
        wanted[1 - side].extend(wants(&mut pair, 1 - side));
    }
    assert_eq!(wanted, [vec![HandshakeCause::RekeyOnReceive], vec![]]);
}

// FT-9
#[test]
fn ft_9_sessions_go_on_with_their_timers_while_nobody_takes_events() {
    let mut pair = Pair::connected();
    for second in 0..179 {
        data(&mut pair, A);
        pair.pass(secs(1));
        if second % 7 == 0 {
            data(&mut pair, B);
        }
    }
    let events = pair.sides[A].events();
    assert!(events.len() <= 3, "latest wins: {events:?}");
    assert_eq!((pair.sides[A].all_drops(), pair.sides[B].all_drops()), (vec![], vec![]));
}

#[test]
fn an_idle_shard_has_nothing_to_wait_for() {
    let mut pair = Pair::new();
    assert_eq!(pair.sides[A].shard.poll_timeout(), None);
    pair.handshake(A);
    pair.pass(secs(541));
    assert_eq!(pair.sides[A].shard.poll_timeout(), None);
}

#[test]
fn timers_for_which_the_send_arena_has_no_room_wait_for_the_next_call() {
    for (bytes, trains_max) in [(1 << 16, 1), (40, usize::MAX)] {
        let mut pair = Pair::new();
        let other = PeerId { slot: 50, generation: 0 };
        let tuple = FourTuple { socket: SocketId(0), remote: ([192, 0, 2, 9], 9).into(), local_ip: None };
        pair.handshake(A);
        add_peer(&mut pair, other, tuple);
        let first = pair.sides[A].peer;
        for peer in [first, other] {
            pair.command(A, Command::SetKeepalive { peer, interval: secs(10) });
        }
        pair.take(A);
        pair.now += secs(11);
        pair.sides[A].tx = MemTx::new(bytes);
        pair.sides[A].tx.trains_max = trains_max;
        let mut sent = Vec::new();
        for _ in 0..2 {
            let Side { shard, tx, .. } = &mut pair.sides[A];
            assert!(shard.poll_timeout().is_some_and(|due| due <= pair.now));
            shard.handle_timeout(pair.now, tx);
            sent.extend(pair.take(A).iter().map(|datagram| (datagram.to, datagram.bytes.len())));
        }
        sent.sort_unstable();
        let mut expected = [(tuple.remote, 32), (pair.sides[B].address, 32)];
        expected.sort_unstable();
        assert_eq!(sent, expected);
        assert_eq!(pair.sides[A].all_drops(), []);
    }
}

/// Another peer of side A, with a session and a path.
fn add_peer(pair: &mut Pair, peer: PeerId, tuple: FourTuple) {
    let [keypair, _] = pair.keypairs(A);
    let keypair = Box::new(keypair);
    let (response, keep_next) = (None, false);
    for command in [
        Command::AddPeer { peer, interface: INTERFACE, connection: 7, counters: Arc::default() },
        Command::SetPath { peer, generation: 1, path: Some(Path::Direct(tuple)), roams: false },
        Command::InstallKeypair { peer, keypair, response, keep_next, from: tuple, unix_ns: 0 },
    ] {
        pair.command(A, command);
    }
}

#[test]
fn what_waited_for_a_session_does_not_take_the_room_of_a_keepalive_that_is_due() {
    let mut pair = Pair::new();
    let other = PeerId { slot: 50, generation: 0 };
    let tuple = FourTuple { socket: SocketId(0), remote: ([192, 0, 2, 9], 9).into(), local_ip: None };
    add_peer(&mut pair, other, tuple);
    pair.command(A, Command::SetKeepalive { peer: other, interval: secs(10) });
    pair.take(A);
    pair.now += secs(11);
    (0..100).for_each(|number| _ = pair.send(A, &udp4(1, 2, 1400, number)));
    // Two of these datagrams, and no keepalive beside them.
    pair.sides[A].tx = MemTx::new(2 * 1440);
    pair.handshake(A);
    let Side { shard, tx, .. } = &mut pair.sides[A];
    shard.handle_timeout(pair.now, tx);
    let sent = pair.take(A).iter().map(|datagram| (datagram.to, datagram.bytes.len())).collect::<Vec<_>>();
    assert_eq!(sent, [(tuple.remote, 32), (pair.sides[B].address, 1440)]);
    assert_eq!(pair.sides[A].all_drops(), []);
}
