//! What goes wrong in the whole-network scenario, drawn from its seed.

use core::net::SocketAddr;

use dataplane_wire::Instant;

use super::whole::{Cast, STORM};
use super::{Verdict, millis, seconds};
use crate::agenda::Agenda;
use crate::link::Conditions;
use crate::network::{HostId, Network, Packet};

#[derive(Clone, Copy)]
enum Act {
    /// One direction of a pair says something, and will again.
    Talk {
        pair: usize,
        back: bool,
    },
    /// One direction of some link becomes another.
    Link,
    /// Some hosts are cut off.
    Partition,
    Heal,
    /// A router forgets.
    Rebind,
    /// A host changes its address.
    Roam,
    /// A host goes off, and on again.
    Off,
    On(HostId),
    Suspend,
    Stall,
    /// A wall clock is set back.
    SetBack,
    /// Two ends forget each other, and begin at once.
    Cross,
    /// Somebody sends what he has seen, changed or made up.
    Attack,
}

/// The agenda of what goes wrong.
pub(super) struct Storm {
    agenda: Agenda<Act>,
    until: Instant,
}

impl Storm {
    /// Everybody begins at the same moment; the rest comes when the seed says.
    pub(super) fn new(net: &mut Network, cast: &Cast) -> Self {
        let mut storm = Self { agenda: Agenda::new(), until: net.now() + STORM };
        for pair in 0..cast.pairs.len() {
            for back in [false, true] {
                storm.agenda.enter(net.now(), Act::Talk { pair, back });
            }
        }
        for act in [Act::Link, Act::Partition, Act::Rebind, Act::Roam, Act::Off, Act::Suspend, Act::Stall] {
            storm.again(net, act);
        }
        for act in [Act::SetBack, Act::Cross, Act::Attack] {
            storm.again(net, act);
        }
        storm
    }

    /// Enters an act anew, as long from now as its kind says.
    fn again(&mut self, net: &mut Network, act: Act) {
        let (least, most) = match act {
            Act::Talk { .. } => match net.random.below(40) {
                // So long that keepalives, and the end of sessions, have their turn.
                0 => (seconds(20), seconds(240)),
                1..5 => (millis(1), millis(50)),
                _ => (millis(200), millis(4000)),
            },
            Act::Link => (seconds(2), seconds(20)),
            Act::Attack => (millis(200), seconds(5)),
            Act::Partition | Act::Suspend | Act::SetBack => (seconds(60), seconds(400)),
            Act::Off | Act::Cross => (seconds(50), seconds(300)),
            Act::Rebind | Act::Roam => (seconds(20), seconds(150)),
            Act::Stall => (seconds(30), seconds(200)),
            Act::On(_) | Act::Heal => (seconds(1), seconds(90)),
        };
        let at = net.now() + net.random.between(least, most);
        let last = matches!(act, Act::On(_) | Act::Heal);
        if at < self.until {
            self.agenda.enter(at, act);
        } else if last {
            self.agenda.enter(self.until, act);
        }
    }

    pub(super) fn rage(mut self, net: &mut Network, cast: &Cast) -> Verdict {
        while let Some((at, act)) = self.agenda.take(self.until) {
            net.run_until(at)?;
            self.act(net, cast, act)?;
        }
        net.run_until(self.until)?;
        for host in all(cast) {
            net.switch_on(host)?;
            net.wake_up(host);
            net.use_all_addresses(host);
            net.set_wall_clock(host, 0);
        }
        Ok(())
    }

