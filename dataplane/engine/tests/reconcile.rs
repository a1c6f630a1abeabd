//! Peers of an interface made what they shall be, as a whole.

mod common;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use common::{PATIENCE, Site, connect, tell};
use dataplane::{
    Change, Desired, DropReason, Engine, InterfaceError, IpPrefix, Limits, PathPolicy, Peer, PublicKey,
    Reconciled, Secret, Workers,
};

fn pair(seeds: [u8; 2]) -> (Engine, Site, Site) {
    let (engine, _) = Engine::builder().workers(Workers::Count(2)).start().unwrap();
    let [mut one, mut other] = seeds.map(|seed| Site::add(&engine, seed, 64));
    connect(&mut one, &mut other, &engine);
    (engine, one, other)
}

fn reconcile(site: &Site, peers: Vec<Peer>) -> Result<Reconciled, InterfaceError> {
    site.handle.reconcile(Desired::peers(peers)).unwrap().wait().unwrap()
}

fn stranger(number: u32) -> Peer {
    let mut key = [0x5a; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    let [_, a, b, c] = number.to_be_bytes();
    Peer::new(PublicKey(key)).allowed_ips(IpPrefix::new(Ipv4Addr::new(11, a, b, c).into(), 32))
}

fn last_handshake(site: &Site, of: &Site) -> Duration {
    let snapshot = site.handle.snapshot().unwrap().wait().unwrap().unwrap();
    let peer = snapshot.device.peers.into_iter().find(|peer| peer.public_key == of.key.public());
    peer.expect("the peer is there").last_handshake
}

/// FT-12: the same configuration again changes nothing, and no session is lost by another one.
#[test]
fn ten_thousand_peers_are_reconciled_in_one_call_while_traffic_flows_and_no_session_is_lost() {
    const PEERS: u32 = 10_000;
    let (engine, mut one, mut other) = pair([1, 2]);
    let first = last_handshake(&one, &other);
    let (handle, peer) = (one.handle.clone(), other.peer());
    let run = |range: std::ops::Range<u32>| {
        let desired = Desired::peers(range.map(stranger).chain([peer.clone()]));
        let begun = Instant::now();
        let counts = handle.reconcile(desired).unwrap().wait().unwrap().unwrap();
        (counts, begun.elapsed())
    };
    let (results, crossed) = std::thread::scope(|scope| {
        let reconciling = scope.spawn(|| [run(0..PEERS), run(0..PEERS), run(PEERS / 2..PEERS + PEERS / 2)]);
        let mut crossed = 0;
        while !reconciling.is_finished() {
            crossed += 1;
            one.send(other.address, [crossed]);
            assert_eq!(other.recv(PATIENCE), Some(crossed), "{}", tell(&engine));
        }
        (reconciling.join().unwrap(), crossed)
    });
    println!("{PEERS} peers: added, again, half of them replaced: {results:?}; {crossed} packets meanwhile");
    let (peers, half) = (PEERS as usize, PEERS as usize / 2);
    let none = Reconciled::default();
    assert_eq!(results[0].0, Reconciled { added: peers, unchanged: 1, ..none });
    assert_eq!(results[1].0, Reconciled { unchanged: peers + 1, ..none });
    assert_eq!(results[2].0, Reconciled { added: half, removed: half, unchanged: half + 1, ..none });
    assert_eq!(last_handshake(&one, &other), first, "the session is the one from before");
}

#[test]
fn a_reconciliation_that_cannot_be_leaves_everything_as_it_is() {
    let (_engine, mut one, mut other) = pair([3, 4]);
    let good = other.peer();
    let rival = stranger(1).allowed_ips(IpPrefix::new(other.address.into(), 32));
    let refused = reconcile(&one, vec![good.clone(), rival]);
    assert!(matches!(refused, Err(InterfaceError::PrefixTwice { .. })), "{refused:?}");
    let refused = reconcile(&one, vec![stranger(1), stranger(1)]);
    assert!(matches!(refused, Err(InterfaceError::PeerTwice(_))), "{refused:?}");
    let refused = reconcile(&one, vec![stranger(2), stranger(3).keepalive(Duration::from_millis(5))]);
    assert!(matches!(refused, Err(InterfaceError::Config(_))), "{refused:?}");
    let snapshot = one.handle.snapshot().unwrap().wait().unwrap().unwrap();
    assert_eq!(snapshot.device.peers.len(), 1);
    one.send(other.address, [7]);
    assert_eq!(other.recv(PATIENCE), Some(7));
}

#[test]
fn a_configured_endpoint_moves_a_peer_only_when_it_is_another_than_before() {
    let (_engine, one, _other) = pair([5, 6]);
    let endpoint = |site: &Site| {
        let snapshot = site.handle.snapshot().unwrap().wait().unwrap().unwrap();
        snapshot.device.peers.first().and_then(|peer| peer.endpoint)
    };
    let at = |port: u16| stranger(1).endpoint((Ipv4Addr::LOCALHOST, port).into());
    assert_eq!(reconcile(&one, vec![at(1)]).unwrap().removed, 1);
    assert_eq!(reconcile(&one, vec![at(1)]).unwrap().unchanged, 1);
    assert_eq!(reconcile(&one, vec![at(2)]).unwrap().changed, 1);
    assert_eq!(endpoint(&one), Some((Ipv4Addr::LOCALHOST, 2).into()));
    // Its own key in the list is left out.
    let own = Peer::new(one.key.public());
    let counts = reconcile(&one, vec![at(2), own.clone()]).unwrap();
    assert_eq!(counts, Reconciled { unchanged: 1, ..Reconciled::default() });
    let refused = one.handle.upsert(own).unwrap().wait().unwrap();
    assert!(matches!(refused, Err(InterfaceError::OwnKey)), "{refused:?}");
}

#[test]
fn a_peer_that_went_when_the_interface_got_its_key_comes_back_with_its_endpoint() {
    let (_engine, one, _other) = pair([15, 16]);
    let theirs = Secret::new([99; 32]);
    let peer = Peer::new(theirs.public()).endpoint((Ipv4Addr::LOCALHOST, 9).into());
    let with_key = |key: &Secret| {
        let change = Change { private_key: Some(key.clone()), ..Change::default() };
        one.handle.apply(change).unwrap().wait().unwrap().unwrap();
        one.handle.snapshot().unwrap().wait().unwrap().unwrap().device.peers
    };
    assert_eq!(reconcile(&one, vec![peer.clone()]).unwrap().added, 1);
    assert!(with_key(&theirs).is_empty());
    assert!(with_key(&one.key).is_empty());
    assert_eq!(reconcile(&one, vec![peer]).unwrap().added, 1);
    assert_eq!(with_key(&one.key)[0].endpoint, Some((Ipv4Addr::LOCALHOST, 9).into()));
}

#[test]
fn a_removed_peer_is_gone_and_so_is_its_id() {
    let (_engine, one, other) = pair([7, 8]);
    let id = one.know(&other);
    one.handle.remove_peer(id).unwrap().wait().unwrap().unwrap();
    let again = one.handle.remove_peer(id).unwrap().wait().unwrap();
    assert!(matches!(again, Err(InterfaceError::NoPeer)), "{again:?}");
    assert_ne!(one.know(&other), id);
}

/// FT-12: a prefix goes from peer to peer in one call with thousands of other changes between the two. The packets to it go to the
/// one or to the other: none finds it nobody's.
#[test]
fn a_prefix_that_goes_from_peer_to_peer_always_leads_to_one_of_them() {
    let (engine, mut one, mut other) = pair([9, 10]);
    let mut third = Site::add(&engine, 11, 64);
    connect(&mut one, &mut third, &engine);
    let moving = Ipv4Addr::new(10, 9, 9, 9);
    let prefix = IpPrefix::new(moving.into(), 32);
    let (first, last) = (other.peer(), third.peer());
    let handle = one.handle.clone();
    let flip = |round: u32| {
        let (mut first, mut last) = (first.clone(), last.clone());
        match round % 2 {
            0 => first = first.allowed_ips(prefix),
            _ => last = last.allowed_ips(prefix),
        }
        let between = (0..1000)
            .map(|number| stranger(number).keepalive(Duration::from_secs(u64::from(round % 2) + 100)));
        let strangers = between.chain((0..500).map(|number| stranger(10_000 + 500 * round + number)));
        let desired = Desired::peers([first].into_iter().chain(strangers).chain([last]));
        handle.reconcile(desired).unwrap().wait().unwrap().unwrap();
    };
    flip(0);
    let (mut sent, mut arrived) = (0, [0, 0]);
    std::thread::scope(|scope| {
        let flipping = scope.spawn(|| (1..9).for_each(flip));
        while !flipping.is_finished() {
            sent += 1;
            one.send(moving, [sent]);
            while other.recv(Duration::ZERO).is_some() {
                arrived[0] += 1;
            }
            while third.recv(Duration::ZERO).is_some() {
                arrived[1] += 1;
            }
        }
        flipping.join().unwrap();
    });
    assert!(arrived[0] > 0 && arrived[1] > 0, "{arrived:?}");
    let total = engine.stats().total();
    assert_eq!(total.drops.of(DropReason::NoRoute), 0, "of {sent}: {}", tell(&engine));
}

#[test]
fn peers_are_replaced_where_limits_leave_no_room_for_both() {
    let mut limits = Limits::default();
    limits.peers = 2;
    let (engine, _) = Engine::builder().workers(Workers::Count(1)).limits(limits).start().unwrap();
    let one = Site::add(&engine, 12, 8);
    assert_eq!(reconcile(&one, vec![stranger(1), stranger(2)]).unwrap().added, 2);
    let counts = reconcile(&one, vec![stranger(3), stranger(4)]).unwrap();
    assert_eq!(counts, Reconciled { added: 2, removed: 2, ..Reconciled::default() });
    let refused = reconcile(&one, vec![stranger(3), stranger(5), stranger(6)]);
    assert!(refused.is_err(), "{refused:?}");
    let snapshot = one.handle.snapshot().unwrap().wait().unwrap().unwrap();
    let keys: Vec<PublicKey> = snapshot.device.peers.iter().map(|peer| peer.public_key).collect();
    assert_eq!(keys, [stranger(3).public_key(), stranger(4).public_key()]);
}

/// WG-54
#[test]
fn a_peer_with_a_fixed_path_is_heard_from_elsewhere_and_stays_where_it_is_configured() {
    let (engine, mut one, mut other) = pair([13, 14]);
    let home = other.peer();
    let endpoint = |site: &Site| {
        let snapshot = site.handle.snapshot().unwrap().wait().unwrap().unwrap();
        snapshot.device.peers[0].endpoint.map(|endpoint| endpoint.port())
    };
    let port = other.port();
    let fixed = home.clone().path_policy(PathPolicy::Fixed);
    assert_eq!(reconcile(&one, vec![fixed.clone()]).unwrap().changed, 1);
    for up in [false, true] {
        other.handle.set_up(up).unwrap().wait().unwrap().unwrap();
    }
    let mut number = 100;
    let mut hear = |one: &mut Site, other: &mut Site| {
        number += 1;
        other.send(one.address, [number]);
        assert_eq!(one.recv(PATIENCE), Some(number), "{}", tell(&engine));
    };
    hear(&mut one, &mut other);
    assert_ne!(other.port(), port);
    assert_eq!(endpoint(&one), Some(port));
    // Free to roam, it is where it is heard from next; fixed again, it goes home.
    assert_eq!(reconcile(&one, vec![home]).unwrap().changed, 1);
    common::until("it has roamed", || {
        hear(&mut one, &mut other);
        endpoint(&one) == Some(other.port())
    });
    assert_eq!(reconcile(&one, vec![fixed.clone()]).unwrap().changed, 1);
    assert_eq!(endpoint(&one), Some(port));
    assert_eq!(reconcile(&one, vec![fixed]).unwrap().unchanged, 1);
}
