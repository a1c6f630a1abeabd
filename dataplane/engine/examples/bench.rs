//! What one worker carries, and what two do: sealed, sent over a network in memory, opened and delivered; no kernel between.
//!
//! A hub with 64 peers sends to all of them; each peer is an interface of the same engine. Each worker makes the packets for the
//! peers that live on it, and takes those that come out: both directions of each packet are on one core.
//!
//! ```sh
//! cargo run --release --example bench            # a second for each number of workers
//! cargo run --release --example bench -- 5000    # milliseconds
//! ```

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dataplane::inner::{GsoKind, Inner, RecvError, SendError, VNET_HEADER_LEN};
use dataplane::outer::{BindError, OpenRequest, Outer, OuterGroup, OuterSockets};
use dataplane::{Desired, Engine, InnerSide, Interface, IpPrefix, Limits, Peer, Secret, Workers};
use dataplane_io::mem::{Behaviour, MemIo, MemSocket, Network};
use dataplane_wire::Span;

const PEERS: usize = 64;
/// Bytes of an inner packet: what an MTU of 1420 leaves.
const PACKET_LEN: usize = 1420;
/// Packets of one worker between being made and being delivered: two turns of the loop.
const IN_FLIGHT_MAX: u64 = 128;

/// Sockets in memory: worker `n` is at 127.0.0.(n + 1).
struct Memory(Network);

struct NoGroup;

impl OuterGroup for NoGroup {
    fn set_mark(&self, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn lost(&self, _: usize) -> u64 {
        0
    }
}

fn address_of(worker: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, worker as u8 + 1).into()
}

impl Outer for Memory {
    type Io = MemIo;

    fn backend(&mut self, _worker: usize) -> io::Result<MemIo> {
        Ok(MemIo::new())
    }

    fn open(&mut self, request: &OpenRequest<'_>) -> Result<OuterSockets<MemSocket>, BindError> {
        let bind = |worker| self.0.bind(&[address_of(worker)], request.port).map(|socket| vec![socket]);
        let members = (0..request.workers).map(bind).collect::<io::Result<_>>();
        let members = members.map_err(|error| BindError::System { what: "bind in memory", error })?;
        Ok(OuterSockets { port: request.port, members, group: Box::new(NoGroup) })
    }
}

/// What one worker has made and taken.
#[derive(Default)]
struct Flow {
    /// Set when the peers are there.
    begun: AtomicBool,
    made: AtomicU64,
    taken: AtomicU64,
}

/// A descriptor that is always readable.
fn always_readable() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(1, rustix::event::EventfdFlags::CLOEXEC)?)
}

/// The hub's inner side: packets for the peers of one worker, in turn.
struct Source {
    flow: Arc<Flow>,
    packets: Vec<Vec<u8>>,
    next: Cell<usize>,
    fd: OwnedFd,
}

impl Inner for Source {
    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, RecvError> {
        let made = self.flow.made.load(Ordering::Relaxed);
        let begun = self.flow.begun.load(Ordering::Relaxed);
        if !begun || made - self.flow.taken.load(Ordering::Relaxed) >= IN_FLIGHT_MAX {
            return Ok(None);
        }
        self.flow.made.store(made + 1, Ordering::Relaxed);
        let next = self.next.replace((self.next.get() + 1) % self.packets.len());
        let len = VNET_HEADER_LEN + PACKET_LEN;
        buffer[..VNET_HEADER_LEN].fill(0);
        buffer[VNET_HEADER_LEN..len].copy_from_slice(&self.packets[next]);
        Ok(Some(len))
    }

    fn send_gather(&mut self, _: &[u8], _: &[u8], _: &[Span]) -> Result<(), SendError> {
        Ok(())
    }

