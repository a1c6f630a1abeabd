//! What each change of configuration does.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use dataplane_wire::{CoreId, FourTuple, Instant, InterfaceId, PeerId, SocketId, canonical};

use super::outbox::Broadcast;
use super::peer::{Peer, Sessions, StaticStatic};
use super::{AllowedIp, Change, Interface, Node, PathPolicy, PeerChange};
use crate::controller::Input;
use crate::gate::InterfaceKeys;
use crate::keys::{PublicKey, Secret};
use crate::messages::{Command, PeerCounters};
use crate::noise::Identity;
use crate::prefix::IpPrefix;
use crate::tai64n::Tai64n;

impl Node {
    /// Applies a change that was found to be possible.
    pub(super) fn apply_one(&mut self, now: Instant, change: &Change) -> Option<PeerId> {
        match change {
            Change::AddInterface { interface, mtu, policy } => {
                let fresh = Interface {
                    identity: None,
                    key_epoch: 0,
                    mtu: *mtu,
                    policy: *policy,
                    up: false,
                    sockets: [None; 2],
                    peers: Default::default(),
                };
                self.interfaces.insert(*interface, fresh);
                self.tell_interface(*interface);
            }
            Change::RemoveInterface { interface } => {
                self.remove_peers(now, *interface);
                self.interfaces.remove(interface);
                self.commands.push_all(Broadcast::RemoveInterface { interface: *interface });
            }
            Change::SetMtu { interface, mtu } => {
                if let Some(known) = self.interfaces.get_mut(interface).filter(|known| known.mtu != *mtu) {
                    known.mtu = *mtu;
                    self.tell_interface(*interface);
                }
            }
            Change::SetSockets { interface, v4, v6 } => self.set_sockets(*interface, [*v4, *v6]),
            Change::SetPrivateKey { interface, key } => self.set_private_key(now, *interface, key),
            Change::SetUp { interface, up } => self.set_up(*interface, *up),
            Change::RemovePeers { interface } => self.remove_peers(now, *interface),
            Change::Peer(change) => return self.change_peer(now, change),
        }
        None
    }

    /// Slots of all peers of an interface, in the order in which they were added.
    pub(super) fn slots_of(&self, interface: InterfaceId) -> Vec<u32> {
        self.interfaces.get(&interface).map_or(Vec::new(), |known| known.peers.values().copied().collect())
    }

    /// Tells every shard of an interface, or of what has changed of it.
    fn tell_interface(&mut self, interface: InterfaceId) {
        let Some(known) = self.interfaces.get(&interface) else { return };
        let mtu = known.mtu;
        let keys = match &known.identity {
            Some(identity) => InterfaceKeys::of(identity.public()),
            None => self.draw_keys(),
        };
        self.commands.push_all(Broadcast::AddInterface {
            interface,
            mtu,
            mac1_key: keys.mac1,
            cookie_key: keys.cookie,
        });
    }

    /// Without a private key there is nothing that could be said to us: a key of mac1 that nobody knows.
    pub(super) fn draw_keys(&mut self) -> InterfaceKeys {
        InterfaceKeys { mac1: *self.draw_secret().bytes(), cookie: *self.draw_secret().bytes() }
    }

    fn set_sockets(&mut self, interface: InterfaceId, sockets: [Option<SocketId>; 2]) {
        let Some(known) = self.interfaces.get_mut(&interface).filter(|known| known.sockets != sockets) else {
            return;
        };
        known.sockets = sockets;
        for slot in self.slots_of(interface) {
            if self.peers.slot(slot).is_some_and(|peer| peer.endpoint.is_some()) {
                self.tell_upserted(slot);
            }
        }
    }

    /// A new private key expires all sending keys, drops pending handshakes, and removes a peer that is oneself (WG-15).
    fn set_private_key(&mut self, now: Instant, interface: InterfaceId, key: &Secret) {
        let Some(known) = self.interfaces.get_mut(&interface) else { return };
        let same = match &known.identity {
            Some(identity) => Secret::new(*identity.private()) == *key,
            None => key.is_zero(),
        };
        if same {
            return;
        }
        known.identity = (!key.is_zero()).then(|| Box::new(Identity::new(key.bytes())));
        known.key_epoch += 1;
        let own = known.identity.as_ref().map(|identity| PublicKey(*identity.public()));
        self.tell_interface(interface);
        if let Some(slot) = own.and_then(|own| self.by_key.get(&(interface, own)).copied()) {
            self.remove_peer(now, slot);
        }
        for slot in self.slots_of(interface) {
            self.set_timer(slot, None);
            let Some(peer) = self.peers.slot_mut(slot) else { continue };
            peer.static_static = StaticStatic::Unknown;
            peer.attempt = None;
            peer.kept = None;
            peer.completed = None;
            peer.answered = None;
            self.unprimed.push_back(peer.id);
            self.commands.push(peer.core, Command::ExpireSessions { peer: peer.id, receiving: false });
        }
    }

