//! A hook as firewall: it sees whole batches with their peer, on the worker, and drops what it does not like.
//!
//! Two gateways run in this process. One lets in what goes to an open UDP port; what is dropped is counted by reason.
//!
//! ```sh
//! cargo run --example firewall
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dataplane::{
    Depth, Engine, Hook, InnerSide, Interface, PacketBatch, Peer, PeerId, PolicyReason, Secret, Workers,
};

const OPEN_PORT: u16 = 53;
const CLOSED_PORT: PolicyReason = PolicyReason(1);
const NOT_UDP: PolicyReason = PolicyReason(2);

/// One per worker, so it needs neither lock nor atomics.
struct Firewall;

impl Hook for Firewall {
    fn outbound(&mut self, _peer: PeerId, _batch: &mut PacketBatch<'_>) {}

    fn inbound(&mut self, _peer: PeerId, batch: &mut PacketBatch<'_>) {
        for index in 0..batch.len() {
            let Some(packet) = batch.packet(index) else { continue };
            match udp_port(packet) {
                Some(OPEN_PORT) => {}
                Some(_) => batch.drop(index, CLOSED_PORT),
                None => batch.drop(index, NOT_UDP),
            }
        }
    }
}

/// The destination port of a UDP datagram over IPv4 without options.
fn udp_port(packet: &[u8]) -> Option<u16> {
    let is_udp = packet.len() >= 28 && packet[0] == 0x45 && packet[9] == 17;
    is_udp.then(|| u16::from_be_bytes([packet[22], packet[23]]))
}

fn main() -> Result<(), Box<dyn Error>> {
    let workers = Workers::Count(1);
    let (outside, _) = Engine::builder().workers(workers).start()?;
    let (inside, _) = Engine::builder().workers(workers).hook(|_worker| Firewall).start()?;
    let keys = [Secret::new([1; 32]), Secret::new([2; 32])];
    let addresses = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];

    let (side, mut sender) = InnerSide::queue(Depth::batches(16))?;
    let near = outside.add_interface(Interface::new(side).private_key(*keys[0].bytes()))?;
    let (side, mut receiver) = InnerSide::queue(Depth::batches(16))?;
    let far = inside.add_interface(Interface::new(side).private_key(*keys[1].bytes()))?;
    let port = far.snapshot()?.wait()??.listen_port;
    let prefix = |address: Ipv4Addr| format!("{address}/32").parse();
    let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    near.upsert(Peer::new(keys[1].public()).allowed_ips([prefix(addresses[1])?]).endpoint(endpoint))?
        .wait()??;
    far.upsert(Peer::new(keys[0].public()).allowed_ips([prefix(addresses[0])?]))?.wait()??;

    let mut slots = sender.reserve_timeout(9, Duration::from_secs(1)).ok_or("no credit")?;
    for number in 0..9 {
        slots.push(&datagram(addresses, if number % 3 == 0 { OPEN_PORT } else { 4444 }))?;
    }
    slots.commit();
    let mut let_in = 0;
    while let_in < 3 {
        let batch = receiver.recv_timeout(Duration::from_secs(10)).ok_or("nothing came")?;
        assert!(batch.iter().all(|packet| udp_port(packet) == Some(OPEN_PORT)));
        let_in += batch.len();
    }
    // Packets are in order: the last two are behind the third that was let in.
    while inside.policy_drops(CLOSED_PORT) < 6 {
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("{let_in} let in, {} dropped for their port", inside.policy_drops(CLOSED_PORT));
    Ok(())
}

/// A UDP datagram without payload; its checksum is left out, as IPv4 allows.
fn datagram([from, to]: [Ipv4Addr; 2], port: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    packet[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    packet.extend(4000u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend([0, 8, 0, 0]);
    packet
}