    fn act(&mut self, net: &mut Network, cast: &Cast, act: Act) -> Verdict {
        match act {
            Act::Talk { pair, back } => {
                let (one, other) = cast.pairs[pair];
                talk(net, if back { (other, one) } else { (one, other) }, cast)?;
            }
            Act::Link => {
                let link = net.random.below(net.links() as u64) as usize;
                let up = net.random.below(2) == 0;
                let good = net.random.below(3) == 0;
                let conditions =
                    if good { Conditions::default() } else { Conditions::drawn(&mut net.random) };
                net.set_direction(link, up, conditions);
            }
            Act::Partition => {
                let mut apart = all(cast);
                apart.retain(|_| net.random.below(2) == 0);
                net.partition(&apart);
                self.again(net, Act::Heal);
            }
            Act::Heal => {
                net.partition(&[]);
                return Ok(());
            }
            Act::Rebind => {
                if let Some(router) = net.random.one_of(&cast.routers).copied() {
                    net.rebind(router);
                }
            }
            Act::Roam => self.roam(net, cast),
            Act::Off => {
                let host = one_of_all(net, cast);
                net.switch_off(host)?;
                self.again(net, Act::On(host));
            }
            Act::On(host) => {
                return net.switch_on(host);
            }
            Act::Suspend => {
                let host = one_of_all(net, cast);
                let left = self.until.since(net.now());
                let time = net.random.between(seconds(1), seconds(300)).min(left);
                net.suspend(host, time);
            }
            Act::Stall => {
                let host = one_of_all(net, cast);
                let time = net.random.between(millis(10), seconds(20));
                net.stall_control(host, time);
            }
            Act::SetBack => {
                let host = one_of_all(net, cast);
                let behind = net.random.below(60) as i64;
                net.set_wall_clock(host, -behind);
            }
            Act::Cross => {
                if let Some(&(one, other)) = net.random.one_of(&cast.pairs) {
                    net.replace_peer(one, other);
                    net.replace_peer(other, one);
                    net.send(one, other)?;
                    net.send(other, one)?;
                }
            }
            Act::Attack => attack(net, cast),
        }
        self.again(net, act);
        Ok(())
    }

    fn roam(&self, net: &mut Network, cast: &Cast) {
        let movers = [cast.mobile, cast.hidden[2]];
        let host = *net.random.one_of(&movers).unwrap_or(&cast.mobile);
        let only = net.random.below(net.addresses(host) as u64) as usize;
        net.use_address(host, only);
        if host == cast.mobile && net.random.below(3) == 0 {
            net.use_all_addresses(host);
        }
    }
}

fn all(cast: &Cast) -> Vec<HostId> {
    let mut hosts = cast.fixed.clone();
    hosts.push(cast.mobile);
    hosts.extend(&cast.hidden);
    hosts
}

fn one_of_all(net: &mut Network, cast: &Cast) -> HostId {
    let hosts = all(cast);
    hosts[net.random.below(hosts.len() as u64) as usize]
}

/// A packet, a burst, a super-packet; now and then one for nobody, or one that lies about where it comes from.
fn talk(net: &mut Network, (from, to): (HostId, HostId), cast: &Cast) -> Verdict {
    let random = &mut net.random;
    let mut packet = Packet {
        flow: random.below(4) as u16,
        len: 50 + random.below(1371) as u16,
        v6: random.below(4) == 0,
        ecn: random.below(3) as u8,
        ..Packet::default()
    };
    let mut count = 1;
    let mut to = Some(to);
    match random.below(30) {
        0 => packet.segments = 2 + random.below(62) as u16,
        1 => count = 2 + random.below(60),
        2 => packet.spoofed_as = cast.fixed.iter().copied().find(|host| *host != from && Some(*host) != to),
        3 => to = None,
        // More than may wait for a peer that is not there.
        4 if random.below(20) == 0 => count = 200,
        _ => packet.len = 50 + random.below(150) as u16,
    }
    for _ in 0..count {
        net.send_packet(from, to, packet)?;
    }
    Ok(())
}

/// Strangers send what they have. What comes from an address that is not its sender's goes to hosts that stand still only:
/// a datagram that was lost before it was seen moves whoever takes it, and who stands still is found again by the others.
fn attack(net: &mut Network, cast: &Cast) {
    let stranger = SocketAddr::from(([100, 64, 0, 1 + net.random.below(4) as u8], 5000));
    let host = one_of_all(net, cast);
    let times = 1 + net.random.below(8);
    for _ in 0..times {
        match net.random.below(4) {
            0 => drop(net.replay(host, None)),
            1 => {
                let fixed = *net.random.one_of(&cast.fixed).unwrap_or(&host);
                net.replay(fixed, Some(stranger));
            }
            2 => drop(net.replay_changed(host)),
            _ => net.inject_noise(host, stranger),
        }
    }
}
