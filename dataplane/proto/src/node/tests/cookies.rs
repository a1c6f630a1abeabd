//! Cookies on the side of who is asked for them.

use super::*;
use crate::gate::{Gate, InterfaceKeys, Verdict};
use dataplane_wire::wireguard::Message;

/// The other end under load: what it answers to a message of ours, and whether one would pass.
struct Loaded {
    gate: Gate,
    keys: InterfaceKeys,
}

impl Loaded {
    fn new(host: &Host) -> Self {
        Self { gate: Gate::new(&[3; 32], CoreId(0), 64), keys: InterfaceKeys::of(&host.public().0) }
    }

    fn verdict(&mut self, now: Instant, from: u8, message: &HandshakeBytes) -> Verdict {
        let message = Message::parse(message.as_slice()).unwrap();
        self.gate.check(now, &self.keys, path(from).remote, &message, 10, 16)
    }

    fn reply(&mut self, now: Instant, from: u8, message: &HandshakeBytes) -> HandshakeBytes {
        match self.verdict(now, from, message) {
            Verdict::CookieReply(reply) => HandshakeBytes::copy_from(&reply).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn mac2(message: &HandshakeBytes) -> &[u8] {
    let bytes = message.as_slice();
    &bytes[bytes.len() - 16..]
}

/// Alice has sent an initiation; Bob is under load.
fn begun() -> (Host, PeerId, HandshakeBytes, Loaded) {
    let (mut alice, bob_at_alice, bob, _) = pair();
    alice.want(at(1.0), bob_at_alice);
    let first = alice.messages().pop().unwrap();
    (alice, bob_at_alice, first, Loaded::new(&bob))
}

// WG-17, WG-19, WG-20
#[test]
fn a_cookie_goes_into_every_message_for_115_seconds_and_before_and_after_mac2_is_zero() {
    let (mut alice, peer, first, mut bob) = begun();
    assert_eq!(mac2(&first), [0; 16]);
    let reply = bob.reply(at(1.0), 1, &first);
    alice.take(at(1.5), 2, &reply);
    for secs in 2..240 {
        alice.want(at(f64::from(secs)), peer);
        alice.run_until(at(f64::from(secs)));
        for message in alice.messages() {
            let held = secs < 117;
            assert_eq!(mac2(&message) != [0; 16], held, "{secs} s");
            assert_eq!(bob.verdict(at(f64::from(secs)), 1, &message) == Verdict::Pass, held, "{secs} s");
        }
    }
}

// WG-21, WG-11
#[test]
fn a_cookie_reply_counts_once_for_the_message_it_answers_and_under_the_index_of_it() {
    let (mut alice, _, first, mut bob) = begun();
    let (reply, another) = (bob.reply(at(1.0), 1, &first), bob.reply(at(1.0), 1, &first));
    let before = alice.settled();
    // Under another index of the same connection, and under one that is not ours.
    for byte in [4, 7] {
        let mut bent = reply.as_slice().to_vec();
        bent[byte] ^= 1;
        alice.take(at(1.0), 2, &HandshakeBytes::copy_from(&bent).unwrap());
        assert!(alice.state() == before);
    }
    assert_eq!(alice.dropped(DropReason::HandshakeUnmatched), 2);
    for byte in 8..64 {
        let mut bent = reply.as_slice().to_vec();
        bent[byte] ^= 1;
        alice.take(at(1.0), 2, &HandshakeBytes::copy_from(&bent).unwrap());
        assert!(alice.state() == before);
    }
    assert_eq!(alice.dropped(DropReason::HandshakeInvalid), 56);

    alice.take(at(1.0), 2, &reply);
    let after = alice.settled();
    assert!(after != before);
    for replayed in [reply, another] {
        alice.take(at(2.0), 2, &replayed);
        assert!(alice.state() == after);
    }
    // One for a message that a retry has superseded.
    alice.run_until(at(7.0));
    assert_eq!(alice.messages().len(), 1);
    let before = alice.settled();
    alice.take(at(7.0), 2, &another);
    assert!(alice.state() == before);
}

// WG-22
#[test]
fn a_cookie_reply_sends_nothing_moves_nothing_and_does_not_hasten_the_retry() {
    let (mut alice, peer, first, mut bob) = begun();
    let reply = bob.reply(at(1.0), 1, &first);
    let (due, before) = (alice.due(), alice.node.snapshot(WG0).unwrap());
    while alice.node.poll_controller_input().is_some() {}
    // It comes from elsewhere, and Alice roams.
    alice.take(at(1.1), 99, &reply);
    assert!(alice.settled().contains("cookie: Some"));
    assert_eq!((alice.due(), alice.commands().len()), (due, 0));
    assert_eq!(alice.node.snapshot(WG0).unwrap(), before);
    assert_eq!(alice.node.poll_controller_input(), None);
    alice.want(at(2.0), peer);
    assert_eq!(alice.messages().len(), 0);
}

// WG-21, WG-23
#[test]
fn a_response_can_be_asked_for_a_cookie_too_found_by_the_index_of_its_session() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    let mut loaded = Loaded::new(&alice);
    alice.want(at(1.0), bob_at_alice);
    bob.take(at(1.0), 1, &alice.messages().pop().unwrap());
    let second = bob.messages().pop().unwrap();
    assert_eq!(mac2(&second), [0; 16]);
    // Alice, under load, wants to know whether Bob is there.
    let reply = loaded.reply(at(1.0), 2, &second);
    bob.take(at(1.1), 1, &reply);
    alice.run_until(at(7.0));
    bob.take(at(7.0), 1, &alice.messages().pop().unwrap());
    let second = bob.messages().pop().unwrap();
    assert_eq!(loaded.verdict(at(7.0), 2, &second), Verdict::Pass);
    alice.take(at(7.0), 2, &second);
    assert_eq!(keypairs(alice.commands()).len(), 1);
}
