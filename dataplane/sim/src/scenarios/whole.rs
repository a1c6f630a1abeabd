//! The whole network of one seed: gateways that stand still, one that moves, hosts behind two NATs; ten minutes in which
//! everything goes wrong that can; then quiet, in which every pair must find together again.
//!
//! Each pair has an end that stands still: two ends that both move at the same moment have no way to hear where the other
//! one went, whatever the protocol does.

use core::time::Duration;

use super::storm::Storm;
use super::{Verdict, millis, seconds};
use crate::nat::Behaviour;
use crate::network::{HostId, Network, RouterId};

/// How long everything goes wrong.
pub(super) const STORM: Duration = seconds(600);
/// How long two ends may take to reach each other after that. Nothing comes back for 15 s before an end knows that its
/// session is of no use (WG-42), and a handshake just before that counts is tried again 5 s later (WG-38).
const REACHED_WITHIN: Duration = seconds(45);
/// How long it is seen that nothing is lost any more: over a rekey.
const STEADY: Duration = seconds(135);

/// Who there is.
pub(super) struct Cast {
    /// Gateways on the open network that never move.
    pub(super) fixed: Vec<HostId>,
    /// A gateway that has several addresses and changes between them.
    pub(super) mobile: HostId,
    /// Hosts behind NATs, some of which have another way out.
    pub(super) hidden: Vec<HostId>,
    pub(super) routers: Vec<RouterId>,
    /// Who talks to whom.
    pub(super) pairs: Vec<(HostId, HostId)>,
}

impl Cast {
    fn draw(net: &mut Network) -> Self {
        let cores = |net: &mut Network| 1 + net.random.below(3) as u8;
        let mut fixed = Vec::new();
        for name in ["frankfurt", "oslo"] {
            let cores = cores(net);
            let host = net.host_with(name, cores, None);
            net.address_v6(host);
            fixed.push(host);
        }
        let many = cores(net);
        let mobile = net.host_with("van", many, None);
        net.address(mobile, None);
        net.address_v6(mobile);
        let mut routers = Vec::new();
        for number in 0..2 {
            let behaviour = Behaviour::drawn(&mut net.random);
            // Now and then a NAT behind a NAT, as a carrier has it.
            let above = routers.first().copied().filter(|_| number > 0 && net.random.chance(250_000));
            routers.push(net.router_behind(behaviour, above));
        }
        let mut hidden = Vec::new();
        for (name, router) in [("home", 0), ("shed", 0), ("phone", 1)] {
            let cores = cores(net);
            let host = net.host_with(name, cores, Some(routers[router]));
            if name == "phone" {
                net.address(host, None);
                net.use_address(host, 0);
            }
            hidden.push(host);
        }
        let mut cast = Self { fixed, mobile, hidden, routers, pairs: Vec::new() };
        cast.acquaint(net);
        cast
    }

    fn acquaint(&mut self, net: &mut Network) {
        let (frankfurt, oslo) = (self.fixed[0], self.fixed[1]);
        self.pairs.push((frankfurt, oslo));
        for &gateway in &self.fixed {
            self.pairs.push((gateway, self.mobile));
            self.pairs.extend(self.hidden.iter().map(|host| (gateway, *host)));
        }
        for &(gateway, host) in &self.pairs {
            net.peers(gateway, host);
        }
        for &gateway in &self.fixed {
            for &host in &self.hidden {
                net.keepalive(host, gateway, seconds(25));
            }
        }
        net.prefer_v6(self.mobile, oslo);
    }
}

/// Sets the world up, lets the storm rage, and sees that every pair recovers.
pub(super) fn whole(net: &mut Network) -> Verdict {
    let cast = Cast::draw(net);
    net.run_for(seconds(1))?;
    Storm::new(net, &cast).rage(net, &cast)?;
    recover(net, &cast)
}

fn recover(net: &mut Network, cast: &Cast) -> Verdict {
    net.calm();
    let quiet = net.now();
    let steady = quiet + REACHED_WITHIN;
    while net.now() < steady + STEADY {
        for &(one, other) in &cast.pairs {
            net.send(one, other)?;
            net.send(other, one)?;
        }
        net.run_for(seconds(1))?;
    }
    for &(one, other) in &cast.pairs {
        net.expect_reached(one, other, quiet, steady)?;
        net.note_reached(one, other, quiet);
    }
    net.run_for(millis(1500))?;
    net.expect_nothing_waits()
}
