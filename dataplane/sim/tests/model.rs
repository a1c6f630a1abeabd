//! The model can fail: for each of its rules, a defect on purpose that breaks it, and the violation that is found.

use core::time::Duration;

use dataplane_sim::{Conditions, Failure, HostId, Mutation, Network, Packet, Violation};

/// Three hosts who know each other, of which the second has a defect.
fn world() -> (Network, [HostId; 3]) {
    let mut net = Network::new("mutation", 1);
    let hosts = ["alice", "bob", "carol"].map(|name| net.host(name));
    net.peers(hosts[0], hosts[1]);
    net.peers(hosts[0], hosts[2]);
    net.peers(hosts[1], hosts[2]);
    (net, hosts)
}

/// What is found within a minute of talk in which nothing but the defect is wrong.
fn found(mutation: Option<Mutation>) -> Option<Violation> {
    let (mut net, hosts) = world();
    let mut talk = || -> Result<(), Box<Failure>> {
        let [alice, bob, carol] = hosts;
        if let Some(mutation) = mutation {
            net.mutate(bob, mutation);
        }
        for _ in 0..60 {
            for (from, to) in [(alice, bob), (bob, alice), (bob, carol), (carol, bob)] {
                net.send(from, to)?;
                net.send_packet(from, Some(to), Packet { v6: true, segments: 3, ..Packet::default() })?;
            }
            net.run_for(Duration::from_secs(1))?;
        }
        net.run_for(Duration::from_secs(3))?;
        for (one, other) in [(alice, bob), (bob, carol)] {
            let now = net.now();
            net.expect_reached(one, other, now, now - Duration::from_secs(30))?;
        }
        net.expect_nothing_waits()
    };
    talk().err().map(|failure| failure.violation)
}

fn is_found(mutation: Mutation, like: fn(&Violation) -> bool) {
    match found(Some(mutation)) {
        Some(violation) => assert!(like(&violation), "{mutation:?} gives: {violation}"),
        None => panic!("{mutation:?} is not found"),
    }
}

#[test]
fn without_a_defect_nothing_is_found() {
    assert_eq!(found(None), None);
}

#[test]
fn a_packet_that_comes_out_twice_is_found() {
    is_found(Mutation::DeliverTwice, |violation| matches!(violation, Violation::Twice { .. }));
}

#[test]
fn a_packet_that_comes_out_at_another_host_is_found() {
    is_found(Mutation::DeliverElsewhere, |violation| matches!(violation, Violation::WrongHost { .. }));
}

#[test]
fn a_packet_under_the_name_of_another_peer_is_found() {
    is_found(Mutation::NameAnotherPeer, |violation| matches!(violation, Violation::WrongPeer { .. }));
}

#[test]
fn a_packet_that_does_not_come_out_is_found() {
    is_found(Mutation::SwallowDelivered, |violation| {
        matches!(violation, Violation::Unaccounted { what: "packets delivered", .. })
    });
}

#[test]
fn a_packet_that_comes_out_changed_is_found() {
    is_found(Mutation::Alter, |violation| matches!(violation, Violation::Altered { .. }));
}

#[test]
fn a_packet_that_nobody_sent_is_found() {
    is_found(
        Mutation::Invent,
        |violation| matches!(violation, Violation::Invented { host } if host == "bob"),
    );
}

#[test]
fn a_worker_that_always_has_one_thing_more_to_do_is_found() {
    is_found(
        Mutation::NeverRest,
        |violation| matches!(violation, Violation::Restless { host } if host == "bob"),
    );
}

#[test]
fn a_packet_that_overtakes_another_of_its_flow_is_found() {
    is_found(Mutation::Swap, |violation| matches!(violation, Violation::Overtaken { .. }));
}

#[test]
fn plaintext_of_a_datagram_with_a_wrong_tag_is_found() {
    is_found(Mutation::AcceptForged, |violation| matches!(violation, Violation::Forged { .. }));
}

#[test]
fn an_inner_packet_that_leaves_without_a_seal_is_found() {
    is_found(Mutation::SendPlaintext, |violation| matches!(violation, Violation::Plaintext { .. }));
}

#[test]
fn a_packet_that_is_handed_in_and_forgotten_is_found() {
    // Soon by what the other end never gets, and without that by what seems to wait for ever.
    is_found(Mutation::SwallowOffered, |violation| {
        matches!(
            violation,
            Violation::Unbounded { what: "waiting packets", .. } | Violation::Unreached { .. }
        )
    });
}

#[test]
fn more_waiting_packets_than_agreed_are_found() {
    let (mut net, [alice, bob, _]) = world();
    net.mutate(bob, Mutation::SwallowOffered);
    let burst = Packet { segments: 64, ..Packet::default() };
    let offer = (0..10).try_for_each(|_| net.send_packet(bob, Some(alice), burst));
    let failure = offer.and_then(|()| net.run_for(Duration::from_secs(10))).expect_err("640 packets wait");
    assert!(matches!(failure.violation, Violation::Unbounded { held: 640, most: 256, .. }), "{failure}");
}

#[test]
fn a_datagram_that_nobody_counted_is_found() {
    is_found(Mutation::SendTwice, |violation| {
        matches!(violation, Violation::Unaccounted { what: "datagrams with packets sent", .. })
    });
}

#[test]
fn a_loss_that_the_network_does_not_record_is_found() {
    is_found(Mutation::LoseUnrecorded, |violation| {
        matches!(violation, Violation::Unaccounted { what: "datagrams carried", .. })
    });
}

#[test]
fn ends_that_never_find_together_again_are_found() {
    is_found(Mutation::Isolate, |violation| matches!(violation, Violation::Unreached { .. }));
}

#[test]
fn a_source_that_is_not_the_senders_is_never_delivered() {
    let (mut net, [alice, bob, carol]) = world();
    for v6 in [false, true] {
        let lie = Packet { v6, spoofed_as: Some(carol), ..Packet::default() };
        net.send_packet(alice, Some(bob), lie).expect("no rule is broken");
        net.run_for(Duration::from_secs(1)).expect("no rule is broken");
    }
    assert_eq!(net.delivered(alice, bob), 0);
    assert_eq!(net.dropped(bob, dataplane_wire::DropReason::InnerSource), 2);
}

#[test]
fn a_failure_says_how_it_is_seen_again_and_what_came_before() {
    let (mut net, [alice, bob, _]) = world();
    net.mutate(bob, Mutation::DeliverTwice);
    net.conditions(bob, Conditions::delay(Duration::from_millis(30)));
    net.send(alice, bob).expect("nothing is delivered yet");
    let failure = net.run_for(Duration::from_secs(1)).expect_err("it is delivered twice");
    let said = failure.to_string();
    assert!(said.contains("packet 0 was delivered twice"), "{said}");
    assert!(said.contains("scripts/sim mutation --seed 1 --trace"), "{said}");
    assert!(said.contains("203.0.113.1:51820 > 203.0.113.2:51820: initiation"), "{said}");
    assert!(said.contains("alice: packet 0 to bob"), "{said}");
}
