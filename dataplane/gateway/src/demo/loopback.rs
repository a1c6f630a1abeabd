//! The demo where there are no namespaces: two engines in this process, joined over loopback, packets made and taken in
//! memory. It shows that the parts work; its speed says nothing about gateways, and is not shown.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dataplane::inner::memory::{MemoryInner, pair};
use dataplane::inner::{Inner, RECV_MIN, SendError, VNET_HEADER_LEN};
use dataplane::{
    AllowedIp, Change, Engine, InnerSide, Interface, InterfaceHandle, IpPrefix, PeerChange, Secret,
    WorkerStats, Workers,
};
use dataplane_wire::checksum::Sum;

use super::screen::{Frame, GatewayRow, Screen, grouped};
use super::{DemoError, Options, sample};
use crate::keys::random_private_key;
use crate::signals::Termination;

const LEFT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
/// Packets that either inner side holds.
const DEPTH: usize = 256;
/// Bytes of a packet: the MTU of a tunnel over IPv6.
const PACKET_LEN: usize = 1420;
/// Between two frames, and between two looks at what has arrived.
const FRAME_INTERVAL: Duration = Duration::from_millis(250);
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// How long a handshake over loopback may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// One engine with one interface, and the other end of its inner side.
struct End {
    handle: InterfaceHandle,
    inner: MemoryInner,
    key: Secret,
    engine: Engine,
}

impl End {
    fn start() -> Result<Self, DemoError> {
        let failed =
            |error: &dyn std::fmt::Display| DemoError::Gateway(format!("a gateway does not start: {error}"));
        let key = random_private_key().map_err(DemoError::system("cannot get randomness"))?;
        let (near, inner) = pair(DEPTH).map_err(DemoError::system("cannot make an inner side"))?;
        let started = Engine::builder().workers(Workers::Count(1)).start();
        let (engine, _) = started.map_err(|error| failed(&error))?;
        let interface = Interface::new(InnerSide::custom(vec![Box::new(near)])).private_key(*key.bytes());
        let handle = engine.add_interface(interface).map_err(|error| failed(&error))?;
        Ok(Self { handle, inner, key, engine })
    }

    fn port(&self) -> Result<u16, DemoError> {
        let gone = |_| DemoError::Gateway("a gateway has ended".to_owned());
        let snapshot = self.handle.snapshot().and_then(|answer| answer.wait()).map_err(gone)?;
        snapshot.map(|snapshot| snapshot.listen_port).map_err(|error| DemoError::Gateway(error.to_string()))
    }

    fn meet(&self, other: &Self, address: Ipv4Addr) -> Result<(), DemoError> {
        let prefix = IpPrefix::new(address.into(), 32);
        let peer = PeerChange {
            endpoint: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), other.port()?)),
            allowed_ips: prefix.into_iter().map(AllowedIp::Give).collect(),
            ..PeerChange::new(self.handle.id(), other.key.public())
        };
        let change = Change { peers: vec![peer], ..Change::default() };
        let gone = |_| DemoError::Gateway("a gateway has ended".to_owned());
        let applied = self.handle.apply(change).and_then(|answer| answer.wait()).map_err(gone)?;
        applied.map_err(|error| DemoError::Gateway(error.to_string()))
    }

    fn delivered_packets(&self) -> u64 {
        self.engine.stats().total().inner_out_packets
    }
}

