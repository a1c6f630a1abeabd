//! Our own attempts to reach a session: when an initiation goes out, again, and no more.
//!
//! 1. A shard asks for a session.
//! 2. An initiation goes out, unless one did within 5 s.
//! 3. Without an answer another one goes out after 5 s and up to 333 ms (WG-38).
//! 4. After 90 s the attempt is given up (WG-39).

use core::time::Duration;

use dataplane_wire::wireguard::{write_mac1, write_mac2};
use dataplane_wire::{Instant, InterfaceId, PeerId};
use rand_core::Rng;

use super::peer::{Attempt, Sent};
use super::{Node, Notice};
use crate::controller::Input;
use crate::gate::InterfaceKeys;
use crate::messages::{Command, HandshakeBytes};
use crate::noise;
use crate::noise::hash::mac;

/// Least time between two initiations to one peer (the WireGuard paper §6.1: REKEY_TIMEOUT).
const RETRY: Duration = Duration::from_secs(5);
/// Most time by which a retry comes later, so that two ends that began together part.
const JITTER_NS: u64 = 333_000_000;
/// How long a request for a session may be on its way. What was asked for before a handshake was complete, and comes after,
/// asks for what is there.
const REQUEST_AGE: Duration = Duration::from_secs(1);

impl Node {
    /// A shard wants a session.
    pub(super) fn want_handshake(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(interface) = self.interfaces.get(&peer.interface) else { return };
        if !interface.up || interface.identity.is_none() {
            return;
        }
        if peer.completed.is_some_and(|completed| now.since(completed) < REQUEST_AGE) {
            return;
        }
        if peer.kept.is_some() {
            return;
        }
        match &mut peer.attempt {
            Some(attempt) if interface.policy.restarts => attempt.started = now,
            Some(_) => return,
            None => return self.attempt(now, id.slot),
        }
        self.attempt_due(now, id.slot);
    }

    /// Begins an attempt: at once, unless there was an initiation just before or a session may be confirmed any moment.
    pub(super) fn attempt(&mut self, now: Instant, slot: u32) {
        let Some(peer) = self.peers.slot_mut(slot) else { return };
        let due = peer.initiates_at(now);
        peer.attempt = Some(Box::new(Attempt { started: now, due, sent: None }));
        self.attempt_due(now, slot);
    }

    /// A peer has a path: an attempt that waited for one goes on at once.
    pub(super) fn path_known(&mut self, now: Instant, slot: u32) {
        let Some(peer) = self.peers.slot_mut(slot).filter(|peer| peer.path.is_some()) else { return };
        let initiated = peer.initiated;
        let Some(attempt) = peer.attempt.as_mut().filter(|attempt| attempt.sent.is_none()) else { return };
        attempt.due = initiated.map_or(now, |initiated| now.max(initiated + RETRY));
        self.attempt_due(now, slot);
    }

    /// The network of this machine has changed: what could not be sent before may get through now (FT-1). Attempts go on as
    /// soon as one initiation may follow another, and peers with a persistent keepalive are sent one at once, by which they and
    /// the NATs on the way learn where we are.
    pub fn network_changed(&mut self, now: Instant, interface: InterfaceId) {
        if !self.interfaces.get(&interface).is_some_and(|known| known.up) {
            return;
        }
        for slot in self.slots_of(interface) {
            let Some(peer) = self.peers.slot_mut(slot) else { continue };
            let soonest = peer.initiates_at(now);
            if let Some(attempt) = &mut peer.attempt {
                attempt.due = attempt.due.min(soonest);
            }
            let (id, core, interval) = (peer.id, peer.core, peer.keepalive);
            if peer.attempt.is_some() {
                self.attempt_due(now, slot);
            }
            if !interval.is_zero() {
                // Switching it on sends one.
                for interval in [Duration::ZERO, interval] {
                    self.commands.push(core, Command::SetKeepalive { peer: id, interval });
                }
            }
        }
    }

