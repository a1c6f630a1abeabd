//! A host: an engine, addresses, clocks of its own, and a power switch.

mod arena;
mod core;
mod engine;

use ::core::net::{IpAddr, SocketAddr};
use ::core::time::Duration;
use std::collections::BTreeMap;
use std::rc::Rc;

use dataplane_proto::keys::{PublicKey, Secret};
use dataplane_proto::messages::Role;
use dataplane_proto::node::{AllowedIp, Change, PeerChange};
use dataplane_wire::{CoreId, Ecn, FourTuple, Instant, PeerId, TrafficClass};

pub(crate) use self::core::Offer;
use engine::{Engine, Settings};

use self::core::WG0;
use crate::model::{Arrival, Books};
use crate::packet::prefixes;

/// The inner MTU of every host.
pub(crate) const MTU: u16 = 1420;
/// What the boot clock shows when a host has just been switched on.
const BOOT: Duration = Duration::from_secs(3);
/// The wall clock at the start of the world, in seconds since 1970.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// A datagram as a host receives it.
pub(crate) struct Received {
    pub(crate) number: u64,
    pub(crate) origin: Option<u8>,
    pub(crate) intact: bool,
    pub(crate) tuple: FourTuple,
    pub(crate) ecn: Ecn,
    pub(crate) bytes: Rc<[u8]>,
}

/// A datagram as a host sends it.
pub(crate) struct Outgoing {
    pub(crate) core: CoreId,
    pub(crate) tuple: FourTuple,
    pub(crate) class: TrafficClass,
    pub(crate) bytes: Rc<[u8]>,
}

/// A packet that came out of an inner side.
pub(crate) struct Delivered {
    pub(crate) peer: PeerId,
    pub(crate) bytes: Vec<u8>,
    pub(crate) arrival: Arrival,
}

/// What an engine did.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) sent: Vec<Outgoing>,
    pub(crate) delivered: Vec<Delivered>,
    pub(crate) handshakes: Vec<(PeerId, Role)>,
    /// ICMP answers to the inner side.
    pub(crate) answers: u64,
    /// What went in and out of the engine meanwhile.
    pub(crate) seen: Books,
}

/// What a host is configured to know of another.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) host: u8,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) keepalive: Duration,
}

/// An address of a host, and where it is attached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) ip: IpAddr,
    /// The router that it is behind; `None` on the open network.
    pub(crate) router: Option<usize>,
    pub(crate) link: usize,
    /// Whether it is configured now.
    pub(crate) up: bool,
}

pub(crate) struct Host {
    pub(crate) name: String,
    number: u8,
    cores: u8,
    pub(crate) port: u16,
    pub(crate) addresses: Vec<Address>,
    pub(crate) peers: Vec<Peer>,
    /// `None` while the host is off.
    pub(crate) engine: Option<Engine>,
    /// Nothing runs before then.
    pub(crate) asleep_until: Instant,
    /// The control thread does not run before then.
    pub(crate) stalled_until: Instant,
    booted: Instant,
    /// By how many seconds the wall clock is wrong.
    pub(crate) wall_ahead: i64,
    ids: BTreeMap<PeerId, u8>,
    pub(crate) books: Books,
    /// When the engine is looked at again, as the network has it in its agenda.
    pub(crate) work_at: Option<Instant>,
    pub(crate) control_at: Option<Instant>,
    /// Handshakes that were completed, by the other end, as initiator and as responder.
    pub(crate) handshakes: BTreeMap<u8, [u64; 2]>,
}

impl Host {
    pub(crate) fn new(name: &str, number: u8, cores: u8) -> Self {
        Self {
            name: name.to_owned(),
            number,
            cores,
            port: 51_820,
            addresses: Vec::new(),
            peers: Vec::new(),
            engine: None,
            asleep_until: Instant::ZERO,
            stalled_until: Instant::ZERO,
            booted: Instant::ZERO,
            wall_ahead: 0,
            ids: BTreeMap::new(),
            books: Books::default(),
            work_at: None,
            control_at: None,
            handshakes: BTreeMap::new(),
        }
    }

