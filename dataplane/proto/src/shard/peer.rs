//! The peers of a shard.
//!
//! What every packet touches lies in one array, what timers and commands touch in another. Both are dense over the peers
//! that live here, so that a machine of many cores does not pay for each peer on each of them: only an array of four bytes a
//! peer leads from slots to places.

use core::hint::black_box;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;

use dataplane_aead::prefetch;
use dataplane_wire::{Instant, InterfaceId, PeerId};

use super::session::Sending;
use super::table::{LocalId, NONE};
use crate::messages::{HandshakeCause, Path, PeerCounters};
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

/// What the packets of a peer touch, in three cache lines: the first two by packets out, all of them by packets in.
#[repr(C, align(64))]
pub(super) struct Peer {
    pub(super) id: PeerId,
    /// What is sent under the current session.
    pub(super) sending: Sending,
    /// When a passive keepalive is due; far off for not at all (WG-41).
    pub(super) keepalive_at: Instant,
    /// When a handshake is due because nothing came back; far off for not at all (WG-42).
    pub(super) unanswered_at: Instant,
    /// When an authenticated packet last went or came (WG-43).
    pub(super) last_traversal: Instant,

    pub(super) counters: Arc<PeerCounters>,
    pub(super) path: Option<Path>,
    pub(super) roams: bool,
    /// More data came while a passive keepalive was due already.
    pub(super) another_keepalive: bool,
    /// Whether packets wait for a session or for room.
    pub(super) staged: bool,

    /// The inner source that was found to be this peer's last, and the state of the routes that it was found in.
    pub(super) source: u128,
    pub(super) source_epoch: u64,
    pub(super) slots: [Slot; 3],
    /// The deadline on the wheel: not later than any of the peer's.
    pub(super) armed_at: Instant,
    pub(super) interface: InterfaceId,
}

impl Peer {
    /// Loads the first cache line. A load, where a hint would be dropped: processors do that when many misses are under way, and
    /// then the packet waits for all of memory's latency alone.
    #[inline]
    pub(super) fn touch(&self) {
        black_box(self.id.slot);
    }

    /// Loads what the counters are in, likewise.
    #[inline]
    pub(super) fn touch_counters(&self) {
        black_box(self.counters.data_rx_bytes.load(Ordering::Relaxed));
    }
}

const _: () = assert!(core::mem::offset_of!(Peer, counters) == 64);
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

/// All peers of a shard.
pub(super) struct Peers {
    hot: Vec<Peer>,
    cold: Vec<Cold>,
    /// From slots to places; [`NONE`] for peers of other shards.
    places: Vec<u32>,
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
        let local = *self.places.get(id.slot as usize)?;
        (self.hot.get(local as usize)?.id == id).then_some(local)
    }

    /// Begins to load what a packet to this peer touches first.
    #[inline]
    pub(super) fn prefetch_out(&self, id: PeerId) {
        let place = self.places.get(id.slot as usize).and_then(|&local| self.hot.get(local as usize));
        if let Some(peer) = place {
            prefetch(&peer.id);
            prefetch(&peer.counters);
        }
    }

    /// Begins to load what a packet from this peer touches, the slots first: they lead on.
    #[inline]
    pub(super) fn prefetch_in(&self, local: LocalId) {
        if let Some(peer) = self.get(local) {
            prefetch(&peer.slots);
            prefetch(&peer.counters);
            prefetch(&peer.id);
        }
    }

    /// Whoever lives in a slot, whatever its generation.
    pub(super) fn in_slot(&self, slot: u32) -> Option<PeerId> {
        let local = *self.places.get(slot as usize)?;
        Some(self.hot.get(local as usize)?.id)
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
                self.hot.push(peer);
                self.cold.push(Cold::new(connection));
                self.hot.len() as u32 - 1
            }
        };
        let slot = id.slot as usize;
        if slot >= self.places.len() {
            self.places.resize(slot + 1, NONE);
        }
        self.places[slot] = local;
        local
    }

    /// Forgets a peer; its sessions and waiting packets were removed before.
    pub(super) fn remove(&mut self, local: LocalId) {
        let slot = self.hot[local as usize].id.slot as usize;
        self.places[slot] = NONE;
        self.hot[local as usize] = blank(NOBODY, InterfaceId::default(), self.nobody.clone());
        let cold = &mut self.cold[local as usize];
        let (in_events, in_backlog) = (cold.in_events, cold.in_backlog);
        *cold = Cold { in_events, in_backlog, ..Cold::new(0) };
        self.free.push(local);
    }

    /// Memory held, in bytes, without what counters are shared.
    pub(super) fn bytes(&self) -> usize {
        self.hot.capacity() * size_of::<Peer>()
            + self.cold.capacity() * size_of::<Cold>()
            + (self.places.capacity() + self.free.capacity()) * size_of::<u32>()
    }
}

fn blank(id: PeerId, interface: InterfaceId, counters: Arc<PeerCounters>) -> Peer {
    Peer {
        id,
        sending: Sending::NOTHING,
        slots: [Slot::EMPTY; 3],
        keepalive_at: Instant::FAR,
        unanswered_at: Instant::FAR,
        last_traversal: Instant::ZERO,
        armed_at: Instant::FAR,
        counters,
        source: 0,
        source_epoch: 0,
        interface,
        roams: false,
        another_keepalive: false,
        staged: false,
        path: None,
    }
}
