use super::*;
use crate::memory::Plan;
use dataplane_wire::{SocketId, TrafficClass};

fn batch(slabs: usize, trains_max: usize) -> TxBatch {
    let region = Region::new(&Plan::new().with("send arena", Class::Slab, slabs)).unwrap();
    TxBatch::new(&region, slabs, trains_max).unwrap()
}

fn to(port: u16) -> TxMeta {
    let tuple = FourTuple { socket: SocketId(0), remote: ([10, 0, 0, 1], port).into(), local_ip: None };
    TxMeta { tuple, class: TrafficClass(0) }
}

fn put(batch: &mut TxBatch, meta: &TxMeta, segment_len: usize, segments: usize, last_len: usize, mark: u8) {
    let mut train = batch.reserve_train(meta, segment_len, segments, last_len).unwrap();
    train.bytes().fill(mark);
    train.commit();
}

fn single(batch: &mut TxBatch, meta: &TxMeta, len: usize, mark: u8) {
    put(batch, meta, len, 1, len, mark);
}

/// Port, segment length, segments and bytes of each train.
fn shapes(batch: &TxBatch) -> Vec<(u16, usize, usize, usize)> {
    batch.trains().map(|t| (t.meta().tuple.remote.port(), t.segment_len(), t.segments(), t.len())).collect()
}

// EN-4
#[test]
fn equal_singles_to_one_destination_become_one_contiguous_train() {
    let mut batch = batch(1, 16);
    (0..3).for_each(|mark| single(&mut batch, &to(1), 100, mark));
    assert_eq!(shapes(&batch), [(1, 100, 3, 300)]);
    assert_eq!(batch.trains().next().unwrap().pieces().count(), 1);
}

// EN-4
#[test]
fn interleaved_destinations_become_gathered_trains_in_order() {
    let mut batch = batch(1, 16);
    for mark in 0..6 {
        single(&mut batch, &to(1 + u16::from(mark) % 2), 50, mark);
    }
    assert_eq!(shapes(&batch), [(1, 50, 3, 150), (2, 50, 3, 150)]);
    let marks: Vec<Vec<u8>> = batch.trains().map(|t| t.datagrams().map(|d| d[0]).collect()).collect();
    assert_eq!(marks, [[0, 2, 4], [1, 3, 5]]);
    assert!(batch.trains().all(|t| t.pieces().count() == 3));
}

// EN-4
#[test]
fn a_shorter_tail_joins_and_seals_the_train() {
    let mut batch = batch(1, 16);
    single(&mut batch, &to(1), 100, 0);
    single(&mut batch, &to(1), 60, 1);
    single(&mut batch, &to(1), 60, 2);
    single(&mut batch, &to(1), 61, 3);
    assert_eq!(shapes(&batch), [(1, 100, 2, 160), (1, 60, 1, 60), (1, 61, 1, 61)]);
}

