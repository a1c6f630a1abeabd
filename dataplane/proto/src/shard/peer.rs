//! The peers of a shard.
//!
//! What every packet touches lies in one array, what timers and commands touch in another. Both are dense over the peers
//! that live here, so that a machine of many cores does not pay for each peer on each of them: only an array of eight bytes
//! a peer leads from slots to places.

use core::hint::black_box;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;

use dataplane_aead::{Key, prefetch};
use dataplane_wire::{Instant, InterfaceId, PeerId};
use zeroize::Zeroize;

use super::path::Packed;
use super::session::{REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME, moved, zero};
use super::table::{LocalId, NONE};
use crate::messages::{HandshakeCause, PeerCounters};
use crate::replay::REJECT_AFTER_MESSAGES;
use crate::staging::Queue;

/// Session slots of a peer (WG-28).
pub(super) const CURRENT: usize = 0;
pub(super) const PREVIOUS: usize = 1;
pub(super) const NEXT: usize = 2;

/// A session slot: our index of the session, and its number, [`NONE`] for no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) local_index: u32,
    pub(super) session: u32,
}

impl Slot {
    pub(super) const EMPTY: Self = Self { local_index: 0, session: NONE };
}

/// What packets out touch: a cache line. What is sent under the current session.
#[repr(C, align(64))]
#[derive(Clone)]
pub(super) struct Sending {
    key: Key,
    /// The counter of the next message.
    pub(super) counter: u64,
    /// Refused from here on.
    expires: Instant,
    pub(super) counters: Arc<PeerCounters>,
    pub(super) remote_index: u32,
    /// Whether we initiated, and so renew the session.
    renews: bool,
    /// Whether packets wait for a session or for room.
    pub(super) staged: bool,
}

impl Sending {
    /// Begins with the first message of a session; whether packets wait is as it was.
    pub(super) fn begin(&mut self, key: &Key, expires: Instant, remote_index: u32, renews: bool) {
        self.key.set(key);
        (self.counter, self.expires) = (0, expires);
        (self.remote_index, self.renews) = (remote_index, renews);
    }

    /// Nothing can be sent any more, and the key is erased.
    pub(super) fn stop(&mut self) {
        self.key.zeroize();
        (self.counter, self.expires) = (REJECT_AFTER_MESSAGES, Instant::ZERO);
        (self.remote_index, self.renews) = (0, false);
    }

    #[inline]
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Whether `messages` more may be sent now.
    #[inline]
    pub(super) fn allows(&self, now: Instant, messages: u64) -> bool {
        now < self.expires && messages <= REJECT_AFTER_MESSAGES.saturating_sub(self.counter)
    }

    /// Whether a send asks for a new session (WG-32, WG-34).
    #[inline]
    pub(super) fn is_old(&self, now: Instant) -> bool {
        // Both ages count from when the handshake began.
        let rekey = self.expires - (REJECT_AFTER_TIME - REKEY_AFTER_TIME);
        self.renews && now >= rekey || self.counter > REKEY_AFTER_MESSAGES
    }
}

/// What the packets of a peer touch, in three cache lines: the first is for packets out, the second for all, the third for
/// packets in.
#[repr(C, align(64))]
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) sending: Sending,

    pub(super) path: Packed,
    /// When a passive keepalive is due; far off for not at all (WG-41).
    pub(super) keepalive_at: Instant,
    /// When a handshake is due because nothing came back; far off for not at all (WG-42).
    pub(super) unanswered_at: Instant,
    /// When an authenticated packet last went or came (WG-43).
    pub(super) last_traversal: Instant,

    /// The inner source that was found to be this peer's last.
    pub(super) source: u128,
    pub(super) slots: [Slot; 3],
    pub(super) counters: Arc<PeerCounters>,
    pub(super) id: PeerId,
    /// The state of the routes that the source was found in; 0 for none.
    pub(super) source_epoch: u32,
    pub(super) interface: InterfaceId,
    pub(super) roams: bool,
    /// More data came while a passive keepalive was due already.
    pub(super) another_keepalive: bool,
}

