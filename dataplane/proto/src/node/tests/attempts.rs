//! When initiations go out, and when no more.

use super::*;
use crate::messages::HandshakeCause;
use crate::noise::tests::LOW_ORDER;

/// The times of all initiations to a peer that never answers, and of giving up, while `each_second` happens once a second.
fn unanswered(
    policy: HandshakePolicy,
    secs: u32,
    mut each_second: impl FnMut(u32, &mut Host, PeerId),
) -> (Vec<Instant>, Vec<Instant>, Host) {
    let (mut alice, bob) = (Host::with_policy(1, policy), Host::new(2));
    let peer = alice.meet(Instant::ZERO, &bob);
    alice.want(at(1.0), peer);
    let (mut sent, mut given_up, mut second) = (Vec::new(), Vec::new(), 2);
    let mut now = at(1.0);
    loop {
        for command in alice.commands() {
            match command {
                Command::SendHandshake { retry, .. } => {
                    // The first after giving up is none.
                    assert_eq!(retry, sent.last() > given_up.last());
                    sent.push(now);
                }
                Command::PurgeStaged { .. } => given_up.push(now),
                _ => {}
            }
        }
        let tick = at(f64::from(second));
        now = alice.due().map_or(tick, |due| due.min(tick).max(now));
        if second > secs {
            return (sent, given_up, alice);
        }
        if now == tick {
            each_second(second, &mut alice, peer);
            second += 1;
        } else {
            alice.node.handle_timeout(now);
        }
    }
}

// WG-38
#[test]
fn retries_come_after_five_seconds_and_up_to_a_third_by_chance() {
    let (sent, ..) = unanswered(HandshakePolicy::default(), 91, |_, _, _| {});
    let gaps: Vec<u128> = sent.windows(2).map(|pair| pair[1].since(pair[0]).as_micros()).collect();
    assert!(gaps.len() >= 16, "{gaps:?}");
    assert!(gaps.iter().all(|gap| (5_000_000..=5_333_000).contains(gap)), "{gaps:?}");
    let mut different = gaps.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), gaps.len());
    assert!(different[different.len() - 1] - different[0] > 150_000, "{gaps:?}");
}

// WG-38
#[test]
fn never_two_initiations_in_five_seconds_whoever_asks_how_often() {
    let (mut alice, bob_at_alice, mut bob, alice_at_bob) = pair();
    let mut last: Option<Instant> = None;
    for tenth in 10..1200 {
        let now = at(f64::from(tenth) / 10.0);
        let causes = [HandshakeCause::NoSession, HandshakeCause::Rekey, HandshakeCause::Unanswered];
        for cause in causes {
            alice.node.handle_event(now, CoreId(0), Event::WantHandshake { peer: bob_at_alice, cause });
        }
        alice.set_path(now, bob_at_alice, tenth, Some(2));
        alice.run_until(now);
        for first in alice.messages() {
            assert!(last.is_none_or(|last| now.since(last) >= Duration::from_secs(5)), "{now:?}");
            last = Some(now);
            // Some are answered, some are lost.
            if tenth % 3 > 0 {
                bob.take(now, 1, &first);
                alice.take(now, 2, &bob.messages().pop().unwrap());
            }
        }
    }
    assert!(last.unwrap() > at(100.0));
    assert_eq!(alice_at_bob.slot, 0);
}

// WG-39
#[test]
fn an_attempt_is_given_up_after_ninety_seconds_and_what_waits_is_dropped() {
    let (sent, given_up, mut alice) = unanswered(HandshakePolicy::default(), 300, |_, _, _| {});
    assert_eq!(given_up, [at(91.0)]);
    assert!(*sent.last().unwrap() < at(91.0));
    let facts: Vec<_> = core::iter::from_fn(|| alice.node.poll_controller_input()).collect();
    assert!(matches!(facts.last(), Some((WG0, Input::HandshakeGivenUp { .. }))), "{facts:?}");
    assert!(matches!(alice.notice(), Some(Notice::HandshakeGivenUp { .. })));
    // Nothing is left of it: no timer, no key.
    assert_eq!(alice.due(), None);
    assert!(alice.settled().contains("attempt: None"));
}

// WG-39
#[test]
fn a_new_packet_restarts_the_clock_of_ninety_seconds() {
    let asks = |second: u32, alice: &mut Host, peer| {
        if second == 60 || second == 120 {
            alice.want(at(f64::from(second)), peer);
        }
    };
    let (sent, given_up, _) = unanswered(HandshakePolicy::default(), 400, asks);
    assert_eq!(given_up, [at(210.0)]);
    assert!(sent.len() > 35, "{}", sent.len());
}

// WG-39, CN-11
#[test]
fn under_a_control_layer_the_time_is_its_own_and_packets_do_not_restart_it() {
    let policy = HandshakePolicy { give_up: Duration::from_secs(20), restarts: false };
    let asks = |second: u32, alice: &mut Host, peer| {
        if second < 15 {
            alice.want(at(f64::from(second)), peer);
        }
    };
    let (sent, given_up, _) = unanswered(policy, 100, asks);
    assert_eq!((sent.len(), given_up), (4, vec![at(21.0)]));
}

// WG-39
#[test]
fn after_giving_up_a_new_packet_begins_anew() {
    let asks = |second: u32, alice: &mut Host, peer| {
        if second == 100 {
            alice.want(at(100.0), peer);
        }
    };
    let (sent, given_up, _) = unanswered(HandshakePolicy::default(), 300, asks);
    assert_eq!(given_up, [at(91.0), at(190.0)]);
    assert!(sent.contains(&at(100.0)));
}

