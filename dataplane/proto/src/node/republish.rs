//! A shard that lost everything is told anew.

use dataplane_wire::{CoreId, Instant, InterfaceId};

use super::Node;
use super::peer::Sessions;
use crate::gate::InterfaceKeys;
use crate::messages::Command;

impl Node {
    /// Tells an empty shard all that concerns it: interfaces, its peers with their paths, and the routes of all peers. Sessions
    /// cannot be told, their keys were nowhere else: they are made anew, at once where there was one (FT-8).
    pub fn republish(&mut self, now: Instant, core: CoreId) {
        let interfaces: Vec<InterfaceId> = self.interfaces.keys().copied().collect();
        for &interface in &interfaces {
            let Some(known) = self.interfaces.get(&interface) else { continue };
            let mtu = known.mtu;
            let keys = match &known.identity {
                Some(identity) => InterfaceKeys::of(identity.public()),
                None => self.draw_keys(),
            };
            let (mac1_key, cookie_key) = (keys.mac1, keys.cookie);
            self.commands.push(core, Command::AddInterface { interface, mtu, mac1_key, cookie_key });
        }
        let slots: Vec<u32> = interfaces.iter().flat_map(|interface| self.slots_of(*interface)).collect();
        let mut had_session = Vec::new();
        for &slot in &slots {
            if self.republish_peer(slot, core) {
                had_session.push(slot);
            }
        }
        for (interface, prefix, slot) in self.allowed.all() {
            let Some(peer) = self.peers.slot(slot) else { continue };
            let route = Command::SetRoute { interface, peer: peer.id, core: peer.core, prefix };
            self.commands.push(core, route);
        }
        for slot in had_session {
            let Some(peer) = self.peers.slot(slot) else { continue };
            self.want_handshake(now, peer.id);
        }
    }

    /// Tells a peer's core of it, if this is its core. Whether it had a session, or was about to.
    fn republish_peer(&mut self, slot: u32, core: CoreId) -> bool {
        if self.peers.slot(slot).is_none_or(|peer| peer.core != core) {
            return false;
        }
        self.set_timer(slot, None);
        let Some(peer) = self.peers.slot_mut(slot) else { return false };
        let had = peer.attempt.is_some() || peer.sessions != Sessions::default();
        peer.attempt = None;
        peer.kept = None;
        peer.completed = None;
        peer.answered = None;
        // The new session need not wait for the time between two initiations to be over: the old one was not its attempt.
        peer.initiated = None;
        peer.sessions = Sessions::default();
        let (id, interface, connection) = (peer.id, peer.interface, peer.connection);
        let counters = std::sync::Arc::clone(&peer.counters);
        self.commands.push(core, Command::AddPeer { peer: id, interface, connection, counters });
        if let Some(generation) = peer.path_generation {
            let (path, roams) = (peer.path, peer.roams);
            self.commands.push(core, Command::SetPath { peer: id, generation, path, roams });
        }
        let interval = peer.keepalive;
        if !interval.is_zero() && self.interfaces.get(&interface).is_some_and(|interface| interface.up) {
            self.commands.push(core, Command::SetKeepalive { peer: id, interval });
        }
        had
    }
}