const _: () = assert!(size_of::<Sending>() == 64);
const _: () = assert!(core::mem::offset_of!(Peer, path) == 64);
const _: () = assert!(core::mem::offset_of!(Peer, source) == 128);
const _: () = assert!(size_of::<Peer>() == 192);

/// What only commands, timers and rare packets touch.
pub(super) struct Cold {
    pub(super) connection: u32,
    /// Zero for none.
    pub(super) keepalive: Duration,
    /// When all keys are erased; far off for when there are none.
    pub(super) erase_at: Instant,
    pub(super) path_generation: u32,
    pub(super) queue: Queue,
    /// Asking for a session is quiet until then.
    pub(super) quiet_until: Instant,
    pub(super) wanted: Option<HandshakeCause>,
    pub(super) confirmed: Option<u32>,
    pub(super) roamed: bool,
    /// Whether the peer stands in the queue of events, or of unfinished sends. Outlives the peer, as the entry does.
    pub(super) in_events: bool,
    pub(super) in_backlog: bool,
    /// Wall clock at the end of the handshake that made `next`, and the time of the shard then.
    pub(super) next_unix_ns: u64,
    pub(super) next_created: Instant,
    /// Indices that left their slots a moment ago, and until when they are late; oldest overwritten (DX-10).
    pub(super) retired: [(u32, Instant); 4],
    pub(super) retired_next: u8,
}

impl Cold {
    pub(super) fn new(connection: u32) -> Self {
        Self {
            connection,
            keepalive: Duration::ZERO,
            erase_at: Instant::FAR,
            path_generation: 0,
            queue: Queue::EMPTY,
            quiet_until: Instant::ZERO,
            wanted: None,
            confirmed: None,
            roamed: false,
            in_events: false,
            in_backlog: false,
            next_unix_ns: 0,
            next_created: Instant::ZERO,
            retired: [(0, Instant::ZERO); 4],
            retired_next: 0,
        }
    }

    pub(super) fn retire(&mut self, local_index: u32, until: Instant) {
        let at = usize::from(self.retired_next) % self.retired.len();
        self.retired[at] = (local_index, until);
        self.retired_next = self.retired_next.wrapping_add(1);
    }

    pub(super) fn is_late(&self, local_index: u32, now: Instant) -> bool {
        self.retired.iter().any(|&(index, until)| index == local_index && now < until)
    }
}

/// Loads what counters are in. A load, where a hint would be dropped: processors do that when many misses are under way, and
/// then the packet waits for all of memory's latency alone.
#[inline]
pub(super) fn touch(counters: &PeerCounters) {
    black_box(counters.data_rx_bytes.load(Ordering::Relaxed));
}

/// Where a peer that lives here is found.
#[derive(Clone, Copy)]
struct Place {
    /// [`NONE`] for peers of other shards.
    local: LocalId,
    generation: u32,
}

const NOWHERE: Place = Place { local: NONE, generation: NONE };

/// All peers of a shard.
pub(super) struct Peers {
    hot: Vec<Peer>,
    cold: Vec<Cold>,
    /// By slot.
    places: Vec<Place>,
    free: Vec<LocalId>,
    /// What a removed peer's place points to.
    nobody: Arc<PeerCounters>,
}

/// The id of no peer.
const NOBODY: PeerId = PeerId { slot: NONE, generation: NONE };

impl Peers {
    pub(super) fn new() -> Self {
        Self {
            hot: Vec::new(),
            cold: Vec::new(),
            places: Vec::new(),
            free: Vec::new(),
            nobody: Arc::default(),
        }
    }

    /// How many places there ever were.
    pub(super) fn places(&self) -> usize {
        self.hot.len()
    }

    #[inline]
    pub(super) fn find(&self, id: PeerId) -> Option<LocalId> {
        let place = self.places.get(id.slot as usize)?;
        (place.generation == id.generation && place.local != NONE).then_some(place.local)
    }

    /// Begins to load what a packet to this peer touches first.
    #[inline]
    pub(super) fn prefetch_out(&self, id: PeerId) {
        if let Some(peer) = self.find(id).and_then(|local| self.get(local)) {
            prefetch(&peer.sending);
            prefetch(&peer.path);
        }
    }

