//! The messages of a handshake between nodes: which are taken, which are not, and what stays as it was.

use std::collections::BTreeSet;

use super::*;
use crate::index::connection_of;

/// The initiation that a host sends when it wants a session.
fn initiation_of(host: &mut Host, now: Instant, peer: PeerId) -> HandshakeBytes {
    host.want(now, peer);
    host.run_until(now);
    host.messages().pop().expect("an initiation")
}

#[test]
fn a_handshake_gives_both_ends_the_same_session() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    let (ours, theirs) = shake(at(1.0), &mut alice, bob_at_alice, &mut bob);
    assert_eq!(ours.send.bytes(), theirs.recv.bytes());
    assert_eq!(ours.recv.bytes(), theirs.send.bytes());
    assert_eq!((ours.local_index, ours.remote_index), (theirs.remote_index, theirs.local_index));
    assert_eq!(alice.node.drops().iter().sum::<u64>() + bob.node.drops().iter().sum::<u64>(), 0);
}

// WG-6, WG-15
#[test]
fn a_new_pre_shared_key_counts_from_the_next_handshake_and_none_is_zeros() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    shake(at(1.0), &mut alice, bob_at_alice, &mut bob);
    let set = |host: &mut Host, of: PublicKey, psk: [u8; 32]| {
        let change = PeerChange { preshared_key: Some(Secret::new(psk)), ..PeerChange::new(WG0, of) };
        host.node.apply(at(2.0), &[Change::Peer(change)]).unwrap();
        assert!(host.commands().is_empty(), "sessions live on");
    };
    let (alices, bobs) = (alice.public(), bob.public());
    set(&mut alice, bobs, [5; 32]);
    let first = initiation_of(&mut alice, at(10.0), bob_at_alice);
    bob.take(at(10.0), 1, &first);
    alice.take(at(10.0), 2, &bob.messages().pop().unwrap());
    assert_eq!(alice.dropped(DropReason::HandshakeInvalid), 1);

    set(&mut bob, alices, [5; 32]);
    alice.run_until(at(20.0));
    let first = alice.messages().pop().unwrap();
    bob.take(at(20.0), 1, &first);
    alice.take(at(20.0), 2, &bob.messages().pop().unwrap());
    assert_eq!(keypairs(alice.commands()).len(), 1);

    set(&mut alice, bobs, [0; 32]);
    set(&mut bob, alices, [0; 32]);
    shake(at(30.0), &mut alice, bob_at_alice, &mut bob);
}

// WG-11, WG-3
#[test]
fn a_message_that_is_bent_anywhere_changes_nothing_and_the_good_one_still_counts() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    let first = initiation_of(&mut alice, at(1.0), bob_at_alice);
    let before = bob.settled();
    for byte in 8..116 {
        let mut bent = first.as_slice().to_vec();
        bent[byte] ^= 0x40;
        bob.take(at(1.0), 1, &HandshakeBytes::copy_from(&bent).unwrap());
        assert!(bob.state() == before, "byte {byte} of the initiation");
    }
    assert_eq!(bob.dropped(DropReason::HandshakeInvalid), 108);
    bob.take(at(1.0), 1, &first);
    let second = bob.messages().pop().unwrap();

    let before = alice.settled();
    for byte in 8..60 {
        let mut bent = second.as_slice().to_vec();
        bent[byte] ^= 0x40;
        alice.take(at(1.0), 2, &HandshakeBytes::copy_from(&bent).unwrap());
        assert!(alice.state() == before, "byte {byte} of the response");
    }
    // The receiver index names nothing, the rest does not open.
    assert_eq!(alice.dropped(DropReason::HandshakeUnmatched), 4);
    assert_eq!(alice.dropped(DropReason::HandshakeInvalid), 48);
    for len in [0, 4, 91, 93, 147] {
        let short = HandshakeBytes::copy_from(&first.as_slice()[..len]).unwrap();
        alice.take(at(1.0), 2, &short);
        assert!(alice.state() == before, "{len} bytes");
    }
    alice.take(at(1.0), 2, &second);
    assert_eq!(keypairs(alice.commands()).len(), 1);
}

// WG-11
#[test]
fn a_response_counts_once_and_only_for_the_last_initiation() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    let first = initiation_of(&mut alice, at(1.0), bob_at_alice);
    bob.take(at(1.0), 1, &first);
    let stale = bob.messages().pop().unwrap();
    alice.run_until(at(7.0));
    let again = alice.messages().pop().expect("a retry");
    let before = alice.settled();
    alice.take(at(7.0), 2, &stale);
    assert_eq!(alice.dropped(DropReason::HandshakeUnmatched), 1);
    assert!(alice.state() == before);

    bob.take(at(7.0), 1, &again);
    let second = bob.messages().pop().unwrap();
    alice.take(at(7.0), 2, &second);
    assert_eq!(keypairs(alice.commands()).len(), 1);
    let before = alice.settled();
    alice.take(at(7.1), 2, &second);
    assert_eq!(alice.dropped(DropReason::HandshakeUnmatched), 2);
    assert!(alice.state() == before);
}

