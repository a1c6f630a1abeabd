//! What one process passes on to the next, so that peers neither refuse our timestamps nor take old ones of theirs (WG-62).

use dataplane_wire::{Instant, InterfaceId};

use super::Node;
use crate::keys::PublicKey;
use crate::tai64n::Tai64n;

/// The latest timestamps of an interface. Not secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// Later than that of every initiation that was sent.
    pub sent: Tai64n,
    /// The latest that was accepted from each peer that ever initiated, in the order in which peers were added.
    pub accepted: Vec<(PublicKey, Tai64n)>,
}

impl Node {
    /// The latest timestamps of an interface, to be handed to [`Node::raise_timestamps`] of another node; `None` if there
    /// is no such interface. The node that tells them must not make handshakes any more.
    pub fn timestamps(&self, now: Instant, interface: InterfaceId) -> Option<Timestamps> {
        let known = self.interfaces.get(&interface)?;
        let peers = known.peers.values().filter_map(|slot| self.peers.slot(*slot));
        let accepted = peers.filter(|peer| peer.latest != Tai64n::default());
        Some(Timestamps {
            sent: self.wall.timestamp(now).next(),
            accepted: accepted.map(|peer| (peer.public, peer.latest)).collect(),
        })
    }

    /// Goes on where another node left off: what it sent is not reached again, what it accepted is not accepted again.
    /// Peers that are not there, and timestamps older than what is known, are passed over.
    pub fn raise_timestamps(&mut self, now: Instant, interface: InterfaceId, timestamps: &Timestamps) {
        self.wall.raise(now, timestamps.sent);
        for (public, latest) in &timestamps.accepted {
            let slot = self.by_key.get(&(interface, *public)).copied();
            if let Some(peer) = slot.and_then(|slot| self.peers.slot_mut(slot)) {
                peer.latest = peer.latest.max(*latest);
            }
        }
    }
}
