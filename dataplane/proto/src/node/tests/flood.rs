//! Honest handshakes during floods: a gate, the queue behind it, and a node that takes a quarter of a millisecond a message.

use core::net::SocketAddr;
use std::collections::VecDeque;

use dataplane_wire::wireguard::{
    COOKIE_REPLY_LEN, CookieReply, INITIATION_LEN, Initiation, Message, RESPONSE_LEN, Response, write_mac1,
    write_mac2,
};

use super::*;
use crate::cookie::HeldCookie;
use crate::gate::{Gate, InterfaceKeys, Verdict};
use crate::noise::hash::mac;

const CAPACITY: usize = 256;
const SERVED_PER_MS: usize = 4;
const FLOOD_PER_MS: u32 = 8;
/// The host that is flooded, and the one that wants a session with it.
const SERVER: u8 = 1;
const CLIENT: u8 = 2;

/// A server with its gate, and everything that a flood may use.
struct Server {
    host: Host,
    gate: Gate,
    keys: InterfaceKeys,
    /// Messages that passed; `None` for one of the flood, which costs the node its time and gives nothing.
    queue: VecDeque<Option<HandshakeBytes>>,
    fullest: usize,
    /// Whether there was load when a message of the client came.
    loaded: bool,
}

impl Server {
    fn offer(&mut self, now: Instant, from: SocketAddr, message: &[u8], honest: bool) -> Verdict {
        let view = Message::parse(message).unwrap();
        let verdict = self.gate.check(now, &self.keys, from, &view, self.queue.len(), CAPACITY);
        if verdict == Verdict::Pass {
            self.queue.push_back(honest.then(|| HandshakeBytes::copy_from(message).unwrap()));
        }
        if honest {
            self.loaded |= self.gate.under_load(now);
        }
        self.fullest = self.fullest.max(self.queue.len());
        verdict
    }
}

/// How long a handshake of the client takes while `flood` sends so many messages a millisecond, for each of three clients
/// that begin at different times.
fn times(mut flood: impl FnMut(Instant, u32, &mut Server)) -> Vec<Duration> {
    let mut times = Vec::new();
    for begin_ms in [1_000, 1_700, 2_950] {
        let mut client = Host::new(CLIENT);
        let host = Host::new(SERVER);
        let keys = InterfaceKeys::of(&host.public().0);
        let gate = Gate::new(&[6; 32], CoreId(0), 1024);
        let mut server = Server { host, gate, keys, queue: VecDeque::new(), fullest: 0, loaded: false };
        let peer = client.meet(Instant::ZERO, &server.host);
        server.host.meet(Instant::ZERO, &client);
        client.commands();
        server.host.commands();
        let begin = at(f64::from(begin_ms) / 1000.0);
        let mut done = None;
        for ms in 0..begin_ms + 11_000 {
            let now = Instant::ZERO + Duration::from_millis(ms.into());
            for number in 0..FLOOD_PER_MS {
                flood(now, ms * FLOOD_PER_MS + number, &mut server);
            }
            if ms == begin_ms {
                client.want(now, peer);
            }
            client.run_until(now);
            for message in client.messages() {
                if let Verdict::CookieReply(reply) =
                    server.offer(now, path(CLIENT).remote, message.as_slice(), true)
                {
                    client.take(now, SERVER, &HandshakeBytes::copy_from(&reply).unwrap());
                }
            }
            let served = SERVED_PER_MS.min(server.queue.len());
            for message in server.queue.drain(..served).flatten() {
                server.host.take(now, CLIENT, &message);
            }
            for response in server.host.messages() {
                client.take(now, SERVER, &response);
            }
            if !keypairs(client.commands()).is_empty() {
                done = Some(now);
                break;
            }
        }
        assert!(server.loaded, "there was load");
        assert!(server.fullest < CAPACITY, "the queue was full");
        times.push(done.expect("a handshake within 11 s").since(begin));
    }
    times
}

fn initiation(keys: &InterfaceKeys, sender: u32) -> [u8; INITIATION_LEN] {
    let mut message = [0; INITIATION_LEN];
    Initiation::emit(&mut message, sender, &[2; 32], &[3; 48], &[4; 28]);
    write_mac1(&mut message, |covered| mac(&keys.mac1, &[covered]));
    message
}

fn flooder() -> SocketAddr {
    ([203, 0, 113, 1], 9).into()
}

// WG-27
#[test]
fn an_honest_handshake_gets_through_a_flood_that_does_not_answer_cookies() {
    times(|now, number, server| {
        let message = initiation(&server.keys, number);
        server.offer(now, flooder(), &message, false);
    });
}

// WG-27
#[test]
fn an_honest_handshake_gets_through_a_flood_that_answers_cookies_from_many_ports() {
    let mut cookies: Vec<Option<HeldCookie>> = vec![None; 64];
    times(|now, number, server| {
        let port = number % 64;
        let from = SocketAddr::new(flooder().ip(), port as u16);
        let mut message = initiation(&server.keys, number);
        let held = &mut cookies[port as usize];
        if let Some(mac2) = held.as_ref().and_then(|held| held.mac2(now, &message[..132])) {
            write_mac2(&mut message, |_| mac2);
        }
        if let Verdict::CookieReply(reply) = server.offer(now, from, &message, false) {
            let Ok(Message::CookieReply(reply)) = Message::parse(&reply) else { panic!() };
            *held = HeldCookie::open(now, &server.keys, message[116..132].try_into().unwrap(), &reply);
        }
    });
}

// WG-27
#[test]
fn an_honest_handshake_gets_through_a_flood_in_the_name_of_everyone() {
    times(|now, number, server| {
        let from = SocketAddr::from((number.wrapping_mul(0x9e37_79b9).to_be_bytes(), number as u16));
        let message = initiation(&server.keys, number);
        server.offer(now, from, &message, false);
    });
}

// WG-27, WG-23
#[test]
fn an_honest_handshake_gets_through_a_flood_of_responses_and_cookie_replies() {
    times(|now, number, server| {
        if number % 2 == 0 {
            let mut message = [0; RESPONSE_LEN];
            Response::emit(&mut message, number, number, &[2; 32], &[3; 16]);
            write_mac1(&mut message, |covered| mac(&server.keys.mac1, &[covered]));
            server.offer(now, flooder(), &message, false);
        } else {
            let mut message = [0; COOKIE_REPLY_LEN];
            CookieReply::emit(&mut message, number, &[0; 24], &[0; 32]);
            server.offer(now, flooder(), &message, false);
        }
    });
}

// WG-27
#[test]
fn after_the_flood_a_handshake_takes_one_turn() {
    let quick = times(|now, number, server| {
        // A burst in which there is load when the client comes, and nothing after.
        if now < at(0.5)
            || (now > at(1.0) && now < at(1.01))
            || (now > at(1.7) && now < at(1.71))
            || now > at(2.9) && now < at(2.96)
        {
            let message = initiation(&server.keys, number);
            server.offer(now, flooder(), &message, false);
        }
        server.loaded = true;
    });
    assert!(quick.iter().all(|time| *time < Duration::from_secs(6)), "{quick:?}");
}
