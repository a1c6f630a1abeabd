//! The life of sessions: slots, confirmation, age, erasure.

use super::pair::Datagram;
use super::*;
use crate::index::session_of;
use crate::messages::Role;
use crate::replay::REJECT_AFTER_MESSAGES;
use crate::shard::peer::{CURRENT, NEXT, PREVIOUS};

/// Which session bits stand in the slots of a side: current, previous, next.
fn slots(pair: &Pair, side: usize) -> [Option<u8>; 3] {
    let local = pair.sides[side].shard.peers.find(pair.sides[side].peer).expect("the peer");
    let slots = pair.sides[side].shard.peers.hot(local).slots;
    [CURRENT, PREVIOUS, NEXT].map(|slot| {
        let slot = slots[slot];
        (slot.session != table::NONE).then(|| session_of(slot.local_index))
    })
}

/// What a side sends under its current session.
fn current(pair: &mut Pair, side: usize) -> &mut peer::Sending {
    let Side { shard, peer, .. } = &mut pair.sides[side];
    let local = shard.peers.find(*peer).expect("the peer");
    &mut shard.peers.hot_mut(local).sending
}

fn keys_erased(pair: &Pair, side: usize) -> bool {
    let Shard { sessions, peers, sealing_keys, opening_keys, .. } = &pair.sides[side].shard;
    let batches = sealing_keys.all().iter().chain(opening_keys.all());
    sessions.keys().chain(peers.keys()).chain(batches).all(|key| key.bytes() == &[0; 32])
}

/// A data message from A under the session that is its current one now.
fn message(pair: &mut Pair) -> Datagram {
    assert_eq!(pair.send(A, &udp4(1, 2, 64, 7)), Outcome::Queued);
    pair.take(A).remove(0)
}

// WG-28
#[test]
fn wg_28_a_responder_sends_under_the_next_session_only_when_data_has_confirmed_it() {
    let mut pair = Pair::new();
    let [ours, theirs] = pair.keypairs(A);
    pair.install(B, theirs, false);
    assert_eq!(pair.take(B).len(), 1, "the response");
    assert_eq!(pair.send(B, &udp4(2, 1, 64, 7)), Outcome::Staged);
    assert_eq!(pair.take(B), []);
    assert_eq!(slots(&pair, B), [None, None, Some(1)]);
    pair.install(A, ours, false);
    pair.carry(A);
    assert_eq!(slots(&pair, B), [Some(1), None, None]);
    assert_eq!(pair.carry(B).len(), 1, "what waited goes as soon as it is confirmed");
    assert_eq!(pair.sides[B].events().len(), 2, "it was wanted, then confirmed");
}

// WG-28
#[test]
fn wg_28_a_session_that_is_due_keeps_the_old_one_in_use_until_it_is_confirmed() {
    let mut pair = Pair::connected();
    let [ours, theirs] = pair.keypairs(A);
    pair.install(B, theirs, false);
    pair.take(B);
    pair.send(B, &udp4(2, 1, 64, 7));
    assert_eq!(pair.carry(B).len(), 1, "under the old session");
    assert_eq!(slots(&pair, B), [Some(1), None, Some(2)]);
    pair.install(A, ours, false);
    assert_eq!(slots(&pair, A), [Some(2), Some(1), None]);
    pair.carry(A);
    assert_eq!(slots(&pair, B), [Some(2), Some(1), None]);
    pair.send(B, &udp4(2, 1, 64, 7));
    assert_eq!(pair.carry(B).len(), 1);
}

// WG-29
#[test]
fn wg_29_the_initiator_confirms_with_what_waited_or_else_with_a_keepalive() {
    let mut pair = Pair::new();
    pair.handshake(A);
    assert_eq!(
        (pair.sides[A].shard.totals().tx_keepalives, pair.sides[B].shard.totals().rx_keepalives),
        (1, 1)
    );
    let mut pair = Pair::new();
    assert_eq!(pair.send(A, &udp4(1, 2, 64, 7)), Outcome::Staged);
    let delivered = pair.handshake(A);
    assert_eq!((delivered.len(), pair.sides[A].shard.totals().tx_keepalives), (1, 0));
    assert_eq!(slots(&pair, B), [Some(1), None, None]);
}

