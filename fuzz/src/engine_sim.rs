//! The whole engine in the simulator: the input says what hosts do, what strangers send, and how the network behaves.

use std::net::SocketAddr;
use std::time::Duration;

use dataplane_sim::{Behaviour, Conditions, Failure, HostId, Network, Packet, Ppm, RouterId};

use crate::input::Input;

/// Things that one input does at most.
const STEPS_MAX: usize = 150;
/// How long two ends may take to reach each other when nothing is in their way any more, as in the scenario `whole`.
const REACHED_WITHIN: Duration = Duration::from_secs(45);
/// Bytes of the longest datagram that is made up.
const DATAGRAM_MAX: usize = 300;

/// A gateway that stands still, one that moves, one behind a NAT.
struct World {
    net: Network,
    fixed: HostId,
    mobile: HostId,
    hidden: HostId,
    router: RouterId,
    /// Whether something was done that takes time to recover from.
    shaken: bool,
}

/// Three hosts, two pairs of which talk, a network and strangers that do as the input says: whatever that is, every rule of the
/// simulator's model holds, and when the network is good again, both pairs reach each other.
pub fn engine_sim(data: &[u8]) {
    let (script, tape) = data.split_at(data.len() / 2);
    let mut input = Input::new(script);
    let mut world = World::new(&mut input, tape);
    if let Err(failure) = world.play(&mut input) {
        panic!("{failure}");
    }
}

impl World {
    fn new(input: &mut Input<'_>, tape: &[u8]) -> Self {
        let mut net = Network::from_tape("fuzz", tape);
        let behaviour = match input.pick(3) {
            0 => Behaviour::FULL_CONE,
            1 => Behaviour::PORT_RESTRICTED,
            _ => Behaviour::SYMMETRIC,
        };
        let router = net.router(behaviour);
        let fixed = net.host_with("fixed", 1 + input.pick(3), None);
        let mobile = net.host("mobile");
        net.address(mobile, None);
        let hidden = net.host_behind("hidden", router);
        net.peers(fixed, mobile);
        net.peers(fixed, hidden);
        net.keepalive(hidden, fixed, Duration::from_secs(25));
        Self { net, fixed, mobile, hidden, router, shaken: false }
    }

    fn play(&mut self, input: &mut Input<'_>) -> Result<(), Box<Failure>> {
        // What the operators have said has taken effect before anything else happens.
        self.net.run_for(Duration::from_millis(5))?;
        for _ in 0..STEPS_MAX {
            if input.is_empty() {
                break;
            }
            self.step(input)?;
        }
        self.recover()
    }

    fn host(&self, number: u8) -> HostId {
        [self.fixed, self.mobile, self.hidden][usize::from(number % 3)]
    }

    fn step(&mut self, input: &mut Input<'_>) -> Result<(), Box<Failure>> {
        let what = input.pick(20);
        self.shaken |= what > 7;
        match what {
            0..=3 => self.talk(input)?,
            4 | 5 => self.net.run_for(Duration::from_millis(input.u16().into()))?,
            6 => self.net.run_for(Duration::from_secs(input.byte().into()))?,
            7 => self.net.run_for(Duration::from_micros(input.u16().into()))?,
            8 | 9 => {
                let (host, conditions) = (self.host(input.byte()), conditions(input));
                self.net.conditions(host, conditions);
            }
            10 | 11 => self.make_up(input),
            12 => drop(self.net.replay(self.host(input.byte()), None)),
            // Only the host that stands still is found again by one that a stranger has led astray.
            13 => drop(self.net.replay(self.fixed, Some(stranger(input.byte())))),
            14 => drop(self.net.replay_changed(self.host(input.byte()))),
            15 => self.net.rebind(self.router),
            16 => match input.pick(3) {
                2 => self.net.use_all_addresses(self.mobile),
                only => self.net.use_address(self.mobile, only.into()),
            },
            17 => {
                let host = self.host(input.byte());
                self.net.restart(host, Duration::from_millis(20 + u64::from(input.byte()) * 10))?;
            }
            18 => {
                let (host, time) = (self.host(input.byte()), Duration::from_secs(input.byte().into()));
                match input.pick(3) {
                    0 => self.net.suspend(host, time),
                    1 => self.net.stall_control(host, time),
                    _ => self.net.set_wall_clock(host, -(time.as_secs() as i64)),
                }
            }
            _ => {
                let other = self.host(1 + input.pick(2));
                self.net.replace_peer(self.fixed, other);
                self.net.replace_peer(other, self.fixed);
            }
        }
        Ok(())
    }

