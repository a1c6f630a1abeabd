//! What the node knows of one peer, and the slots in which peers live.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use dataplane_wire::{CoreId, Instant, InterfaceId, PeerId};
use zeroize::Zeroizing;

use super::PathPolicy;
use super::crossing::Kept;
use crate::cookie::HeldCookie;
use crate::index::compose;
use crate::keys::{PublicKey, Secret};
use crate::messages::{Path, PeerCounters, Role};
use crate::noise::{Identity, Initiated, NoiseError};
use crate::tai64n::Tai64n;

/// The static-static secret with a peer (WG-8).
#[cfg_attr(test, derive(Debug))]
pub(super) enum StaticStatic {
    /// Not computed yet; done in the background after a change of keys, or when it is needed.
    Unknown,
    Known(Zeroizing<[u8; 32]>),
    /// The peer's key is of low order: nothing is ever sent to it.
    LowOrder,
}

impl StaticStatic {
    pub(super) fn compute(identity: &Identity, peer: &PublicKey) -> Self {
        identity.static_static(&peer.0).map_or(Self::LowOrder, Self::Known)
    }

    /// The secret, computed for this once if it is not kept yet.
    pub(super) fn get(
        &self,
        identity: &Identity,
        peer: &PublicKey,
    ) -> Result<Zeroizing<[u8; 32]>, NoiseError> {
        match self {
            Self::Unknown => identity.static_static(&peer.0),
            Self::Known(secret) => Ok(secret.clone()),
            Self::LowOrder => Err(NoiseError::LowOrder),
        }
    }
}

/// A time in which we try to reach a session as its initiator.
#[cfg_attr(test, derive(Debug))]
pub(super) struct Attempt {
    /// When it began, or was asked for anew: WG-39 counts from here.
    pub(super) started: Instant,
    /// When the next initiation is due.
    pub(super) due: Instant,
    /// The last initiation, if one has been sent.
    pub(super) sent: Option<Sent>,
}

/// An initiation that waits for its response.
#[cfg_attr(test, derive(Debug))]
pub(super) struct Sent {
    pub(super) initiated: Initiated,
    pub(super) local_index: u32,
    /// When it was sent: the age of its session counts from then.
    pub(super) at: Instant,
    /// mac1, until a cookie reply has answered it (WG-21).
    pub(super) mac1: Option<[u8; 16]>,
}

/// Which session numbers of a connection are taken, as far as the node can know: what the shard's slots hold (WG-28).
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Sessions {
    previous: Option<u8>,
    current: Option<u8>,
    next: Option<u8>,
}

impl Sessions {
    /// Follows what a shard does with a new keypair.
    pub(super) fn install(&mut self, session: u8, role: Role, keep_next: bool) {
        match role {
            Role::Responder => self.next = Some(session),
            Role::Initiator => {
                if keep_next || self.next.is_none() {
                    self.previous = self.current;
                } else {
                    self.previous = self.next.take();
                }
                self.current = Some(session);
            }
        }
    }

    /// Follows what a shard does when data comes by the next session.
    pub(super) fn confirm(&mut self, session: u8) {
        if self.current != Some(session) {
            self.previous = self.current;
            self.current = Some(session);
        }
        if self.next == Some(session) {
            self.next = None;
        }
    }

    /// Whether there is a session that we answered and the peer has not used yet.
    pub(super) fn awaits_confirmation(&self) -> bool {
        self.next.is_some()
    }

    fn holds(&self, session: u8) -> bool {
        [self.previous, self.current, self.next].contains(&Some(session))
    }
}

