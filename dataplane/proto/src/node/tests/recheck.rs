//! What was examined is looked at again before it counts: each test lets something happen in between.

use super::*;
use crate::node::handshake::Examined;

/// A host, and a message of the other end of a pair that it has examined but not committed.
struct Between {
    host: Host,
    other: Host,
    peer: PeerId,
    arrived: HandshakeArrived,
    examined: Examined,
}

impl Between {
    fn new(now: Instant, mut host: Host, peer: PeerId, other: Host, message: HandshakeBytes) -> Self {
        let arrived = HandshakeArrived { interface: WG0, tuple: path(other.number), message };
        let examined = host.node.examine(now, &arrived).expect("a good message");
        host.commands();
        Self { host, other, peer, arrived, examined }
    }

    /// Bob has examined an initiation.
    fn initiation() -> Self {
        let (mut alice, bob_at_alice, bob, alice_at_bob) = pair();
        alice.want(at(1.0), bob_at_alice);
        let first = alice.messages().pop().unwrap();
        Self::new(at(1.0), bob, alice_at_bob, alice, first)
    }

    /// Alice has examined a response.
    fn response() -> Self {
        let (mut alice, bob_at_alice, mut bob, _) = pair();
        alice.want(at(1.0), bob_at_alice);
        let first = alice.messages().pop().unwrap();
        bob.take(at(1.0), 1, &first);
        let second = bob.messages().pop().unwrap();
        Self::new(at(1.0), alice, bob_at_alice, bob, second)
    }

    /// Commits after all, and expects that nothing comes of it.
    fn fails(mut self, now: Instant, why: DropReason) {
        let before = self.host.settled();
        assert_eq!(self.host.node.commit(now, &self.arrived, self.examined), Err(why));
        assert!(self.host.state() == before);
    }

    fn apply(&mut self, change: Change) {
        self.host.node.apply(at(1.0), &[change]).unwrap();
    }
}

// WG-10
#[test]
fn nothing_in_between_and_it_counts() {
    for mut between in [Between::initiation(), Between::response()] {
        between.host.node.commit(at(1.0), &between.arrived, between.examined).unwrap();
        assert_eq!(keypairs(between.host.commands()).len(), 1);
    }
}

// WG-10, WG-13
#[test]
fn the_same_initiation_was_committed_meanwhile() {
    let mut between = Between::initiation();
    between.host.node.handle_handshake(at(1.0), CoreId(0), &between.arrived);
    between.fails(at(2.0), DropReason::HandshakeReplay);
}

// WG-10
#[test]
fn a_retry_has_superseded_the_initiation_that_was_answered() {
    let mut between = Between::response();
    between.host.run_until(at(7.0));
    assert_eq!(between.host.messages().len(), 1);
    between.fails(at(7.0), DropReason::HandshakeUnmatched);
}

// WG-10
#[test]
fn the_same_response_was_committed_meanwhile() {
    let mut between = Between::response();
    between.host.node.handle_handshake(at(1.0), CoreId(0), &between.arrived);
    between.fails(at(1.0), DropReason::HandshakeUnmatched);
}

// WG-10, WG-15
#[test]
fn the_private_key_was_changed_meanwhile() {
    for mut between in [Between::initiation(), Between::response()] {
        between.apply(Change::SetPrivateKey { interface: WG0, key: Secret::new([77; 32]) });
        between.fails(at(1.0), DropReason::InterfaceGone);
    }
}

// WG-10, WG-15
#[test]
fn the_pre_shared_key_was_changed_while_a_response_was_examined() {
    let mut between = Between::response();
    let public = between.other.public();
    let preshared_key = Some(Secret::new([7; 32]));
    between.apply(Change::Peer(PeerChange { preshared_key, ..PeerChange::new(WG0, public) }));
    between.fails(at(1.0), DropReason::HandshakeUnmatched);
}

// WG-10
#[test]
fn the_interface_went_down_or_away_meanwhile() {
    for change in [Change::SetUp { interface: WG0, up: false }, Change::RemoveInterface { interface: WG0 }] {
        for mut between in [Between::initiation(), Between::response()] {
            between.apply(change.clone());
            between.fails(at(1.0), DropReason::InterfaceGone);
        }
    }
}

// WG-10
#[test]
fn the_peer_was_removed_meanwhile_and_another_lives_in_its_slot() {
    for mut between in [Between::initiation(), Between::response()] {
        let public = between.other.public();
        between.apply(Change::Peer(PeerChange { remove: true, ..PeerChange::new(WG0, public) }));
        let stranger = Host::new(50);
        let new = between.host.meet(at(1.0), &stranger);
        assert_eq!(new.slot, between.peer.slot);
        let initiation = between.arrived.message.as_slice().len() == 148;
        let why = if initiation { DropReason::HandshakeInvalid } else { DropReason::HandshakeUnmatched };
        between.fails(at(1.0), why);
    }
}

// WG-10, WG-37
#[test]
fn the_machine_slept_while_a_response_was_examined() {
    let mut between = Between::response();
    between.host.node.handle_suspend();
    between.fails(at(1.0), DropReason::HandshakeUnmatched);
}
