//! The machine sleeps while an engine runs, as far as a clock can tell.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dataplane_proto::keys::Secret;

use crate::{Depth, Engine, InnerSide, Interface, InterfaceHandle, Packets, Peer, Workers, clock};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An IPv4 packet without payload, of a protocol that nobody uses, between the inner addresses of two ends.
fn packet(from: u8, to: u8) -> [u8; 20] {
    let mut packet = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, from, 10, 0, 0, to];
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

struct End {
    number: u8,
    handle: InterfaceHandle,
    packets: Packets,
}

impl End {
    fn add(engine: &Engine, number: u8) -> Self {
        let (side, packets) = InnerSide::queue(Depth::batches(64)).unwrap();
        let handle = engine.add_interface(Interface::new(side).private_key([number; 32])).unwrap();
        Self { number, handle, packets }
    }

    fn know(&self, other: &Self) {
        let port = other.handle.snapshot().unwrap().wait().unwrap().unwrap().listen_port;
        let peer = Peer::new(Secret::new([other.number; 32]).public())
            .allowed_ips([format!("10.0.0.{}/32", other.number).parse().unwrap()])
            .endpoint(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        self.handle.upsert(peer).unwrap().wait().unwrap().unwrap();
    }

    fn say(&mut self, other: &mut Self) {
        let mut slots = self.packets.reserve_timeout(1, PATIENCE).expect("credit");
        slots.push(&packet(self.number, other.number)).unwrap();
        slots.commit();
        other.packets.recv_timeout(PATIENCE).expect("it arrives");
    }

    fn last_handshake(&self) -> Duration {
        self.handle.snapshot().unwrap().wait().unwrap().unwrap().device.peers[0].last_handshake
    }
}

/// FT-6, WG-37: the control thread sees by its clocks that the machine has slept, and all keys are erased. Two seconds are too short for
/// a session to end of age or of silence while both ends speak: a new handshake has no other cause.
#[test]
fn an_engine_that_finds_that_the_machine_has_slept_makes_all_sessions_anew() {
    let (engine, _events) = Engine::builder().workers(Workers::Count(2)).start().unwrap();
    let (mut one, mut other) = (End::add(&engine, 1), End::add(&engine, 2));
    one.know(&other);
    other.know(&one);
    let talk_for = |one: &mut End, other: &mut End, time: Duration, until: &dyn Fn(&End) -> bool| {
        let begun = Instant::now();
        while begun.elapsed() < time && !until(one) {
            one.say(other);
            other.say(one);
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    one.say(&mut other);
    let first = one.last_handshake();
    assert!(!first.is_zero());
    // Longer than the control thread ever naps: without a sleep, nothing happens.
    talk_for(&mut one, &mut other, Duration::from_millis(1500), &|_| false);
    assert_eq!(one.last_handshake(), first);
    clock::sleep_machine(Duration::from_secs(2));
    talk_for(&mut one, &mut other, PATIENCE, &|one| one.last_handshake() > first);
    assert!(one.last_handshake() > first, "the session is still the one from before");
    one.say(&mut other);
    engine.shutdown();
}