// WG-28, DX-6
#[test]
fn dx_6_previous_current_and_next_accept_data_and_nothing_else_does() {
    let mut pair = Pair::connected();
    let previous = message(&mut pair);
    pair.handshake(A);
    let current = message(&mut pair);
    let [ours, theirs] = pair.keypairs(A);
    pair.install(B, theirs, false);
    pair.take(B);
    assert_eq!(slots(&pair, B), [Some(2), None, Some(3)], "a new next session puts the previous one out");
    assert_eq!(pair.give(B, &[previous]).len(), 0);
    assert_eq!(pair.give(B, &[current]).len(), 1);
    let late = message(&mut pair);
    pair.install(A, ours, false);
    let next = pair.take(A);
    pair.give(B, &next);
    assert_eq!(pair.give(B, &[late]).len(), 1, "now under the previous one");
    assert_eq!(pair.sides[B].drops(DropReason::LateIndex), 1);
    let mut unknown = message(&mut pair);
    unknown.bytes[4] = 77;
    assert_eq!(pair.give(B, &[unknown]).len(), 0);
    assert_eq!(pair.sides[B].drops(DropReason::UnknownIndex), 1);
}

// WG-30, DX-10
#[test]
fn wg_30_an_evicted_index_is_late_for_five_seconds_and_unknown_from_then_on() {
    let mut pair = Pair::connected();
    let old = message(&mut pair);
    pair.handshake(A);
    pair.handshake(A);
    assert_eq!(slots(&pair, B), [Some(3), Some(2), None]);
    pair.now += millis(4999);
    pair.give(B, core::slice::from_ref(&old));
    assert_eq!(pair.sides[B].drops(DropReason::LateIndex), 1);
    pair.now += millis(1);
    pair.give(B, &[old]);
    assert_eq!(pair.sides[B].drops(DropReason::UnknownIndex), 1);
}

// DX-10
#[test]
fn dx_10_a_removed_peer_is_late_for_five_seconds_and_leaves_no_key() {
    let mut pair = Pair::connected();
    let old = message(&mut pair);
    let peer = pair.sides[B].peer;
    pair.command(B, Command::RemovePeer { peer });
    assert!(keys_erased(&pair, B));
    pair.give(B, core::slice::from_ref(&old));
    assert_eq!(pair.sides[B].drops(DropReason::LateIndex), 1);
    pair.pass(millis(5005));
    pair.give(B, &[old]);
    assert_eq!(pair.sides[B].drops(DropReason::UnknownIndex), 1);
    assert_eq!(pair.sides[B].shard.poll_timeout(), None);
}

// WG-31
#[test]
fn wg_31_simultaneous_initiations_converge_on_one_session() {
    let mut pair = Pair::connected();
    let [a1, b1] = pair.keypairs(A);
    let [b2, a2] = pair.keypairs(B);
    // Each answers the other's initiation before the answer to its own arrives.
    pair.install(A, a2, false);
    pair.install(B, b1, false);
    pair.take(A);
    pair.take(B);
    pair.install(A, a1, true);
    pair.install(B, b2, false);
    let (from_a, from_b) = (pair.take(A), pair.take(B));
    pair.give(B, &from_a);
    pair.give(A, &from_b);
    for side in [A, B, A, B] {
        pair.send(side, &udp4(side as u8 + 1, 2 - side as u8, 64, 7));
        assert_eq!(pair.carry(side).len(), 1);
    }
    assert_eq!((slots(&pair, A)[0], slots(&pair, B)[0]), (Some(3), Some(3)), "the session that B began");
    assert_eq!((pair.sides[A].all_drops(), pair.sides[B].all_drops()), (vec![], vec![]));
}

