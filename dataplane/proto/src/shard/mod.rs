//! The hot half: everything that a packet needs, for the peers of one core.
//!
//! Enters: commands of the node, datagrams in a receive arena, packets of an inner side, the time. Leaves: datagrams in the
//! send arena, plaintext in the receive arena, events. Never: a Diffie-Hellman, an allocation but by command, a lock, more
//! than a bounded amount of work in a call.
//!
//! | room | what |
//! |---|---|
//! | `inbound` | the way of a datagram in |
//! | `outbound` | the way of a packet out |
//! | `handshakes` | the gate before the node |
//! | `timers` | keepalives, refreshes, erasure: one lazy timer per peer |
//! | `commands`, `events` | what the node says, and what it is told |
//! | `peer`, `path`, `session`, `table` | where all of that lies |

mod commands;
mod events;
mod handshakes;
mod inbound;
mod outbound;
mod path;
mod peer;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod timers;

use core::time::Duration;
use std::collections::VecDeque;

use dataplane_aead::{Aead, BATCH_MAX, OpenDesc, SealDesc, SealInPlaceDesc, Span};
use dataplane_wire::ip::{self, Packet, Unreachable};
use dataplane_wire::offload::{Segmentation, VnetHeader};
use dataplane_wire::{CoreId, DropReason, Instant, InterfaceId, PeerId, TxSink};

use crate::gate::{Gate, GateStats, InterfaceKeys};
use crate::messages::HandshakeArrived;
use crate::routes::{Place, Routes};
use crate::shun::{Refused, Shun, Shunned};
use crate::staging::Staging;
use crate::wheel::Wheel;
use events::Mailbox;
use peer::Peers;
use session::{BatchKeys, Sessions};
use table::{LocalId, NONE, Table};

pub use crate::routes::Owner;
pub use session::{
    ERASE_AFTER, KEEPALIVE_TIMEOUT, REFRESH_ON_RECEIVE, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME, REKEY_TIMEOUT,
};

/// How long what was removed is remembered, so that late packets are told from unknown ones (DX-10).
pub const LATE_AFTER: Duration = Duration::from_secs(5);
/// Most removed connections that are remembered; the oldest goes first.
const LATE_MAX: usize = 4096;
/// Longest inner packet or super-packet.
const PACKET_MAX: usize = 65_536;

/// What a shard may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardLimits {
    /// Handshake messages that wait for the node.
    pub handshakes: usize,
    /// Frames of 2 KiB for packets that wait for a session.
    pub staging_frames: usize,
    /// Sources whose handshake rate is remembered while there is load.
    pub sources: usize,
    /// ICMP answers per second to packets that have nowhere to go.
    pub unreachable_rate: u32,
}

impl Default for ShardLimits {
    /// 512 handshakes, 8 MiB of waiting packets, 4,096 sources, 100 answers per second.
    fn default() -> Self {
        Self { handshakes: 512, staging_frames: 4096, sources: 4096, unreachable_rate: 100 }
    }
}

/// What a shard is told at construction.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// Which core it is of.
    pub core: CoreId,
    /// How many cores there are.
    pub cores: u8,
    /// How many of the first bits of an index name the core (DX-6).
    pub core_bits: u8,
    /// What it may use.
    pub limits: ShardLimits,
    /// Secret, and the same for all shards of an engine, so that they take each other's cookies.
    pub master_seed: [u8; 32],
}

/// A plaintext packet in the receive arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whose inner side it is for.
    pub interface: InterfaceId,
    /// Who sent it.
    pub peer: PeerId,
    /// Where it begins.
    pub offset: u32,
    /// Its bytes.
    pub len: u32,
}

/// A datagram that another core's shard must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Whose it is.
    pub core: CoreId,
    /// Index of its train among those of the call.
    pub meta: u32,
    /// Where it begins in the arena.
    pub offset: u32,
    /// Its bytes.
    pub len: u32,
}

/// What came out of one receive call. Allocated once; what does not fit is dropped and counted.
#[derive(Debug)]
pub struct Inbound {
    /// Packets for inner sides, in the order in which they came.
    pub packets: Vec<Delivery>,
    /// Datagrams for other cores.
    pub foreign: Vec<Foreign>,
}

impl Inbound {
    /// Room for so many packets, and as many datagrams of other cores: as many as one receive call can bring.
    pub fn with_capacity(datagrams: usize) -> Self {
        Self { packets: Vec::with_capacity(datagrams), foreign: Vec::with_capacity(datagrams) }
    }

    fn clear(&mut self) {
        self.packets.clear();
        self.foreign.clear();
    }
}

/// What became of a packet from an inner side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the send arena, sealed at the next [`Shard::flush`] at the latest.
    Queued,
    /// Waits for a session, or behind packets that do.
    Staged,
    /// The send arena has no room: nothing was done or counted. Flush, send, and call again.
    Blocked,
    /// Dropped and counted.
    Dropped(DropReason),
}

