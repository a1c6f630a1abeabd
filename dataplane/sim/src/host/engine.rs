//! The engine without threads and sockets: real shards, a real node, a real controller, wired as the engine wires them.
//!
//! What threads do at once is done here one by one, in an order that the seed decides: which core has the first turn, how
//! long the control thread takes to look up, which core's messages it reads first.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use dataplane_aead::Cipher;
use dataplane_proto::controller::Controller;
use dataplane_proto::index::core_of;
use dataplane_proto::keys::Secret;
use dataplane_proto::messages::{Event, HandshakeArrived};
use dataplane_proto::node::{Change, HandshakePolicy, Limits, Node, NodeConfig, Notice};
use dataplane_proto::shard::{Shard, ShardConfig, ShardLimits};
use dataplane_traversal::Fixed;
use dataplane_wire::wireguard::{Message, peek_data};
use dataplane_wire::{CoreId, DropReason, Instant, PeerId, SocketId};

use super::core::{Core, HAND_OFFS_MAX, HandOff, Offer, WG0};
use super::{Effects, Received};
use crate::model::Account;
use crate::random::{Ppm, Random};

/// Handshakes on their way from one core to the control thread, and events, as in the engine.
const HANDSHAKES_MAX: usize = 16;
const EVENTS_MAX: usize = 1024;
/// Turns after which an engine that still has something to do never comes to rest.
const TURNS_MAX: usize = 10_000;
/// How often the kernel's steering is wrong: after a start the filter may not be there yet, a train may mix sessions.
const MISSTEERED: Ppm = 20_000;

/// The engine always has one thing more to do.
#[derive(Debug)]
pub(crate) struct Restless;

/// What an engine is made from.
pub(crate) struct Settings {
    pub(crate) cores: u8,
    pub(crate) mtu: u16,
    pub(crate) seed: [u8; 32],
    pub(crate) key: Secret,
}

pub(crate) struct Engine {
    node: Node,
    controller: Fixed,
    cores: Vec<Core>,
    core_bits: u8,
    /// From the cores to the control thread.
    events: Vec<VecDeque<Event>>,
    handshakes: Vec<VecDeque<HandshakeArrived>>,
    /// The last datagram of each host that was taken in.
    newest: BTreeMap<u8, u64>,
    moved: Vec<(CoreId, HandOff)>,
    unsent: u64,
    peers: u64,
    /// A defect on purpose.
    pub(crate) never_rests: bool,
}

impl Engine {
    pub(crate) fn new(now: Instant, settings: &Settings) -> Self {
        let Settings { cores, mtu, seed, key } = settings;
        let core_bits = cores.next_power_of_two().trailing_zeros() as u8;
        let limits =
            ShardLimits { handshakes: 64, staging_frames: 512, sources: 256, ..ShardLimits::default() };
        let shard = |number: u8| {
            let core = CoreId(number);
            let config = ShardConfig { core, cores: *cores, core_bits, limits, master_seed: *seed };
            Core::new(core, Shard::new(config, Cipher::auto()))
        };
        let node_limits = Limits { peers: 64, allowed_ips: 256, ..Limits::default() };
        let config = NodeConfig { cores: *cores, core_bits, limits: node_limits, seed: *seed };
        let mut engine = Self {
            node: Node::new(config, now),
            controller: Fixed::new(),
            cores: (0..*cores).map(shard).collect(),
            core_bits,
            events: (0..*cores).map(|_| VecDeque::new()).collect(),
            handshakes: (0..*cores).map(|_| VecDeque::new()).collect(),
            newest: BTreeMap::new(),
            moved: Vec::new(),
            unsent: 0,
            peers: 0,
            never_rests: false,
        };
        let socket = Some(SocketId(0));
        engine.apply(
            now,
            &[
                Change::AddInterface { interface: WG0, mtu: *mtu, policy: HandshakePolicy::default() },
                Change::SetSockets { interface: WG0, v4: socket, v6: socket },
                Change::SetPrivateKey { interface: WG0, key: key.clone() },
                Change::SetUp { interface: WG0, up: true },
            ],
        );
        engine
    }