    /// Up: persistent keepalives go out at once (WG-61). Down: every key is erased (WG-37).
    fn set_up(&mut self, interface: InterfaceId, up: bool) {
        let Some(known) = self.interfaces.get_mut(&interface).filter(|known| known.up != up) else { return };
        known.up = up;
        for slot in self.slots_of(interface) {
            if !up {
                self.stop(slot);
            }
            let Some(peer) = self.peers.slot(slot).filter(|peer| !peer.keepalive.is_zero()) else { continue };
            let interval = if up { peer.keepalive } else { Duration::ZERO };
            self.commands.push(peer.core, Command::SetKeepalive { peer: peer.id, interval });
        }
    }

    /// Erases every key of every peer, as before the machine sleeps (WG-37). Sessions are made anew when there is traffic.
    pub fn handle_suspend(&mut self) {
        let interfaces: Vec<InterfaceId> = self.interfaces.keys().copied().collect();
        let slots: Vec<u32> = interfaces.into_iter().flat_map(|interface| self.slots_of(interface)).collect();
        for slot in slots {
            self.erase_keys(slot);
        }
    }

    /// Erases the handshakes and sessions of a peer.
    fn erase_keys(&mut self, slot: u32) {
        self.set_timer(slot, None);
        let Some(peer) = self.peers.slot_mut(slot) else { return };
        peer.attempt = None;
        peer.kept = None;
        peer.completed = None;
        peer.answered = None;
        peer.sessions = Sessions::default();
        self.commands.push(peer.core, Command::ExpireSessions { peer: peer.id, receiving: true });
    }

    /// Lets go of what a peer was about to do, as its interface goes down.
    fn stop(&mut self, slot: u32) {
        self.erase_keys(slot);
        let Some(peer) = self.peers.slot_mut(slot) else { return };
        // When it comes up again it need not wait for the time between two initiations to be over.
        peer.initiated = None;
        self.commands.push(peer.core, Command::PurgeStaged { peer: peer.id });
    }

    fn change_peer(&mut self, now: Instant, change: &PeerChange) -> Option<PeerId> {
        let interface = change.interface;
        let identity = self.interfaces.get(&interface)?.identity.as_ref();
        // Nobody is one's own peer (WG-15).
        if identity.is_some_and(|identity| *identity.public() == change.public_key.0) {
            return None;
        }
        let slot = self.by_key.get(&(interface, change.public_key)).copied();
        let (slot, new) = match slot {
            Some(slot) if change.remove => {
                self.remove_peer(now, slot);
                return None;
            }
            None if change.remove || change.update_only => return None,
            Some(slot) => (slot, false),
            None => (self.add_peer(now, interface, change.public_key), true),
        };
        let peer = self.peers.slot_mut(slot)?;
        if let Some(psk) = change.preshared_key.as_ref().filter(|psk| **psk != peer.psk) {
            peer.psk = psk.clone();
            peer.psk_epoch = peer.psk_epoch.wrapping_add(1);
        }
        let endpoint = change.endpoint.map(canonical);
        let moved = endpoint.is_some_and(|endpoint| peer.endpoint != Some(endpoint));
        if moved {
            peer.endpoint = endpoint;
        }
        let policy = change.path_policy.filter(|policy| *policy != peer.path_policy);
        peer.path_policy = policy.unwrap_or(peer.path_policy);
        // What it roamed to and was not told yet counts no more; the control layer says the path again.
        peer.roams &= peer.path_policy == PathPolicy::Roaming;
        if new || moved || policy.is_some() {
            self.tell_upserted(slot);
        }
        self.change_keepalive(slot, change.keepalive);
        self.change_allowed_ips(slot, change);
        self.peers.slot(slot).map(|peer| peer.id)
    }

