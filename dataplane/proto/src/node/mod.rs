//! The cold half of the protocol: one [`Node`] decides what is rare, for all shards.
//!
//! Enters: changes of configuration, events and handshake messages from shards, what controllers want, the time. Leaves:
//! commands for shards, facts for controllers, notices for the operator, the time of the next call. Never: a packet, a
//! socket, a clock. Every Diffie-Hellman of the data plane is computed here.
//!
//! | file | holds |
//! |---|---|
//! | `config` | what a change may say, and that a list of them is applied as a whole or not at all |
//! | `apply` | what each change does |
//! | `handshake` | messages of handshakes: examined without a change, then committed |
//! | `crossing` | two ends that initiate at once |
//! | `attempt` | our own attempts to reach a session: retries, jitter, giving up |
//! | `handover` | timestamps, from one process to the next |
//! | `republish` | what a shard that lost everything is told |
//! | `peer`, `allowed`, `outbox` | peers in their slots, owners of inner prefixes, what waits to be fetched |
//! | `snapshot` | everything that `wg show` wants to know |

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use dataplane_wire::{CoreId, DropReason, Instant, InterfaceId, PeerId, SocketId};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use crate::controller::{Input, Output};
use crate::index::Connections;
use crate::keyed::KeyedState;
use crate::keys::{PublicKey, Secret};
use crate::messages::{Command, Event, Path};
use crate::noise::Identity;
use crate::noise::hash::hash;
use crate::tai64n::WallClock;

mod allowed;
mod apply;
mod attempt;
mod config;
mod crossing;
mod handover;
mod handshake;
mod outbox;
mod peer;
mod republish;
mod snapshot;
#[cfg(test)]
mod tests;

use allowed::AllowedIps;
pub use config::{AllowedIp, Change, ConfigError, ConfigProblem, HandshakePolicy, PathPolicy, PeerChange};
pub use handover::Timestamps;
pub use outbox::Notice;
use outbox::{Commands, Facts, Notices};
use peer::{Peers, StaticStatic};
pub use snapshot::{InterfaceSnapshot, PeerSnapshot};

/// Static-static secrets that one call of [`Node::handle_timeout`] computes, and due peers that it serves: what a control
/// thread does without looking up is then a few milliseconds of Diffie-Hellman.
const STEPS_PER_CALL: usize = 32;

/// What bounds the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most interfaces.
    pub interfaces: usize,
    /// Most peers, on all interfaces together.
    pub peers: usize,
    /// Most allowed IPs, of all peers together.
    pub allowed_ips: usize,
    /// Most notices that wait to be fetched.
    pub notices: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { interfaces: 1024, peers: 1 << 20, allowed_ips: 1 << 22, notices: 4096 }
    }
}

/// How a node is made.
#[derive(Clone)]
pub struct NodeConfig {
    /// The number of shards; at least 1.
    pub cores: u8,
    /// How many bits of an index name the core; at most 8, and enough for all cores.
    pub core_bits: u8,
    /// What bounds the node.
    pub limits: Limits,
    /// Where all randomness comes from. Secret, and new at every start.
    pub seed: [u8; 32],
}

/// An interface as the node knows it.
struct Interface {
    identity: Option<Box<Identity>>,
    /// Counts the private keys that it had: what was examined under another key is not committed (WG-10).
    key_epoch: u64,
    mtu: u16,
    policy: HandshakePolicy,
    up: bool,
    sockets: [Option<SocketId>; 2],
    /// Slots of its peers, in the order in which they were added.
    peers: BTreeMap<u64, u32>,
}

/// The cold half: peers, handshakes, routes, paths.
pub struct Node {
    limits: Limits,
    wall: WallClock,
    random: ChaCha12Rng,
    interfaces: BTreeMap<InterfaceId, Interface>,
    peers: Peers,
    by_key: HashMap<(InterfaceId, PublicKey), u32, KeyedState>,
    connections: Connections,
    allowed: AllowedIps,
    /// Peers per core.
    load: Vec<usize>,
    next_sequence: u64,
    timers: BTreeSet<(Instant, u32)>,
    /// Peers whose static-static secret is to be computed when there is time.
    unprimed: VecDeque<PeerId>,
    commands: Commands,
    facts: Facts,
    notices: Notices,
    drops: [u64; DropReason::COUNT],
}

impl Node {
    /// A node without interfaces.
    ///
    /// # Panics
    /// If `cores` is 0, or `core_bits` above 8 or too few to name every core: the caller computes both from one number.
    pub fn new(config: NodeConfig, now: Instant) -> Self {
        let NodeConfig { cores, core_bits, mut limits, seed } = config;
        assert!(
            cores > 0 && core_bits <= 8 && u32::from(cores) <= 1 << core_bits,
            "cores and core_bits disagree"
        );
        let mut random = ChaCha12Rng::from_seed(hash(&[b"node", &seed]));
        let by_key = HashMap::with_hasher(KeyedState::draw(&mut random));
        let connections = Connections::new(core_bits, KeyedState::draw(&mut random));
        limits.peers = limits.peers.min(usize::from(cores) * connections.per_core_max() as usize);
        let mut wall = WallClock::default();
        wall.set(now, Duration::ZERO);
        Self {
            limits,
            wall,
            random,
            interfaces: BTreeMap::new(),
            peers: Peers::default(),
            by_key,
            connections,
            allowed: AllowedIps::default(),
            load: vec![0; usize::from(cores)],
            next_sequence: 0,
            timers: BTreeSet::new(),
            unprimed: VecDeque::new(),
            commands: Commands::new(cores),
            facts: Facts::default(),
            notices: Notices::new(limits.notices),
            drops: [0; DropReason::COUNT],
        }
    }