#[test]
fn a_response_that_comes_when_its_session_would_have_to_be_renewed_changes_nothing() {
    for (late, taken) in [(119.9, true), (120.0, false), (4000.0, false)] {
        let (mut alice, bob_at_alice, mut bob, _) = pair();
        let first = initiation_of(&mut alice, at(1.0), bob_at_alice);
        bob.take(at(1.0), 1, &first);
        let response = bob.messages().pop().unwrap();
        let before = alice.settled();
        alice.take(at(1.0 + late), 2, &response);
        assert_eq!(keypairs(alice.commands()).len(), usize::from(taken), "{late} s");
        assert_eq!(alice.dropped(DropReason::HandshakeUnmatched), u64::from(!taken), "{late} s");
        assert_eq!(alice.state() == before, !taken, "{late} s");
    }
}

// WG-13
#[test]
fn an_initiation_counts_only_if_its_timestamp_is_newer_than_any_before_whatever_became_of_the_session() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    let old = initiation_of(&mut alice, at(1.0), bob_at_alice);
    alice.run_until(at(7.0));
    let new = alice.messages().pop().unwrap();
    bob.take(at(7.0), 1, &new);
    assert_eq!(keypairs(bob.commands()).len(), 1);
    // Sessions and handshakes of Bob go, twice in different ways; what he knows of timestamps does not.
    bob.node.apply(at(8.0), &[Change::SetUp { interface: WG0, up: false }]).unwrap();
    bob.node.apply(at(8.0), &[Change::SetUp { interface: WG0, up: true }]).unwrap();
    bob.node.handle_suspend();
    let before = bob.settled();
    for (count, replayed) in [&new, &old, &new].into_iter().enumerate() {
        bob.take(at(500.0), 1, replayed);
        assert_eq!(bob.dropped(DropReason::HandshakeReplay), count as u64 + 1);
    }
    assert!(bob.state() == before);
}

// WG-14
#[test]
fn initiations_of_a_peer_count_once_in_twenty_milliseconds_and_peers_do_not_share_that() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    let mut carol = Host::new(3);
    let bob_at_carol = carol.meet(Instant::ZERO, &bob);
    bob.meet(Instant::ZERO, &carol);
    let mut initiations = Vec::new();
    for secs in [1.0, 10.0, 20.0] {
        initiations.push(initiation_of(&mut alice, at(secs), bob_at_alice));
        bob.node.handle_suspend();
    }
    let carols = initiation_of(&mut carol, at(20.0), bob_at_carol);
    bob.commands();
    bob.take(at(100.0), 1, &initiations[0]);
    assert_eq!(keypairs(bob.commands()).len(), 1);
    bob.take(at(100.019), 1, &initiations[1]);
    assert_eq!((keypairs(bob.commands()).len(), bob.dropped(DropReason::HandshakeReplay)), (0, 1));
    bob.take(at(100.019), 3, &carols);
    assert_eq!(keypairs(bob.commands()).len(), 1);
    bob.take(at(100.02), 1, &initiations[2]);
    assert_eq!(keypairs(bob.commands()).len(), 1);
}

// WG-12, WG-62
#[test]
fn initiations_stay_acceptable_when_the_wall_clock_steps_back() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    shake(at(1.0), &mut alice, bob_at_alice, &mut bob);
    alice.node.set_wall_clock(at(2.0), Duration::from_secs(1_000));
    shake(at(7.0), &mut alice, bob_at_alice, &mut bob);
    // What is shown follows the clock.
    let shown = alice.node.snapshot(WG0).unwrap().peers[0].last_handshake;
    assert_eq!(shown, Duration::from_secs(1_005));
}

