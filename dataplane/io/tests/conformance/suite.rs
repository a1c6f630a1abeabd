//! What every backend must do.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dataplane_io::poll::{Interest, Poller, Token};
use dataplane_io::{Class, PacketIo, RxRing, SendReport};
use dataplane_wire::{DropReason, Ecn, FourTuple, RxMeta, SocketId, TrafficClass, TxMeta, TxSink};

use crate::labs::{Ends, Lab, RX_SLOTS, Wish};

/// A datagram as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) meta: RxMeta,
    pub(crate) bytes: Vec<u8>,
}

/// What arrived, and what was cut off.
#[derive(Default)]
pub(crate) struct Drained {
    pub(crate) datagrams: Vec<Arrived>,
    pub(crate) trains: Vec<RxMeta>,
    pub(crate) truncated: u64,
    pub(crate) errors: u64,
}

/// Bytes that tell datagrams apart: the number in front, as far as it fits.
pub(crate) fn datagram(number: u32, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (number as usize + at) as u8).collect();
    let head = number.to_be_bytes();
    let fits = len.min(4);
    bytes[..fits].copy_from_slice(&head[4 - fits..]);
    bytes
}

pub(crate) fn to(remote: SocketAddr) -> TxMeta {
    let tuple = FourTuple { socket: SocketId(0), remote, local_ip: None };
    TxMeta { tuple, class: TrafficClass(0) }
}

impl<P: PacketIo> Ends<P> {
    /// Commits datagrams of equal length, the last of which may be shorter, as one train.
    pub(crate) fn commit(&mut self, meta: &TxMeta, datagrams: &[Vec<u8>]) {
        let (first, last) = (datagrams[0].len(), datagrams[datagrams.len() - 1].len());
        let mut train = self.tx.reserve_train(meta, first, datagrams.len(), last).unwrap();
        let mut rest = train.bytes();
        for datagram in datagrams {
            let (head, tail) = rest.split_at_mut(datagram.len());
            head.copy_from_slice(datagram);
            rest = tail;
        }
        train.commit();
    }

    pub(crate) fn send(&mut self) -> SendReport {
        let report = self.a.send(&mut self.tx);
        assert!(self.tx.is_empty());
        report
    }

    /// Receives until there is nothing left.
    pub(crate) fn drain(&mut self) -> Drained {
        let mut drained = Drained::default();
        self.b.set_all_ready();
        loop {
            let report = self.b.recv(&mut self.rx);
            drained.truncated += report.truncated;
            drained.errors += report.errors;
            let (arena, metas) = self.rx.split();
            for meta in metas {
                drained.trains.push(*meta);
                for (offset, len) in meta.segments() {
                    let bytes = arena[offset..offset + len].to_vec();
                    drained.datagrams.push(Arrived { meta: *meta, bytes });
                }
            }
            if !report.more {
                return drained;
            }
        }
    }

    fn drain_bytes(&mut self) -> Vec<Vec<u8>> {
        self.drain().datagrams.into_iter().map(|arrived| arrived.bytes).collect()
    }
}

pub(crate) fn trains_arrive_as_the_datagrams_that_were_sent<L: Lab>() {
    let mut ends = L::ends(Wish::default());
    let meta = to(ends.to[0]);
    let mut number = 0;
    for (segment_len, segments, last_len) in
        [(1452, 44, 1452), (1452, 44, 100), (100, 64, 1), (1200, 2, 1199), (32_000, 2, 32_000), (1, 5, 1)]
    {
        let mut train: Vec<_> = (number..number + segments).map(|n| datagram(n, segment_len)).collect();
        train.last_mut().unwrap().truncate(last_len);
        number += segments;
        ends.commit(&meta, &train);
        let report = ends.send();
        assert_eq!((report.datagrams, report.dropped()), (u64::from(segments), 0));
        assert_eq!(report.bytes as usize, train.iter().map(Vec::len).sum::<usize>());
        assert!(ends.drain_bytes() == train, "{segments} x {segment_len}, last {last_len}");
    }
}

pub(crate) fn datagrams_of_every_length_keep_their_boundaries<L: Lab>() {
    let mut ends = L::ends(Wish::default());
    let meta = to(ends.to[0]);
    let lens = [1, 2, 3, 31, 32, 148, 92, 1280, 1452, 1453, 9000, 30_000, 65_507, 64, 1];
    let mut sent = Vec::new();
    for (number, &len) in lens.iter().enumerate() {
        sent.push(datagram(number as u32, len));
        ends.commit(&meta, &sent[number..]);
    }
    assert_eq!(ends.send().dropped(), 0);
    assert!(ends.drain_bytes() == sent);
}