    fn add_peer(&mut self, now: Instant, interface: InterfaceId, public: PublicKey) -> u32 {
        let id = self.peers.next_id();
        let fewest = (0..self.load.len()).min_by_key(|core| self.load[*core]).unwrap_or(0);
        self.load[fewest] += 1;
        let core = CoreId(fewest as u8);
        let connection = self.connections.take(now, core, id.slot, &mut self.random);
        let counters = Arc::new(PeerCounters::default());
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let session = self.draw_secret().bytes()[0];
        self.peers.insert(Box::new(Peer {
            id,
            interface,
            sequence,
            core,
            connection,
            public,
            psk: Secret::default(),
            psk_epoch: 0,
            static_static: StaticStatic::Unknown,
            keepalive: Duration::ZERO,
            endpoint: None,
            path: None,
            path_generation: None,
            roams: false,
            path_policy: PathPolicy::default(),
            counters: Arc::clone(&counters),
            session,
            sessions: Sessions::default(),
            latest: Tai64n::default(),
            accepted: None,
            attempt: None,
            initiated: None,
            kept: None,
            taken_over_next: None,
            completed: None,
            cookie: None,
            answered: None,
            timer: None,
        }));
        self.by_key.insert((interface, public), id.slot);
        if let Some(known) = self.interfaces.get_mut(&interface) {
            known.peers.insert(sequence, id.slot);
        }
        self.unprimed.push_back(id);
        self.commands.push(core, Command::AddPeer { peer: id, interface, connection, counters });
        id.slot
    }

    fn remove_peers(&mut self, now: Instant, interface: InterfaceId) {
        for slot in self.slots_of(interface) {
            self.remove_peer(now, slot);
        }
    }

    fn remove_peer(&mut self, now: Instant, slot: u32) {
        self.set_timer(slot, None);
        let Some(peer) = self.peers.remove(slot) else { return };
        let prefixes: Vec<_> = self.allowed.of(slot).collect();
        for prefix in prefixes {
            self.allowed.take(peer.interface, prefix, slot);
            self.commands.push_all(Broadcast::RemoveRoute { interface: peer.interface, prefix });
        }
        self.commands.push(peer.core, Command::RemovePeer { peer: peer.id });
        self.facts.push(peer.interface, Input::PeerRemoved { peer: peer.id });
        self.connections.release(now, peer.connection);
        self.by_key.remove(&(peer.interface, peer.public));
        self.load[usize::from(peer.core.0)] -= 1;
        if let Some(known) = self.interfaces.get_mut(&peer.interface) {
            known.peers.remove(&peer.sequence);
        }
    }

    fn change_keepalive(&mut self, slot: u32, interval: Option<Duration>) {
        let Some(peer) = self.peers.slot_mut(slot) else { return };
        let Some(interval) = interval.filter(|interval| *interval != peer.keepalive) else { return };
        peer.keepalive = interval;
        if self.interfaces.get(&peer.interface).is_some_and(|interface| interface.up) {
            self.commands.push(peer.core, Command::SetKeepalive { peer: peer.id, interval });
        }
    }

    /// Gives and takes prefixes; shards hear only of those that really change hands.
    fn change_allowed_ips(&mut self, slot: u32, change: &PeerChange) {
        let Some(peer) = self.peers.slot(slot) else { return };
        let (id, core, interface) = (peer.id, peer.core, peer.interface);
        let mut stale = BTreeSet::new();
        if change.replace_allowed_ips {
            stale.extend(self.allowed.of(slot));
        }
        for allowed_ip in &change.allowed_ips {
            match *allowed_ip {
                AllowedIp::Give(prefix) => {
                    stale.remove(&prefix);
                    if self.allowed.give(interface, prefix, slot) {
                        self.commands.push_all(Broadcast::SetRoute { interface, peer: id, core, prefix });
                    }
                }
                AllowedIp::Take(prefix) => {
                    stale.remove(&prefix);
                    self.take_prefix(interface, prefix, slot);
                }
            }
        }
        for prefix in stale {
            self.take_prefix(interface, prefix, slot);
        }
    }

    fn take_prefix(&mut self, interface: InterfaceId, prefix: IpPrefix, slot: u32) {
        if self.allowed.take(interface, prefix, slot) {
            self.commands.push_all(Broadcast::RemoveRoute { interface, prefix });
        }
    }

    /// Tells a controller that is new of what is there already: all peers of an interface, or one of them.
    pub fn tell_again(&mut self, interface: InterfaceId, peer: Option<PeerId>) {
        let slots = match peer {
            Some(peer) => self.peers.get(peer).map(|_| peer.slot).into_iter().collect(),
            None => self.slots_of(interface),
        };
        slots.into_iter().for_each(|slot| self.tell_upserted(slot));
    }

    /// Tells the controller of a peer, with the socket that reaches its endpoint.
    fn tell_upserted(&mut self, slot: u32) {
        let Some(peer) = self.peers.slot(slot) else { return };
        let sockets = self.interfaces.get(&peer.interface).map_or([None; 2], |interface| interface.sockets);
        let reach = |remote: SocketAddr| {
            let socket = sockets[usize::from(remote.is_ipv6())]?;
            Some(FourTuple { socket, remote, local_ip: None })
        };
        let endpoint = peer.endpoint.and_then(reach);
        self.facts.push(peer.interface, Input::PeerUpserted { peer: peer.id, endpoint });
    }
}