    /// Begins to load what a packet from this peer touches, the slots first: they lead on.
    #[inline]
    pub(super) fn prefetch_in(&self, local: LocalId) {
        if let Some(peer) = self.get(local) {
            prefetch(&peer.source);
            prefetch(&peer.path);
        }
    }

    /// Whoever lives in a slot, whatever its generation.
    pub(super) fn in_slot(&self, slot: u32) -> Option<PeerId> {
        let place = self.places.get(slot as usize)?;
        Some(self.hot.get(place.local as usize)?.id)
    }

    #[inline]
    pub(super) fn hot(&self, local: LocalId) -> &Peer {
        &self.hot[local as usize]
    }

    #[inline]
    pub(super) fn get(&self, local: LocalId) -> Option<&Peer> {
        self.hot.get(local as usize)
    }

    #[inline]
    pub(super) fn hot_mut(&mut self, local: LocalId) -> &mut Peer {
        &mut self.hot[local as usize]
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Peer> {
        self.hot.iter()
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.hot.iter_mut()
    }

    #[inline]
    pub(super) fn cold(&self, local: LocalId) -> &Cold {
        &self.cold[local as usize]
    }

    #[inline]
    pub(super) fn cold_mut(&mut self, local: LocalId) -> &mut Cold {
        &mut self.cold[local as usize]
    }

    pub(super) fn insert(
        &mut self,
        id: PeerId,
        interface: InterfaceId,
        connection: u32,
        counters: Arc<PeerCounters>,
    ) -> LocalId {
        let peer = blank(id, interface, counters);
        let local = match self.free.pop() {
            Some(local) => {
                let before = &self.cold[local as usize];
                let (in_events, in_backlog) = (before.in_events, before.in_backlog);
                self.hot[local as usize] = peer;
                self.cold[local as usize] = Cold { in_events, in_backlog, ..Cold::new(connection) };
                local
            }
            None => {
                if self.hot.len() == self.hot.capacity() {
                    // Keys move by hand, as those of sessions do.
                    self.hot = moved(&self.hot, (self.hot.len() * 2).max(16));
                }
                self.hot.push(peer);
                self.cold.push(Cold::new(connection));
                self.hot.len() as u32 - 1
            }
        };
        let slot = id.slot as usize;
        if slot >= self.places.len() {
            self.places.resize(slot + 1, NOWHERE);
        }
        self.places[slot] = Place { local, generation: id.generation };
        local
    }

    /// Forgets a peer; its sessions and waiting packets were removed before.
    pub(super) fn remove(&mut self, local: LocalId) {
        let slot = self.hot[local as usize].id.slot as usize;
        self.places[slot] = NOWHERE;
        self.hot[local as usize] = blank(NOBODY, InterfaceId::default(), self.nobody.clone());
        let cold = &mut self.cold[local as usize];
        let (in_events, in_backlog) = (cold.in_events, cold.in_backlog);
        *cold = Cold { in_events, in_backlog, ..Cold::new(0) };
        self.free.push(local);
    }

    /// Every key that is held.
    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.hot.iter().map(|peer| peer.sending.key())
    }

    /// Memory held, in bytes, without what counters are shared.
    pub(super) fn bytes(&self) -> usize {
        self.hot.capacity() * size_of::<Peer>()
            + self.cold.capacity() * size_of::<Cold>()
            + self.places.capacity() * size_of::<Place>()
            + self.free.capacity() * size_of::<LocalId>()
    }
}

fn blank(id: PeerId, interface: InterfaceId, counters: Arc<PeerCounters>) -> Peer {
    let sending = Sending {
        key: zero(),
        counter: REJECT_AFTER_MESSAGES,
        expires: Instant::ZERO,
        counters: Arc::clone(&counters),
        remote_index: 0,
        renews: false,
        staged: false,
    };
    Peer {
        sending,
        path: Packed::NONE,
        keepalive_at: Instant::FAR,
        unanswered_at: Instant::FAR,
        last_traversal: Instant::ZERO,
        source: 0,
        slots: [Slot::EMPTY; 3],
        counters,
        id,
        source_epoch: 0,
        interface,
        roams: false,
        another_keepalive: false,
    }
}
