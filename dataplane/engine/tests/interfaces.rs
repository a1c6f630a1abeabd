//! Several interfaces on one engine, with queues as their inner sides.

mod common;

use std::time::{Duration, Instant};

use common::{PATIENCE, Site, connect, engine, event, tell};
use dataplane::inner::Inner;
use dataplane::inner::memory::pair;
use dataplane::{Depth, DropReason, Event, InnerSide, Interface};

#[test]
fn two_interfaces_with_different_keys_and_ports_on_one_engine_carry_traffic_at_once() {
    const PACKETS: u32 = 500;
    let (near, _near_events) = engine(2);
    let (far, _far_events) = engine(2);
    let mut pairs = [1, 3].map(|seed| (Site::add(&near, seed, 64), Site::add(&far, seed + 1, 64)));
    for (one, other) in &mut pairs {
        connect(one, other, &near);
    }
    assert_ne!(pairs[0].0.port(), pairs[1].0.port());
    std::thread::scope(|scope| {
        for (one, other) in &mut pairs {
            scope.spawn(|| {
                for round in 0..PACKETS / 10 {
                    let numbers = 1 + round * 10..11 + round * 10;
                    one.send(other.address, numbers.clone());
                    // In order: what one peer sent is never overtaken.
                    assert_eq!(numbers.clone().map(|_| other.recv(PATIENCE).unwrap()).collect::<Vec<_>>(), {
                        numbers.collect::<Vec<_>>()
                    });
                }
            });
        }
    });
    for stats in [near.stats().total(), far.stats().total()] {
        assert_eq!(stats.drops.total(), 0, "{:?}", stats.drops.nonzero().collect::<Vec<_>>());
    }
}

