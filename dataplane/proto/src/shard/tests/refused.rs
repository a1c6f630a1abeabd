//! What strangers send, and what is full.

use core::net::SocketAddr;

use dataplane_wire::wireguard::{INITIATION_LEN, RESPONSE_LEN, write_mac1};
use dataplane_wire::{RxMeta, SocketId};
use proptest::prelude::*;

use super::pair::Datagram;
use super::*;
use crate::noise::hash::mac;

/// A handshake message to B whose mac1 is right, from host `host`.
fn handshake(len: usize, host: u16) -> Datagram {
    let mut bytes = vec![7; len];
    bytes[..4].copy_from_slice(&[if len == INITIATION_LEN { 1 } else { 2 }, 0, 0, 0]);
    let keys = InterfaceKeys::of(&[B as u8; 32]);
    write_mac1(&mut bytes, |input| mac(&keys.mac1, &[input]));
    let [a, b] = host.to_be_bytes();
    datagram(([203, 0, a, b], 9).into(), bytes)
}

fn datagram(from: SocketAddr, bytes: Vec<u8>) -> Datagram {
    Datagram { from, to: ([192, 0, 2, 2], 2222).into(), local_ip: None, class: Default::default(), bytes }
}

fn bytes(bytes: &[u8]) -> Datagram {
    datagram(([203, 0, 113, 1], 9).into(), bytes.to_vec())
}

// WG-16
#[test]
fn wg_16_only_handshakes_with_the_right_mac1_reach_the_node() {
    let mut pair = Pair::new();
    let good = handshake(INITIATION_LEN, 1);
    let mut bad = good.clone();
    bad.bytes[120] ^= 1;
    pair.give(B, &[bad, good.clone(), handshake(RESPONSE_LEN, 1)]);
    let shard = &mut pair.sides[B].shard;
    let arrived = shard.poll_handshake().expect("the good one");
    assert_eq!((arrived.message.as_slice(), arrived.tuple.remote), (&good.bytes[..], good.from));
    assert_eq!(shard.poll_handshake().map(|arrived| arrived.message.as_slice().len()), Some(RESPONSE_LEN));
    assert_eq!(shard.poll_handshake(), None);
    assert_eq!(pair.sides[B].all_drops(), [("bad_mac1", 1)]);
    assert_eq!(pair.take(B), [], "and nothing is answered");
}

// WG-24, WG-25
#[test]
fn wg_25_from_an_eighth_of_the_queue_on_a_cookie_is_asked_for_and_the_load_shows() {
    let mut pair = Pair::new();
    for host in 0..8 {
        pair.give(B, &[handshake(INITIATION_LEN, host)]);
    }
    assert_eq!(pair.take(B), []);
    assert!(!pair.sides[B].shard.gate_stats(pair.now).under_load);
    let ninth = handshake(INITIATION_LEN, 9);
    pair.give(B, core::slice::from_ref(&ninth));
    let replies = pair.take(B);
    assert_eq!((replies.len(), replies[0].bytes.len(), replies[0].to), (1, 64, ninth.from));
    assert!(pair.sides[B].shard.gate_stats(pair.now).under_load);
    assert_eq!(pair.sides[B].all_drops(), [("needs_cookie", 1)]);
    assert_eq!(core::iter::from_fn(|| pair.sides[B].shard.poll_handshake()).count(), 8);
}

