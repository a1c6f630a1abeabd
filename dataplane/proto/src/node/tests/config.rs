//! Changes of configuration: what they do, and that they are made as a whole or not at all.

use super::*;
use crate::messages::Command;

fn prefix(text: &str) -> crate::IpPrefix {
    text.parse().unwrap()
}

fn give(texts: &[&str]) -> Vec<AllowedIp> {
    texts.iter().map(|text| AllowedIp::Give(prefix(text))).collect()
}

fn key(number: u8) -> PublicKey {
    Secret::new([number; 32]).public()
}

fn peer(number: u8) -> PeerChange {
    PeerChange::new(WG0, key(number))
}

/// The commands that wait, as short words.
fn said(host: &mut Host) -> Vec<String> {
    let word = |(core, command): (CoreId, Command)| match command {
        Command::AddInterface { interface, mtu, .. } => {
            format!("{}: interface {} of {mtu}", core.0, interface.0)
        }
        Command::RemoveInterface { interface } => format!("{}: no interface {}", core.0, interface.0),
        Command::AddPeer { peer, .. } => format!("{}: peer {}", core.0, peer.slot),
        Command::RemovePeer { peer } => format!("{}: no peer {}", core.0, peer.slot),
        Command::SetKeepalive { peer, interval } => {
            format!("{}: {} every {}", core.0, peer.slot, interval.as_secs())
        }
        Command::SetRoute { peer, core: of, prefix, .. } => {
            format!("{}: {prefix} to {} on {}", core.0, peer.slot, of.0)
        }
        Command::RemoveRoute { prefix, .. } => format!("{}: {prefix} to nobody", core.0),
        Command::ExpireSessions { peer, receiving } => {
            format!("{}: expire {} {receiving}", core.0, peer.slot)
        }
        Command::PurgeStaged { peer } => format!("{}: purge {}", core.0, peer.slot),
        Command::SetPath { .. } | Command::InstallKeypair { .. } | Command::SendHandshake { .. } => {
            "other".into()
        }
    };
    core::iter::from_fn(|| host.node.poll_command()).map(word).collect()
}

fn apply(host: &mut Host, changes: &[Change]) -> Vec<Option<PeerId>> {
    host.node.apply(at(1.0), changes).unwrap()
}

fn allowed_ips(host: &Host) -> Vec<Vec<String>> {
    let peers = host.node.snapshot(WG0).unwrap().peers;
    peers.iter().map(|peer| peer.allowed_ips.iter().map(ToString::to_string).collect()).collect()
}

#[test]
fn a_new_peer_lives_on_the_core_with_the_fewest_and_every_core_learns_its_routes() {
    let mut host = Host::with_cores(1, 3, 2);
    said(&mut host);
    let changes: Vec<Change> = (10..16).map(|number| Change::Peer(peer(number))).collect();
    let ids = apply(&mut host, &changes);
    assert_eq!(
        said(&mut host),
        ["0: peer 0", "1: peer 1", "2: peer 2", "0: peer 3", "1: peer 4", "2: peer 5"]
    );
    apply(&mut host, &[Change::Peer(PeerChange { remove: true, ..peer(11) })]);
    apply(&mut host, &[Change::Peer(PeerChange { allowed_ips: give(&["10.0.0.0/8"]), ..peer(20) })]);
    let routes = [0, 1, 2].map(|core| format!("{core}: 10.0.0.0/8 to 1 on 1"));
    assert_eq!(said(&mut host)[..2], ["1: no peer 1", "1: peer 1"]);
    apply(&mut host, &[Change::Peer(PeerChange { remove: true, ..peer(20) })]);
    apply(&mut host, &[Change::Peer(PeerChange { allowed_ips: give(&["10.0.0.0/8"]), ..peer(20) })]);
    let all = said(&mut host);
    assert_eq!(all[..3], [0, 1, 2].map(|core| format!("{core}: 10.0.0.0/8 to nobody")));
    assert_eq!(all[all.len() - 3..], routes);
    // The slot has had two peers before; their ids name neither the new one nor each other.
    assert_eq!(
        host.node.snapshot(WG0).unwrap().peers.last().unwrap().peer,
        PeerId { slot: 1, generation: 2 }
    );
    assert_eq!(ids[1], Some(PeerId { slot: 1, generation: 0 }));
}