#[test]
fn a_request_that_crossed_with_the_end_of_the_handshake_asks_for_nothing() {
    let (mut alice, bob_at_alice, mut bob, alice_at_bob) = pair();
    let (_, theirs) = shake(at(1.0), &mut alice, bob_at_alice, &mut bob);
    let proved = Event::Confirmed { peer: alice_at_bob, local_index: theirs.local_index };
    bob.node.handle_event(at(1.0), CoreId(0), proved);
    for (host, peer) in [(&mut alice, bob_at_alice), (&mut bob, alice_at_bob)] {
        host.want(at(1.5), peer);
        host.run_until(at(60.0));
        assert_eq!(host.messages().len(), 0, "host {}", host.number);
        // Later there is a reason: the peer may have started anew.
        host.want(at(61.0), peer);
        assert_eq!(host.messages().len(), 1, "host {}", host.number);
    }
}

#[test]
fn an_attempt_waits_for_a_path_and_goes_on_when_there_is_one() {
    let (mut alice, bob) = (Host::new(1), Host::new(2));
    let change = Change::Peer(PeerChange::new(WG0, bob.public()));
    let peer = alice.node.apply(at(0.0), &[change]).unwrap()[0].unwrap();
    alice.want(at(1.0), peer);
    alice.run_until(at(50.0));
    assert_eq!(alice.messages().len(), 0);
    alice.set_path(at(50.5), peer, 1, Some(2));
    assert_eq!(alice.messages().len(), 1);
    // One without a wish for a session causes none; one that says what is known causes no more.
    alice.set_path(at(50.6), peer, 2, Some(2));
    alice.set_path(at(50.7), peer, 3, None);
    assert_eq!(alice.messages().len(), 0);
}

// WG-8, WG-7
#[test]
fn a_peer_of_low_order_is_configured_like_any_other_and_never_sent_anything() {
    let mut alice = Host::new(1);
    let changes = LOW_ORDER.map(|point| {
        Change::Peer(PeerChange {
            endpoint: Some(path(66).remote),
            keepalive: Some(Duration::from_secs(1)),
            allowed_ips: vec![AllowedIp::Give("10.0.0.0/8".parse().unwrap())],
            ..PeerChange::new(WG0, PublicKey(point))
        })
    });
    let peers: Vec<PeerId> = alice.node.apply(at(0.0), &changes).unwrap().into_iter().flatten().collect();
    assert_eq!(peers.len(), LOW_ORDER.len());
    // Before and after static-static secrets are computed.
    for primed in [false, true] {
        if primed {
            alice.run_until(at(0.5));
        }
        for (generation, peer) in peers.iter().enumerate() {
            alice.set_path(at(1.0), *peer, 1 + generation as u32, Some(66));
            alice.want(at(1.0), *peer);
        }
        assert_eq!(alice.messages().len(), 0);
    }
    alice.run_until(at(90.9));
    assert_eq!(alice.messages().len(), 0);
    // What waits for them is dropped in the end, as for any peer that does not answer.
    alice.run_until(at(91.0));
    let purged =
        alice.commands().into_iter().filter(|command| matches!(command, Command::PurgeStaged { .. }));
    assert_eq!(purged.count(), LOW_ORDER.len());
    assert_eq!(alice.node.snapshot(WG0).unwrap().peers.len(), LOW_ORDER.len());
}

// WG-8
#[test]
fn static_static_secrets_are_computed_once_per_peer_in_spare_time() {
    let mut alice = Host::new(1);
    let keys: Vec<PublicKey> = (10..110).map(|number| Secret::new([number; 32]).public()).collect();
    let add: Vec<Change> = keys.iter().map(|key| Change::Peer(PeerChange::new(WG0, *key))).collect();
    alice.node.apply(at(0.0), &add).unwrap();
    let mut calls = 0;
    while alice.node.poll_timeout() == Some(Instant::ZERO) {
        alice.node.handle_timeout(at(0.0));
        calls += 1;
    }
    assert_eq!(calls, 100_u32.div_ceil(STEPS_PER_CALL as u32));
    assert_eq!(alice.node.poll_timeout(), None);
    let state = alice.settled();
    assert_eq!((state.matches("static_static: Known").count(), state.matches("Unknown").count()), (100, 0));
    // Another private key makes others of them.
    alice
        .node
        .apply(at(1.0), &[Change::SetPrivateKey { interface: WG0, key: Secret::new([7; 32]) }])
        .unwrap();
    assert_eq!(alice.settled().matches("static_static: Unknown").count(), 100);
    alice.run_until(at(1.0));
    assert_eq!(alice.settled().matches("static_static: Known").count(), 100);
}

// WG-37
#[test]
fn going_down_and_sleep_erase_what_handshakes_keep_and_every_session() {
    for down in [true, false] {
        let (mut alice, bob_at_alice, mut bob, _) = pair();
        shake(at(1.0), &mut alice, bob_at_alice, &mut bob);
        alice.want(at(10.0), bob_at_alice);
        assert_eq!(alice.messages().len(), 1);
        if down {
            alice.node.apply(at(11.0), &[Change::SetUp { interface: WG0, up: false }]).unwrap();
        } else {
            alice.node.handle_suspend();
        }
        let erased = |command: &Command| matches!(command, Command::ExpireSessions { peer, receiving: true } if *peer == bob_at_alice);
        assert!(alice.commands().iter().any(erased));
        assert!(alice.settled().contains("attempt: None"));
        assert_eq!(alice.due(), None);
    }
}