    /// Applies configuration that is known to be good.
    pub(crate) fn apply(&mut self, now: Instant, changes: &[Change]) -> Vec<Option<PeerId>> {
        let applied = self.node.apply(now, changes).unwrap_or_default();
        self.peers = self.node.snapshot(WG0).map_or(0, |interface| interface.peers.len() as u64);
        applied
    }

    /// A packet of the inner side: one flow comes by one queue, so by one core.
    pub(crate) fn offer(&mut self, flow: u16, offer: Offer) {
        let core = usize::from(flow) % self.cores.len();
        self.cores[core].offers.push_back(offer);
    }

    /// A datagram from a socket: the kernel steers it by its index, or else by where it comes from.
    pub(crate) fn receive(&mut self, received: Received, random: &mut Random) {
        let cores = self.cores.len() as u64;
        let index =
            peek_data(&received.bytes).map(|(index, _)| index).or(match Message::parse(&received.bytes) {
                Ok(Message::Response(response)) => Some(response.receiver()),
                Ok(Message::CookieReply(reply)) => Some(reply.receiver()),
                _ => None,
            });
        let by_index = index.map(|index| core_of(index, self.core_bits)).map(|core| u64::from(core.0));
        let by_source = u64::from(received.tuple.remote.port()) % cores;
        let steered = by_index.filter(|core| *core < cores).unwrap_or(by_source);
        let core = if cores > 1 && random.chance(MISSTEERED) { random.below(cores) } else { steered };
        self.cores[core as usize].inbox.push_back(received);
    }

    /// Lets the workers work until all of them have nothing left to do.
    pub(crate) fn work(
        &mut self,
        now: Instant,
        random: &mut Random,
        out: &mut Effects,
    ) -> Result<(), Restless> {
        let cores = self.cores.len();
        let first = random.small(cores as u64) as usize;
        for _ in 0..TURNS_MAX {
            let mut busy = self.never_rests;
            for at in 0..cores {
                busy |= self.turn((first + at) % cores, now, random, out);
            }
            if !busy {
                return Ok(());
            }
        }
        Err(Restless)
    }

    fn turn(&mut self, at: usize, now: Instant, random: &mut Random, out: &mut Effects) -> bool {
        let busy = self.cores[at].turn(now, &mut self.newest, &mut self.moved, random, out);
        for (core, hand_off) in self.moved.drain(..) {
            let queue = self.cores.get_mut(usize::from(core.0)).map(|core| &mut core.hand_offs);
            match (queue, &hand_off) {
                (Some(queue), _) if queue.len() < HAND_OFFS_MAX => queue.push_back(hand_off),
                // The shard counts a datagram that it gives away as given.
                (_, HandOff::Datagram(_)) => {}
                (_, HandOff::Packet { offer, .. }) => self.cores[at].dropped += offer.packets,
            }
        }
        let core = &mut self.cores[at];
        while self.events[at].len() < EVENTS_MAX {
            let Some(event) = core.shard.poll_event() else { break };
            self.events[at].push_back(event);
        }
        while self.handshakes[at].len() < HANDSHAKES_MAX {
            let Some(arrived) = core.shard.poll_handshake() else { break };
            self.handshakes[at].push_back(arrived);
        }
        busy
    }

    /// Lets the control thread and the controllers work until nothing is left to do; the workers have then been told.
    pub(crate) fn control(
        &mut self,
        now: Instant,
        unix: Duration,
        random: &mut Random,
        out: &mut Effects,
    ) -> Result<(), Restless> {
        self.node.set_wall_clock(now, unix);
        for _ in 0..TURNS_MAX {
            let mut busy = self.hear(now, random);
            while let Some(output) = self.controller.poll_output(now) {
                self.node.handle_controller(now, output);
                busy = true;
            }
            if self.node.poll_timeout().is_some_and(|due| due <= now) {
                self.node.handle_timeout(now);
                busy = true;
            }
            while let Some((_, input)) = self.node.poll_controller_input() {
                self.controller.handle_input(now, input);
                busy = true;
            }
            while let Some(notice) = self.node.poll_notice() {
                if let Notice::HandshakeComplete { peer, role, .. } = notice {
                    out.handshakes.push((peer, role));
                }
            }
            while let Some((core, command)) = self.node.poll_command() {
                if let Some(core) = self.cores.get_mut(usize::from(core.0)) {
                    core.commands.push_back(command);
                }
                busy = true;
            }
            // Workers go on between two looks of the control thread, so that what waits in them comes up in its order.
            self.work(now, random, out)?;
            if !busy {
                return Ok(());
            }
        }
        Err(Restless)
    }