pub(crate) fn each_destination_gets_its_own_in_order<L: Lab>() {
    const RECEIVERS: u16 = 20;
    let mut ends = L::ends(Wish { receivers: RECEIVERS, ..Wish::default() });
    let mut sent: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
    for number in 0..400u32 {
        // Runs of equal lengths, tails and lone datagrams, all interleaved.
        let receiver = (number * 7 % u32::from(RECEIVERS)) as u16;
        let bytes = datagram(number, [200, 200, 200, 90, 1300][(number / 40 % 5) as usize]);
        ends.commit(&to(ends.to[usize::from(receiver)]), std::slice::from_ref(&bytes));
        sent.entry(receiver).or_default().push(bytes);
    }
    let report = ends.send();
    assert_eq!((report.datagrams, report.dropped()), (400, 0));
    let mut arrived: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
    for datagram in ends.drain().datagrams {
        arrived.entry(datagram.meta.tuple.socket.0).or_default().push(datagram.bytes);
    }
    assert!(arrived == sent);
}

pub(crate) fn ecn_marks_are_carried_and_never_mixed<L: Lab>() {
    let mut ends = L::ends(Wish::default());
    let marks = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect0, Ecn::Ect1, Ecn::Ce, Ecn::NotEct];
    for (number, &ecn) in marks.iter().enumerate() {
        let meta = TxMeta { class: TrafficClass::ecn_only(ecn), ..to(ends.to[0]) };
        ends.commit(&meta, &[datagram(number as u32, 300)]);
    }
    // With a code point beside it.
    ends.commit(&TxMeta { class: TrafficClass(0x88 | 1), ..to(ends.to[0]) }, &[datagram(6, 300)]);
    assert_eq!(ends.send().dropped(), 0);
    let drained = ends.drain();
    let arrived: Vec<Ecn> = drained.datagrams.iter().map(|arrived| arrived.meta.ecn).collect();
    assert_eq!(arrived[..6], marks);
    assert_eq!(arrived[6], Ecn::Ect1);
}

pub(crate) fn addresses_of_both_ends_are_reported<L: Lab>() {
    let mut ends = L::ends(Wish { receivers: 2, ..Wish::default() });
    for receiver in 0..2 {
        ends.commit(&to(ends.to[receiver]), &[datagram(0, 50)]);
    }
    ends.send();
    let drained = ends.drain();
    assert_eq!(drained.datagrams.len(), 2);
    for arrived in drained.datagrams {
        let tuple = arrived.meta.tuple;
        assert_eq!(tuple.remote, ends.from);
        assert_eq!(tuple.local_ip, Some(ends.to[usize::from(tuple.socket.0)].ip()));
    }
}

pub(crate) fn a_chosen_source_is_used<L: Lab>() {
    let mut ends = L::ends(Wish::default());
    for source in [Some(ends.from.ip()), ends.second_source, None].into_iter().flatten() {
        let mut meta = to(ends.to[0]);
        meta.tuple.local_ip = Some(source);
        ends.commit(&meta, &[datagram(0, 500), datagram(1, 500), datagram(2, 20)]);
        let report = ends.send();
        assert_eq!((report.datagrams, report.rejected_sources.len()), (3, 0));
        let drained = ends.drain();
        assert_eq!(drained.datagrams.len(), 3);
        assert!(drained.datagrams.iter().all(|arrived| arrived.meta.tuple.remote.ip() == source));
    }
}

pub(crate) fn a_source_that_is_not_ours_is_reported_and_left_out<L: Lab>() {
    let mut ends = L::ends(Wish { receivers: 2, ..Wish::default() });
    let foreign: IpAddr =
        if ends.from.is_ipv4() { [203, 0, 113, 1].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into() };
    let gso_before = ends.a.offloads().gso;
    let train: Vec<_> = (0..5).map(|number| datagram(number, 700)).collect();
    let mut meta = to(ends.to[0]);
    meta.tuple.local_ip = Some(foreign);
    ends.commit(&meta, &train);
    ends.commit(&to(ends.to[1]), &train);
    ends.commit(&meta, &[datagram(5, 800)]);
    let report = ends.send();
    assert_eq!((report.datagrams, report.dropped()), (11, 0));
    assert_eq!(report.rejected_sources.as_slice(), [meta.tuple]);
    let drained = ends.drain();
    assert_eq!(drained.datagrams.len(), 11);
    assert!(drained.datagrams.iter().all(|arrived| arrived.meta.tuple.remote == ends.from));
    assert_eq!(ends.a.offloads().gso, gso_before, "the address was at fault, not GSO");
}