// WG-34
#[test]
fn wg_34_either_side_asks_for_a_new_session_after_two_to_the_60_messages() {
    let mut pair = Pair::connected();
    for side in [A, B] {
        current(&mut pair, side).counter = (1 << 60) - 1;
        for (number, expected) in [(0, 0), (1, 1)] {
            pair.send(side, &udp4(side as u8 + 1, 2 - side as u8, 64, number));
            let events = pair.sides[side].events();
            assert_eq!(events.len(), expected, "{events:?}");
            assert!(
                events
                    .iter()
                    .all(|event| matches!(event, Event::WantHandshake { cause: HandshakeCause::Rekey, .. }))
            );
        }
        assert_eq!(pair.carry(side).len(), 2, "the session still works");
    }
}

// WG-32, WG-35
#[test]
fn wg_35_what_an_initiator_sends_counts_from_its_initiation_and_what_it_receives_from_the_response() {
    let mut pair = Pair::connected();
    pair.pass(secs(60));
    let [mut ours, theirs] = pair.keypairs(A);
    // The initiation left 60 s ago; the other end has answered at once, but nobody has looked at that until now.
    ours.begun = ours.created - secs(60);
    pair.install(B, theirs, false);
    pair.take(B);
    pair.install(A, ours, false);
    pair.carry(A);
    let wants = |pair: &mut Pair| pair.sides[A].events().len();
    pair.now += secs(59);
    assert_eq!((pair.send(A, &udp4(1, 2, 64, 7)), wants(&mut pair)), (Outcome::Queued, 0));
    pair.now += secs(1);
    assert_eq!((pair.send(A, &udp4(1, 2, 64, 7)), wants(&mut pair)), (Outcome::Queued, 1), "renewed");
    pair.carry(A);
    pair.now += secs(60);
    assert_eq!(pair.send(A, &udp4(1, 2, 64, 7)), Outcome::Staged, "180 s after the initiation");
    pair.now += secs(59);
    pair.send(B, &udp4(2, 1, 64, 7));
    assert_eq!(pair.carry(B).len(), 1, "the other end may still send");
}

// WG-35
#[test]
fn wg_35_a_session_is_refused_both_ways_after_180_s() {
    let mut pair = Pair::connected();
    let in_time = message(&mut pair);
    let too_late = message(&mut pair);
    pair.now += secs(180) - Duration::from_nanos(1);
    assert_eq!(pair.give(B, &[in_time]).len(), 1);
    pair.now += Duration::from_nanos(1);
    assert_eq!(pair.give(B, &[too_late]).len(), 0);
    assert_eq!(pair.sides[B].drops(DropReason::SessionExpired), 1);
    for side in [A, B] {
        pair.sides[side].events();
        assert_eq!(pair.send(side, &udp4(side as u8 + 1, 2 - side as u8, 64, 7)), Outcome::Staged);
        let peer = pair.sides[side].peer;
        let wanted = Event::WantHandshake { peer, cause: HandshakeCause::NoSession };
        assert_eq!(pair.sides[side].events(), [wanted]);
        assert_eq!(pair.take(side), []);
    }
}

// WG-36
#[test]
fn wg_36_no_message_is_sent_or_accepted_past_the_last_counter() {
    let mut pair = Pair::connected();
    let last = REJECT_AFTER_MESSAGES - 1;
    assert_eq!(last, u64::MAX - 8192 - 1);
    let beyond = pair.forge(A, last + 1, &udp4(1, 2, 64, 7));
    assert_eq!(pair.give(B, &[beyond]).len(), 0);
    assert_eq!(pair.sides[B].drops(DropReason::CounterExhausted), 1);
    current(&mut pair, A).counter = last;
    let (vnet, train) = tcp_super(1, 2, 1380 * 3, 1380, Ecn::NotEct);
    assert_eq!(pair.send_super(A, &vnet, &train), Outcome::Staged, "more than may be sent");
    let mut pair = Pair::connected();
    current(&mut pair, A).counter = last;
    assert_eq!(pair.send(A, &udp4(1, 2, 64, 7)), Outcome::Queued);
    assert_eq!(pair.carry(A).len(), 1);
    assert_eq!(pair.send(A, &udp4(1, 2, 64, 7)), Outcome::Staged);
    assert_eq!(pair.take(A), []);
}