    fn hear(&mut self, now: Instant, random: &mut Random) -> bool {
        let cores = self.cores.len();
        let first = random.small(cores as u64) as usize;
        let mut busy = false;
        for at in (0..cores).map(|at| (first + at) % cores) {
            let core = CoreId(at as u8);
            while let Some(event) = self.events[at].pop_front() {
                self.node.handle_event(now, core, event);
                busy = true;
            }
            while let Some(arrived) = self.handshakes[at].pop_front() {
                self.node.handle_handshake(now, core, &arrived);
                busy = true;
            }
        }
        busy
    }

    /// When the workers have something to do of themselves.
    pub(crate) fn work_due(&self) -> Option<Instant> {
        self.cores.iter().filter_map(|core| core.shard.poll_timeout()).min()
    }

    /// When the control thread has: at once where something was said to it.
    pub(crate) fn control_due(&self) -> Option<Instant> {
        let said = self.events.iter().any(|queue| !queue.is_empty())
            || self.handshakes.iter().any(|queue| !queue.is_empty());
        if said { Some(Instant::ZERO) } else { self.node.poll_timeout() }
    }

    /// Inner packets that no worker has looked at yet.
    pub(crate) fn unread(&self) -> u64 {
        let packets = |core: &Core| core.offers.iter().map(|offer| offer.packets).sum::<u64>();
        self.cores.iter().map(packets).sum()
    }

    /// A datagram could not be sent: there is no address to send from.
    pub(crate) fn count_unsent(&mut self) {
        self.unsent += 1;
    }

    /// The kernel has no such source address any more.
    pub(crate) fn source_refused(&mut self, core: CoreId, tuple: &dataplane_wire::FourTuple) {
        if let Some(core) = self.cores.get_mut(usize::from(core.0)) {
            core.source_refused(tuple);
        }
    }

    /// What the engine says of itself.
    pub(crate) fn account(&self) -> Account {
        let mut account = Account { unsent: self.unsent, peers: self.peers, ..Account::default() };
        for core in &self.cores {
            let totals = core.shard.totals();
            account.rx_packets += totals.rx_packets;
            account.rx_keepalives += totals.rx_keepalives;
            account.rx_handshakes += totals.rx_handshakes;
            account.tx_packets += totals.tx_packets;
            account.tx_keepalives += totals.tx_keepalives;
            account.tx_handshakes += totals.tx_handshakes;
            account.foreign += totals.foreign;
            account.bytes = account.bytes.max(core.shard.bytes() as u64);
            account.dropped_out += core.dropped;
            for (reason, count) in DropReason::ALL.iter().zip(core.shard.drops()) {
                match is_outbound(*reason) {
                    true => account.dropped_out += count,
                    false => account.dropped_in += count,
                }
            }
        }
        account
    }

    /// What was dropped for a reason, by all shards and the node.
    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        let shards: u64 = self.cores.iter().map(|core| core.shard.drops()[reason as usize]).sum();
        shards + self.node.drops()[reason as usize]
    }
}

/// Whether a reason is about a packet of the inner side.
fn is_outbound(reason: DropReason) -> bool {
    use DropReason as Drop;
    matches!(
        reason,
        Drop::OutboundMalformed
            | Drop::NoRoute
            | Drop::NoEndpoint
            | Drop::RoutingLoop
            | Drop::StagedOverflow
            | Drop::StagedPurged
            | Drop::StagingFull
            | Drop::TxFull
            | Drop::TxTooBig
    )
}
