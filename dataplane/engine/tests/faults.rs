//! What goes wrong, injected: none of it ends a worker for good, and none of it stops other traffic.

mod common;

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use common::{PATIENCE, Site, connect, engine, event, number_of, tell, until};
use dataplane::controller::{Input, Output};
use dataplane::inner::{GsoKind, Inner, RecvError, SendError};
use dataplane::outer::{
    BindError, OpenRequest, Outer, OuterOffloads, OuterSockets, PacketIo, UdpIo, UdpOuter,
};
use dataplane::{
    Controller, Degradation, Depth, DropReason, EndReason, Engine, Event, Events, Hook, InnerSide, Interface,
    InterfaceError, Offloads, PacketBatch, PeerId, Workers,
};
use dataplane_io::faulty::{Faulty, Schedule, SendFault};
use dataplane_io::memory::{Class, Plan, Region};
use dataplane_io::{ReadyToken, RecvReport, RxRing, SendReport, TxBatch};
use dataplane_wire::{SocketId, Span};

/// The kernel's sockets with faults on what they send.
struct FaultyOuter(UdpOuter, Schedule);

impl Outer for FaultyOuter {
    type Io = Faulty<UdpIo>;

    fn backend(&mut self, worker: usize) -> io::Result<Self::Io> {
        const SLABS: usize = 8;
        let region = Region::new(&Plan::new().with("faults", Class::Slab, SLABS)).unwrap();
        Ok(Faulty::new(self.0.backend(worker)?, self.1.clone(), &region, SLABS).unwrap())
    }

    fn open(&mut self, request: &OpenRequest<'_>) -> Result<OuterSockets<UdpSocket>, BindError> {
        self.0.open(request)
    }
}

/// Sends packets one by one while the kernel refuses some of them by these errors; all others arrive, in order, and each that does
/// not is counted as `reason`.
fn refused(errors: &[i32], reason: DropReason) {
    const FIRST: u64 = 20;
    let schedule = errors
        .iter()
        .zip(FIRST..)
        .fold(Schedule::new(), |schedule, (&errno, train)| schedule.send(train, SendFault::Fail(errno)));
    let outer = FaultyOuter(UdpOuter::new(Offloads::auto()), schedule);
    let (near, _events) = Engine::builder().workers(Workers::Count(1)).outer(outer).start().unwrap();
    let (far, _far_events) = engine(1);
    let (mut one, mut other) = (Site::add(&near, 1, 64), Site::add(&far, 2, 64));
    connect(&mut one, &mut other, &near);
    let (mut lost, mut arrived) = (0, 0);
    for number in 1..60 {
        one.send(other.address, [number]);
        until("a packet arrives or is counted", || {
            if other.recv(std::time::Duration::from_millis(1)) == Some(number) {
                arrived += 1;
                return true;
            }
            let counted = near.stats().total().drops.of(reason);
            counted > std::mem::replace(&mut lost, counted)
        });
    }
    assert_eq!((lost, arrived), (errors.len() as u64, 59 - errors.len()), "{}", tell(&near));
}

/// FT-1: counted, the socket stays, and what comes after leaves by it.
#[test]
fn an_unreachable_network_is_counted_and_traffic_goes_on_when_it_is_back() {
    refused(&[libc::ENETDOWN, libc::ENETUNREACH, libc::EHOSTUNREACH], DropReason::TxUnreachable);
}

/// FT-1: the keepalive that was lost to it is not due again for an hour, and goes at once when a link event is told of.
#[test]
fn what_an_unreachable_network_swallowed_is_sent_again_when_a_link_comes_up() {
    const FIRST: u64 = 20;
    const REFUSED: u64 = 5;
    let schedule = (FIRST..FIRST + REFUSED)
        .fold(Schedule::new(), |schedule, train| schedule.send(train, SendFault::Fail(libc::ENETDOWN)));
    let outer = FaultyOuter(UdpOuter::new(Offloads::auto()), schedule);
    let (near, _events) = Engine::builder().workers(Workers::Count(1)).outer(outer).start().unwrap();
    let (far, _far_events) = engine(1);
    let (mut one, mut other) = (Site::add(&near, 1, 64), Site::add(&far, 2, 64));
    connect(&mut one, &mut other, &near);
    let keepalive = std::time::Duration::from_secs(3600);
    one.handle.upsert(other.peer().keepalive(keepalive)).unwrap().wait().unwrap().unwrap();
    let lost = || near.stats().total().drops.of(DropReason::TxUnreachable);
    while lost() < REFUSED {
        let before = lost();
        one.send(other.address, [1]);
        until("a packet arrives or is counted", || {
            other.recv(std::time::Duration::from_millis(1)).is_some() || lost() > before
        });
    }
    let heard = || other.handle.snapshot().unwrap().wait().unwrap().unwrap().device.peers[0].rx_bytes;
    let before = heard();
    one.handle.network_changed().unwrap().wait().unwrap();
    until("the keepalive of 32 bytes arrives", || heard() == before + 32);
}