// WG-60
#[test]
fn an_allowed_ip_given_to_a_second_peer_leaves_the_first() {
    let mut host = Host::new(1);
    let first = PeerChange { allowed_ips: give(&["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]), ..peer(10) };
    let second = PeerChange { allowed_ips: give(&["10.1.0.0/16", "10.2.0.0/16"]), ..peer(11) };
    apply(&mut host, &[Change::Peer(first), Change::Peer(second)]);
    assert_eq!(allowed_ips(&host), [vec!["10.0.0.0/8", "fd00::/8"], vec!["10.1.0.0/16", "10.2.0.0/16"]]);
    said(&mut host);
    // Removing the first leaves the second what it got.
    apply(&mut host, &[Change::Peer(PeerChange { remove: true, ..peer(10) })]);
    assert_eq!(said(&mut host), ["0: 10.0.0.0/8 to nobody", "0: fd00::/8 to nobody", "0: no peer 0"]);
    assert_eq!(allowed_ips(&host), [["10.1.0.0/16", "10.2.0.0/16"]]);
}

// WG-58
#[test]
fn allowed_ips_are_replaced_given_and_taken_and_shards_hear_of_differences_only() {
    let mut host = Host::new(1);
    apply(
        &mut host,
        &[Change::Peer(PeerChange { allowed_ips: give(&["10.0.0.0/24", "10.0.1.0/24"]), ..peer(10) })],
    );
    said(&mut host);
    let replace = |texts: &[&str]| {
        Change::Peer(PeerChange { replace_allowed_ips: true, allowed_ips: give(texts), ..peer(10) })
    };
    apply(&mut host, &[replace(&["10.0.1.0/24", "10.0.2.0/24"])]);
    assert_eq!(said(&mut host), ["0: 10.0.2.0/24 to 0 on 0", "0: 10.0.0.0/24 to nobody"]);
    apply(&mut host, &[replace(&["10.0.2.0/24", "10.0.1.0/24"])]);
    assert_eq!(said(&mut host), [""; 0]);
    let order = vec![
        AllowedIp::Take(prefix("10.0.1.0/24")),
        AllowedIp::Take(prefix("10.0.9.0/24")),
        AllowedIp::Give(prefix("10.0.3.0/24")),
        AllowedIp::Take(prefix("10.0.3.0/24")),
    ];
    apply(&mut host, &[Change::Peer(PeerChange { allowed_ips: order, ..peer(10) })]);
    let words = ["0: 10.0.1.0/24 to nobody", "0: 10.0.3.0/24 to 0 on 0", "0: 10.0.3.0/24 to nobody"];
    assert_eq!(said(&mut host), words);
    apply(&mut host, &[replace(&[])]);
    assert_eq!(
        (said(&mut host), allowed_ips(&host)),
        (vec!["0: 10.0.2.0/24 to nobody".into()], vec![vec![]])
    );
}

// WG-58
#[test]
fn update_only_changes_who_is_there_and_remove_of_nobody_is_no_error() {
    let mut host = Host::new(1);
    let update = PeerChange { update_only: true, keepalive: Some(Duration::from_secs(25)), ..peer(10) };
    let remove = PeerChange { remove: true, ..peer(11) };
    let before = host.settled();
    assert_eq!(apply(&mut host, &[Change::Peer(update.clone()), Change::Peer(remove)]), [None, None]);
    assert!(host.state() == before);
    apply(&mut host, &[Change::Peer(peer(10))]);
    assert!(apply(&mut host, &[Change::Peer(update)])[0].is_some());
    assert_eq!(host.node.snapshot(WG0).unwrap().peers[0].keepalive, Duration::from_secs(25));
}

// WG-58, FT-12
#[test]
fn the_same_configuration_again_changes_nothing() {
    let mut host = Host::new(1);
    let all = |number| {
        Change::Peer(PeerChange {
            preshared_key: Some(Secret::new([9; 32])),
            endpoint: Some(path(number).remote),
            keepalive: Some(Duration::from_secs(25)),
            replace_allowed_ips: true,
            allowed_ips: give(&[&format!("10.0.{number}.0/24")]),
            ..peer(number)
        })
    };
    let changes = [
        Change::SetPrivateKey { interface: WG0, key: Secret::new([1; 32]) },
        Change::SetSockets { interface: WG0, v4: Some(SocketId(0)), v6: None },
        Change::SetMtu { interface: WG0, mtu: 1420 },
        Change::SetUp { interface: WG0, up: true },
        all(10),
        all(11),
    ];
    apply(&mut host, &changes);
    let before = host.settled();
    let snapshot = host.node.snapshot(WG0);
    apply(&mut host, &changes);
    assert!(host.state() == before);
    assert_eq!(host.node.snapshot(WG0), snapshot);
}

// WG-15
#[test]
fn a_new_private_key_expires_sending_keys_drops_what_is_pending_and_removes_oneself() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    shake(at(1.0), &mut alice, bob_at_alice, &mut bob);
    alice.want(at(10.0), bob_at_alice);
    let first = alice.messages().pop().unwrap();
    apply(&mut alice, &[Change::Peer(peer(50))]);
    alice.commands();
    alice
        .node
        .apply(at(10.0), &[Change::SetPrivateKey { interface: WG0, key: Secret::new([50; 32]) }])
        .unwrap();
    let words = ["0: interface 0 of 1420", "0: no peer 1", "0: expire 0 false"];
    assert_eq!(said(&mut alice), words);
    // The response to the old key's initiation comes too late.
    bob.take(at(10.0), 1, &first);
    alice.take(at(10.0), 2, &bob.messages().pop().unwrap());
    assert_eq!(alice.dropped(DropReason::HandshakeUnmatched), 1);
    assert_eq!(alice.due(), None);
    // To oneself there is no peer, not even a wish for one.
    assert_eq!(apply(&mut alice, &[Change::Peer(peer(50))]), [None]);
    assert_eq!(alice.node.snapshot(WG0).unwrap().peers.len(), 1);
    // With the new key, which Bob knows, all goes on.
    alice.number = 50;
    bob.meet(at(10.0), &alice);
    bob.commands();
    shake(at(20.0), &mut alice, bob_at_alice, &mut bob);
}

#[test]
fn without_a_private_key_nothing_is_sent_and_nothing_is_taken() {
    let (mut alice, bob_at_alice, mut bob, alice_at_bob) = pair();
    apply(&mut bob, &[Change::SetPrivateKey { interface: WG0, key: Secret::default() }]);
    assert_eq!(bob.node.snapshot(WG0).unwrap().public_key, None);
    let Some(Command::AddInterface { mac1_key, .. }) = bob.commands().into_iter().next() else { panic!() };
    assert_ne!(mac1_key, crate::gate::InterfaceKeys::of(&bob.public().0).mac1);
    alice.want(at(1.0), bob_at_alice);
    let first = alice.messages().pop().unwrap();
    bob.take(at(1.0), 1, &first);
    bob.want(at(1.0), alice_at_bob);
    assert_eq!((bob.commands().len(), bob.dropped(DropReason::HandshakeInvalid)), (0, 1));
}

// WG-61, WG-37
#[test]
fn up_and_down_start_and_stop_keepalives_and_down_erases_and_drops() {
    let mut host = Host::new(1);
    apply(&mut host, &[Change::SetUp { interface: WG0, up: false }]);
    said(&mut host);
    let keepalive = |secs| Some(Duration::from_secs(secs));
    apply(
        &mut host,
        &[Change::Peer(PeerChange { keepalive: keepalive(25), ..peer(10) }), Change::Peer(peer(11))],
    );
    assert_eq!(said(&mut host), ["0: peer 0", "0: peer 1"]);
    apply(&mut host, &[Change::SetUp { interface: WG0, up: true }]);
    assert_eq!(said(&mut host), ["0: 0 every 25"]);
    apply(&mut host, &[Change::Peer(PeerChange { keepalive: keepalive(5), ..peer(11) })]);
    apply(&mut host, &[Change::Peer(PeerChange { keepalive: keepalive(5), ..peer(11) })]);
    assert_eq!(said(&mut host), ["0: 1 every 5"]);
    apply(&mut host, &[Change::SetUp { interface: WG0, up: false }]);
    let words =
        ["0: expire 0 true", "0: purge 0", "0: 0 every 0", "0: expire 1 true", "0: purge 1", "0: 1 every 0"];
    assert_eq!(said(&mut host), words);
    // While it is down, no handshake is begun or answered.
    host.set_path(at(1.0), PeerId { slot: 0, generation: 0 }, 1, Some(10));
    host.want(at(1.0), PeerId { slot: 0, generation: 0 });
    assert_eq!(host.messages().len(), 0);
}

#[test]
fn a_fixed_path_needs_an_endpoint_that_is_given_or_known() {
    let mut host = Host::new(1);
    let fixed = PeerChange { path_policy: Some(PathPolicy::Fixed), ..peer(10) };
    let refused = host.node.apply(at(0.0), &[Change::Peer(peer(11)), Change::Peer(fixed.clone())]);
    assert_eq!(refused, Err(ConfigError { change: 1, problem: ConfigProblem::FixedNowhere }));
    assert!(host.node.snapshot(WG0).unwrap().peers.is_empty());
    apply(&mut host, &[Change::Peer(PeerChange { endpoint: Some(path(10).remote), ..fixed.clone() })]);
    apply(&mut host, &[Change::Peer(fixed)]);
}

#[test]
fn a_fixed_path_and_its_endpoint_may_be_told_apart_and_go_with_their_peer() {
    let fixed = Change::Peer(PeerChange { path_policy: Some(PathPolicy::Fixed), ..peer(10) });
    let placed = Change::Peer(PeerChange { endpoint: Some(path(10).remote), ..peer(10) });
    let free = Change::Peer(PeerChange { path_policy: Some(PathPolicy::Roaming), ..peer(10) });
    let gone = Change::Peer(PeerChange { remove: true, ..peer(10) });
    let clear = Change::RemovePeers { interface: WG0 };
    let nowhere = |change| Err(ConfigError { change, problem: ConfigProblem::FixedNowhere });
    for good in [[&placed, &fixed], [&fixed, &placed], [&fixed, &free], [&fixed, &gone], [&fixed, &clear]] {
        let mut host = Host::new(1);
        apply(&mut host, &good.map(Clone::clone));
    }
    let mut host = Host::new(1);
    apply(&mut host, &[placed.clone(), fixed.clone()]);
    // What was to be told is told by the first look.
    let _ = host.state();
    let before = host.state();
    // With the peer went its endpoint.
    for end in [&gone, &clear] {
        let refused = host.node.apply(at(1.0), &[placed.clone(), end.clone(), fixed.clone(), fixed.clone()]);
        assert_eq!(refused, nowhere(2));
        assert!(host.state() == before);
    }
    // Of what is not there, nothing is asked.
    apply(&mut host, &[gone]);
    let unknown = PeerChange { path_policy: Some(PathPolicy::Fixed), update_only: true, ..peer(10) };
    assert_eq!(host.node.apply(at(1.0), &[Change::Peer(unknown)]), Ok(vec![None]));
}

#[test]
fn a_controller_hears_of_peers_with_the_socket_that_reaches_their_endpoint() {
    let mut host = Host::new(1);
    let v6 = "[2001:db8::1]:51820".parse().unwrap();
    let ids = apply(
        &mut host,
        &[
            Change::Peer(PeerChange { endpoint: Some(path(10).remote), ..peer(10) }),
            Change::Peer(PeerChange { endpoint: Some(v6), ..peer(11) }),
            Change::Peer(peer(12)),
        ],
    );
    let told =
        |host: &mut Host| -> Vec<_> { core::iter::from_fn(|| host.node.poll_controller_input()).collect() };
    let upserted =
        |index: usize, endpoint| (WG0, Input::PeerUpserted { peer: ids[index].unwrap(), endpoint });
    let none = [upserted(0, Some(path(10))), upserted(1, None), upserted(2, None)];
    assert_eq!(told(&mut host), none);
    apply(&mut host, &[Change::SetSockets { interface: WG0, v4: Some(SocketId(0)), v6: Some(SocketId(1)) }]);
    let by_v6 = FourTuple { socket: SocketId(1), remote: v6, local_ip: None };
    assert_eq!(told(&mut host), [upserted(0, Some(path(10))), upserted(1, Some(by_v6))]);
    // An endpoint that is where the peer was last heard from is no news; another one is.
    host.node.handle_controller(
        at(1.0),
        Output::SetPath {
            peer: ids[0].unwrap(),
            generation: 1,
            path: Some(Path::Direct(path(77))),
            roams: true,
        },
    );
    apply(&mut host, &[Change::Peer(PeerChange { endpoint: Some(path(77).remote), ..peer(10) })]);
    assert_eq!(told(&mut host), []);
    apply(&mut host, &[Change::Peer(PeerChange { endpoint: Some(path(10).remote), ..peer(10) })]);
    assert_eq!(told(&mut host), [upserted(0, Some(path(10)))]);
    // Of one that comes and goes before anyone listens, only the end is told.
    apply(&mut host, &[Change::Peer(PeerChange { endpoint: Some(path(9).remote), ..peer(10) })]);
    apply(&mut host, &[Change::RemovePeers { interface: WG0 }]);
    let removed = |index: usize| (WG0, Input::PeerRemoved { peer: ids[index].unwrap() });
    assert_eq!(told(&mut host), [removed(0), removed(1), removed(2)]);
}

#[test]
fn a_path_of_an_older_generation_changes_nothing() {
    let mut host = Host::new(1);
    let id = apply(&mut host, &[Change::Peer(peer(10))])[0].unwrap();
    host.set_path(at(1.0), id, 5, Some(10));
    host.commands();
    let before = host.settled();
    host.set_path(at(1.0), id, 4, Some(11));
    host.set_path(at(1.0), PeerId { generation: 1, ..id }, 9, Some(11));
    assert!(host.state() == before);
    host.set_path(at(1.0), id, 6, Some(12));
    assert_eq!(host.commands().len(), 1);
}

#[test]
fn a_list_with_one_impossible_change_is_refused_as_a_whole_with_its_place() {
    let limits = Limits { interfaces: 2, peers: 3, allowed_ips: 4, notices: 1 };
    let mut host = Host::new(1);
    host.node.limits = limits;
    let kept = PeerChange { allowed_ips: give(&["10.0.0.0/24", "10.0.1.0/24"]), ..peer(10) };
    apply(&mut host, &[Change::Peer(kept), Change::Peer(peer(11))]);
    let before = host.settled();
    let add = |id, mtu| Change::AddInterface {
        interface: InterfaceId(id),
        mtu,
        policy: HandshakePolicy::default(),
    };
    let nowhere = InterfaceId(9);
    let keepalive = |interval| Change::Peer(PeerChange { keepalive: Some(interval), ..peer(10) });
    let many = PeerChange { allowed_ips: give(&["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"]), ..peer(11) };
    let (long, odd) = (Duration::from_secs(65_536), Duration::from_millis(1500));
    let cases = [
        (add(0, 1420), ConfigProblem::InterfaceExists(WG0)),
        (add(5, 100), ConfigProblem::Mtu(100)),
        (Change::SetMtu { interface: WG0, mtu: 575 }, ConfigProblem::Mtu(575)),
        (Change::RemoveInterface { interface: nowhere }, ConfigProblem::UnknownInterface(nowhere)),
        (Change::SetUp { interface: nowhere, up: true }, ConfigProblem::UnknownInterface(nowhere)),
        (Change::Peer(PeerChange::new(nowhere, key(10))), ConfigProblem::UnknownInterface(nowhere)),
        (keepalive(long), ConfigProblem::Keepalive(long)),
        (keepalive(odd), ConfigProblem::Keepalive(odd)),
        (Change::Peer(many), ConfigProblem::AllowedIpsMax(4)),
    ];
    for (change, problem) in cases {
        let good = [Change::Peer(peer(12)), Change::Peer(PeerChange { remove: true, ..peer(10) })];
        let first = Change::Peer(PeerChange { keepalive: Some(Duration::from_secs(1)), ..peer(11) });
        let error = host.node.apply(at(1.0), &[first, change, good[0].clone(), good[1].clone()]).unwrap_err();
        assert_eq!(error, ConfigError { change: 1, problem });
        assert!(host.state() == before, "{problem}");
    }
    let error = host.node.apply(at(1.0), &[Change::Peer(peer(12)), Change::Peer(peer(13))]).unwrap_err();
    assert_eq!(error.to_string(), "change 1: more than 3 peers: raise the limit `peers`");
    let error = host.node.apply(at(1.0), &[add(1, 1420), add(2, 1420)]).unwrap_err();
    assert_eq!(error, ConfigError { change: 1, problem: ConfigProblem::InterfacesMax(2) });
    assert!(host.state() == before);
}

#[test]
fn what_a_list_frees_is_free_for_what_comes_behind_it() {
    let mut host = Host::new(1);
    host.node.limits = Limits { interfaces: 1, peers: 2, allowed_ips: 2, notices: 1 };
    let with = |number, texts: &[&str]| PeerChange { allowed_ips: give(texts), ..peer(number) };
    apply(&mut host, &[Change::Peer(with(10, &["10.0.0.0/24", "10.0.1.0/24"])), Change::Peer(peer(11))]);
    // All peers replaced by as many others.
    let all_new = [
        Change::RemovePeers { interface: WG0 },
        Change::Peer(with(12, &["10.0.0.0/24"])),
        Change::Peer(with(13, &["10.0.1.0/24"])),
    ];
    apply(&mut host, &all_new);
    apply(&mut host, &all_new);
    assert_eq!(allowed_ips(&host), [["10.0.0.0/24"], ["10.0.1.0/24"]]);
    // One removed, added and removed again; another one replaced.
    apply(
        &mut host,
        &[
            Change::Peer(PeerChange { remove: true, ..peer(12) }),
            Change::Peer(peer(14)),
            Change::Peer(PeerChange { remove: true, ..peer(14) }),
            Change::Peer(with(12, &["10.9.0.0/24"])),
            Change::Peer(PeerChange { replace_allowed_ips: true, ..with(13, &["10.8.0.0/24"]) }),
        ],
    );
    assert_eq!(allowed_ips(&host), [["10.8.0.0/24"], ["10.9.0.0/24"]]);
    // The interface itself.
    let fresh = Change::AddInterface { interface: WG0, mtu: 1420, policy: HandshakePolicy::default() };
    apply(
        &mut host,
        &[Change::RemoveInterface { interface: WG0 }, fresh, Change::Peer(with(12, &["10.0.0.0/24"]))],
    );
    assert_eq!(allowed_ips(&host), [["10.0.0.0/24"]]);
    assert_eq!((host.node.peers.len(), host.node.allowed.len()), (1, 1));
}