// WG-62, WG-13
#[test]
fn a_hand_over_passes_the_latest_timestamps_on() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    shake(at(1.0), &mut alice, bob_at_alice, &mut bob);
    let used = initiation_of(&mut alice, at(10.0), bob_at_alice);
    bob.take(at(10.0), 1, &used);
    bob.commands();
    // Both begin anew as other processes, and the clock of Alice's machine has stepped back a day.
    let passed_on = [&alice, &bob].map(|host| host.node.timestamps(at(12.0), WG0).unwrap());
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    alice.node = {
        let mut node = Host::new(1);
        node.node.set_wall_clock(Instant::ZERO, Duration::from_secs(1_700_000_000 - 86_400));
        node.node
    };
    let bob_again = alice.meet(Instant::ZERO, &bob);
    assert_eq!(bob_again, bob_at_alice);
    alice.commands();
    for (host, passed_on) in [&mut alice, &mut bob].into_iter().zip(&passed_on) {
        host.node.raise_timestamps(at(0.0), WG0, passed_on);
    }
    bob.take(at(0.5), 1, &used);
    assert_eq!(bob.dropped(DropReason::HandshakeReplay), 1);
    shake(at(1.0), &mut alice, bob_again, &mut bob);
    // Passed on again, nothing is lowered.
    bob.node.raise_timestamps(at(2.0), WG0, &passed_on[1]);
    assert!(bob.node.timestamps(at(2.0), WG0).unwrap().accepted[0].1 > passed_on[1].accepted[0].1);
}

// DX-5
#[test]
fn two_peers_behind_one_address_and_port_are_told_apart() {
    let mut gateway = Host::new(9);
    let mut clients = [Host::new(1), Host::new(2)];
    let gateway_at = [0, 1].map(|at| clients[at].meet(Instant::ZERO, &gateway));
    let ids = [0, 1].map(|at| gateway.meet(Instant::ZERO, &clients[at]));
    gateway.commands();
    for at_client in [0, 1] {
        let client = &mut clients[at_client];
        let first = initiation_of(client, at(1.0), gateway_at[at_client]);
        // Both come from one NAT, with one address and port.
        gateway.take(at(1.0), 77, &first);
        let command = gateway.commands().pop().unwrap();
        let Command::InstallKeypair { peer, response: Some((to, second)), .. } = command else { panic!() };
        assert_eq!((peer, to), (ids[at_client], path(77)));
        client.take(at(1.0), 9, &second);
        assert_eq!(keypairs(client.commands()).len(), 1);
    }
    // And the other way: the gateway initiates to both, the responses come from one address and port.
    for id in ids {
        gateway.want(at(10.0), id);
    }
    let firsts = gateway.messages();
    assert_eq!(firsts.len(), 2);
    for (client, first) in clients.iter_mut().zip(&firsts).rev() {
        client.take(at(10.0), 9, first);
        gateway.take(at(10.0), 77, &client.messages().pop().unwrap());
    }
    let installed: Vec<_> = gateway
        .commands()
        .into_iter()
        .filter_map(|command| match command {
            Command::InstallKeypair { peer, .. } => Some(peer),
            _ => None,
        })
        .collect();
    assert_eq!(installed, [ids[1], ids[0]]);
}

// DX-6, WG-4
#[test]
fn a_peer_keeps_its_connection_over_all_rekeys_and_session_numbers_go_round_past_those_in_use() {
    let mut alice = Host::with_cores(1, 3, 2);
    let mut bob = Host::new(2);
    let bob_at_alice = alice.meet(Instant::ZERO, &bob);
    bob.meet(Instant::ZERO, &alice);
    alice.commands();
    let mut connections = BTreeSet::new();
    let mut last: Vec<u32> = Vec::new();
    for round in 0..600 {
        let (ours, _) = shake(at(10.0 * f64::from(round)), &mut alice, bob_at_alice, &mut bob);
        connections.insert(connection_of(ours.local_index));
        assert!(!last.contains(&ours.local_index), "round {round}");
        last.push(ours.local_index);
        if last.len() > 200 {
            last.remove(0);
        }
    }
    assert_eq!(connections.len(), 1);
}

// WG-54, WG-64
#[test]
fn a_handshake_moves_a_peer_that_roams_and_is_counted() {
    let (mut alice, bob_at_alice, mut bob, alice_at_bob) = pair();
    let first = initiation_of(&mut alice, at(1.0), bob_at_alice);
    while bob.node.poll_controller_input().is_some() {}
    bob.take(at(1.0), 33, &first);
    let snapshot = bob.node.snapshot(WG0).unwrap().peers.remove(0);
    assert_eq!((snapshot.endpoint, snapshot.rx_bytes), (Some(path(33).remote), 148));
    let roamed = Input::Roamed { peer: alice_at_bob, path: Path::Direct(path(33)) };
    assert_eq!(bob.node.poll_controller_input(), Some((WG0, roamed)));

    // Where the controller owns the path, the response goes back to where the initiation came from, and nothing moves.
    let output = Output::SetPath {
        peer: alice_at_bob,
        generation: 2,
        path: Some(Path::Direct(path(44))),
        roams: false,
    };
    bob.node.handle_controller(at(2.0), output);
    bob.commands();
    alice.run_until(at(7.0));
    bob.take(at(7.0), 33, &alice.messages().pop().unwrap());
    let command = bob.commands().pop().unwrap();
    assert!(matches!(command, Command::InstallKeypair { response: Some((to, _)), .. } if to == path(33)));
    assert_eq!(bob.node.snapshot(WG0).unwrap().peers[0].endpoint, Some(path(44).remote));
    assert_eq!(bob.node.poll_controller_input(), None);
}

