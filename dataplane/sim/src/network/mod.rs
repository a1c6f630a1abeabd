//! The world: hosts, routers, links, and the one agenda that moves them.
//!
//! Time advances from event to event; nothing is polled. An event costs the logarithm of how many there are, and the work
//! of the one host that it is about.

mod attack;
mod build;
mod carry;
mod failure;
mod faults;
mod run;

use core::hash::Hasher;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use dataplane_wire::{Instant, TrafficClass};
use siphasher::sip::SipHasher13;

pub use build::Packet;
pub use failure::Failure;

use crate::agenda::Agenda;
use crate::host::{Delivered, Effects, Host};
use crate::link::Direction;
use crate::model::{Ledger, Wire};
use crate::mutation::Mutation;
use crate::nat::Nat;
use crate::packet::Shape;
use crate::random::Random;
use crate::scenarios::Summary;
use crate::trace::Trace;

/// A host of a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub(crate) u8);

/// A router of a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouterId(pub(crate) usize);

/// A datagram on its way.
#[derive(Clone)]
pub(crate) struct Datagram {
    /// Counts up over all that were sent; copies have the same.
    number: u64,
    /// Who sent it, if a host did.
    origin: Option<u8>,
    /// Whether its bytes are those that were sent.
    intact: bool,
    source: SocketAddr,
    destination: SocketAddr,
    class: TrafficClass,
    bytes: Rc<[u8]>,
}

/// Who is at the lower end of a link.
#[derive(Clone, Copy, Debug)]
enum Child {
    Host(u8),
    Router(usize),
}

struct Link {
    child: Child,
    /// The router at its upper end; `None` for the open network.
    parent: Option<usize>,
    up: Direction,
    down: Direction,
    /// Which part of a partitioned network it leads to.
    side: u8,
}

struct Router {
    nat: Nat,
    link: usize,
}

enum Event {
    /// A datagram has reached the upper end of a link.
    Above { link: usize, datagram: Datagram },
    /// A datagram has reached the lower end of a link.
    Below { link: usize, datagram: Datagram },
    /// Workers of a host wake up.
    Work(u8),
    /// The control thread of a host wakes up.
    Control(u8),
}

/// A whole network in virtual time.
pub struct Network {
    scenario: String,
    seed: Option<u64>,
    now: Instant,
    agenda: Agenda<Event>,
    /// The choices of the run.
    pub random: Random,
    hosts: Vec<Host>,
    routers: Vec<Router>,
    links: Vec<Link>,
    /// Whose address it is, behind which router.
    places: BTreeMap<(Option<usize>, IpAddr), usize>,
    ledger: Ledger,
    wire: Wire,
    trace: Trace,
    hash: SipHasher13,
    numbers: u64,
    /// Datagrams that have arrived, for those who replay them.
    captured: VecDeque<(u8, usize, Datagram)>,
    audit_at: Instant,
    effects: Effects,
    mutation: Option<(Mutation, HostId)>,
    /// What a mutation holds back, and the last packet that was offered.
    held: Option<Delivered>,
    last_offer: Option<Shape>,
    /// The longest that two hosts took to reach each other.
    reached_after: Duration,
}

impl Network {
    /// An empty world whose choices follow from a seed.
    pub fn new(scenario: &str, seed: u64) -> Self {
        Self::with(scenario, Some(seed), Random::seeded(seed))
    }

    /// An empty world whose choices are read from a tape.
    pub fn from_tape(scenario: &str, tape: &[u8]) -> Self {
        Self::with(scenario, None, Random::from_tape(tape))
    }

    fn with(scenario: &str, seed: Option<u64>, random: Random) -> Self {
        Self {
            scenario: scenario.to_owned(),
            seed,
            now: Instant::ZERO,
            agenda: Agenda::new(),
            random,
            hosts: Vec::new(),
            routers: Vec::new(),
            links: Vec::new(),
            places: BTreeMap::new(),
            ledger: Ledger::default(),
            wire: Wire::default(),
            trace: Trace::default(),
            hash: SipHasher13::new(),
            numbers: 0,
            captured: VecDeque::new(),
            audit_at: Instant::ZERO,
            effects: Effects::default(),
            mutation: None,
            held: None,
            last_offer: None,
            reached_after: Duration::ZERO,
        }
    }

    /// Prints every line of the trace as it comes.
    pub fn trace_live(&mut self) {
        self.trace.live = true;
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A hash over every datagram that left or arrived: when, from where, to where, and all its bytes.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Datagrams that hosts sent.
    pub fn datagrams(&self) -> u64 {
        self.wire.sent
    }

    /// Inner packets that were handed in, and that came out.
    pub fn packets(&self) -> (u64, u64) {
        self.ledger.totals()
    }

    /// Packets of one host that came out at another.
    pub fn delivered(&self, from: HostId, to: HostId) -> u64 {
        self.ledger.between(from.0, to.0).1
    }

    /// Packets that one host sent to another.
    pub fn offered(&self, from: HostId, to: HostId) -> u64 {
        self.ledger.between(from.0, to.0).0
    }

    /// Handshakes that a host has completed with another, as initiator and as responder.
    pub fn handshakes(&self, host: HostId, with: HostId) -> [u64; 2] {
        self.hosts[usize::from(host.0)].handshakes.get(&with.0).copied().unwrap_or_default()
    }

    /// What a host has dropped for a reason since it was started.
    pub fn dropped(&self, host: HostId, reason: dataplane_wire::DropReason) -> u64 {
        self.hosts[usize::from(host.0)].engine.as_ref().map_or(0, |engine| engine.dropped(reason))
    }

    /// What the run has come to.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            hash: self.hash(),
            time: self.now.since(Instant::ZERO),
            datagrams: self.wire.sent,
            packets: self.ledger.totals(),
            reached_after: self.reached_after,
        }
    }

    /// From now on something is wrong with a host, or with the network before it.
    pub fn mutate(&mut self, host: HostId, mutation: Mutation) {
        self.mutation = Some((mutation, host));
    }

    fn mutated(&self, host: u8) -> Option<Mutation> {
        self.mutation.filter(|(_, at)| at.0 == host).map(|(mutation, _)| mutation)
    }
}
