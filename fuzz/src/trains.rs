//! Send trains: what was committed leaves, once, in order, and in a shape that the kernel takes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dataplane_io::tx::{TRAIN_LEN_MAX, TRAIN_SEGMENTS_MAX};
use dataplane_io::{Class, Plan, Region, TxBatch};
use dataplane_wire::{FourTuple, SocketId, TrafficClass, TxMeta, TxSink};

use crate::input::Input;

/// Slabs of the arena, trains of the table, reservations of one input.
const SLABS: usize = 2;
const TRAINS_MAX: usize = 16;
const STEPS_MAX: usize = 200;

/// Reservations committed or dropped, to few destinations: the trains hold every datagram that was committed, in the order of
/// the commits to its destination.
pub fn trains(data: &[u8]) {
    let mut input = Input::new(data);
    let region = Region::new(&Plan::new().with("send arena", Class::Slab, SLABS)).expect("memory");
    let mut batch = TxBatch::new(&region, SLABS, TRAINS_MAX).expect("its line of the plan");
    for _ in 0..3 {
        let mut sent = Vec::new();
        for _ in 0..STEPS_MAX {
            if input.is_empty() || input.byte() == 0 {
                break;
            }
            reserve(&mut batch, &mut input, &mut sent);
        }
        leaves(&batch, &sent);
        batch.clear();
        assert!(batch.is_empty() && batch.datagrams() == 0 && batch.bytes() == 0);
    }
}

fn meta(number: u8) -> TxMeta {
    let remote: SocketAddr = match number % 4 {
        0 => ([192, 0, 2, 1], 1).into(),
        1 => ([192, 0, 2, 1], 2).into(),
        2 => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 1).into(),
        _ => ([10, 0, 0, number], 1).into(),
    };
    let local_ip = (number & 16 != 0).then(|| [10, 9, 9, 9].into());
    let tuple = FourTuple { socket: SocketId(u16::from(number >> 6)), remote, local_ip };
    TxMeta { tuple, class: TrafficClass(number >> 5 & 1) }
}

/// One reservation, filled with numbers that say which it is.
fn reserve(batch: &mut TxBatch, input: &mut Input<'_>, sent: &mut Vec<(TxMeta, Vec<u8>)>) {
    let meta = meta(input.byte());
    let segments = usize::from(input.pick(70));
    let segment_len = match input.pick(4) {
        0 => input.below(65_536),
        1 => 1_420,
        _ => usize::from(input.byte()) + 1,
    };
    let last_len = if input.byte() & 1 == 0 { segment_len } else { input.below(segment_len + 2) };
    let (room, datagrams, used) = (batch.room(), batch.datagrams(), batch.bytes());
    let len = (segment_len * segments.saturating_sub(1)).saturating_add(last_len);
    let valid = (1..=TRAIN_SEGMENTS_MAX).contains(&segments)
        && (1..=TRAIN_LEN_MAX).contains(&segment_len)
        && (1..=segment_len).contains(&last_len)
        && len <= TRAIN_LEN_MAX;
    let Ok(mut train) = batch.reserve_train(&meta, segment_len, segments, last_len) else {
        assert_eq!((batch.room(), batch.datagrams(), batch.bytes()), (room, datagrams, used));
        return;
    };
    assert!(valid && len <= room && train.len() == len);
    if input.byte() & 7 == 0 {
        drop(train);
        assert_eq!((batch.room(), batch.datagrams(), batch.bytes()), (room, datagrams, used));
        return;
    }
    let number = sent.len() as u8;
    for (at, byte) in train.bytes().iter_mut().enumerate() {
        *byte = number ^ (at / segment_len) as u8;
    }
    let bytes = train.bytes().to_vec();
    let offset = train.commit();
    assert_eq!(batch.arena()[offset..offset + len], bytes);
    sent.extend(bytes.chunks(segment_len).map(|datagram| (meta, datagram.to_vec())));
    assert_eq!((batch.datagrams(), batch.bytes()), (sent.len(), used + len));
}

fn leaves(batch: &TxBatch, sent: &[(TxMeta, Vec<u8>)]) {
    let mut left = Vec::new();
    for train in batch.trains() {
        let (segments, segment_len) = (train.segments(), train.segment_len());
        assert!(segments <= TRAIN_SEGMENTS_MAX && train.len() <= TRAIN_LEN_MAX && !train.is_empty());
        let datagrams: Vec<_> = train.datagrams().map(<[u8]>::to_vec).collect();
        assert_eq!(datagrams.len(), segments);
        assert_eq!(datagrams.iter().map(Vec::len).sum::<usize>(), train.len());
        let (last, others) = datagrams.split_last().expect("a train is never empty");
        assert!(others.iter().all(|datagram| datagram.len() == segment_len), "only the last may be shorter");
        assert!((1..=segment_len).contains(&last.len()));
        left.extend(datagrams.into_iter().map(|datagram| (*train.meta(), datagram)));
    }
    assert_eq!(left.len(), sent.len());
    // To one destination from one socket, whatever the source address and class, in the order of the commits.
    let by_destination = |all: &[(TxMeta, Vec<u8>)]| {
        let mut flows = BTreeMap::<_, Vec<_>>::new();
        for (meta, datagram) in all {
            let ends = (meta.tuple.socket.0, meta.tuple.remote);
            flows.entry(ends).or_default().push((*meta, datagram.clone()));
        }
        flows
    };
    assert!(by_destination(&left) == by_destination(sent), "lost, changed, or in another order");
}