    fn takes(&self, _: GsoKind) -> bool {
        false
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A peer's inner side: takes what comes out.
struct Sink(Arc<Flow>, OwnedFd);

impl Inner for Sink {
    fn recv(&mut self, _: &mut [u8]) -> Result<Option<usize>, RecvError> {
        Ok(None)
    }

    fn send_gather(&mut self, _: &[u8], _: &[u8], parts: &[Span]) -> Result<(), SendError> {
        let taken = self.0.taken.load(Ordering::Relaxed);
        self.0.taken.store(taken + parts.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn takes(&self, _: GsoKind) -> bool {
        false
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.1.as_fd()
    }
}

/// The inner address of a peer; the hub is number 0.
fn inner(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number as u8)
}

fn packet(to: usize) -> Vec<u8> {
    let mut packet = vec![0; PACKET_LEN];
    packet[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 253, 0, 0]);
    packet[2..4].copy_from_slice(&(PACKET_LEN as u16).to_be_bytes());
    packet[12..16].copy_from_slice(&inner(0).octets());
    packet[16..20].copy_from_slice(&inner(to).octets());
    packet
}

/// Packets per second of each worker.
fn measure(workers: usize, time: Duration) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut limits = Limits::default();
    limits.interfaces = PEERS + 1;
    let network = Network::new(Behaviour { depth: 16, ..Behaviour::default() });
    let builder = Engine::builder().workers(Workers::Count(workers)).limits(limits).pin(true);
    let (engine, _events) = builder.outer(Memory(network)).start()?;
    let flows: Vec<Arc<Flow>> = (0..workers).map(|_| Arc::default()).collect();
    let key = |number: usize| Secret::new([number as u8 + 1; 32]);
    let prefix = |number| IpPrefix::new(inner(number).into(), 32);

    // Peers are spread over the workers in the order in which they are added, on both ends alike.
    let source = |worker: usize| -> io::Result<Box<dyn Inner + Send>> {
        let packets =
            (0..PEERS).filter(|peer| peer % workers == worker).map(|peer| packet(peer + 1)).collect();
        let flow = Arc::clone(&flows[worker]);
        Ok(Box::new(Source { flow, packets, next: Cell::new(0), fd: always_readable()? }))
    };
    let port = |number: usize| 10_000 + number as u16;
    let at = |number: usize, worker: usize| SocketAddr::new(address_of(worker), port(number));
    let hub = InnerSide::custom((0..workers).map(source).collect::<io::Result<_>>()?);
    let hub =
        engine.add_interface(Interface::new(hub).private_key(*key(0).bytes()).listen(port(0)).down())?;
    let peer = |peer: usize| {
        let number = peer + 1;
        Peer::new(key(number).public()).allowed_ips(prefix(number)).endpoint(at(number, peer % workers))
    };
    hub.reconcile(Desired::peers((0..PEERS).map(peer)))?.wait()??;
    let mut spokes = Vec::new();
    for peer in 0..PEERS {
        let sink = |worker: usize| -> io::Result<Box<dyn Inner + Send>> {
            let never = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
            Ok(Box::new(Sink(Arc::clone(&flows[worker]), never)))
        };
        let side = InnerSide::custom((0..workers).map(sink).collect::<io::Result<_>>()?);
        let interface = Interface::new(side).private_key(*key(peer + 1).bytes()).listen(port(peer + 1));
        let spoke = engine.add_interface(interface)?;
        let of_hub = Peer::new(key(0).public()).allowed_ips(prefix(0)).endpoint(at(0, peer % workers));
        spoke.upsert(of_hub)?.wait()??;
        spokes.push(spoke);
    }
    hub.set_up(true)?.wait()??;
    flows.iter().for_each(|flow| flow.begun.store(true, Ordering::Relaxed));
    let taken = || flows.iter().map(|flow| flow.taken.load(Ordering::Relaxed)).collect::<Vec<_>>();
    // Sessions first.
    let deadline = Instant::now() + Duration::from_secs(30);
    while taken().iter().any(|&taken| taken < 100 * PEERS as u64) {
        if Instant::now() > deadline {
            return Err(format!("no traffic: {:?}", engine.stats().total()).into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (before, begun) = (taken(), Instant::now());
    std::thread::sleep(time);
    let (after, seconds) = (taken(), begun.elapsed().as_secs_f64());
    Ok(after.iter().zip(before).map(|(after, before)| (after - before) as f64 / seconds).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let milliseconds = std::env::args().nth(1).map_or(Ok(1000), |argument| argument.parse())?;
    println!("{PEERS} peers, packets of {PACKET_LEN} bytes, sealed and opened on the same core");
    for workers in [1, 2] {
        let each = measure(workers, Duration::from_millis(milliseconds))?;
        let total: f64 = each.iter().sum();
        let gigabits = total * PACKET_LEN as f64 * 8.0 / 1e9;
        let plural = if workers == 1 { "" } else { "s" };
        println!(
            "{workers} worker{plural}: {total:.0} packets/s ({gigabits:.2} Gbit/s), by worker {each:.0?}"
        );
    }
    Ok(())
}