/// A peer.
#[cfg_attr(test, derive(Debug))]
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) interface: InterfaceId,
    /// Counts all peers that ever were: the order in which a snapshot lists them.
    pub(super) sequence: u64,
    pub(super) core: CoreId,
    pub(super) connection: u32,
    pub(super) public: PublicKey,
    /// All zero for none (WG-6).
    pub(super) psk: Secret,
    /// Counts the pre-shared keys that it had (WG-10).
    pub(super) psk_epoch: u32,
    pub(super) static_static: StaticStatic,
    pub(super) keepalive: Duration,
    /// Where the peer is, as far as is known: as configured, or where it was last heard from.
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) path: Option<Path>,
    pub(super) path_generation: Option<u32>,
    /// Whether its control layer and its policy let it roam.
    pub(super) roams: bool,
    pub(super) path_policy: PathPolicy,
    pub(super) counters: Arc<PeerCounters>,

    /// The last session number that was given out.
    pub(super) session: u8,
    pub(super) sessions: Sessions,
    /// The timestamp of the last initiation accepted from the peer, kept as long as the peer (WG-13).
    pub(super) latest: Tai64n,
    /// When that was (WG-14).
    pub(super) accepted: Option<Instant>,
    pub(super) attempt: Option<Box<Attempt>>,
    /// When we sent the last initiation (WG-38).
    pub(super) initiated: Option<Instant>,
    /// A session that we began, kept unused for a moment (WG-31).
    pub(super) kept: Option<Box<Kept>>,
    /// When one that we began was taken although one that we had answered could still be confirmed.
    pub(super) taken_over_next: Option<Instant>,
    /// When the last session was proved by both ends.
    pub(super) completed: Option<Instant>,
    pub(super) cookie: Option<HeldCookie>,
    /// Our index and mac1 of the last response, until a cookie reply has answered it (WG-21).
    pub(super) answered: Option<(u32, [u8; 16])>,
    /// When the node's timer of this peer goes off.
    pub(super) timer: Option<Instant>,
}

impl Peer {
    /// The index of a new session or handshake: the session bits go round, past those in use (DX-6).
    pub(super) fn next_index(&mut self) -> u32 {
        let pending =
            self.attempt.as_ref().and_then(|attempt| attempt.sent.as_ref()).map(|sent| sent.local_index);
        let kept = self.kept.as_ref().map(|kept| kept.fresh.keypair.local_index);
        loop {
            self.session = self.session.wrapping_add(1);
            let index = compose(self.connection, self.session);
            // At most five of 256 are in use.
            if !self.sessions.holds(self.session) && ![pending, kept].contains(&Some(index)) {
                return index;
            }
        }
    }
}

#[cfg_attr(test, derive(Debug))]
struct Slot {
    generation: u32,
    peer: Option<Box<Peer>>,
}

/// Peers by slot.
#[derive(Default)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Peers {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Peers {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The id that the next peer will have.
    pub(super) fn next_id(&self) -> PeerId {
        match self.free.last() {
            Some(slot) => PeerId { slot: *slot, generation: self.slots[*slot as usize].generation },
            None => PeerId { slot: self.slots.len() as u32, generation: 0 },
        }
    }

    /// Puts a peer under the id that [`Peers::next_id`] told.
    pub(super) fn insert(&mut self, peer: Box<Peer>) {
        match self.free.pop() {
            Some(slot) => self.slots[slot as usize].peer = Some(peer),
            None => self.slots.push(Slot { generation: 0, peer: Some(peer) }),
        }
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Peer>> {
        let place = self.slots.get_mut(slot as usize)?;
        let peer = place.peer.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
        Some(peer)
    }

    pub(super) fn slot(&self, slot: u32) -> Option<&Peer> {
        self.slots.get(slot as usize)?.peer.as_deref()
    }

    pub(super) fn slot_mut(&mut self, slot: u32) -> Option<&mut Peer> {
        self.slots.get_mut(slot as usize)?.peer.as_deref_mut()
    }

    /// The peer with an id, unless it is gone and its slot has another.
    pub(super) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.slot(id.slot).filter(|peer| peer.id == id)
    }

    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.slot_mut(id.slot).filter(|peer| peer.id == id)
    }
}