// WG-24
#[test]
fn wg_24_no_answer_to_a_stranger_is_longer_than_what_it_answers() {
    let mut pair = Pair::connected();
    for host in 0..9 {
        pair.give(B, &[handshake(INITIATION_LEN, host)]);
    }
    pair.take(B);
    let lens = [0, 1, 4, 20, 31, 32, 64, 91, 92, 93, 148, 149, 1452];
    let typed = (0..=4).flat_map(|kind| lens.map(|len| (kind, len))).map(|(kind, len)| {
        let mut message = vec![7; len];
        let head = len.min(4);
        message[..head].copy_from_slice(&[kind, 0, 0, 0][..head]);
        bytes(&message)
    });
    let (mut asked, mut answered) = (0, 0);
    for datagram in typed.chain([handshake(INITIATION_LEN, 20), handshake(RESPONSE_LEN, 21)]) {
        asked += 1;
        pair.give(B, core::slice::from_ref(&datagram));
        let answers = pair.take(B);
        let len: usize = answers.iter().map(|answer| answer.bytes.len()).sum();
        assert!(len <= datagram.bytes.len(), "{len} bytes for {}", datagram.bytes.len());
        assert!(answers.iter().all(|answer| answer.to == datagram.from));
        answered += answers.len();
    }
    assert_eq!((asked, answered), (67, 2), "only what has the right mac1 is answered");
}

// WG-21
#[test]
fn wg_21_a_cookie_reply_has_to_name_a_connection_of_ours() {
    let mut pair = Pair::connected();
    let mut reply = vec![0; 64];
    reply[0] = 3;
    let message = pair.forge(A, 1000, &[]);
    reply[4..8].copy_from_slice(&message.bytes[4..8]);
    pair.give(B, &[bytes(&reply)]);
    assert!(pair.sides[B].shard.poll_handshake().is_some());
    reply[6] ^= 1;
    pair.give(B, &[bytes(&reply)]);
    assert_eq!(pair.sides[B].shard.poll_handshake(), None);
    assert_eq!(pair.sides[B].all_drops(), [("unknown_index", 1)]);
}

// DX-1, DX-7
#[test]
fn dx_7_what_is_neither_handshake_nor_data_is_counted_by_its_kind() {
    let mut pair = Pair::connected();
    let mut stun = vec![0; 20];
    stun[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    let data = pair.forge(A, 1000, &udp4(1, 2, 64, 7)).bytes;
    let mut relayed = vec![0x40, 0, 0, data.len() as u8];
    relayed.extend_from_slice(&data);
    let delivered =
        pair.give(B, &[bytes(&stun), bytes(&relayed), bytes(b"hello"), bytes(&[4, 0, 0, 0, 1]), bytes(&[])]);
    assert_eq!(delivered, []);
    let expected = [
        ("unclassified", 2),
        ("malformed_length", 1),
        ("unexpected_channel_data", 1),
        ("unexpected_stun", 1),
    ];
    assert_eq!(pair.sides[B].all_drops(), expected);
}

// EN-2
#[test]
fn data_of_another_core_is_named_and_that_of_no_core_dropped() {
    let mut pair = Pair::connected();
    let mut arena = pair.forge(A, 1000, &udp4(1, 2, 64, 7)).bytes;
    let len = arena.len() as u32;
    let mut meta = RxMeta { tuple: *pair.path_to(A).tuple(), ecn: Ecn::NotEct, offset: 0, len, stride: len };
    arena[7] |= 0x80;
    assert_eq!(pair.receive(B, &mut arena, &[meta]), []);
    assert_eq!(pair.sides[B].inbound.foreign, [Foreign { core: CoreId(1), meta: 0, offset: 0, len }]);
    // The socket of another interface.
    arena[7] &= 0x7f;
    meta.tuple.socket = SocketId(1);
    assert_eq!(pair.receive(B, &mut arena, &[meta]), []);
    assert_eq!(pair.sides[B].inbound.foreign, []);
    assert_eq!(pair.sides[B].all_drops(), [("wrong_interface", 1)]);
}

// WG-46
#[test]
fn wg_46_a_failed_tag_shows_no_plaintext_and_marks_no_counter() {
    let mut pair = Pair::connected();
    let good = pair.forge(A, 1000, &udp4(1, 2, 64, 7));
    let mut arena = good.bytes.clone();
    let len = arena.len();
    arena[len - 1] ^= 1;
    let meta = RxMeta {
        tuple: *pair.path_to(A).tuple(),
        ecn: Ecn::NotEct,
        offset: 0,
        len: len as u32,
        stride: len as u32,
    };
    assert_eq!(pair.receive(B, &mut arena, &[meta]), []);
    assert!(!arena.windows(8).any(|window| window == [7; 8]), "plaintext shows");
    assert_eq!(pair.give(B, &[good]).len(), 1, "the counter is still free");
}

// WG-45
#[test]
fn wg_45_a_replay_is_dropped_before_and_after_the_window_has_moved() {
    let mut pair = Pair::connected();
    let first = pair.forge(A, 1000, &udp4(1, 2, 64, 7));
    let far = pair.forge(A, 1000 + 9000, &udp4(1, 2, 64, 7));
    let behind = pair.forge(A, 1001, &udp4(1, 2, 64, 7));
    let inside = pair.forge(A, 1000 + 9000 - 8128, &udp4(1, 2, 64, 7));
    assert_eq!(pair.give(B, &[first.clone(), first.clone()]).len(), 1);
    assert_eq!(pair.give(B, core::slice::from_ref(&first)).len(), 0);
    assert_eq!(pair.give(B, &[far, behind, inside, first]).len(), 2);
    assert_eq!(pair.sides[B].all_drops(), [("replay", 4)]);
}

/// Everything that a shard has taken in is somewhere.
fn accounted(pair: &Pair, side: usize) -> u64 {
    let shard = &pair.sides[side].shard;
    let totals = shard.totals();
    let drops: u64 = shard.drops().iter().sum();
    totals.rx_packets + totals.rx_keepalives + totals.rx_handshakes + totals.foreign + drops
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let typed =
        (0_u8..6, prop_oneof![Just(148), Just(92), Just(64), 0_usize..200]).prop_map(|(kind, len)| {
            let mut bytes = vec![0x55; len];
            if let Some(head) = bytes.first_chunk_mut() {
                *head = [kind, 0, 0, 0];
            }
            bytes
        });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..200), 2 => typed]
}