#[test]
fn another_traffic_class_starts_a_train_that_is_never_overtaken() {
    let mut batch = batch(1, 16);
    let marked = TxMeta { class: TrafficClass(3), ..to(1) };
    single(&mut batch, &to(1), 100, 0);
    single(&mut batch, &marked, 100, 1);
    single(&mut batch, &to(1), 100, 2);
    assert_eq!(shapes(&batch).len(), 3, "the third datagram must not go in front of the second");
    let order: Vec<u8> = batch.trains().flat_map(|t| t.datagrams().map(|d| d[0])).collect();
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn another_source_address_starts_a_train_that_is_never_overtaken() {
    let mut batch = batch(1, 16);
    let mut moved = to(1);
    moved.tuple.local_ip = Some([10, 0, 0, 9].into());
    single(&mut batch, &to(1), 100, 0);
    single(&mut batch, &moved, 100, 1);
    single(&mut batch, &to(1), 100, 2);
    let order: Vec<u8> = batch.trains().flat_map(|t| t.datagrams().map(|d| d[0])).collect();
    assert_eq!(order, [0, 1, 2]);
}

// EN-4
#[test]
fn a_train_holds_at_most_64_segments_and_65507_bytes() {
    let mut batch = batch(4, 64);
    (0..65).for_each(|_| single(&mut batch, &to(1), 10, 0));
    assert_eq!(shapes(&batch), [(1, 10, 64, 640), (1, 10, 1, 10)]);
    batch.clear();
    put(&mut batch, &to(1), 1452, 45, 1452, 0);
    single(&mut batch, &to(1), 1452, 1);
    assert_eq!(shapes(&batch), [(1, 1452, 45, 65_340), (1, 1452, 1, 1452)]);
}

#[test]
fn impossible_reservations_are_refused() {
    let mut batch = batch(1, 4);
    for (segment_len, segments, last_len) in
        [(0, 1, 0), (10, 0, 10), (10, 65, 10), (10, 2, 11), (10, 2, 0), (65_508, 1, 65_508), (1452, 46, 1452)]
    {
        let refused = batch.reserve_train(&to(1), segment_len, segments, last_len).is_err();
        assert!(refused, "{segment_len} x {segments}, last {last_len}");
    }
    assert!(batch.reserve_train(&to(1), 65_507, 1, 65_507).is_ok());
}

#[test]
fn a_dropped_reservation_rolls_back() {
    let mut batch = batch(1, 4);
    let room = batch.room();
    drop(batch.reserve_train(&to(1), 100, 4, 100).unwrap());
    assert_eq!((batch.room(), batch.is_empty(), batch.datagrams()), (room, true, 0));
}

#[test]
fn a_full_arena_or_table_says_so_and_works_again_after_a_clear() {
    let mut batch = batch(1, 3);
    for port in 0..3 {
        single(&mut batch, &to(port), 10, 0);
    }
    assert!(batch.reserve_train(&to(9), 10, 1, 10).is_err(), "three trains are all");
    batch.clear();
    single(&mut batch, &to(1), 60_000, 0);
    assert!(batch.reserve_train(&to(2), 10_000, 1, 10_000).is_err(), "one slab is all");
    batch.clear();
    single(&mut batch, &to(2), 10_000, 0);
    assert_eq!(shapes(&batch), [(2, 10_000, 1, 10_000)]);
}

#[test]
fn a_stale_entry_of_an_earlier_batch_extends_nothing() {
    let mut batch = batch(1, 16);
    single(&mut batch, &to(7), 10, 0);
    single(&mut batch, &to(1), 10, 0);
    batch.clear();
    // The table still says that the last train to port 1 is number 1, which now goes elsewhere.
    single(&mut batch, &to(8), 10, 1);
    single(&mut batch, &to(9), 10, 2);
    single(&mut batch, &to(1), 10, 3);
    assert_eq!(shapes(&batch).iter().map(|s| s.0).collect::<Vec<_>>(), [8, 9, 1]);
}

proptest::proptest! {
    // EN-4
    #[test]
    fn every_destination_gets_its_datagrams_in_order_and_all_of_them(
        packets in proptest::collection::vec((0u16..700, 1usize..4, 1usize..5, 0u8..2), 1..400),
    ) {
        let mut batch = batch(8, 512);
        let mut sent: std::collections::BTreeMap<u16, Vec<(u8, Vec<u8>)>> = Default::default();
        for (number, &(port, length, segments, class)) in packets.iter().enumerate() {
            let meta = TxMeta { class: TrafficClass(class), ..to(port) };
            let (segment_len, last_len) = (length * 40, (length * 40).min(50));
            let Ok(mut train) = batch.reserve_train(&meta, segment_len, segments, last_len) else { continue };
            for (at, byte) in train.bytes().iter_mut().enumerate() {
                *byte = (number * 31 + at * 7) as u8;
            }
            let list = sent.entry(port).or_default();
            list.extend(train.bytes().chunks(segment_len).map(|d| (class, d.to_vec())));
            train.commit();
        }
        let mut left: std::collections::BTreeMap<u16, Vec<(u8, Vec<u8>)>> = Default::default();
        for train in batch.trains() {
            proptest::prop_assert!(train.segments() <= TRAIN_SEGMENTS_MAX && train.len() <= TRAIN_LEN_MAX);
            let datagrams: Vec<_> = train.datagrams().collect();
            proptest::prop_assert_eq!(datagrams.len(), train.segments());
            for (index, datagram) in datagrams.iter().enumerate() {
                let full = datagram.len() == train.segment_len();
                proptest::prop_assert!(full || index + 1 == datagrams.len());
                let meta = train.meta();
                left.entry(meta.tuple.remote.port()).or_default().push((meta.class.0, datagram.to_vec()));
            }
        }
        proptest::prop_assert_eq!(sent, left);
    }
}
