//! The seams: inner and outer sides and controllers of the embedder's own, whatever they do.

mod common;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{PATIENCE, Site, connect, engine, event, number_of, tell, udp_packet, until};
use dataplane::controller::{Input, Output};
use dataplane::inner::memory::{MemoryInner, pair};
use dataplane::inner::{GsoKind, Inner, RECV_MIN, RecvError, SendError, VNET_HEADER_LEN};
use dataplane::outer::{
    BindError, OpenRequest, Outer, OuterGroup, OuterOffloads, OuterSockets, PacketIo, UdpIo, UdpOuter,
};
use dataplane::{
    Controller, Drained, DropReason, Engine, Event, InnerSide, Interface, Offloads, Path, PeerId, Workers,
};
use dataplane_io::{ReadyToken, RecvReport, RxRing, SendReport, TxBatch};
use dataplane_wire::{FourTuple, Instant, SocketId, Span};

/// An inner side that says it takes super-packets and refuses each of them, and reads strange lengths first.
struct Odd {
    inner: MemoryInner,
    lengths: Vec<usize>,
}

impl Inner for Odd {
    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, RecvError> {
        match self.lengths.pop() {
            Some(len) => Ok(Some(len)),
            None => self.inner.recv(buffer),
        }
    }

    fn send_gather(&mut self, head: &[u8], arena: &[u8], parts: &[Span]) -> Result<(), SendError> {
        match GsoKind::of(head) {
            Some(_) => Err(SendError::GsoRefused),
            None => self.inner.send_gather(head, arena, parts),
        }
    }

    fn takes(&self, _: GsoKind) -> bool {
        true
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.inner.fd()
    }
}

/// A packet that continues the one with the number before: the next identification, and a checksum.
fn continuing(from: &Site, to: &Site, number: u32) -> Vec<u8> {
    let fold = |sum: u32| !((sum & 0xffff) + (sum >> 16)) as u16;
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
    };
    let mut packet = udp_packet(from.address, to.address, number);
    packet[4..6].copy_from_slice(&(number as u16).to_be_bytes());
    packet[10..12].fill(0);
    let sum = fold(words(&packet[..20]));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    // Addresses, protocol and length of the pseudo header, then header and payload.
    let sum = fold(words(&packet[12..]) + 17 + 12);
    packet[26..28].copy_from_slice(&sum.to_be_bytes());
    packet
}

#[test]
fn an_inner_side_that_refuses_a_super_packet_gets_its_packets_one_by_one_and_strange_lengths_end_nothing() {
    const PACKETS: u32 = 400;
    let (near, _events) = engine(1);
    let (far, _far_events) = engine(1);
    let mut one = Site::add(&near, 1, 256);
    let (mut ours, theirs) = pair(1024).unwrap();
    let odd = Odd { inner: theirs, lengths: vec![0, 5, VNET_HEADER_LEN, RECV_MIN * 100] };
    let mut other = Site::add(&far, 2, 2);
    let interface = Interface::new(InnerSide::custom(vec![Box::new(odd)])).private_key(*other.key.bytes());
    other.handle = far.add_interface(interface).unwrap();
    one.know(&other);
    other.know(&one);
    let (mut buffer, mut received) = (vec![0; RECV_MIN], Vec::new());
    let packets: Vec<_> = (0..PACKETS + 1).map(|number| continuing(&one, &other, number)).collect();
    let mut slots = one.packets.reserve_timeout(1, PATIENCE).unwrap();
    slots.push(&packets[0]).unwrap();
    slots.commit();
    let mut next = 1;
    until("all packets arrive", || {
        while let Some(len) = ours.recv(&mut buffer).unwrap() {
            received.push(number_of(&buffer[VNET_HEADER_LEN..len]));
        }
        if received.len() == next as usize && next <= PACKETS {
            let mut slots = one.packets.reserve_timeout(40, PATIENCE).unwrap();
            (next..next + 40).for_each(|number| slots.push(&packets[number as usize]).unwrap());
            slots.commit();
            next += 40;
        }
        received.len() as u32 > PACKETS
    });
    assert!((0..=PACKETS).eq(received.iter().copied()), "{received:?}");
    until("counted", || far.stats().total().inner_out_packets > u64::from(PACKETS));
    let total = far.stats().total();
    assert!(total.inner_out_writes > total.inner_out_packets, "some were merged and refused: {}", tell(&far));
    assert_eq!(total.drops.of(DropReason::InnerError), 0, "{}", tell(&far));
    assert_eq!(total.drops.of(DropReason::OutboundMalformed), 4, "{}", tell(&far));
}

/// Sockets of which only worker 0 hears anything, all of which "lost" seven datagrams.
struct OneEar(UdpOuter);