    /// Tells the time of day. To be called at the start, and whenever the wall clock was set: timestamps of initiations go
    /// on rising when it steps back (WG-62).
    pub fn set_wall_clock(&mut self, now: Instant, unix: Duration) {
        self.wall.set(now, unix);
    }

    /// Takes in a trusted event of a shard.
    pub fn handle_event(&mut self, now: Instant, _core: CoreId, event: Event) {
        match event {
            Event::WantHandshake { peer, cause: _ } => self.want_handshake(now, peer),
            Event::Confirmed { peer, local_index } => self.confirmed(now, peer, local_index),
            Event::Roamed { peer, path } => self.moved_to(peer, path),
        }
    }

    /// Takes in what a controller wants.
    pub fn handle_controller(&mut self, now: Instant, output: Output) {
        let Output::SetPath { peer: id, generation, path, roams } = output;
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.path_generation.is_some_and(|last| generation < last) {
            return;
        }
        peer.path_generation = Some(generation);
        let moved = ends(peer.path) != ends(path);
        peer.path = path;
        peer.roams = roams && peer.path_policy == PathPolicy::Roaming;
        let roams = peer.roams;
        if let Some(path) = path {
            peer.endpoint = Some(path.tuple().remote);
        }
        let (core, interface) = (peer.core, peer.interface);
        if moved {
            self.notices.push(Notice::PathChanged { interface, peer: id, path });
        }
        self.commands.push(core, Command::SetPath { peer: id, generation, path, roams });
        self.path_known(now, id.slot);
    }

    /// The next command, and the shard to give it to. Commands of one shard are in their order.
    pub fn poll_command(&mut self) -> Option<(CoreId, Command)> {
        self.commands.pop()
    }

    /// The next fact for the controller of a peer of this interface.
    pub fn poll_controller_input(&mut self) -> Option<(InterfaceId, Input)> {
        self.facts.pop()
    }

    /// The next notice.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop()
    }

    /// When [`Node::handle_timeout`] is to be called; in the past where there is work left for spare time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.unprimed.is_empty() {
            return Some(Instant::ZERO);
        }
        self.timers.first().map(|(at, _)| *at)
    }

    /// Serves the timers that are due, and uses spare time to compute static-static secrets, a bounded number of each.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..STEPS_PER_CALL {
            let Some((at, slot)) = self.timers.first().copied() else { break };
            if at > now {
                break;
            }
            self.timers.pop_first();
            if let Some(peer) = self.peers.slot_mut(slot) {
                peer.timer = None;
            }
            self.attempt_due(now, slot);
        }
        for _ in 0..STEPS_PER_CALL {
            let Some(id) = self.unprimed.pop_front() else { break };
            self.prime(id);
        }
    }

    /// What the node has dropped, by reason. Shards count what they drop themselves.
    pub fn drops(&self) -> &[u64; DropReason::COUNT] {
        &self.drops
    }

    fn drop_one(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Computes and keeps the static-static secret of a peer (WG-8).
    fn prime(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let identity = self.interfaces.get(&peer.interface).and_then(|interface| interface.identity.as_ref());
        if let (Some(identity), StaticStatic::Unknown) = (identity, &peer.static_static) {
            peer.static_static = StaticStatic::compute(identity, &peer.public);
        }
    }

    /// An authenticated packet of a peer came by this path: the peer is there, if it roams (WG-54).
    fn moved_to(&mut self, id: PeerId, path: Path) {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.roams) else { return };
        let moved = ends(peer.path) != ends(Some(path));
        peer.path = Some(path);
        peer.endpoint = Some(path.tuple().remote);
        if moved {
            self.facts.push(peer.interface, Input::Roamed { peer: id, path });
            let interface = peer.interface;
            self.notices.push(Notice::PathChanged { interface, peer: id, path: Some(path) });
        }
    }

    /// Sets or clears the timer of a peer.
    fn set_timer(&mut self, slot: u32, at: Option<Instant>) {
        let Some(peer) = self.peers.slot_mut(slot) else { return };
        if let Some(old) = core::mem::replace(&mut peer.timer, at) {
            self.timers.remove(&(old, slot));
        }
        if let Some(at) = at {
            self.timers.insert((at, slot));
        }
    }

    fn draw_secret(&mut self) -> Secret {
        let mut bytes = [0; 32];
        self.random.fill_bytes(&mut bytes);
        Secret::new(bytes)
    }
}

/// What makes a path another one: the source address may change without.
fn ends(path: Option<Path>) -> Option<(SocketId, SocketAddr)> {
    path.map(|path| (path.tuple().socket, path.tuple().remote))
}
