//! What the node is told: latest wins per peer and kind, so the queue is never longer than there are peers.

use core::time::Duration;
use std::collections::VecDeque;

use dataplane_aead::Aead;
use dataplane_wire::Instant;

use super::Shard;
use super::peer::Peers;
use super::table::LocalId;
use crate::messages::{Event, HandshakeCause, Path};

/// What every packet would say again is said once in this time.
const QUIET: Duration = Duration::from_secs(1);

/// Peers about whom something is to be said, in the order in which it began.
#[derive(Default)]
pub(super) struct Mailbox {
    peers: VecDeque<LocalId>,
}

impl Mailbox {
    /// Makes room for so many peers.
    pub(super) fn grow(&mut self, peers: usize) {
        self.peers.reserve(peers.saturating_sub(self.peers.len()));
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.peers.capacity()
    }

    fn post(&mut self, peers: &mut Peers, local: LocalId) {
        let cold = peers.cold_mut(local);
        if !cold.in_events {
            cold.in_events = true;
            self.peers.push_back(local);
        }
    }

    pub(super) fn poll(&mut self, peers: &mut Peers) -> Option<Event> {
        while let Some(&local) = self.peers.front() {
            let (id, path) = (peers.hot(local).id, peers.hot(local).path.tuple());
            let cold = peers.cold_mut(local);
            if let Some(local_index) = cold.confirmed.take() {
                return Some(Event::Confirmed { peer: id, local_index });
            }
            if let Some(cause) = cold.wanted.take() {
                return Some(Event::WantHandshake { peer: id, cause });
            }
            if core::mem::take(&mut cold.roamed)
                && let Some(path) = path
            {
                return Some(Event::Roamed { peer: id, path: Path::Direct(path) });
            }
            cold.in_events = false;
            self.peers.pop_front();
        }
        None
    }
}

impl<A: Aead> Shard<A> {
    /// Asks the node for a session.
    pub(super) fn want(&mut self, now: Instant, local: LocalId, cause: HandshakeCause) {
        let cold = self.peers.cold_mut(local);
        if matches!(cause, HandshakeCause::NoSession | HandshakeCause::Rekey) {
            if now < cold.quiet_until {
                return;
            }
            cold.quiet_until = now + QUIET;
        }
        // That something waits says more than that something is old: it restarts the clock of WG-39.
        if cold.wanted != Some(HandshakeCause::NoSession) {
            cold.wanted = Some(cause);
        }
        self.mailbox.post(&mut self.peers, local);
    }

    /// Tells the node that a session is confirmed.
    pub(super) fn tell_confirmed(&mut self, local: LocalId, local_index: u32) {
        self.peers.cold_mut(local).confirmed = Some(local_index);
        self.mailbox.post(&mut self.peers, local);
    }

    /// Tells the node that the peer's path has changed by what it sent.
    pub(super) fn tell_roamed(&mut self, local: LocalId) {
        self.peers.cold_mut(local).roamed = true;
        self.mailbox.post(&mut self.peers, local);
    }
}