struct Ear {
    io: UdpIo,
    deaf: bool,
}

struct Group(Box<dyn OuterGroup>);

impl OuterGroup for Group {
    fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.0.set_mark(mark)
    }

    fn lost(&self, worker: usize) -> u64 {
        7 + worker as u64
    }
}

impl Outer for OneEar {
    type Io = Ear;

    fn backend(&mut self, worker: usize) -> io::Result<Ear> {
        Ok(Ear { io: self.0.backend(worker)?, deaf: worker != 0 })
    }

    /// One socket, and a duplicate of it for each other worker.
    fn open(&mut self, request: &OpenRequest<'_>) -> Result<OuterSockets<std::net::UdpSocket>, BindError> {
        let mut request = *request;
        let workers = std::mem::replace(&mut request.workers, 1);
        let mut sockets = self.0.open(&request)?;
        for _ in 1..workers {
            let copies = sockets.members[0].iter().map(|socket| socket.try_clone().unwrap()).collect();
            sockets.members.push(copies);
        }
        sockets.group = Box::new(Group(sockets.group));
        Ok(sockets)
    }
}

impl PacketIo for Ear {
    type Socket = std::net::UdpSocket;

    fn name(&self) -> &'static str {
        "ear"
    }

    fn add_socket(&mut self, id: SocketId, socket: Self::Socket) -> io::Result<()> {
        self.io.add_socket(id, socket)
    }

    fn remove_socket(&mut self, id: SocketId) -> Vec<Self::Socket> {
        self.io.remove_socket(id)
    }

    fn poll_fds(&self, each: &mut dyn FnMut(ReadyToken, BorrowedFd<'_>)) {
        if !self.deaf {
            self.io.poll_fds(each);
        }
    }

    fn set_ready(&mut self, token: ReadyToken) {
        self.io.set_ready(token);
    }

    fn set_all_ready(&mut self) {
        self.io.set_all_ready();
    }

    fn recv(&mut self, rx: &mut RxRing) -> RecvReport {
        if self.deaf {
            rx.clear();
            return RecvReport::default();
        }
        self.io.recv(rx)
    }

    fn send(&mut self, tx: &mut TxBatch) -> SendReport {
        self.io.send(tx)
    }

    fn offloads(&self) -> OuterOffloads {
        self.io.offloads()
    }
}

/// EN-1, EN-15: what reaches the wrong worker crosses to the right one, in order.
#[test]
fn datagrams_that_come_to_another_worker_are_handed_over_in_order() {
    let outer = OneEar(UdpOuter::new(Offloads::auto()));
    let (near, _events) = Engine::builder().workers(Workers::Count(2)).outer(outer).start().unwrap();
    let (far, _far_events) = engine(1);
    // Two peers: one lives on each worker.
    let mut pairs = [1, 3].map(|seed| (Site::add(&near, seed, 64), Site::add(&far, seed + 1, 64)));
    for (one, other) in &mut pairs {
        connect(one, other, &near);
        for round in 0..50 {
            let numbers = 10 * round + 1..10 * round + 11;
            other.send(one.address, numbers.clone());
            assert!(numbers.eq(std::iter::from_fn(|| one.recv(PATIENCE)).take(10)), "{}", tell(&near));
        }
    }
    until("counted", || near.stats().total().hand_off_datagrams > 0);
    assert_eq!(near.stats().worker(1).rx_datagrams, 0);
    assert_eq!(near.stats().total().drops.total(), 0, "{}", tell(&near));
    until("what the kernel lost shows", || near.stats().worker(1).rx_kernel_drops == 16);
    assert!(near.stats().worker(0).rx_kernel_drops == 14, "two interfaces");
}

/// Reaches one peer at a port of this machine.
struct To(u16, Vec<Output>);

impl Controller for To {
    fn handle_input(&mut self, _: Instant, input: Input) {
        if let Input::PeerUpserted { peer, endpoint: Some(known) } = input {
            let remote = ([127, 0, 0, 1], self.0).into();
            let path = Some(Path::Direct(FourTuple { remote, ..known }));
            self.1.push(Output::SetPath { peer, generation: 0, path, roams: false });
        }
    }