/// Traffic of a shard since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Inner packets delivered.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Inner packets sent, each segment of a super-packet counted.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Keepalives received.
    pub rx_keepalives: u64,
    /// Keepalives sent.
    pub tx_keepalives: u64,
    /// Handshake messages that the gate let through.
    pub rx_handshakes: u64,
    /// Handshake messages sent, cookie replies included.
    pub tx_handshakes: u64,
    /// Datagrams given to other cores.
    pub foreign: u64,
}

/// A route that was found for a packet, and not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    interface: InterfaceId,
    place: Place,
}

struct Interface {
    mtu: usize,
    keys: InterfaceKeys,
    routes: Routes,
    /// Counts the changes of the routes from 2 on, in steps of two: the lowest bit tells families apart where sources are
    /// remembered.
    epoch: u32,
}

/// One packet of a batch that is about to be opened.
#[derive(Clone, Copy)]
struct Arrival {
    /// Receiver index and counter, as its header has them.
    index: u32,
    counter: u64,
    /// Its ciphertext, without the tag.
    text: Span,
    /// Its train, and the interface of the socket that this came to.
    meta: u32,
    interface: InterfaceId,
    /// Whose it is; [`table::NONE`] until that is known, or where nobody is.
    peer: LocalId,
    session: u32,
}

/// The peers of one core, and what their packets need.
pub struct Shard<A> {
    aead: A,
    config: ShardConfig,
    /// By [`InterfaceId`].
    interfaces: Vec<Option<Interface>>,
    peers: Peers,
    table: Table,
    sessions: Sessions,
    staging: Staging,
    wheel: Wheel,
    mailbox: Mailbox,
    gate: Gate,
    shun: Shun,
    /// A train of the call, and what of it was refused and is not counted for its source yet.
    refused: (u32, Refused),
    handshakes: VecDeque<HandshakeArrived>,
    late: VecDeque<(Instant, u32)>,
    /// Peers that have a session and packets that did not fit the send arena.
    backlog: VecDeque<LocalId>,
    /// Collected and not opened yet, and how the cipher is told.
    arrivals: Vec<Arrival>,
    opening: Vec<OpenDesc>,
    opening_keys: BatchKeys,
    /// In the send arena and not sealed yet. A key stands at the place of the first description that names it.
    sealing: Vec<SealInPlaceDesc>,
    sealing_keys: BatchKeys,
    /// Whose the last description is.
    sealing_peer: LocalId,
    /// One train that is sealed from where its packet lies.
    train: Vec<SealDesc>,
    gather: Box<[u8]>,
    /// A waiting packet, put together again.
    scratch: Vec<u8>,
    /// State of the generator of jitter.
    random: u64,
    /// Answers that may go to packets with nowhere to go: nanoseconds of budget, and when that was counted.
    unreachable_budget: (u64, Instant),
    drops: [u64; DropReason::COUNT],
    totals: Totals,
}