    /// The private key of a host follows from its number.
    pub(crate) fn key(number: u8) -> Secret {
        Secret::new([number + 1; 32])
    }

    pub(crate) fn public_key(number: u8) -> PublicKey {
        Self::key(number).public()
    }

    /// What the host's boot clock shows: it goes on while the host sleeps, and begins anew when it is switched on.
    pub(crate) fn clock(&self, now: Instant) -> Instant {
        Instant::ZERO + BOOT + now.since(self.booted)
    }

    /// When the boot clock will show this.
    pub(crate) fn when(&self, clock: Instant) -> Instant {
        self.booted + clock.since(Instant::ZERO + BOOT)
    }

    /// What the wall clock shows.
    pub(crate) fn unix(&self, now: Instant) -> Duration {
        let shown = EPOCH + now.since(Instant::ZERO);
        match self.wall_ahead {
            ahead @ 0.. => shown + Duration::from_secs(ahead.unsigned_abs()),
            behind => shown.saturating_sub(Duration::from_secs(behind.unsigned_abs())),
        }
    }

    /// Switches the host on, with a new seed, as every start has.
    pub(crate) fn boot(&mut self, now: Instant, seed: [u8; 32]) {
        self.booted = now;
        let settings = Settings { cores: self.cores, mtu: MTU, seed, key: Self::key(self.number) };
        self.engine = Some(Engine::new(self.clock(now), &settings));
        self.books = Books::default();
        self.ids.clear();
        for peer in self.peers.clone() {
            self.tell(now, &peer);
        }
    }

    /// Configures a peer, also on a running host.
    pub(crate) fn add_peer(&mut self, now: Instant, peer: Peer) {
        self.peers.retain(|known| known.host != peer.host);
        self.peers.push(peer.clone());
        self.tell(now, &peer);
    }

    fn tell(&mut self, now: Instant, peer: &Peer) {
        let clock = self.clock(now);
        let Some(engine) = &mut self.engine else { return };
        let allowed = prefixes(peer.host);
        let change = PeerChange {
            endpoint: peer.endpoint,
            keepalive: Some(peer.keepalive),
            allowed_ips: allowed
                .iter()
                .filter_map(|prefix| prefix.parse().ok())
                .map(AllowedIp::Give)
                .collect(),
            ..PeerChange::new(WG0, Self::public_key(peer.host))
        };
        for id in engine.apply(clock, &[Change::Peer(change)]).into_iter().flatten() {
            self.ids.insert(id, peer.host);
        }
    }

    /// Takes a peer away from the running configuration. [`Host::add_peer`] brings it back.
    pub(crate) fn remove_peer(&mut self, now: Instant, host: u8) {
        let clock = self.clock(now);
        if let Some(engine) = &mut self.engine {
            let change = PeerChange { remove: true, ..PeerChange::new(WG0, Self::public_key(host)) };
            engine.apply(clock, &[Change::Peer(change)]);
        }
    }

    /// Who a peer id of the running engine is.
    pub(crate) fn peer_host(&self, id: PeerId) -> Option<u8> {
        self.ids.get(&id).copied()
    }

    /// The address that a datagram leaves from: the one asked for if there is still such, else the first of the family. The
    /// second value tells that the one asked for is gone.
    pub(crate) fn source(&self, tuple: &FourTuple) -> (Option<Address>, bool) {
        let family = |address: &&Address| address.up && address.ip.is_ipv4() == tuple.remote.is_ipv4();
        let asked = tuple.local_ip.and_then(|ip| self.addresses.iter().filter(family).find(|a| a.ip == ip));
        match asked {
            Some(address) => (Some(*address), false),
            None => (self.addresses.iter().find(family).copied(), tuple.local_ip.is_some()),
        }
    }
}