/// FT-2: when the bounded retries of the backend are used up.
#[test]
fn a_lack_of_buffers_loses_what_it_is_about_and_nothing_else() {
    refused(&[libc::ENOBUFS, libc::ENOBUFS], DropReason::TxNoBuffers);
}

/// Panics at the outbound packet with the number that is set.
struct Trap(Arc<AtomicU32>);

impl Hook for Trap {
    fn outbound(&mut self, _: PeerId, batch: &mut PacketBatch<'_>) {
        for index in 0..batch.len() {
            let number = batch.packet(index).map(number_of);
            assert_ne!(number, Some(self.0.load(Ordering::Relaxed)), "the hook was told to");
        }
    }

    fn inbound(&mut self, _: PeerId, _: &mut PacketBatch<'_>) {}
}

/// Two workers, each with one peer of its own, and a trap in the hook.
fn trapped() -> (Engine, Events, Engine, [(Site, Site); 2], Arc<AtomicU32>) {
    let number = Arc::new(AtomicU32::new(u32::MAX));
    let trap = Arc::clone(&number);
    let near = Engine::builder().workers(Workers::Count(2)).hook(move |_| Trap(Arc::clone(&trap)));
    let (near, events) = near.start().unwrap();
    let (far, _) = engine(1);
    let mut pairs = [1, 3].map(|seed| (Site::add(&near, seed, 64), Site::add(&far, seed + 1, 64)));
    for (one, other) in &mut pairs {
        connect(one, other, &near);
    }
    let core = |site: &Site| site.handle.snapshot().unwrap().wait().unwrap().unwrap().device.peers[0].core;
    assert_ne!(core(&pairs[0].0), core(&pairs[1].0));
    (near, events, far, pairs, number)
}

/// FT-8: the shard is made anew, its peers have new sessions; those of the other worker keep theirs.
#[test]
fn a_worker_that_panics_is_made_anew_and_the_others_go_on() {
    let (near, mut events, _far, [mut hit, mut spared], trap) = trapped();
    let handshake =
        |site: &Site| site.handle.snapshot().unwrap().wait().unwrap().unwrap().device.peers[0].last_handshake;
    let before = [handshake(&hit.0), handshake(&spared.0)];
    trap.store(77, Ordering::Relaxed);
    hit.0.send(hit.1.address, [77]);
    let restarted = event(&mut events, |event| match event {
        Event::WorkerRestarted(worker) => Some(worker),
        _ => None,
    });
    assert!(restarted.is_some());
    for number in 1..50 {
        spared.0.send(spared.1.address, [number]);
        assert_eq!(spared.1.recv(PATIENCE), Some(number), "{}", tell(&near));
    }
    hit.0.send(hit.1.address, [1]);
    assert_eq!(hit.1.recv(PATIENCE), Some(1), "{}", tell(&near));
    hit.1.send(hit.0.address, [2]);
    assert_eq!(hit.0.recv(PATIENCE), Some(2), "{}", tell(&near));
    assert!(handshake(&hit.0) > before[0], "a new session");
    assert_eq!(handshake(&spared.0), before[1], "the session from before");
    let health = near.health();
    assert_eq!((health.worker_panics.iter().sum::<u64>(), health.ended), (1, None));
}

/// FT-8
#[test]
fn a_worker_that_panics_again_and_again_ends_the_engine_with_a_reason() {
    let (near, mut events, _far, [mut hit, _spared], trap) = trapped();
    trap.store(77, Ordering::Relaxed);
    for _ in 0..5 {
        let before = near.health().worker_panics.iter().sum::<u64>();
        hit.0.send(hit.1.address, [77]);
        // One that waits for a session meets the hook when it is read, so each of them panics.
        until("a panic", || near.health().worker_panics.iter().sum::<u64>() > before);
    }
    let reason = event(&mut events, |event| match event {
        Event::Ended(reason) => Some(reason),
        _ => None,
    });
    let EndReason::WorkerPanics { panics, message, .. } = reason.expect("the engine ends") else {
        panic!("another reason")
    };
    assert_eq!(panics, 5);
    assert!(message.contains("the hook was told to"), "{message}");
    until("it takes no more requests", || hit.0.handle.snapshot().is_err());
    assert!(near.health().ended.is_some());
    near.shutdown();
}

/// FT-6: what the control thread does when it finds that the machine has slept.
#[test]
fn after_a_suspend_all_sessions_are_made_anew_and_traffic_goes_on() {
    let (near, _events) = engine(2);
    let (mut one, mut other) = (Site::add(&near, 1, 64), Site::add(&near, 2, 64));
    connect(&mut one, &mut other, &near);
    near.erase_sessions().unwrap().wait().unwrap();
    one.send(other.address, [5]);
    assert_eq!(other.recv(PATIENCE), Some(5), "{}", tell(&near));
}

/// Does what fixed endpoints do until it is stopped; then its next call does not return until it is let go.
struct Stalling {
    fixed: dataplane::controller::Fixed,
    gate: Arc<Mutex<()>>,
}

impl Controller for Stalling {
    fn handle_input(&mut self, now: dataplane::controller::Instant, input: Input) {
        let _gate = self.gate.lock().unwrap();
        self.fixed.handle_input(now, input);
    }

