//! A gateway with its inner side in the test's hands.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dataplane::inner::{Inner, memory};
use dataplane::{
    AllowedIp, Change, Depth, Engine, Event, Events, InnerSide, Interface, InterfaceHandle, IpPrefix,
    Packets, Peer, PeerChange, PeerId, PublicKey, Secret, Workers,
};

/// The longest that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Gateway {
    pub(crate) engine: Engine,
    pub(crate) events: Events,
    pub(crate) interface: InterfaceHandle,
    /// What the test reads and writes: one end per worker.
    pub(crate) inner: Vec<memory::MemoryInner>,
    pub(crate) key: Secret,
    pub(crate) address: Ipv4Addr,
}

impl Gateway {
    pub(crate) fn start(workers: usize, seed: u8) -> Self {
        let (engine, events) = Engine::builder().workers(Workers::Count(workers)).start().unwrap();
        let (mut inner, mut queues) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (ours, theirs) = memory::pair(256).unwrap();
            inner.push(ours);
            queues.push(Box::new(theirs) as Box<dyn Inner + Send>);
        }
        let key = Secret::new([seed; 32]);
        let interface = Interface::new(InnerSide::custom(queues)).private_key(*key.bytes());
        let interface = engine.add_interface(interface).unwrap();
        Self { engine, events, interface, inner, key, address: Ipv4Addr::new(10, 0, 0, seed) }
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// What it has counted, for a failed test.
    pub(crate) fn tell(&self) -> String {
        tell(&self.engine)
    }

    pub(crate) fn port(&self) -> u16 {
        self.interface.snapshot().unwrap().wait().unwrap().unwrap().listen_port
    }

    pub(crate) fn know(&self, other: &Self) {
        let mut peer = PeerChange::new(self.interface.id(), other.public());
        peer.endpoint = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, other.port())));
        peer.allowed_ips = vec![AllowedIp::Give(format!("{}/32", other.address).parse().unwrap())];
        let change = Change { peers: vec![peer], ..Change::default() };
        self.interface.apply(change).unwrap().wait().unwrap().unwrap();
    }

    pub(crate) fn send(&mut self, to: &Self, number: u32) {
        let mut packet = vec![0; dataplane::inner::VNET_HEADER_LEN];
        packet.extend(udp_packet(self.address, to.address, number));
        self.inner[0].send_gather(&packet, &[], &[]).unwrap();
    }

    /// The next packet that comes out of any queue, without its vnet header.
    pub(crate) fn recv(&mut self) -> Option<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = vec![0; dataplane::inner::RECV_MIN];
        while Instant::now() < deadline {
            for queue in &mut self.inner {
                if let Some(len) = queue.recv(&mut buffer).unwrap() {
                    return Some(buffer[dataplane::inner::VNET_HEADER_LEN..len].to_vec());
                }
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        None
    }
}

/// An interface of some engine, with its inner side as a queue in the test's hands.
pub(crate) struct Site {
    pub(crate) handle: InterfaceHandle,
    pub(crate) packets: Packets,
    pub(crate) key: Secret,
    pub(crate) address: Ipv4Addr,
    received: VecDeque<Vec<u8>>,
}

impl Site {
    /// On a port of the system's choice, with the key and inner address that belong to `seed`.
    pub(crate) fn add(engine: &Engine, seed: u8, depth: usize) -> Self {
        Self::add_with(engine, seed, depth, |interface| interface)
    }

    /// The same, with something else said of the interface.
    pub(crate) fn add_with(
        engine: &Engine,
        seed: u8,
        depth: usize,
        with: impl FnOnce(Interface) -> Interface,
    ) -> Self {
        let (inner, packets) = InnerSide::queue(Depth::batches(depth)).unwrap();
        let key = Secret::new([seed; 32]);
        let handle = engine.add_interface(with(Interface::new(inner).private_key(*key.bytes()))).unwrap();
        let address = Ipv4Addr::new(10, 0, 0, seed);
        Self { handle, packets, key, address, received: VecDeque::new() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.handle.snapshot().unwrap().wait().unwrap().unwrap().listen_port
    }

    /// It as a peer of others.
    pub(crate) fn peer(&self) -> Peer {
        let prefix = IpPrefix::new(self.address.into(), 32).unwrap();
        let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()));
        Peer::new(self.key.public()).allowed_ips([prefix]).endpoint(endpoint)
    }

    pub(crate) fn know(&self, other: &Self) -> PeerId {
        self.handle.upsert(other.peer()).unwrap().wait().unwrap().unwrap()
    }

    /// Sends packets with these numbers, waiting for credit.
    pub(crate) fn send(&mut self, to: Ipv4Addr, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            let mut slots = self.packets.reserve_timeout(1, PATIENCE).expect("credit");
            slots.push(&udp_packet(self.address, to, number)).unwrap();
            slots.commit();
        }
    }

    /// The number of the next packet that comes out.
    pub(crate) fn recv(&mut self, patience: Duration) -> Option<u32> {
        if self.received.is_empty() {
            let batch = self.packets.recv_timeout(patience)?;
            self.received.extend(batch.iter().map(<[u8]>::to_vec));
        }
        self.received.pop_front().map(|packet| number_of(&packet))
    }
}

/// Makes two interfaces each other's peers, and sends a packet each way.
pub(crate) fn connect(one: &mut Site, other: &mut Site, engine: &Engine) {
    one.know(other);
    other.know(one);
    one.send(other.address, [0]);
    assert_eq!(other.recv(PATIENCE), Some(0), "{}", tell(engine));
    other.send(one.address, [0]);
    assert_eq!(one.recv(PATIENCE), Some(0), "{}", tell(engine));
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The next event of which `pick` makes something.
pub(crate) fn event<T>(events: &mut Events, mut pick: impl FnMut(Event) -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(event) = events.next_timeout(deadline.saturating_duration_since(Instant::now())) {
        if let Some(picked) = pick(event) {
            return Some(picked);
        }
    }
    None
}

/// An engine of so many workers.
pub(crate) fn engine(workers: usize) -> (Engine, Events) {
    Engine::builder().workers(Workers::Count(workers)).start().unwrap()
}

/// What an engine has counted, for a failed test.
pub(crate) fn tell(engine: &Engine) -> String {
    let total = engine.stats().total();
    let counters: Vec<_> = total.named().filter(|(_, count)| *count > 0).collect();
    format!("{counters:?} drops {:?}", total.drops.nonzero().collect::<Vec<_>>())
}

/// An IPv4 packet with a UDP datagram of four bytes; its UDP checksum is left out, as IPv4 allows.
pub(crate) fn udp_packet(from: Ipv4Addr, to: Ipv4Addr, number: u32) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0x10, 0, 0x20, 0, 0, 12, 0, 0]);
    packet.extend(number.to_be_bytes());
    packet
}

pub(crate) fn number_of(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[28..32].try_into().unwrap())
}