// WG-37
#[test]
fn wg_37_keys_are_erased_540_s_after_the_last_was_made() {
    let mut pair = Pair::connected();
    pair.pass(secs(100));
    pair.handshake(A);
    pair.pass(secs(539));
    for side in [A, B] {
        assert!(!keys_erased(&pair, side));
    }
    pair.pass(millis(1005));
    for side in [A, B] {
        assert!(keys_erased(&pair, side));
        assert_eq!(slots(&pair, side), [None; 3]);
    }
}

// WG-37
#[test]
fn wg_37_keys_are_erased_when_the_node_says_so_and_timers_with_them() {
    let mut pair = Pair::connected();
    message(&mut pair);
    pair.handshake(A);
    let peer = pair.sides[A].peer;
    pair.command(A, Command::ExpireSessions { peer, receiving: true });
    assert!(keys_erased(&pair, A));
    pair.sides[A].events();
    pair.pass(secs(600));
    assert_eq!(pair.sides[A].events(), []);
}

// WG-15
#[test]
fn wg_15_a_new_private_key_ends_sending_and_leaves_receiving() {
    let mut pair = Pair::connected();
    pair.send(B, &udp4(2, 1, 64, 7));
    let peer = pair.sides[A].peer;
    pair.command(A, Command::ExpireSessions { peer, receiving: false });
    assert_eq!(pair.send(A, &udp4(1, 2, 64, 7)), Outcome::Staged);
    assert_eq!(pair.carry(B).len(), 1);
}

#[test]
fn what_is_described_is_sealed_before_its_key_is_erased() {
    let mut pair = Pair::connected();
    pair.send(A, &udp4(1, 2, 64, 7));
    let peer = pair.sides[A].peer;
    pair.command(A, Command::ExpireSessions { peer, receiving: true });
    assert_eq!(pair.carry(A).len(), 1);
    let mut pair = Pair::connected();
    pair.send(A, &udp4(1, 2, 64, 7));
    pair.command(A, Command::ExpireSessions { peer, receiving: false });
    assert_eq!(pair.carry(A).len(), 1);
}

// DX-5
#[test]
fn dx_5_two_peers_behind_one_address_are_told_apart_by_the_index() {
    let mut pair = Pair::connected();
    let other = PeerId { slot: 50, generation: 0 };
    let counters = std::sync::Arc::default();
    pair.command(B, Command::AddPeer { peer: other, interface: INTERFACE, connection: 0x01_0203, counters });
    let prefix = "10.0.0.9/32".parse().unwrap();
    pair.command(B, Command::SetRoute { interface: INTERFACE, peer: other, core: CoreId(0), prefix });
    let first = pair.forge(A, 50, &udp4(1, 2, 64, 7));
    let [mut ours, mut theirs] = pair.keypairs(A);
    theirs.local_index = crate::index::compose(0x01_0203, 1);
    ours.remote_index = theirs.local_index;
    pair.sides[B].peer = other;
    pair.install(B, theirs, false);
    pair.install(A, ours, false);
    let second = pair.forge(A, 50, &udp4(9, 2, 64, 7));
    assert_eq!((first.from, first.to), (second.from, second.to));
    let first_peer = PeerId { slot: 4, generation: 9 };
    let from: Vec<PeerId> = pair.give(B, &[first, second]).into_iter().map(|(peer, _)| peer).collect();
    assert_eq!(from, [first_peer, other]);
}

// WG-64
#[test]
fn wg_64_the_handshake_of_a_responder_counts_from_its_confirmation() {
    let mut pair = Pair::new();
    let [ours, theirs] = pair.keypairs(A);
    assert_eq!(theirs.role, Role::Responder);
    pair.install(B, theirs, false);
    let at = |pair: &Pair| {
        let counters = &pair.sides[B].counters;
        counters.last_handshake_unix_ns.load(core::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!(at(&pair), 0);
    pair.now += millis(250);
    pair.install(A, ours, false);
    pair.carry(A);
    assert_eq!(at(&pair), 1_700_000_000_250_000_000);
}
