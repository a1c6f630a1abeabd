//! A gateway with its inner side in the test's hands.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dataplane::inner::{Inner, memory};
use dataplane::{
    AllowedIp, Change, Engine, Events, InnerSide, Interface, InterfaceHandle, PeerChange, PublicKey, Secret,
    Workers,
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
        let total = self.engine.stats().total();
        let counters: Vec<_> = total.named().filter(|(_, count)| *count > 0).collect();
        format!("{counters:?} drops {:?}", total.drops.nonzero().collect::<Vec<_>>())
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