    fn poll_output(&mut self, now: dataplane::controller::Instant) -> Option<Output> {
        self.fixed.poll_output(now)
    }

    fn poll_timeout(&self) -> Option<dataplane::controller::Instant> {
        self.fixed.poll_timeout()
    }
}

/// FT-9: data flows, requests are answered, health says so; and all is well again when the controller is.
#[test]
fn a_stalled_control_layer_stops_neither_data_nor_requests() {
    let (near, mut events) = engine(1);
    let gate = Arc::new(Mutex::new(()));
    let stalling = Stalling { fixed: dataplane::controller::Fixed::new(), gate: Arc::clone(&gate) };
    let mut one = Site::add_with(&near, 1, 64, |interface| interface.controller(stalling));
    let mut other = Site::add(&near, 2, 64);
    connect(&mut one, &mut other, &near);
    let stopped = gate.lock().unwrap();
    // The answer goes out without the controller, once it counts as stalled.
    let third = Site::add(&near, 3, 64);
    one.know(&third);
    let degraded = Degradation::ControllersStalled;
    assert_eq!(event(&mut events, |event| (event == Event::Degraded(degraded)).then_some(())), Some(()));
    assert!(near.health().controllers_stalled);
    for number in 1..20 {
        one.send(other.address, [number]);
        assert_eq!(other.recv(PATIENCE), Some(number), "{}", tell(&near));
        other.know(&one);
    }
    drop(stopped);
    assert_eq!(event(&mut events, |event| (event == Event::Recovered(degraded)).then_some(())), Some(()));
    assert!(!near.health().controllers_stalled);
}

/// Panics at the first fact.
struct Dying;

impl Controller for Dying {
    fn handle_input(&mut self, _: dataplane::controller::Instant, _: Input) {
        panic!("the controller was told to");
    }

    fn poll_output(&mut self, _: dataplane::controller::Instant) -> Option<Output> {
        None
    }

    fn poll_timeout(&self) -> Option<dataplane::controller::Instant> {
        None
    }
}

/// FT-9
#[test]
fn a_control_layer_that_panics_is_told_and_can_be_replaced() {
    let (near, mut events) = engine(2);
    let (mut one, mut other) = (Site::add(&near, 1, 64), Site::add(&near, 2, 64));
    connect(&mut one, &mut other, &near);
    one.handle.set_controller(Box::new(Dying)).unwrap().wait().unwrap().unwrap();
    let id = one.handle.id();
    let gone = event(&mut events, |event| match event {
        Event::Degraded(Degradation::ControllerPanicked(interface)) => Some(interface),
        _ => None,
    });
    assert_eq!(gone, Some(id));
    one.send(other.address, [3]);
    assert_eq!(other.recv(PATIENCE), Some(3), "by the last path");
    let mut third = Site::add(&near, 3, 64);
    third.know(&one);
    one.handle
        .set_controller(Box::new(dataplane::controller::Fixed::new()))
        .unwrap()
        .wait()
        .unwrap()
        .unwrap();
    one.know(&third);
    one.send(third.address, [4]);
    assert_eq!(third.recv(PATIENCE), Some(4), "{}", tell(&near));
}

/// Says that it is due at all times, and wants nothing.
struct Restless(mpsc::Sender<()>);

impl Controller for Restless {
    fn handle_input(&mut self, _: dataplane::controller::Instant, _: Input) {}

    fn poll_output(&mut self, _: dataplane::controller::Instant) -> Option<Output> {
        let _ = self.0.send(());
        None
    }

    fn poll_timeout(&self) -> Option<dataplane::controller::Instant> {
        Some(dataplane::controller::Instant::ZERO)
    }
}

#[test]
fn a_controller_that_is_always_due_and_wants_nothing_does_not_make_its_thread_spin() {
    let (near, _events) = engine(1);
    let (sender, polls) = mpsc::channel();
    let begun = std::time::Instant::now();
    let _site = Site::add_with(&near, 1, 2, |interface| interface.controller(Restless(sender)));
    for _ in 0..100 {
        polls.recv_timeout(PATIENCE).unwrap();
    }
    // Each poll is a millisecond after the last at the earliest, but for those that answer a request.
    assert!(begun.elapsed() >= std::time::Duration::from_millis(80), "{:?}", begun.elapsed());
}

/// The kernel's sockets, which a worker cannot use while it is said that it refuses them.
struct Refusing(UdpIo, Arc<AtomicBool>);

impl PacketIo for Refusing {
    type Socket = UdpSocket;

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn add_socket(&mut self, id: SocketId, socket: UdpSocket) -> io::Result<()> {
        if self.1.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        self.0.add_socket(id, socket)
    }

