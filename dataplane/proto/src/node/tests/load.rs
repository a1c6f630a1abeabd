//! A whole end under load: shard, gate and queue, and a node that has time for four messages a millisecond.

use std::collections::HashMap;

use dataplane_wire::wireguard::{INITIATION_LEN, Initiation, Message, write_mac1, write_mac2};

use super::whole::World;
use super::*;
use crate::cookie::HeldCookie;
use crate::gate::InterfaceKeys;
use crate::noise::hash::mac;

/// Messages that the node takes in a millisecond; the queue before it holds 64.
const SERVED_PER_MS: usize = 4;
/// The end that is flooded, and the one that wants to speak with it.
const SERVER: usize = 1;
const CLIENT: usize = 0;

/// Somebody who sends initiations that lead nowhere, from 64 ports of one address, and answers every cookie.
struct Flood {
    keys: InterfaceKeys,
    cookies: HashMap<SocketAddr, HeldCookie>,
    /// The mac1 that was sent last from an address.
    sent: HashMap<SocketAddr, [u8; 16]>,
    number: u32,
}

impl Flood {
    fn new(world: &World) -> Self {
        let keys = InterfaceKeys::of(&world.ends[SERVER].host.public().0);
        Self { keys, cookies: HashMap::new(), sent: HashMap::new(), number: 0 }
    }

    fn send(&mut self, world: &mut World) {
        self.number += 1;
        let from = SocketAddr::from(([203, 0, 113, 1], 1000 + (self.number % 64) as u16));
        let mut message = [0; INITIATION_LEN];
        Initiation::emit(&mut message, self.number, &[2; 32], &[3; 48], &[4; 28]);
        write_mac1(&mut message, |covered| mac(&self.keys.mac1, &[covered]));
        if let Some(mac2) = self.cookies.get(&from).and_then(|cookie| cookie.mac2(world.now, &message[..132]))
        {
            write_mac2(&mut message, |_| mac2);
        }
        let mac1 = *message[116..].first_chunk().unwrap();
        self.sent.insert(from, mac1);
        world.strange(SERVER, from, &message);
        for (to, answer) in world.to_strangers.drain(..) {
            assert!(answer.len() < message.len());
            let Ok(Message::CookieReply(reply)) = Message::parse(&answer) else { panic!("{answer:?}") };
            let held = HeldCookie::open(world.now, &self.keys, &self.sent[&to], &reply);
            self.cookies.insert(to, held.expect("a cookie"));
        }
    }
}

fn stats(world: &World) -> crate::gate::GateStats {
    world.ends[SERVER].shard.gate_stats(world.now)
}

/// A millisecond of a flood of `per_ms` messages.
fn pass(world: &mut World, flood: &mut Flood, per_ms: u32) {
    world.patience[SERVER] = SERVED_PER_MS;
    for _ in 0..per_ms {
        flood.send(world);
    }
    world.run_until(world.now + Duration::from_millis(1));
}

// WG-25
#[test]
fn load_begins_with_the_flood_outlasts_it_by_a_second_and_shows() {
    let mut world = World::new(1);
    let mut flood = Flood::new(&world);
    world.run_until(at(1.0));
    // What the node has time for is no load.
    for _ in 0..500 {
        pass(&mut world, &mut flood, 4);
    }
    assert_eq!(stats(&world), crate::gate::GateStats::default());
    // Twelve more than it has time for: an eighth of the queue, and some that meet the load.
    pass(&mut world, &mut flood, 16);
    assert_eq!((stats(&world).under_load, stats(&world).load_episodes), (true, 1));
    assert_eq!(stats(&world).cookie_replies, 4);
    for _ in 0..998 {
        pass(&mut world, &mut flood, 0);
    }
    assert!(stats(&world).under_load);
    pass(&mut world, &mut flood, 0);
    assert!(!stats(&world).under_load);
}

// WG-25, WG-26, WG-27
#[test]
fn under_a_flood_that_answers_cookies_an_address_has_its_rate_and_an_honest_end_its_session() {
    for begin_ms in [1_000, 1_300, 1_950] {
        let mut world = World::new(1);
        let mut flood = Flood::new(&world);
        let passed = |world: &World| world.ends[SERVER].shard.totals().rx_handshakes;
        for ms in 0..begin_ms + 11_000_u32 {
            if ms == begin_ms {
                assert!(stats(&world).under_load);
                world.send(CLIENT);
            }
            pass(&mut world, &mut flood, 8);
        }
        // Behind the gate: an eighth of the queue in each episode of load and what is served meanwhile; 20 a second of the
        // flooding address, and 5 at once; and the client.
        let stats = stats(&world);
        let secs = u64::from(begin_ms) / 1000 + 12;
        assert!(stats.load_episodes <= secs, "{stats:?}");
        let most = stats.load_episodes * (8 + 2 * SERVED_PER_MS as u64) + 5 + 20 * secs + 2;
        assert!((20 * (secs - 2)..=most).contains(&passed(&world)), "{} of {most}", passed(&world));
        let drops = world.ends[SERVER].shard.drops();
        assert!(drops[DropReason::HandshakeRate as usize] > 50_000);
        assert_eq!(drops[DropReason::HandshakeQueueFull as usize], 0);
        // The client: delivered what it wanted to, in two attempts at most.
        assert_eq!(world.ends[SERVER].delivered, 1);
        assert!(world.ends[CLIENT].initiations.len() <= 2, "{:?}", world.ends[CLIENT].initiations);
    }
}

// WG-27
#[test]
fn a_session_that_stands_does_not_feel_a_flood_of_handshakes_and_is_renewed_in_it() {
    let mut world = World::new(1);
    let mut flood = Flood::new(&world);
    world.run_until(at(0.5));
    world.send(CLIENT);
    world.run_until(at(1.0));
    let mut sent = 1;
    // Over the renewal at 120 s, in steps that cost less than a flood of two minutes.
    for second in 1..140 {
        let flooded = (118..135).contains(&second);
        for ms in 0..1000 {
            pass(&mut world, &mut flood, if flooded { 8 } else { 0 });
            if ms % 100 == 0 {
                world.send(CLIENT);
                world.send(SERVER);
                sent += 1;
            }
        }
    }
    assert!(stats(&world).load_episodes > 0);
    assert_eq!((world.ends[SERVER].delivered, world.ends[CLIENT].delivered), (sent, sent - 1));
    assert_eq!(world.ends[CLIENT].sessions.len(), 2, "renewed once");
    assert!(world.one_session());
}
