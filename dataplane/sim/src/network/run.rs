//! How time passes: from event to event, each host worked on when something of it is due.

use core::hash::Hasher;
use core::time::Duration;

use dataplane_proto::messages::Role;
use dataplane_wire::Instant;

use super::{Child, Event, Failure, HostId, Network};
use crate::host::{Delivered, Effects};
use crate::model::Violation;
use crate::mutation::Mutation;
use crate::packet::headers_len;
use crate::trace::What;

/// How often the books of all are looked at.
const AUDIT_EVERY: Duration = Duration::from_secs(5);
/// How long after something is ready a worker looks, and how long the control thread takes, at most.
const WORK_LATENCY: Duration = Duration::from_micros(50);
const CONTROL_LATENCY: Duration = Duration::from_millis(2);

impl Network {
    /// Lets so much time pass.
    ///
    /// # Errors
    /// [`Failure`]: a rule does not hold.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Box<Failure>> {
        self.run_until(self.now + time)
    }

    /// Lets time pass until then.
    ///
    /// # Errors
    /// [`Failure`]: a rule does not hold.
    pub fn run_until(&mut self, until: Instant) -> Result<(), Box<Failure>> {
        while let Some((at, event)) = self.agenda.take(until) {
            self.now = at.max(self.now);
            match event {
                Event::Above { link, datagram } => self.reached_above(link, datagram),
                Event::Below { link, datagram } => match self.links[link].child {
                    Child::Router(router) => self.reached_router(router, datagram),
                    Child::Host(host) => self.reached_host(host, link, datagram),
                },
                Event::Work(host) => self.work_due(host, at)?,
                Event::Control(host) => self.control_due(host, at)?,
            }
            if self.now >= self.audit_at {
                self.audit()?;
            }
        }
        self.now = until.max(self.now);
        self.audit()
    }

    fn work_due(&mut self, host: u8, at: Instant) -> Result<(), Box<Failure>> {
        let here = &mut self.hosts[usize::from(host)];
        if here.work_at != Some(at) {
            return Ok(());
        }
        here.work_at = None;
        if self.now < here.asleep_until {
            let later = here.asleep_until;
            self.work_by(host, later);
            return Ok(());
        }
        self.work_host(host)
    }

    pub(super) fn control_due(&mut self, host: u8, at: Instant) -> Result<(), Box<Failure>> {
        let here = &mut self.hosts[usize::from(host)];
        if here.control_at != Some(at) {
            return Ok(());
        }
        here.control_at = None;
        let free = here.asleep_until.max(here.stalled_until);
        if self.now < free {
            self.control_by(host, free);
            return Ok(());
        }
        let (clock, unix) = (here.clock(self.now), here.unix(self.now));
        let Some(engine) = &mut here.engine else { return Ok(()) };
        let rests = engine.control(clock, unix, &mut self.random, &mut self.effects);
        self.settle(host, rests.is_ok())
    }

    /// Lets the workers of a host work.
    pub(super) fn work_host(&mut self, host: u8) -> Result<(), Box<Failure>> {
        let mutation = self.mutated(host);
        let here = &mut self.hosts[usize::from(host)];
        let clock = here.clock(self.now);
        let Some(engine) = &mut here.engine else { return Ok(()) };
        engine.never_rests = mutation == Some(Mutation::NeverRest);
        let rests = engine.work(clock, &mut self.random, &mut self.effects);
        self.settle(host, rests.is_ok())
    }

    /// Makes true what an engine did, and enters when it is to be looked at again.
    fn settle(&mut self, host: u8, rests: bool) -> Result<(), Box<Failure>> {
        let mut effects = core::mem::take(&mut self.effects);
        let done = self.take_effects(host, &mut effects);
        effects.sent.clear();
        effects.delivered.clear();
        effects.handshakes.clear();
        self.effects = Effects { answers: 0, seen: Default::default(), ..effects };
        self.schedule(host);
        if !rests {
            let host = self.hosts[usize::from(host)].name.clone();
            return Err(self.failure(Violation::Restless { host }));
        }
        done.map_err(|violation| self.failure(violation))
    }

    fn take_effects(&mut self, host: u8, effects: &mut Effects) -> Result<(), Violation> {
        let mutation = self.mutated(host);
        let here = &mut self.hosts[usize::from(host)];
        here.books.add(&effects.seen);
        for (peer, role) in &effects.handshakes {
            if let Some(with) = here.peer_host(*peer) {
                here.handshakes.entry(with).or_default()[usize::from(*role == Role::Responder)] += 1;
            }
        }
        for outgoing in &effects.sent {
            self.emit(host, outgoing)?;
            if mutation == Some(Mutation::SendTwice) {
                self.hosts[usize::from(host)].books.sent(&outgoing.bytes);
                self.emit(host, outgoing)?;
            }
        }
        for delivered in effects.delivered.drain(..) {
            self.deliver(host, delivered, mutation)?;
        }
        Ok(())
    }

    /// Shows a packet that an inner side gets to the model, after what a mutation does to it.
    fn deliver(
        &mut self,
        host: u8,
        mut delivered: Delivered,
        mutation: Option<Mutation>,
    ) -> Result<(), Violation> {
        match mutation {
            Some(Mutation::SwallowDelivered) => return Ok(()),
            Some(Mutation::Alter) => {
                if let Some(byte) = delivered.bytes.last_mut() {
                    *byte ^= 1;
                }
            }
            // The number of the packet is among what is overwritten.
            Some(Mutation::Invent) => delivered.bytes[headers_len(false)..].fill(0),
            Some(Mutation::AcceptForged) => delivered.arrival.intact = false,
            Some(Mutation::Swap) => match self.held.take() {
                Some(held) => {
                    self.deliver(host, delivered, None)?;
                    return self.deliver(host, held, None);
                }
                None => {
                    self.held = Some(delivered);
                    return Ok(());
                }
            },
            _ => {}
        }
        let Delivered { peer, bytes, arrival } = delivered;
        let claimed = self.hosts[usize::from(host)].peer_host(peer).unwrap_or(u8::MAX);
        let hosts = self.hosts.len() as u8;
        let (claimed, to) = match mutation {
            Some(Mutation::NameAnotherPeer) => ((claimed + 1) % hosts, host),
            Some(Mutation::DeliverElsewhere) => (claimed, (host + 1) % hosts),
            _ => (claimed, host),
        };
        let times = if mutation == Some(Mutation::DeliverTwice) { 2 } else { 1 };
        for _ in 0..times {
            self.hosts[usize::from(host)].books.delivered += 1;
            let id = self.ledger.deliver(self.now, to, claimed, &bytes, arrival)?;
            self.hash.write_u64(id);
            self.trace.note(self.now, What::Delivered { host, from: claimed, id });
        }
        Ok(())
    }

    /// Enters when a host is to be looked at again.
    fn schedule(&mut self, host: u8) {
        let here = &self.hosts[usize::from(host)];
        let Some(engine) = &here.engine else { return };
        let work = engine.work_due().map(|due| here.when(due));
        let control = engine.control_due().map(|due| here.when(due));
        if let Some(due) = work {
            self.work_by(host, due);
        }
        if let Some(due) = control {
            let latency = self.random.moment(CONTROL_LATENCY);
            self.control_by(host, due.max(self.now) + latency);
        }
    }

    /// Something is ready at a host: its workers look soon.
    pub(super) fn poke(&mut self, host: u8) {
        let latency = self.random.moment(WORK_LATENCY);
        self.work_by(host, self.now + latency);
    }

    /// A host was told something by its operator.
    pub(super) fn wake(&mut self, host: u8) {
        self.control_by(host, self.now);
    }

    fn work_by(&mut self, host: u8, at: Instant) {
        let at = at.max(self.now);
        let here = &mut self.hosts[usize::from(host)];
        if here.work_at.is_none_or(|known| at < known) {
            here.work_at = Some(at);
            self.agenda.enter(at, Event::Work(host));
        }
    }

    fn control_by(&mut self, host: u8, at: Instant) {
        let at = at.max(self.now);
        let here = &mut self.hosts[usize::from(host)];
        if here.control_at.is_none_or(|known| at < known) {
            here.control_at = Some(at);
            self.agenda.enter(at, Event::Control(host));
        }
    }

    /// Holds all books against what the hosts say.
    fn audit(&mut self) -> Result<(), Box<Failure>> {
        self.audit_at = self.now + AUDIT_EVERY;
        self.wire.audit().map_err(|violation| self.failure(violation))?;
        for number in 0..self.hosts.len() {
            self.audit_host(number)?;
        }
        Ok(())
    }

    /// How many packets wait in a host, if its books balance.
    pub(super) fn audit_host(&self, number: usize) -> Result<u64, Box<Failure>> {
        let host = &self.hosts[number];
        let Some(engine) = &host.engine else { return Ok(0) };
        // What workers have not looked at yet is in nobody's books.
        let unread = engine.unread();
        let mut books = host.books;
        books.offered -= unread;
        books.audit(&host.name, &engine.account()).map_err(|violation| self.failure(violation))
    }

    /// Fails if a packet waits in any host.
    ///
    /// # Errors
    /// [`Failure`]: one does, or the books do not balance.
    pub fn expect_nothing_waits(&self) -> Result<(), Box<Failure>> {
        for number in 0..self.hosts.len() {
            let held = self.audit_host(number)?;
            if held > 0 {
                let host = self.hosts[number].name.clone();
                return Err(self.failure(Violation::Unbounded {
                    host,
                    what: "waiting packets",
                    held,
                    most: 0,
                }));
            }
        }
        Ok(())
    }

    /// Fails unless every packet between two hosts arrived that was sent from `since` on, but for those that may still be on
    /// their way. The network has been good from `quiet` on.
    ///
    /// # Errors
    /// [`Failure`]: one did not.
    pub fn expect_reached(
        &self,
        one: HostId,
        other: HostId,
        quiet: Instant,
        since: Instant,
    ) -> Result<(), Box<Failure>> {
        let until = self.now - Duration::from_secs(2);
        for (from, to) in [(one, other), (other, one)] {
            if let Some(id) = self.ledger.missing(from.0, to.0, since, until) {
                let (from, to) = (self.ledger.name_of(from.0), self.ledger.name_of(to.0));
                let quiet_s = since.since(quiet).as_secs();
                return Err(self.failure(Violation::Unreached { id, from, to, quiet_s }));
            }
        }
        Ok(())
    }

    /// Remembers how long two hosts took, from `since` on, until packets of both had arrived.
    pub(crate) fn note_reached(&mut self, one: HostId, other: HostId, since: Instant) {
        for (from, to) in [(one, other), (other, one)] {
            if let Some(at) = self.ledger.first_through(from.0, to.0, since) {
                self.reached_after = self.reached_after.max(at.since(since));
            }
        }
    }
}