proptest! {
    // EN-13
    #[test]
    fn en_13_hostile_datagrams_move_counters_and_nothing_else(
        junk in prop::collection::vec(hostile(), 1..40),
        mutations in prop::collection::vec((0_u64..30, 0_usize..200, any::<u8>(), any::<bool>()), 1..60),
    ) {
        let mut pair = Pair::connected();
        let before = accounted(&pair, B);
        let mut datagrams: Vec<Datagram> = junk.iter().map(|junk| bytes(junk)).collect();
        for (counter, at, byte, cut) in mutations {
            let mut datagram = pair.forge(A, 100 + counter, &udp4(1, 2, 64 + counter as usize, 7));
            if cut {
                datagram.bytes.truncate(at);
            } else if let Some(found) = datagram.bytes.get_mut(at) {
                *found = byte;
            }
            datagrams.push(datagram);
        }
        for some in datagrams.chunks(7) {
            pair.give(B, some);
        }
        prop_assert_eq!(accounted(&pair, B) - before, datagrams.len() as u64);
        while pair.sides[B].shard.poll_handshake().is_some() {}
        pair.take(B);
        // The session is as good as before.
        pair.send(A, &udp4(1, 2, 64, 7));
        let sent = pair.take(A);
        prop_assert!(pair.give(B, &sent).len() <= 1);
        let fresh = pair.forge(A, 5000, &udp4(1, 2, 64, 7));
        prop_assert_eq!(pair.give(B, &[fresh]).len(), 1);
    }
}

#[test]
fn a_delivery_that_does_not_fit_is_counted() {
    let mut pair = Pair::connected();
    pair.sides[B].inbound = Inbound::with_capacity(4);
    let datagrams: Vec<Datagram> = (0..9).map(|n| pair.forge(A, 100 + n, &udp4(1, 2, 64, 7))).collect();
    assert_eq!(pair.give(B, &datagrams).len(), 4);
    assert_eq!(pair.sides[B].all_drops(), [("inner_full", 5)]);
    assert_eq!(pair.sides[B].inbound.packets.capacity(), 4);
}