/// Runs the demo.
pub(super) fn run(options: &Options, termination: &Termination) -> Result<(), DemoError> {
    let (mut left, mut right) = (End::start()?, End::start()?);
    left.meet(&right, RIGHT)?;
    right.meet(&left, LEFT)?;
    let packet = packet();
    let mut screen = Screen::new(options.plain);
    let length = Duration::from_secs(options.seconds);
    let (begun, mut shown) = (Instant::now(), Instant::now());
    let mut cores = sample::cores();
    let (mut sent, mut before) = (0_u64, [WorkerStats::default(); 2]);
    let mut buffer = vec![0; RECV_MIN];
    while begun.elapsed() < length {
        if termination.within(LOOK_INTERVAL) {
            return Err(DemoError::Interrupted);
        }
        let delivered = right.delivered_packets();
        if delivered == 0 && begun.elapsed() > HANDSHAKE_TIME_MAX {
            return Err(DemoError::NoTraffic("no packet within 10 s over loopback".into()));
        }
        // Never more on the way than every queue has room for: nothing shall be dropped here.
        while sent.saturating_sub(delivered) < DEPTH as u64 / 4 {
            match left.inner.send_gather(&packet, &[], &[]) {
                Ok(()) => sent += 1,
                Err(SendError::Full) => break,
                Err(error) => return Err(DemoError::NoTraffic(error.to_string())),
            }
        }
        while matches!(right.inner.recv(&mut buffer), Ok(Some(_))) {}
        if shown.elapsed() >= FRAME_INTERVAL {
            let seconds = shown.elapsed().as_secs_f64();
            shown = Instant::now();
            let cores_now = sample::cores();
            let now = [&left, &right].map(|end| end.engine.stats().total());
            let gateways =
                vec![row("left", &now[0], &before[0], seconds), row("right", &now[1], &before[1], seconds)];
            before = now;
            screen.show(&Frame {
                title: "packets left → right".to_owned(),
                elapsed: begun.elapsed(),
                length,
                bits_per_s: None,
                gateways,
                cores: cores_now.iter().zip(&cores).map(|(now, then)| now.busy_since(*then)).collect(),
            });
            cores = cores_now;
        }
    }
    screen.end();
    let (delivered, drops) = (right.delivered_packets(), drops(&left) + drops(&right));
    if delivered == 0 {
        return Err(DemoError::NoTraffic("no packet was delivered over loopback".into()));
    }
    println!("\nSummary");
    println!(
        "  packets            {} sent, {} delivered, {} drops",
        grouped(sent),
        grouped(delivered),
        grouped(drops)
    );
    println!("  cipher             {}", left.engine.cipher());
    println!("  No speed is shown: two gateways in one process over loopback say nothing about gateways.");
    println!("  Run it as root, or where user namespaces are allowed, to see one.");
    Ok(())
}

fn row(name: &'static str, now: &WorkerStats, then: &WorkerStats, seconds: f64) -> GatewayRow {
    GatewayRow {
        name,
        rx_per_s: (now.rx_datagrams - then.rx_datagrams) as f64 / seconds,
        tx_per_s: (now.tx_datagrams - then.tx_datagrams) as f64 / seconds,
        drops: now.drops.total(),
        cpu: (now.busy_ns - then.busy_ns) as f64 / 1e9 / seconds,
    }
}

/// A UDP packet from left to right behind an empty vnet header, without a UDP checksum, as IPv4 allows.
fn packet() -> Vec<u8> {
    let mut ip = vec![0; PACKET_LEN];
    let [length, udp_length] = [PACKET_LEN, PACKET_LEN - 20].map(|len| (len as u16).to_be_bytes());
    // RFC 791 §3.1: version 4, five words; length; do not fragment; 64 hops; UDP.
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&length);
    ip[6] = 0x40;
    ip[8..10].copy_from_slice(&[64, 17]);
    ip[12..16].copy_from_slice(&LEFT.octets());
    ip[16..20].copy_from_slice(&RIGHT.octets());
    let sum = Sum::of(&ip[..20]).checksum();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    // RFC 768: the discard port on both ends.
    ip[20..24].copy_from_slice(&[0, 9, 0, 9]);
    ip[24..26].copy_from_slice(&udp_length);
    [vec![0; VNET_HEADER_LEN], ip].concat()
}

fn drops(end: &End) -> u64 {
    end.engine.stats().total().drops.total()
}
