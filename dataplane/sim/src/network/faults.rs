//! What goes wrong: links, partitions, restarts, sleep, clocks, addresses that change.

use core::time::Duration;

use super::{Failure, HostId, Link, Network, RouterId};
use crate::link::Conditions;
use crate::trace::What;

impl Network {
    /// Every link of a host is like this from now on, both ways.
    pub fn conditions(&mut self, host: HostId, conditions: Conditions) {
        for at in 0..self.hosts[usize::from(host.0)].addresses.len() {
            let link = self.hosts[usize::from(host.0)].addresses[at].link;
            self.set(link, conditions);
        }
    }

    /// The link between a router and what is above it is like this from now on, both ways.
    pub fn router_conditions(&mut self, router: RouterId, conditions: Conditions) {
        self.set(self.routers[router.0].link, conditions);
    }

    fn set(&mut self, link: usize, conditions: Conditions) {
        let Link { up, down, .. } = &mut self.links[link];
        (up.conditions, down.conditions) = (conditions, conditions);
    }

    /// How many links there are.
    pub(crate) fn links(&self) -> usize {
        self.links.len()
    }

    /// One direction of one link is like this from now on.
    pub(crate) fn set_direction(&mut self, link: usize, up: bool, conditions: Conditions) {
        let link = &mut self.links[link];
        *(if up { &mut link.up.conditions } else { &mut link.down.conditions }) = conditions;
    }

    /// Cuts the open network in two: these hosts, with all that is behind the same router, and the rest. An empty list heals it.
    pub fn partition(&mut self, apart: &[HostId]) {
        self.links.iter_mut().for_each(|link| link.side = 0);
        for host in apart {
            for at in 0..self.hosts[usize::from(host.0)].addresses.len() {
                let mut link = self.hosts[usize::from(host.0)].addresses[at].link;
                while let Some(router) = self.links[link].parent {
                    link = self.routers[router].link;
                }
                self.links[link].side = 1;
            }
        }
    }

    /// Every link is good again, and the network whole.
    pub fn calm(&mut self) {
        self.partition(&[]);
        for link in &mut self.links {
            (link.up.conditions, link.down.conditions) = (Conditions::default(), Conditions::default());
        }
    }

    /// A router forgets all its mappings.
    pub fn rebind(&mut self, router: RouterId) {
        self.routers[router.0].nat.rebind();
    }

    /// A host can be reached by this one of its addresses only, counted from 0 in the order in which they were made.
    pub fn use_address(&mut self, host: HostId, only: usize) {
        let here = &mut self.hosts[usize::from(host.0)];
        here.addresses.iter_mut().enumerate().for_each(|(at, address)| address.up = at == only);
        self.trace.note(self.now, What::Note { host: host.0, text: "has another address" });
    }

    /// A host has all its addresses again.
    pub fn use_all_addresses(&mut self, host: HostId) {
        self.hosts[usize::from(host.0)].addresses.iter_mut().for_each(|address| address.up = true);
    }

    /// How many addresses a host has, configured or not.
    pub(crate) fn addresses(&self, host: HostId) -> usize {
        self.hosts[usize::from(host.0)].addresses.len()
    }

    /// A host is switched off: its sessions, and what waited in it, are gone.
    ///
    /// # Errors
    /// [`Failure`]: its books did not balance.
    pub fn switch_off(&mut self, host: HostId) -> Result<(), Box<Failure>> {
        self.work_host(host.0)?;
        self.audit_host(usize::from(host.0))?;
        let here = &mut self.hosts[usize::from(host.0)];
        here.engine = None;
        (here.work_at, here.control_at) = (None, None);
        self.trace.note(self.now, What::Note { host: host.0, text: "is switched off" });
        Ok(())
    }

    /// A host is switched on, if it was off, with the configuration that it had; that has taken effect then.
    ///
    /// # Errors
    /// [`Failure`]: a rule does not hold.
    pub fn switch_on(&mut self, host: HostId) -> Result<(), Box<Failure>> {
        let here = &mut self.hosts[usize::from(host.0)];
        if here.engine.is_some() {
            return Ok(());
        }
        (here.asleep_until, here.stalled_until) = (self.now, self.now);
        let seed = self.random.seed();
        self.hosts[usize::from(host.0)].boot(self.now, seed);
        self.trace.note(self.now, What::Note { host: host.0, text: "is switched on" });
        self.wake(host.0);
        self.control_due(host.0, self.now)
    }

    /// A host is off for so long.
    ///
    /// # Errors
    /// [`Failure`]: a rule does not hold.
    pub fn restart(&mut self, host: HostId, down: Duration) -> Result<(), Box<Failure>> {
        self.switch_off(host)?;
        self.run_for(down)?;
        self.switch_on(host)
    }

    /// A host sleeps for so long: nothing in it runs, nothing reaches it, and its boot clock goes on.
    pub fn suspend(&mut self, host: HostId, time: Duration) {
        self.hosts[usize::from(host.0)].asleep_until = self.now + time;
        self.trace.note(self.now, What::Note { host: host.0, text: "falls asleep" });
    }

    /// A host sleeps no longer, and its control thread stalls no longer.
    pub fn wake_up(&mut self, host: HostId) {
        let here = &mut self.hosts[usize::from(host.0)];
        (here.asleep_until, here.stalled_until) = (self.now, self.now);
        self.poke(host.0);
        self.wake(host.0);
    }

    /// The control thread of a host does nothing for so long; its workers go on.
    pub fn stall_control(&mut self, host: HostId, time: Duration) {
        self.hosts[usize::from(host.0)].stalled_until = self.now + time;
        self.trace.note(self.now, What::Note { host: host.0, text: "its control thread stalls" });
    }

    /// The wall clock of a host is wrong by so many seconds from now on.
    pub fn set_wall_clock(&mut self, host: HostId, ahead_s: i64) {
        self.hosts[usize::from(host.0)].wall_ahead = ahead_s;
        self.trace.note(self.now, What::Note { host: host.0, text: "its wall clock is set" });
        self.wake(host.0);
    }
}
