//! Who is kept out for sending nothing but what is refused, and who never is.

use core::net::SocketAddr;

use dataplane_wire::SocketId;
use dataplane_wire::wireguard::{INITIATION_LEN, write_mac1, write_mac2};

use super::pair::Datagram;
use super::*;
use crate::shun::{HOLD, REFUSED_MAX};

fn stranger() -> SocketAddr {
    ([198, 51, 100, 66], 6).into()
}

/// So many datagrams from an address to B, more than are borne in a moment.
fn flood(pair: &mut Pair, from: SocketAddr, bytes: &[u8]) {
    let to = ([192, 0, 2, 2], 2222).into();
    let one = Datagram { from, to, local_ip: None, class: Default::default(), bytes: bytes.to_vec() };
    let batch = vec![one; 100];
    for _ in 0..=REFUSED_MAX / 100 {
        assert_eq!(pair.give(B, &batch), []);
    }
}

fn shunned(pair: &mut Pair) -> Vec<SocketAddr> {
    let now = pair.now;
    pair.sides[B].shard.shunned(now).map(|shunned| shunned.source.remote).collect()
}

/// What A sends as data, and what makes it of no use: an index that nobody has, a counter seen before, a tag that is wrong.
fn refused(pair: &mut Pair) -> [Vec<u8>; 4] {
    pair.send(A, &udp4(1, 2, 64, 7));
    let good = pair.take(A).remove(0);
    assert_eq!(pair.give(B, core::slice::from_ref(&good)).len(), 1);
    let with = |at: usize| {
        let mut bytes = good.bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    // The counter after the next has not been seen: the cipher says no.
    let mut forged = with(20);
    forged[9] = 1;
    [good.bytes.clone(), with(4), forged, vec![9; 100]]
}

#[test]
fn a_source_is_shunned_for_a_while_for_replays_unknown_indices_forgeries_and_junk() {
    for kind in 0..4 {
        let mut pair = Pair::connected();
        let bytes = &refused(&mut pair)[kind];
        assert_eq!(shunned(&mut pair), []);
        flood(&mut pair, stranger(), bytes);
        assert_eq!(shunned(&mut pair), [stranger()], "kind {kind}");
        let until = pair.now + HOLD;
        assert_eq!(pair.sides[B].shard.shunned_until(), Some(until));
        pair.now = until;
        assert_eq!(shunned(&mut pair), []);
        assert_eq!(pair.sides[B].shard.shunned_until(), None);
    }
}

// WG-16
#[test]
fn a_source_is_shunned_for_handshakes_without_the_right_mac1_and_for_a_garbage_mac2() {
    let mut bytes = vec![7; INITIATION_LEN];
    bytes[..4].copy_from_slice(&[1, 0, 0, 0]);
    let mut pair = Pair::new();
    flood(&mut pair, stranger(), &bytes);
    assert_eq!(pair.sides[B].drops(DropReason::BadMac1), u64::from(REFUSED_MAX) + 100);
    assert_eq!(shunned(&mut pair), [stranger()]);

    let keys = crate::gate::InterfaceKeys::of(&[B as u8; 32]);
    write_mac1(&mut bytes, |input| crate::noise::hash::mac(&keys.mac1, &[input]));
    write_mac2(&mut bytes, |_| [0xee; 16]);
    let mut pair = Pair::new();
    flood(&mut pair, stranger(), &bytes);
    // An eighth of the queue is filled before there is load; then what is no cookie helps nobody, and few are answered.
    assert_eq!(core::iter::from_fn(|| pair.sides[B].shard.poll_handshake()).count(), 8);
    assert_eq!(pair.sides[B].drops(DropReason::NeedsCookie), u64::from(REFUSED_MAX) + 92);
    assert_eq!(shunned(&mut pair), [stranger()]);
}

#[test]
fn handshakes_of_a_shunned_source_are_kept_out_only_by_a_shard_that_knows_all_peers() {
    for cores in [1, 2] {
        let mut pair = Pair::new();
        pair.sides[B].shard.config.cores = cores;
        let mut bytes = vec![7; INITIATION_LEN];
        bytes[..4].copy_from_slice(&[1, 0, 0, 0]);
        flood(&mut pair, stranger(), &bytes);
        let now = pair.now;
        let shunned: Vec<_> = pair.sides[B].shard.shunned(now).map(|shunned| shunned.handshakes).collect();
        assert_eq!(shunned, [cores == 1]);
    }
}

#[test]
fn whoever_forges_a_peer_s_address_does_not_get_it_shunned() {
    let mut pair = Pair::connected();
    let kinds = refused(&mut pair);
    let peer = pair.sides[A].address;
    for bytes in &kinds {
        flood(&mut pair, peer, bytes);
        assert_eq!(shunned(&mut pair), []);
    }
    // Its port is its own, too.
    flood(&mut pair, SocketAddr::new(peer.ip(), 9), &kinds[3]);
    assert_eq!(shunned(&mut pair), [SocketAddr::new(peer.ip(), 9)]);
}

// WG-54
#[test]
fn a_peer_that_moves_to_a_shunned_address_is_let_in_by_its_first_datagram() {
    let mut pair = Pair::connected();
    let junk = vec![9; 100];
    flood(&mut pair, stranger(), &junk);
    assert_eq!(shunned(&mut pair), [stranger()]);
    // It came while the filter was not there yet, or is not there again.
    pair.send(A, &udp4(1, 2, 64, 7));
    let moved = Datagram { from: stranger(), ..pair.take(A).remove(0) };
    assert_eq!(pair.give(B, &[moved]).len(), 1);
    assert_eq!(shunned(&mut pair), []);
    flood(&mut pair, stranger(), &junk);
    assert_eq!(shunned(&mut pair), []);
    // So is one whose endpoint is set there.
    let other = SocketAddr::new(stranger().ip(), 7);
    flood(&mut pair, other, &junk);
    assert_eq!(shunned(&mut pair), [other]);
    let path = Some(Path::Direct(FourTuple { socket: SocketId(0), remote: other, local_ip: None }));
    let peer = pair.sides[B].peer;
    pair.command(B, Command::SetPath { peer, generation: 2, path, roams: true });
    assert_eq!(shunned(&mut pair), []);
}

#[test]
fn what_comes_late_is_nobody_s_fault() {
    let mut pair = Pair::connected();
    let [_, _, forged, _] = refused(&mut pair);
    pair.now += REJECT_AFTER_TIME;
    flood(&mut pair, stranger(), &forged);
    assert!(pair.sides[B].drops(DropReason::SessionExpired) > u64::from(REFUSED_MAX));
    assert_eq!(shunned(&mut pair), []);
}
