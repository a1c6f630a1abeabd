//! What an embedder may get wrong: an error that says what, never a panic, and nothing half done.

mod common;

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use common::{PATIENCE, Site, engine};
use dataplane::outer::{BindError, OpenRequest, Outer, OuterSockets, UdpIo, UdpOuter};
use dataplane::{
    Depth, Engine, InnerSide, Interface, InterfaceError, Limits, Offloads, PathPolicy, Peer, PublicKey,
    PushError, Secret, Workers,
};

/// The text of an error.
fn text<T>(result: Result<T, impl std::fmt::Display>) -> String {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

fn add(engine: &Engine, with: impl FnOnce(Interface) -> Interface) -> Result<(), InterfaceError> {
    let (side, _packets) = InnerSide::queue(Depth::batches(0)).unwrap();
    engine.add_interface(with(Interface::new(side))).map(drop)
}

#[test]
fn an_engine_that_cannot_be_is_refused_with_what_could_be() {
    for count in [0, 65, usize::MAX] {
        let refused = text(Engine::builder().workers(Workers::Count(count)).start());
        assert_eq!(refused, format!("{count} workers: between 1 and 64 are possible"));
    }
    let refused = text(Engine::builder().cipher("rot13").start());
    assert!(refused.starts_with("no cipher \"rot13\" here; choose one of: "), "{refused}");
}

/// An outer side that has a backend for the first worker only.
struct OneBackend(UdpOuter);

impl Outer for OneBackend {
    type Io = UdpIo;

    fn backend(&mut self, worker: usize) -> io::Result<UdpIo> {
        if worker == 0 { self.0.backend(worker) } else { Err(io::Error::other("no card for it")) }
    }

    fn open(&mut self, request: &OpenRequest<'_>) -> Result<OuterSockets<UdpSocket>, BindError> {
        self.0.open(request)
    }
}

#[test]
fn a_start_that_fails_halfway_is_told_and_ends_the_threads_that_were_there() {
    let (told, refusal) = mpsc::channel();
    std::thread::spawn(move || {
        let outer = OneBackend(UdpOuter::new(Offloads::auto()));
        let _ = told.send(text(Engine::builder().workers(Workers::Count(2)).outer(outer).start()));
    });
    let refused = refusal.recv_timeout(PATIENCE).expect("an answer, not a wait for ever");
    assert!(refused.starts_with("cannot set up a backend: no card for it"), "{refused}");
}

#[test]
fn limits_may_be_anything_and_hold() {
    let mut none = Limits::default();
    (none.peers, none.allowed_ips, none.interfaces, none.staging_bytes, none.events) = (0, 0, 1, 0, 0);
    let builder = || Engine::builder().workers(Workers::Count(1)).busy_poll(Duration::MAX);
    let (engine, mut events) = builder().limits(none).start().unwrap();
    let site = Site::add(&engine, 1, 2);
    let refused = text(site.handle.upsert(Peer::new(PublicKey([7; 32]))).unwrap().wait().unwrap());
    assert!(refused.contains("more than 0 peers: raise the limit `peers`"), "{refused}");
    let refused = text(add(&engine, |interface| interface));
    assert_eq!(refused, "1 interfaces exist already: raise Limits::interfaces");
    drop(engine);
    assert!(events.next_timeout(Duration::MAX).is_none(), "the end, and no wait for it");

    let mut all = Limits::default();
    (all.peers, all.allowed_ips, all.events) = (usize::MAX, usize::MAX, usize::MAX);
    (all.interfaces, all.staging_bytes) = (1 << 16, 1 << 30);
    let (mut interfaces, mut staging) = (all, all);
    (interfaces.interfaces, staging.staging_bytes) = ((1 << 16) + 1, usize::MAX);
    for beyond in [interfaces, staging] {
        let refused = text(builder().limits(beyond).start());
        assert!(refused.starts_with("Limits::") && refused.contains("at most "), "{refused}");
    }
    let (engine, _events) = builder().limits(all).start().unwrap();
    Site::add(&engine, 1, 2).know(&Site::add(&engine, 2, 2));
}

#[test]
fn an_interface_that_cannot_be_is_refused_and_leaves_nothing() {
    let (engine, _events) = engine(2);
    let refused = text(engine.add_interface(Interface::new(InnerSide::custom(Vec::new()))));
    assert!(refused.starts_with("0 queues for 2 workers: "), "{refused}");
    for count in [0, 3] {
        let (sides, _packets) = InnerSide::queues(count, Depth::batches(2)).unwrap();
        let refused = text(engine.add_interface(Interface::new(sides)));
        assert!(refused.starts_with(&format!("{count} queues for 2 workers: ")), "{refused}");
    }
    let refused = text(add(&engine, |interface| interface.mtu(100)));
    assert!(refused.contains("an MTU of 100 bytes: expected 576 or more"), "{refused}");
    let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused = text(add(&engine, |interface| interface.listen(port)));
    assert!(refused.contains(&port.to_string()), "{refused}");
    let refused = text(engine.add_interface(Interface::new(InnerSide::tun("a-name-that-is-much-too-long"))));
    assert!(refused.contains("a-name-that-is-much-too-long"), "{refused}");
    // None of them is in the way of one that can be.
    drop(taken);
    add(&engine, |interface| interface.listen(port)).unwrap();
}

#[test]
fn a_wrong_request_is_answered_with_what_is_wrong_and_changes_nothing() {
    let (engine, _events) = engine(1);
    let (one, other) = (Site::add(&engine, 1, 2), Site::add(&engine, 2, 2));
    let upsert = |peer: Peer| text(one.handle.upsert(peer).unwrap().wait().unwrap());
    let stranger = || Peer::new(PublicKey([7; 32]));
    for interval in [Duration::from_millis(5), Duration::from_secs(65_536), Duration::MAX] {
        let refused = upsert(stranger().keepalive(interval));
        assert!(refused.contains("expected 0 (off) to 65535 whole seconds"), "{refused}");
    }
    let refused = upsert(stranger().path_policy(PathPolicy::Fixed));
    assert!(refused.contains("give the peer an endpoint, or let it roam"), "{refused}");
    let refused = upsert(Peer::new(Secret::new([1; 32]).public()));
    assert!(refused.contains("nobody is one's own peer"), "{refused}");
    let refused = text(one.handle.set_mtu(0).unwrap().wait().unwrap());
    assert!(refused.contains("an MTU of 0 bytes"), "{refused}");
    assert!(one.handle.snapshot().unwrap().wait().unwrap().unwrap().device.peers.is_empty());

    // What belongs to another, or is gone.
    let id = other.know(&one);
    let refused = text(one.handle.remove_peer(id).unwrap().wait().unwrap());
    assert_eq!(refused, "the peer was removed");
    let gone = one.handle.clone();
    one.handle.clone().remove().unwrap().wait().unwrap().unwrap();
    for refused in [
        text(gone.snapshot().unwrap().wait().unwrap()),
        text(gone.upsert(stranger()).unwrap().wait().unwrap()),
        text(gone.set_up(true).unwrap().wait().unwrap()),
        text(gone.clone().remove().unwrap().wait().unwrap()),
    ] {
        assert_eq!(refused, "the interface was removed");
    }
    engine.shutdown();
    assert_eq!(text(gone.snapshot()), "the engine has shut down");
    assert_eq!(text(gone.try_snapshot()), "the engine has shut down");
}

#[test]
fn a_queue_takes_no_more_than_was_reserved_and_nothing_that_is_no_packet() {
    let (engine, _events) = engine(1);
    let mut site = Site::add(&engine, 1, 2);
    let mut slots = site.packets.try_reserve(0).unwrap();
    assert_eq!(slots.push(&[]), Err(PushError::Length(0)));
    assert_eq!(slots.push(&[0; 65_536]), Err(PushError::Length(65_536)));
    assert_eq!(slots.push(&[0; 20]), Ok(()));
    assert_eq!(slots.push(&[0; 20]), Err(PushError::Full));
    slots.commit();
    let slots = site.packets.try_reserve(usize::MAX).unwrap();
    assert_eq!(slots.left(), dataplane::BATCH_PACKETS_MAX);
    drop(slots);
    engine.shutdown();
    assert!(site.packets.try_reserve(1).is_none());
    assert!(site.packets.recv_timeout(Duration::MAX).is_none());
    assert!(site.packets.reserve_timeout(1, Duration::MAX).is_none());
}