pub(crate) fn what_exceeds_a_slot_is_counted_and_the_rest_arrives<L: Lab>() {
    let mut ends = L::ends(Wish { receivers: 2, offloads: false });
    ends.rx = RxRing::new(&ends.region, Class::Frame, RX_SLOTS).unwrap();
    for receiver in 0..2u32 {
        for (number, len) in [(0, 1000), (1, 1999), (2, 1500), (3, 60_000), (4, 10)] {
            ends.commit(&to(ends.to[receiver as usize]), &[datagram(receiver * 10 + number, len)]);
        }
    }
    assert_eq!(ends.send().datagrams, 10);
    let drained = ends.drain();
    assert_eq!(drained.truncated, 4);
    let mut arrived: Vec<_> = drained.datagrams.into_iter().map(|arrived| arrived.bytes).collect();
    arrived.sort();
    let small = [(0, 1000), (2, 1500), (4, 10), (10, 1000), (12, 1500), (14, 10)];
    assert!(arrived == small.map(|(number, len)| datagram(number, len)), "a datagram was overwritten");
}

pub(crate) fn without_a_socket_datagrams_are_counted<L: Lab>() {
    let mut ends = L::ends(Wish::default());
    let mut gone = to(ends.to[0]);
    gone.tuple.socket = SocketId(999);
    ends.commit(&gone, &[datagram(0, 100), datagram(1, 100)]);
    ends.commit(&to(ends.other_family), &[datagram(2, 100)]);
    ends.commit(&to(ends.to[0]), &[datagram(3, 100)]);
    let report = ends.send();
    let drops: Vec<_> = report.drops().collect();
    assert_eq!(drops, [(DropReason::TxUnreachable, 1), (DropReason::InterfaceGone, 2)]);
    assert_eq!(report.datagrams, 1);
    assert_eq!(ends.drain_bytes(), [datagram(3, 100)]);
}

pub(crate) fn an_unreachable_destination_is_counted_and_stops_nobody<L: Lab>() {
    let mut ends = L::ends(Wish::default());
    for round in 0..3 {
        let sent: Vec<_> = (0..3).map(|number| datagram(10 * round + number, 100)).collect();
        ends.commit(&to(ends.to[0]), &sent[..1]);
        ends.commit(&to(ends.nowhere), &[datagram(0, 100), datagram(1, 60)]);
        ends.commit(&to(ends.to[0]), &sent[1..]);
        let report = ends.send();
        assert_eq!((report.datagrams, report.dropped()), (3, 2));
        assert!(ends.drain_bytes() == sent);
    }
}

pub(crate) fn without_offloads_the_same_datagrams_arrive_singly<L: Lab>() {
    let mut ends = L::ends(Wish { offloads: false, ..Wish::default() });
    assert!(!ends.a.offloads().gso.is_on() && !ends.b.offloads().gro.is_on());
    let mut train: Vec<_> = (0..44).map(|number| datagram(number, 1452)).collect();
    train[43].truncate(7);
    ends.commit(&to(ends.to[0]), &train);
    assert_eq!(ends.send().datagrams, 44);
    let drained = ends.drain();
    assert!(drained.trains.iter().all(|meta| meta.stride == meta.len), "a train arrived");
    assert!(drained.datagrams.into_iter().map(|arrived| arrived.bytes).eq(train));
}