    fn remove_socket(&mut self, id: SocketId) -> Vec<UdpSocket> {
        self.0.remove_socket(id)
    }

    fn poll_fds(&self, each: &mut dyn FnMut(ReadyToken, BorrowedFd<'_>)) {
        self.0.poll_fds(each);
    }

    fn set_ready(&mut self, token: ReadyToken) {
        self.0.set_ready(token);
    }

    fn set_all_ready(&mut self) {
        self.0.set_all_ready();
    }

    fn recv(&mut self, rx: &mut RxRing) -> RecvReport {
        self.0.recv(rx)
    }

    fn send(&mut self, tx: &mut TxBatch) -> SendReport {
        self.0.send(tx)
    }

    fn offloads(&self) -> OuterOffloads {
        self.0.offloads()
    }
}

/// Of two workers the second refuses when it is said.
struct RefusingOuter(UdpOuter, Arc<AtomicBool>);

impl Outer for RefusingOuter {
    type Io = Refusing;

    fn backend(&mut self, worker: usize) -> io::Result<Refusing> {
        let refuses = if worker == 1 { Arc::clone(&self.1) } else { Arc::default() };
        Ok(Refusing(self.0.backend(worker)?, refuses))
    }

    fn open(&mut self, request: &OpenRequest<'_>) -> Result<OuterSockets<UdpSocket>, BindError> {
        self.0.open(request)
    }
}

#[test]
fn sockets_that_a_worker_cannot_use_are_an_error_that_leaves_none_open() {
    let refuses = Arc::new(AtomicBool::new(true));
    let outer = RefusingOuter(UdpOuter::new(Offloads::auto()), Arc::clone(&refuses));
    let (near, _events) = Engine::builder().workers(Workers::Count(2)).outer(outer).start().unwrap();
    let (far, _far_events) = engine(1);
    let refused = |error: Option<InterfaceError>| matches!(error, Some(InterfaceError::Io(_)));
    let (inner, _packets) = InnerSide::queue(Depth::batches(1)).unwrap();
    assert!(refused(near.add_interface(Interface::new(inner)).err()));
    refuses.store(false, Ordering::SeqCst);
    let (mut one, mut other) = (Site::add(&near, 1, 64), Site::add(&far, 2, 64));
    assert_eq!(one.handle.id().0, 0, "the number is free again");
    connect(&mut one, &mut other, &near);

    one.handle.set_up(false).unwrap().wait().unwrap().unwrap();
    refuses.store(true, Ordering::SeqCst);
    assert!(refused(one.handle.set_up(true).unwrap().wait().unwrap().err()));
    refuses.store(false, Ordering::SeqCst);
    one.handle.set_up(true).unwrap().wait().unwrap().unwrap();
    connect(&mut one, &mut other, &near);
}

/// An inner side with a descriptor that cannot be polled.
struct Unpolled(std::fs::File);

impl Inner for Unpolled {
    fn recv(&mut self, _: &mut [u8]) -> Result<Option<usize>, RecvError> {
        Ok(None)
    }

    fn send_gather(&mut self, _: &[u8], _: &[u8], _: &[Span]) -> Result<(), SendError> {
        Ok(())
    }

    fn takes(&self, _: GsoKind) -> bool {
        false
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[test]
fn an_inner_side_that_cannot_be_polled_is_an_error_and_another_takes_its_place() {
    let (near, _events) = engine(1);
    let unpolled = || {
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        InnerSide::custom(vec![Box::new(Unpolled(file))])
    };
    let refused = |error: Option<InterfaceError>| matches!(error, Some(InterfaceError::Io(_)));
    assert!(refused(near.add_interface(Interface::new(unpolled())).err()));
    let (mut one, mut other) = (Site::add(&near, 1, 64), Site::add(&near, 2, 64));
    assert_eq!(one.handle.id().0, 0, "the number is free again");
    connect(&mut one, &mut other, &near);
    assert!(refused(one.handle.set_inner(unpolled()).unwrap().wait().unwrap().err()));
    let (inner, packets) = InnerSide::queue(Depth::batches(64)).unwrap();
    one.handle.set_inner(inner).unwrap().wait().unwrap().unwrap();
    one.packets = packets;
    connect(&mut one, &mut other, &near);
}