    fn poll_output(&mut self, _: Instant) -> Option<Output> {
        self.1.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

#[test]
fn a_controller_of_a_peer_takes_its_path_over_at_run_time_and_another_takes_it_back() {
    let (near, mut events) = engine(2);
    let (mut one, mut other) = (Site::add(&near, 1, 64), Site::add(&near, 2, 64));
    let id = one.know(&other);
    other.know(&one);
    let mut ports_of = |id: PeerId| {
        event(&mut events, |event| match event {
            Event::Path { peer, path: Some(path) } if peer == id => Some(path.tuple().remote.port()),
            _ => None,
        })
    };
    assert_eq!(ports_of(id), Some(other.port()));
    // Nobody listens there.
    one.handle.set_peer_controller(id, Box::new(To(9, Vec::new()))).unwrap().wait().unwrap().unwrap();
    assert_eq!(ports_of(id), Some(9));
    // The interface's own has nothing to say of it any more, neither the old one nor a new one.
    let to = |port| Box::new(To(port, Vec::new()));
    one.handle.set_controller(to(10)).unwrap().wait().unwrap().unwrap();
    one.handle.set_peer_controller(id, to(other.port())).unwrap().wait().unwrap().unwrap();
    assert_eq!(ports_of(id), Some(other.port()));
    one.send(other.address, [1]);
    assert_eq!(other.recv(PATIENCE), Some(1), "{}", tell(&near));
    let refused =
        one.handle.set_peer_controller(PeerId { slot: 99, generation: 9 }, to(1)).unwrap().wait().unwrap();
    assert!(refused.is_err());
}

#[test]
fn a_drain_lets_everything_leave_that_was_committed_before() {
    const PACKETS: u32 = 300;
    let (near, _events) = engine(2);
    let (far, _far_events) = engine(1);
    let (mut one, mut other) = (Site::add(&near, 1, 512), Site::add(&far, 2, 512));
    connect(&mut one, &mut other, &near);
    one.send(other.address, 1..=PACKETS);
    assert_eq!(near.drain(PATIENCE).unwrap().wait().unwrap(), Drained::All);
    near.shutdown();
    assert!((1..=PACKETS).eq(std::iter::from_fn(|| other.recv(Duration::from_secs(2)))), "{}", tell(&far));
    assert!(one.packets.is_closed());
}

#[test]
fn a_drain_ends_in_time_where_a_packet_waits_for_a_session_that_never_comes() {
    let (near, _events) = engine(1);
    let (mut one, other) = (Site::add(&near, 1, 4), Site::add(&near, 2, 4));
    one.handle.upsert(other.peer().endpoint(([127, 0, 0, 1], 9).into())).unwrap().wait().unwrap().unwrap();
    one.send(other.address, [1]);
    let drained = near.drain(Duration::from_millis(50)).unwrap().wait().unwrap();
    assert_eq!(drained, Drained::TimedOut);
}

#[test]
fn each_drain_has_its_own_time_and_answer() {
    let (near, _events) = engine(1);
    let (mut one, other) = (Site::add(&near, 1, 4), Site::add(&near, 2, 4));
    one.handle.upsert(other.peer().endpoint(([127, 0, 0, 1], 9).into())).unwrap().wait().unwrap().unwrap();
    one.send(other.address, [1]);
    let first = near.drain(Duration::from_millis(100)).unwrap();
    let second = near.drain(Duration::from_millis(50)).unwrap();
    assert_eq!((first.wait(), second.wait()), (Ok(Drained::TimedOut), Ok(Drained::TimedOut)));
}

/// Tells of its end.
struct Mortal(Arc<AtomicBool>);

impl Controller for Mortal {
    fn handle_input(&mut self, _: Instant, _: Input) {}

    fn poll_output(&mut self, _: Instant) -> Option<Output> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// EN-17
#[test]
fn an_engine_that_is_gone_has_let_go_of_its_controllers() {
    for _ in 0..20 {
        let (near, _events) = engine(1);
        let ended = Arc::new(AtomicBool::new(false));
        let controller = Mortal(Arc::clone(&ended));
        let _site = Site::add_with(&near, 1, 2, |interface| interface.controller(controller));
        drop(near);
        assert!(ended.load(Ordering::Acquire));
    }
}

/// EN-12: pinned workers run where they were put, and say where; the outer side says what it uses.
#[test]
fn a_pinned_worker_says_its_cpu_and_busy_polling_is_a_budget() {
    let builder = Engine::builder().workers(Workers::Count(1)).pin(true).busy_poll(Duration::from_micros(50));
    let (near, _events) = builder.start().unwrap();
    let (mut one, mut other) = (Site::add(&near, 1, 8), Site::add(&near, 2, 8));
    connect(&mut one, &mut other, &near);
    until("seen", || near.stats().cpu(0).is_some());
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu));
    assert_eq!(near.stats().cpu(0), first);
    assert!(near.stats().offloads(0).is_some() && near.stats().offloads(1).is_none());
    let ratio = near.stats().worker(0).busy_ratio();
    assert!((0.0..=1.0).contains(&ratio), "{ratio}");
}
