//! What the node says: cold, and the only place where memory grows.

use core::time::Duration;

use dataplane_aead::Aead;
use dataplane_wire::{FourTuple, Instant, InterfaceId, PeerId, TxSink};

use super::path::Packed;
use super::peer::{CURRENT, NEXT, PREVIOUS, Slot};
use super::session::ERASE_AFTER;
use super::table::{LocalId, NONE};
use super::{Interface, LATE_AFTER, LATE_MAX, Shard};
use crate::gate::InterfaceKeys;
use crate::messages::{Command, Keypair, Path, Role};
use crate::routes::Routes;
use crate::shun::Source;

impl<A: Aead> Shard<A> {
    /// Does what the node says. A command about a peer or interface that is no more does nothing.
    pub fn handle_command(&mut self, now: Instant, command: Command, tx: &mut impl TxSink) {
        match command {
            Command::AddInterface { interface, mtu, mac1_key, cookie_key } => {
                self.add_interface(interface, mtu, InterfaceKeys { mac1: mac1_key, cookie: cookie_key });
            }
            Command::RemoveInterface { interface } => {
                if let Some(slot) = self.interfaces.get_mut(usize::from(interface.0)) {
                    *slot = None;
                }
            }
            Command::SetRoute { interface, peer, core, prefix } => {
                self.change_routes(interface, |routes| routes.insert(prefix, super::Owner { peer, core }));
            }
            Command::RemoveRoute { interface, prefix } => {
                self.change_routes(interface, |routes| routes.remove(prefix));
            }
            Command::AddPeer { peer, interface, connection, counters } => {
                if let Some(before) = self.peers.in_slot(peer.slot) {
                    self.remove_peer(now, before, tx);
                }
                let local = self.peers.insert(peer, interface, connection, counters);
                self.table.insert(connection, local);
                let places = self.peers.places();
                self.wheel.grow(places);
                self.mailbox.grow(places);
                self.backlog.reserve(places.saturating_sub(self.backlog.len()));
            }
            Command::RemovePeer { peer } => self.remove_peer(now, peer, tx),
            Command::SetKeepalive { peer, interval } => {
                self.with(peer, |shard, local| shard.set_keepalive(now, local, interval, tx));
            }
            Command::SetPath { peer, generation, path, roams } => {
                self.with(peer, |shard, local| shard.set_path(now, local, generation, path, roams, tx));
            }
            Command::InstallKeypair { peer, keypair, response, keep_next, from, unix_ns } => {
                self.with(peer, |shard, local| {
                    shard.move_path(local, &from);
                    if let Some((tuple, message)) = &response {
                        shard.send_handshake(now, local, tuple, message, tx);
                    }
                    shard.install(now, local, &keypair, keep_next, unix_ns, tx);
                });
            }
            Command::ExpireSessions { peer, receiving } => {
                self.with(peer, |shard, local| shard.expire_sessions(now, local, receiving, tx));
            }
            Command::PurgeStaged { peer } => self.with(peer, |shard, local| {
                shard.purge_staged(local);
                shard.peers.cold_mut(local).quiet_until = Instant::ZERO;
            }),
            Command::SendHandshake { peer, message, retry } => {
                self.with(peer, |shard, local| shard.send_initiation(now, local, &message, retry, tx));
            }
        }
    }

    fn with(&mut self, peer: PeerId, then: impl FnOnce(&mut Self, LocalId)) {
        if let Some(local) = self.peers.find(peer) {
            then(self, local);
        }
    }

    fn add_interface(&mut self, id: InterfaceId, mtu: u16, keys: InterfaceKeys) {
        let at = usize::from(id.0);
        if at >= self.interfaces.len() {
            self.interfaces.resize_with(at + 1, || None);
        }
        let mtu = usize::from(mtu);
        match &mut self.interfaces[at] {
            Some(interface) => (interface.mtu, interface.keys) = (mtu, keys),
            slot => *slot = Some(Interface { mtu, keys, routes: Routes::new(), epoch: 2 }),
        }
    }

    fn change_routes<T>(&mut self, id: InterfaceId, change: impl FnOnce(&mut Routes) -> T) {
        if let Some(Some(interface)) = self.interfaces.get_mut(usize::from(id.0)) {
            change(&mut interface.routes);
            interface.epoch = interface.epoch.wrapping_add(2).max(2);
            if interface.epoch == 2 {
                // After two thousand million changes epochs come again, and none may find what it did not see.
                self.peers.all_mut().for_each(|peer| peer.source_epoch = 0);
            }
        }
    }

    fn remove_peer(&mut self, now: Instant, id: PeerId, tx: &mut impl TxSink) {
        let Some(local) = self.peers.find(id) else { return };
        self.erase_sessions(now, local, tx);
        self.purge_staged(local);
        let connection = self.peers.cold(local).connection;
        self.table.retire(connection);
        if self.late.len() == LATE_MAX
            && let Some((_, oldest)) = self.late.pop_front()
        {
            self.table.forget_late(oldest);
        }
        self.late.push_back((now + LATE_AFTER, connection));
        self.wheel.cancel(local);
        self.peers.remove(local);
    }

    /// One goes out at once when the interval is switched on (WG-61).
    fn set_keepalive(&mut self, now: Instant, local: LocalId, interval: Duration, tx: &mut impl TxSink) {
        let before = core::mem::replace(&mut self.peers.cold_mut(local).keepalive, interval);
        if before == Duration::ZERO && interval != Duration::ZERO {
            self.send_keepalive(now, local, tx);
            self.peers.hot_mut(local).last_traversal = now;
        }
        self.rearm(local);
    }