// WG-54
#[test]
fn a_peer_with_a_fixed_path_is_answered_where_it_asks_and_moves_nowhere_whatever_the_controller_lets_it() {
    let (mut alice, bob_at_alice, mut bob, alice_at_bob) = pair();
    let home = path(alice.number);
    let set = |host: &mut Host, of: PublicKey, policy| {
        let endpoint = Some(home.remote);
        let change = PeerChange { endpoint, path_policy: Some(policy), ..PeerChange::new(WG0, of) };
        host.node.apply(at(1.0), &[Change::Peer(change)]).unwrap();
    };
    let alices = alice.public();
    set(&mut bob, alices, PathPolicy::Fixed);
    let told = core::iter::from_fn(|| bob.node.poll_controller_input()).last();
    let again = Input::PeerUpserted { peer: alice_at_bob, endpoint: Some(home) };
    assert_eq!(told, Some((WG0, again)), "to say the path again");
    bob.set_path(at(1.0), alice_at_bob, 2, Some(alice.number));
    let fixed = bob.commands().pop().unwrap();
    assert!(matches!(fixed, Command::SetPath { roams: false, .. }));

    let first = initiation_of(&mut alice, at(1.0), bob_at_alice);
    bob.take(at(1.0), 33, &first);
    let command = bob.commands().pop().unwrap();
    assert!(matches!(command, Command::InstallKeypair { response: Some((to, _)), .. } if to == path(33)));
    assert_eq!(bob.node.poll_controller_input(), None);
    let snapshot = bob.node.snapshot(WG0).unwrap().peers.remove(0);
    assert_eq!((snapshot.endpoint, snapshot.path_policy), (Some(home.remote), PathPolicy::Fixed));

    set(&mut bob, alices, PathPolicy::Roaming);
    bob.set_path(at(2.0), alice_at_bob, 3, Some(alice.number));
    alice.run_until(at(7.0));
    bob.take(at(7.0), 33, &alice.messages().pop().unwrap());
    assert_eq!(bob.node.snapshot(WG0).unwrap().peers[0].endpoint, Some(path(33).remote));
}

#[test]
fn both_ends_tell_controller_and_operator_of_a_session_that_both_have_proved() {
    let (mut alice, bob_at_alice, mut bob, alice_at_bob) = pair();
    for host in [&mut alice, &mut bob] {
        while host.node.poll_controller_input().is_some() {}
    }
    let (_, theirs) = shake(at(1.0), &mut alice, bob_at_alice, &mut bob);
    let complete = |peer| Some((WG0, Input::HandshakeComplete { peer }));
    assert_eq!(alice.node.poll_controller_input(), complete(bob_at_alice));
    let public_key = bob.public();
    let notice =
        Notice::HandshakeComplete { interface: WG0, peer: bob_at_alice, public_key, role: Role::Initiator };
    assert_eq!(alice.notice(), Some(notice));

    assert_eq!((bob.node.poll_controller_input(), bob.notice()), (None, None));
    let proved = Event::Confirmed { peer: alice_at_bob, local_index: theirs.local_index };
    bob.node.handle_event(at(1.1), CoreId(0), proved);
    assert_eq!(bob.node.poll_controller_input(), complete(alice_at_bob));
    let public_key = alice.public();
    let notice =
        Notice::HandshakeComplete { interface: WG0, peer: alice_at_bob, public_key, role: Role::Responder };
    assert_eq!(bob.notice(), Some(notice));
}

// DX-5
#[test]
fn initiations_of_strangers_and_of_peers_of_another_interface_are_dropped() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    let other = InterfaceId(1);
    let changes = [
        Change::AddInterface { interface: other, mtu: 1420, policy: HandshakePolicy::default() },
        Change::SetPrivateKey { interface: other, key: Secret::new([2; 32]) },
        Change::SetUp { interface: other, up: true },
    ];
    bob.node.apply(at(0.0), &changes).unwrap();
    bob.commands();
    let first = initiation_of(&mut alice, at(1.0), bob_at_alice);
    // The other interface has the same key, but no peer.
    let arrived = HandshakeArrived { interface: other, tuple: path(1), message: first };
    let before = bob.settled();
    bob.node.handle_handshake(at(1.0), CoreId(0), &arrived);
    assert_eq!(bob.dropped(DropReason::HandshakeInvalid), 1);
    assert!(bob.state() == before);
    bob.take(at(1.0), 1, &first);
    assert_eq!(keypairs(bob.commands()).len(), 1);
}