impl<A: Aead> Shard<A> {
    /// A shard without peers. All memory but that of peers and sessions is taken here.
    pub fn new(config: ShardConfig, aead: A) -> Self {
        let ShardConfig { limits, core, master_seed, .. } = config;
        let seed = master_seed.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self {
            aead,
            config,
            interfaces: Vec::new(),
            peers: Peers::new(),
            table: Table::new(),
            sessions: Sessions::new(),
            staging: Staging::new(limits.staging_frames),
            wheel: Wheel::new(Instant::ZERO),
            mailbox: Mailbox::default(),
            gate: Gate::new(&master_seed, core, limits.sources),
            shun: Shun::new(&master_seed, core),
            refused: Default::default(),
            handshakes: VecDeque::with_capacity(limits.handshakes),
            late: VecDeque::with_capacity(LATE_MAX),
            backlog: VecDeque::new(),
            opening: Vec::with_capacity(BATCH_MAX),
            arrivals: Vec::with_capacity(BATCH_MAX),
            opening_keys: BatchKeys::new(),
            sealing: Vec::with_capacity(BATCH_MAX),
            sealing_keys: BatchKeys::new(),
            sealing_peer: NONE,
            train: Vec::with_capacity(BATCH_MAX),
            gather: vec![0; outbound::GATHER_LEN].into(),
            scratch: vec![0; PACKET_MAX],
            random: seed ^ (u64::from(core.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            unreachable_budget: (0, Instant::ZERO),
            drops: [0; DropReason::COUNT],
            totals: Totals::default(),
        }
    }

    /// Who has the destination of a packet or super-packet from an inner side.
    ///
    /// # Errors
    /// Why nobody has; counted, a super-packet as the packets that it would have become. [`Shard::icmp_unreachable`] answers.
    #[inline]
    pub fn route(
        &mut self,
        interface: InterfaceId,
        vnet: &VnetHeader,
        packet: &[u8],
    ) -> Result<Owner, DropReason> {
        let route = self.find_route(interface, vnet, packet)?;
        self.owner(&route)
    }

    /// The first half of [`Shard::route`], for callers that have several packets at hand: begins to load what
    /// [`Shard::owner`] reads.
    ///
    /// # Errors
    /// As [`Shard::route`].
    #[inline]
    pub fn find_route(
        &mut self,
        interface: InterfaceId,
        vnet: &VnetHeader,
        packet: &[u8],
    ) -> Result<Route, DropReason> {
        let found = match (self.interface(interface), Packet::parse(packet)) {
            (None, _) => Err(DropReason::InterfaceGone),
            (_, Err(_)) => Err(DropReason::OutboundMalformed),
            (Some(from), Ok(packet)) => {
                let place = from.routes.find(packet.destination());
                place.map(|place| Route { interface, place }).ok_or(DropReason::NoRoute)
            }
        };
        found.map_err(|why| self.unrouted(vnet, packet, why))
    }

    /// Counts what a packet without a route stands for.
    #[cold]
    fn unrouted(&mut self, vnet: &VnetHeader, packet: &[u8], why: DropReason) -> DropReason {
        let packets = Segmentation::plan(vnet, packet).map_or(1, |plan| plan.count());
        self.count_many(why, packets as u32);
        why
    }

    /// The second half: who has the destination. Only before the next command, which may change the routes.
    ///
    /// # Errors
    /// As [`Shard::route`], but none as long as no command came between.
    #[inline]
    pub fn owner(&mut self, route: &Route) -> Result<Owner, DropReason> {
        let owner = match self.interface(route.interface) {
            None => Err(DropReason::InterfaceGone),
            Some(from) => from.routes.owner(route.place).ok_or(DropReason::NoRoute),
        };
        owner.inspect_err(|&why| self.count(why))
    }

    /// Writes the answer to a packet that has nowhere to go (WG-52), and returns its length; `None` where none is due, or
    /// over the rate.
    pub fn icmp_unreachable(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        packet: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let why = match Packet::parse(packet) {
            Err(_) => return None,
            Ok(packet) => match self.interface(interface)?.routes.get(packet.destination()) {
                None => Unreachable::Route,
                Some(_) => Unreachable::Address,
            },
        };
        // A bucket of a second's worth of answers, in nanoseconds.
        const SECOND: u64 = 1_000_000_000;
        let cost = SECOND / u64::from(self.config.limits.unreachable_rate.max(1));
        let (budget, counted) = self.unreachable_budget;
        let earned = u64::try_from(now.since(counted).as_nanos()).unwrap_or(u64::MAX);
        let budget = budget.saturating_add(earned).min(SECOND);
        self.unreachable_budget = (budget, now);
        if budget < cost {
            return None;
        }
        let len = ip::unreachable(why, packet, out)?;
        self.unreachable_budget.0 -= cost;
        Some(len)
    }

    /// Seals what is in the send arena and not sealed yet. Called before every send: what is sent without it would be
    /// plaintext.
    pub fn flush(&mut self, tx: &mut impl TxSink) {
        self.seal(tx);
    }

    /// The next event. Latest wins per peer and kind, so there are never more than a few per peer.
    pub fn poll_event(&mut self) -> Option<crate::messages::Event> {
        self.mailbox.poll(&mut self.peers)
    }

    /// The next handshake message for the node. How many wait is what the gate calls load, so take no more than can be
    /// passed on.
    pub fn poll_handshake(&mut self) -> Option<HandshakeArrived> {
        self.handshakes.pop_front()
    }

    /// Frames that hold packets which wait for a session: zero when none does.
    pub fn staged(&self) -> usize {
        self.staging.used()
    }

    /// What was dropped here, by [`DropReason`].
    pub fn drops(&self) -> &[u64; DropReason::COUNT] {
        &self.drops
    }

    /// What went through.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The gate's state and counters, for status.
    pub fn gate_stats(&self, now: Instant) -> GateStats {
        self.gate.stats(now)
    }

    /// The sources that the sockets should keep out now ([`crate::shun`]).
    pub fn shunned(&mut self, now: Instant) -> impl Iterator<Item = Shunned> + '_ {
        self.shun.list(now)
    }

    /// When [`Shard::shunned`] has less to tell, if nothing happens before.
    pub fn shunned_until(&self) -> Option<Instant> {
        self.shun.poll_timeout()
    }

    /// Memory that grows with peers, sessions and routes, in bytes.
    pub fn bytes(&self) -> usize {
        let routes: usize = self.interfaces.iter().flatten().map(|interface| interface.routes.bytes()).sum();
        self.peers.bytes() + self.sessions.bytes() + routes
    }

    #[inline]
    fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(usize::from(id.0))?.as_ref()
    }

    #[inline]
    fn count(&mut self, why: DropReason) {
        self.drops[why as usize] += 1;
    }

    fn count_many(&mut self, why: DropReason, packets: u32) {
        self.drops[why as usize] += u64::from(packets);
    }
}