    /// Does what is due of a peer's attempt, and sets the timer for what comes next.
    pub(super) fn attempt_due(&mut self, now: Instant, slot: u32) {
        let Some(peer) = self.peers.slot(slot) else { return };
        let Some(interface) = self.interfaces.get(&peer.interface) else { return };
        if let Some(until) = peer.kept.as_ref().map(|kept| kept.until) {
            let id = peer.id;
            return if now < until { self.set_timer(slot, Some(until)) } else { self.take_kept(now, id) };
        }
        let Some(attempt) = &peer.attempt else { return self.set_timer(slot, None) };
        let give_up = attempt.started + interface.policy.give_up;
        if now >= give_up {
            return self.give_up(slot);
        }
        let mut due = attempt.due;
        if now >= due {
            self.initiate(now, slot);
            due = now + RETRY + Duration::from_nanos(self.random.next_u64() % (JITTER_NS + 1));
            if let Some(attempt) = self.peers.slot_mut(slot).and_then(|peer| peer.attempt.as_mut()) {
                attempt.due = due;
            }
        }
        self.set_timer(slot, Some(due.min(give_up)));
    }

    /// The attempt has failed: what waits for a session is dropped.
    fn give_up(&mut self, slot: u32) {
        self.set_timer(slot, None);
        let Some(peer) = self.peers.slot_mut(slot) else { return };
        peer.attempt = None;
        let (interface, peer_id, public_key) = (peer.interface, peer.id, peer.public);
        self.commands.push(peer.core, Command::PurgeStaged { peer: peer_id });
        self.facts.push(interface, Input::HandshakeGivenUp { peer: peer_id });
        self.notices.push(Notice::HandshakeGivenUp { interface, peer: peer_id, public_key });
    }

    /// Sends an initiation, if the peer has a path and a key to which one can be made.
    fn initiate(&mut self, now: Instant, slot: u32) {
        let ephemeral = self.draw_secret();
        let Some(peer) = self.peers.slot_mut(slot).filter(|peer| peer.path.is_some()) else { return };
        let identity = self.interfaces.get(&peer.interface).and_then(|interface| interface.identity.as_ref());
        let Some(identity) = identity else { return };
        let Ok(static_static) = peer.static_static.get(identity, &peer.public) else { return };
        let local_index = peer.next_index();
        let timestamp = self.wall.timestamp(now);
        let Ok((initiated, mut message)) = noise::create_initiation(
            identity,
            &peer.public.0,
            &static_static,
            ephemeral.bytes(),
            local_index,
            &timestamp.0,
        ) else {
            return;
        };
        let mac1 = peer.write_macs(now, &mut message);
        let Some(attempt) = &mut peer.attempt else { return };
        let retry = attempt.sent.is_some();
        attempt.sent = Some(Sent { initiated, local_index, at: now, mac1: Some(mac1) });
        peer.initiated = Some(now);
        let Some(message) = HandshakeBytes::copy_from(&message) else { return };
        self.commands.push(peer.core, Command::SendHandshake { peer: peer.id, message, retry });
    }
}

impl super::peer::Peer {
    /// The soonest that an initiation may go out: not too soon after another (WG-38), nor while a session may be confirmed any
    /// moment.
    fn initiates_at(&self, now: Instant) -> Instant {
        let again = self.initiated.map(|initiated| initiated + RETRY);
        [Some(now), again, self.confirmation_due()].into_iter().flatten().max().unwrap_or(now)
    }

    /// Writes mac1, and mac2 where a cookie is held (WG-17), and returns mac1.
    pub(super) fn write_macs(&self, now: Instant, message: &mut [u8]) -> [u8; 16] {
        let keys = InterfaceKeys::of(&self.public.0);
        let mut mac1 = [0; 16];
        write_mac1(message, |covered| {
            mac1 = mac(&keys.mac1, &[covered]);
            mac1
        });
        if let Some(cookie) = &self.cookie {
            write_mac2(message, |covered| cookie.mac2(now, covered).unwrap_or([0; 16]));
        }
        mac1
    }
}