pub(crate) fn descriptors_become_readable_and_tell_which_socket<L: Lab>() {
    let mut ends = L::ends(Wish { receivers: 3, ..Wish::default() });
    assert!(ends.drain().datagrams.is_empty());
    let mut poller = Poller::new(8).unwrap();
    let mut tokens = Vec::new();
    ends.b.poll_fds(&mut |token, fd| {
        poller.add(fd, Token(token.0.into()), Interest::Read).unwrap();
        tokens.push(token);
    });
    assert_eq!(tokens.len(), 3);
    for receiver in [2, 0, 1] {
        poller.wait(Some(Duration::ZERO)).unwrap();
        assert_eq!(poller.ready().count(), 0);
        ends.commit(&to(ends.to[receiver]), &[datagram(0, 100)]);
        ends.send();
        poller.wait(Some(Duration::from_secs(5))).unwrap();
        let ready: Vec<Token> = poller.ready().map(|ready| ready.token).collect();
        assert_eq!(ready, [Token(tokens[receiver].0.into())]);
        ends.b.set_ready(tokens[receiver]);
        let report = ends.b.recv(&mut ends.rx);
        assert_eq!((ends.rx.metas().len(), report.more), (1, false));
        assert_eq!(usize::from(ends.rx.metas()[0].tuple.socket.0), receiver);
    }
}

pub(crate) fn a_small_ring_loses_nothing<L: Lab>() {
    let mut ends = L::ends(Wish { receivers: 2, ..Wish::default() });
    ends.rx = RxRing::new(&ends.region, Class::Slab, 3).unwrap();
    let lone: Vec<_> = (0..40).map(|number| datagram(number, 100 + number as usize)).collect();
    for (number, bytes) in lone.iter().enumerate() {
        ends.commit(&to(ends.to[number % 2]), std::slice::from_ref(bytes));
    }
    assert_eq!(ends.send().dropped(), 0);
    let mut arrived = ends.drain_bytes();
    arrived.sort_by_key(Vec::len);
    assert!(arrived == lone);
}

pub(crate) fn a_busy_socket_does_not_starve_the_others<L: Lab>() {
    let mut ends = L::ends(Wish { receivers: 2, ..Wish::default() });
    ends.rx = RxRing::new(&ends.region, Class::Slab, 4).unwrap();
    for number in 0..200 {
        ends.commit(&to(ends.to[0]), &[datagram(number, 1 + number as usize)]);
    }
    ends.commit(&to(ends.to[1]), &[datagram(0, 77)]);
    ends.send();
    ends.b.set_all_ready();
    for turn in 0.. {
        assert!(turn < 5, "the second socket waits while the first is served again and again");
        ends.b.recv(&mut ends.rx);
        if ends.rx.metas().iter().any(|meta| meta.tuple.socket == SocketId(1)) {
            return;
        }
    }
}

pub(crate) fn removed_sockets_come_back_out_and_their_id_is_free_again<L: Lab>() {
    let mut ends = L::ends(Wish { receivers: 2, ..Wish::default() });
    assert!(ends.b.add_socket(SocketId(0), L::spare_socket()).is_err(), "the id is taken");
    assert_eq!(ends.b.remove_socket(SocketId(0)).len(), 1);
    assert_eq!(ends.b.remove_socket(SocketId(0)).len(), 0);
    ends.commit(&to(ends.to[1]), &[datagram(5, 50)]);
    ends.send();
    assert_eq!(ends.drain_bytes(), [datagram(5, 50)]);
    ends.b.add_socket(SocketId(0), L::spare_socket()).unwrap();
    let mut fds = 0;
    ends.b.poll_fds(&mut |_, _| fds += 1);
    assert_eq!(fds, 2);
}

pub(crate) fn under_overload_every_datagram_is_counted_once<L: Lab>() {
    let mut ends = L::ends(Wish { offloads: false, ..Wish::default() });
    let (mut offered, mut sent, mut dropped) = (0, 0, 0);
    for round in 0..60 {
        for number in 0..16 {
            let train: Vec<_> = (0..40).map(|at| datagram(round * 640 + number * 40 + at, 1400)).collect();
            ends.commit(&to(ends.to[0]), &train);
            offered += 40;
        }
        let report = ends.send();
        sent += report.datagrams;
        dropped += report.dropped();
    }
    assert_eq!(offered, sent + dropped);
    let drained = ends.drain();
    let numbers: Vec<u32> =
        drained.datagrams.iter().map(|d| u32::from_be_bytes(d.bytes[..4].try_into().unwrap())).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "out of order, or twice");
    assert_eq!(sent, numbers.len() as u64 + L::lost_at_receiver(&mut ends.b), "lost silently");
    assert!(dropped + L::lost_at_receiver(&mut ends.b) > 0, "this was meant to be too much");
}