/// FT-11: the queue that nobody reads fills up; what comes beyond is dropped and counted, and the other interface, on the same
/// worker, goes on at once.
#[test]
fn a_stopped_inner_queue_stalls_no_other_interface_and_its_losses_are_counted() {
    const DEPTH: usize = 8;
    const SENT: u32 = 400;
    let (near, _near_events) = engine(1);
    let (far, _far_events) = engine(1);
    let (mut one, mut stopped) = (Site::add(&near, 1, 64), Site::add(&far, 2, DEPTH));
    let (mut other, mut alive) = (Site::add(&near, 3, 64), Site::add(&far, 4, 64));
    for (a, b) in [(&mut one, &mut stopped), (&mut other, &mut alive)] {
        connect(a, b, &near);
    }
    for round in 0..SENT / 10 {
        one.send(stopped.address, 1 + round * 10..11 + round * 10);
        other.send(alive.address, [round]);
        assert_eq!(alive.recv(PATIENCE), Some(round), "far: {}", tell(&far));
    }
    // Everything has come in when in = out + dropped.
    let deadline = Instant::now() + PATIENCE;
    let lost = loop {
        let total = far.stats().total();
        let lost = total.drops.of(DropReason::InnerFull);
        if total.inner_out_packets + lost == u64::from(SENT + SENT / 10 + 2) {
            break lost;
        }
        assert!(Instant::now() < deadline, "far: {}", tell(&far));
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(lost > 0, "far: {}", tell(&far));
    // What was not lost comes in order, first those that came when there was credit.
    let mut received = Vec::new();
    while received.len() as u64 + lost < u64::from(SENT) {
        received.push(stopped.recv(PATIENCE).unwrap());
    }
    assert_eq!(received[0], 1);
    assert!(received.is_sorted(), "{received:?}");
    assert_eq!(stopped.recv(Duration::from_millis(1)), None);
    one.send(stopped.address, [9999]);
    assert_eq!(stopped.recv(PATIENCE), Some(9999), "the queue goes on when it is read again");
}

/// FT-3: peers and sessions outlive the inner side.
#[test]
fn an_inner_side_that_ends_can_be_given_anew_and_its_sessions_go_on() {
    let (near, _near_events) = engine(2);
    let (far, mut events) = engine(2);
    let (mut one, mut other) = (Site::add(&near, 1, 64), Site::add(&far, 2, 64));
    connect(&mut one, &mut other, &near);
    let handshake =
        |site: &Site| site.handle.snapshot().unwrap().wait().unwrap().unwrap().device.peers[0].last_handshake;
    let before = handshake(&other);
    let (inner, packets) = InnerSide::queue(Depth::batches(64)).unwrap();
    drop(std::mem::replace(&mut other.packets, packets));
    let gone = event(&mut events, |event| match event {
        Event::InterfaceGone(interface) => Some(interface),
        _ => None,
    });
    assert_eq!(gone, Some(other.handle.id()));
    assert_eq!(other.handle.set_inner(inner).unwrap().wait().unwrap().unwrap(), None);
    for number in 1..20 {
        one.send(other.address, [number]);
        assert_eq!(other.recv(PATIENCE), Some(number), "{}", tell(&far));
        other.send(one.address, [number]);
        assert_eq!(one.recv(PATIENCE), Some(number), "{}", tell(&far));
    }
    assert_eq!(handshake(&other), before);
    // One that cannot be opened changes nothing.
    assert!(other.handle.set_inner(InnerSide::custom(Vec::new())).unwrap().wait().unwrap().is_err());
    one.send(other.address, [20]);
    assert_eq!(other.recv(PATIENCE), Some(20));
}

/// FT-3: the inner side of one interface ends; it is told once, and the other interface goes on.
#[test]
fn an_inner_side_that_ends_is_told_and_its_interface_can_be_replaced() {
    let (near, _near_events) = engine(2);
    let (far, mut events) = engine(2);
    let (mut one, mut other) = (Site::add(&near, 1, 64), Site::add(&far, 2, 64));
    connect(&mut one, &mut other, &near);
    let Site { handle, packets, .. } = Site::add(&far, 3, 8);
    drop(packets);
    let gone = std::iter::from_fn(|| events.next_timeout(PATIENCE));
    let gone: Vec<_> = gone.filter(|event| matches!(event, Event::InterfaceGone(_))).take(1).collect();
    assert_eq!(gone, [Event::InterfaceGone(handle.id())]);
    one.send(other.address, [1]);
    assert_eq!(other.recv(PATIENCE), Some(1));
    let id = handle.id();
    handle.remove().unwrap().wait().unwrap().unwrap();
    assert_eq!(Site::add(&far, 3, 8).handle.id(), id);
}

/// FT-3: every worker that reads it finds out, one after the other; it is told once, and of what takes its place anew.
#[test]
fn an_inner_side_that_ends_for_one_worker_after_the_other_is_told_once() {
    let (near, mut events) = engine(2);
    let (ours, theirs): (Vec<_>, Vec<_>) = (0..2).map(|_| pair(8).unwrap()).unzip();
    let queues = theirs.into_iter().map(|queue| Box::new(queue) as Box<dyn Inner + Send>).collect();
    let handle = near.add_interface(Interface::new(InnerSide::custom(queues))).unwrap();
    let mut next = || {
        event(&mut events, |event| match event {
            Event::InterfaceGone(interface) => Some(interface),
            _ => None,
        })
    };
    let mut ours = ours.into_iter();
    drop(ours.next());
    assert_eq!(next(), Some(handle.id()));
    drop(ours.next());
    // A request is answered when every worker has looked up.
    handle.network_changed().unwrap().wait().unwrap();
    let other = Site::add(&near, 1, 8);
    drop(other.packets);
    assert_eq!(next(), Some(other.handle.id()), "the second worker's word is no news");
    let (inner, packets) = InnerSide::queue(Depth::batches(8)).unwrap();
    handle.set_inner(inner).unwrap().wait().unwrap().unwrap();
    drop(packets);
    assert_eq!(next(), Some(handle.id()));
}