    fn talk(&mut self, input: &mut Input<'_>) -> Result<(), Box<Failure>> {
        let [pair, shape, len, count] = input.array();
        let other = self.host(1 + (pair & 1));
        let (from, to) = if pair & 2 == 0 { (self.fixed, other) } else { (other, self.fixed) };
        let packet = Packet {
            flow: u16::from(shape & 3),
            v6: shape & 4 != 0,
            ecn: (shape >> 3) & 3,
            segments: if shape & 0x20 == 0 { 1 } else { u16::from(count % 64) + 1 },
            len: u16::from(len) * 6,
            spoofed_as: (shape & 0xc0 == 0xc0).then_some(self.host(count)),
        };
        let to = (pair & 0xf0 != 0xf0).then_some(to);
        let times = if packet.segments == 1 && shape & 0x40 != 0 { count } else { 1 };
        (0..times).try_for_each(|_| self.net.send_packet(from, to, packet))
    }

    /// A datagram of the input's own bytes.
    fn make_up(&mut self, input: &mut Input<'_>) {
        let (host, source) = (self.host(input.byte()), stranger(input.byte()));
        let len = usize::from(input.u16()) % DATAGRAM_MAX;
        let mut bytes = input.take(len).to_vec();
        // Most of what is worth a look begins like a message of WireGuard, and has its length.
        if let (Some(head), kind @ 1..=4) = (bytes.first_chunk_mut::<4>(), input.pick(8)) {
            *head = [kind, 0, 0, 0];
            bytes.resize([148, 92, 64, len.max(32)][usize::from(kind) - 1], 0);
        }
        self.net.inject(host, source, &bytes);
    }

    /// The network is good again: both pairs reach each other, if they have anything to recover from.
    fn recover(&mut self) -> Result<(), Box<Failure>> {
        if !self.shaken {
            return Ok(());
        }
        self.net.calm();
        let hosts = [self.fixed, self.mobile, self.hidden];
        for host in hosts {
            self.net.wake_up(host);
            self.net.use_all_addresses(host);
            self.net.set_wall_clock(host, 0);
        }
        let quiet = self.net.now();
        let steady = quiet + REACHED_WITHIN;
        while self.net.now() < steady + Duration::from_secs(6) {
            for other in [self.mobile, self.hidden] {
                self.net.send(self.fixed, other)?;
                self.net.send(other, self.fixed)?;
            }
            self.net.run_for(Duration::from_secs(1))?;
        }
        for other in [self.mobile, self.hidden] {
            self.net.expect_reached(self.fixed, other, quiet, steady)?;
        }
        self.net.expect_nothing_waits()
    }
}

fn stranger(number: u8) -> SocketAddr {
    ([100, 64, 0, number], 5000).into()
}

fn conditions(input: &mut Input<'_>) -> Conditions {
    let [what, much, delay] = input.array();
    let often = Ppm::from(much) * 3000;
    let good = Conditions::delay(Duration::from_millis(delay.into()));
    match what % 9 {
        0 => Conditions { loss: often, ..good },
        1 => Conditions { duplication: often, ..good },
        2 => Conditions { reordering: often, ..good },
        3 => Conditions { corruption: often, ..good },
        4 => Conditions { marking: often, ..good },
        5 => Conditions { mtu: 60 + u16::from(much) * 6, ..good },
        6 => Conditions { rate: Some(1000 * (1 + u64::from(much))), ..good },
        7 => Conditions::down(),
        _ => good,
    }
}
