//! Peers of an interface made what they shall be, as a whole.

mod common;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use common::{PATIENCE, Site, connect, tell};
use dataplane::{Desired, Engine, InterfaceError, IpPrefix, Peer, PublicKey, Reconciled, Workers};

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
fn a_removed_peer_is_gone_and_so_is_its_id() {
    let (_engine, one, other) = pair([7, 8]);
    let id = one.know(&other);
    one.handle.remove_peer(id).unwrap().wait().unwrap().unwrap();
    let again = one.handle.remove_peer(id).unwrap().wait().unwrap();
    assert!(matches!(again, Err(InterfaceError::NoPeer)), "{again:?}");
    assert_ne!(one.know(&other), id);
}