    fn set_path(
        &mut self,
        now: Instant,
        local: LocalId,
        generation: u32,
        path: Option<Path>,
        roams: bool,
        tx: &mut impl TxSink,
    ) {
        let cold = self.peers.cold_mut(local);
        if generation < cold.path_generation {
            return;
        }
        cold.path_generation = generation;
        let persistent = cold.keepalive != Duration::ZERO;
        let peer = self.peers.hot_mut(local);
        let first = peer.path.is_none() && path.is_some();
        peer.path = path.map_or(Packed::NONE, |path| Packed::new(path.tuple()));
        peer.roams = roams;
        if let Some(path) = path {
            self.shun.spare(Source::from(path.tuple()));
        }
        if first && peer.sending.staged {
            self.send_staged(now, local, tx);
        }
        if first && persistent {
            self.peers.cold_mut(local).quiet_until = Instant::ZERO;
            self.send_keepalive(now, local, tx);
        }
    }

    /// Puts a new session into its slot (WG-28, WG-31), and sends what waited for it (WG-29).
    fn install(
        &mut self,
        now: Instant,
        local: LocalId,
        keypair: &Keypair,
        keep_next: bool,
        unix_ns: u64,
        tx: &mut impl TxSink,
    ) {
        let slot = Slot { local_index: keypair.local_index, session: self.sessions.insert(keypair) };
        let slots = self.peers.hot(local).slots;
        let mut after = slots;
        match keypair.role {
            Role::Initiator if keep_next || slots[NEXT].session == NONE => {
                (after[PREVIOUS], after[CURRENT]) = (slots[CURRENT], slot);
            }
            Role::Initiator => {
                (after[PREVIOUS], after[CURRENT], after[NEXT]) = (slots[NEXT], slot, Slot::EMPTY);
            }
            Role::Responder => (after[PREVIOUS], after[NEXT]) = (Slot::EMPTY, slot),
        }
        self.set_slots(now, local, after, tx);
        let cold = self.peers.cold_mut(local);
        cold.erase_at = keypair.created + ERASE_AFTER;
        cold.quiet_until = Instant::ZERO;
        if keypair.role == Role::Responder {
            (cold.next_unix_ns, cold.next_created) = (unix_ns, keypair.created);
        }
        self.peers.hot_mut(local).note_received(now);
        if keypair.role == Role::Initiator {
            match self.peers.hot(local).sending.staged {
                true => self.send_staged(now, local, tx),
                false => self.send_keepalive(now, local, tx),
            }
        }
        self.rearm(local);
    }

    /// Changes the session slots of a peer; sessions that are in none of them any more are erased, and their indices late
    /// (WG-30, DX-10).
    pub(super) fn set_slots(&mut self, now: Instant, local: LocalId, after: [Slot; 3], tx: &mut impl TxSink) {
        let before = core::mem::replace(&mut self.peers.hot_mut(local).slots, after);
        let gone = |slot: &&Slot| slot.session != NONE && !after.contains(slot);
        let another = before[CURRENT] != after[CURRENT];
        if another || before.iter().any(|slot| gone(&slot)) {
            // What was described with a key must be sealed before the key goes.
            self.forget_batches(tx);
        }
        if another {
            self.sessions.begin_sending(after[CURRENT].session, &mut self.peers.hot_mut(local).sending);
        }
        for slot in before.iter().filter(gone) {
            self.sessions.remove(slot.session);
            self.peers.cold_mut(local).retire(slot.local_index, now + LATE_AFTER);
        }
    }

    /// Seals what was described, and erases the copies of keys that were made for batches.
    fn forget_batches(&mut self, tx: &mut impl TxSink) {
        self.seal(tx);
        self.sealing_keys.erase();
        self.opening_keys.erase();
    }

    /// Erases all keys of a peer (WG-37).
    pub(super) fn erase_sessions(&mut self, now: Instant, local: LocalId, tx: &mut impl TxSink) {
        self.set_slots(now, local, [Slot::EMPTY; 3], tx);
        self.peers.cold_mut(local).erase_at = Instant::FAR;
    }

    fn expire_sessions(&mut self, now: Instant, local: LocalId, receiving: bool, tx: &mut impl TxSink) {
        if receiving {
            self.erase_sessions(now, local, tx);
            let peer = self.peers.hot_mut(local);
            (peer.keepalive_at, peer.unanswered_at) = (Instant::FAR, Instant::FAR);
            peer.another_keepalive = false;
        } else {
            self.forget_batches(tx);
            let sessions = self.peers.hot(local).slots.map(|slot| slot.session);
            for session in sessions.into_iter().filter(|&session| session != NONE) {
                self.sessions.erase_sending(session);
            }
            self.peers.hot_mut(local).sending.stop();
        }
        self.peers.cold_mut(local).quiet_until = Instant::ZERO;
    }

    /// Moves a peer that roams to where an authenticated message came from (WG-54); tells whether that is elsewhere.
    pub(super) fn move_path(&mut self, local: LocalId, from: &FourTuple) -> bool {
        let peer = self.peers.hot_mut(local);
        if !peer.roams {
            return false;
        }
        let path = Packed::new(from);
        if peer.path == path {
            return false;
        }
        let elsewhere = !peer.path.leads_as(&path);
        peer.path = path;
        if elsewhere {
            self.shun.spare(Source::from(from));
            self.tell_roamed(local);
        }
        elsewhere
    }
}
