//! Session indices: which core, which connection, which session of it (DX-6).
//!
//! ```text
//! 31            32-c 31-c                8 7          0
//! |  core: c bits  |  random: 24-c bits  |  session  |
//! |------------ connection ------------- |
//! ```
//!
//! The connection bits of a peer stay the same across rekeys, so that its packets are steered to its core by the first
//! bits of the index. All but the core bits are random, so an index tells nothing of the number of peers (WG-4). The
//! session bits run round robin.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};

use dataplane_wire::{CoreId, Instant};
use rand_core::Rng;

use crate::keyed::KeyedState;

/// Bits of an index that name the connection.
pub const CONNECTION_BITS: u32 = 24;
/// Bits of an index that name the session of its connection.
pub const SESSION_BITS: u32 = 8;
/// How long the connection bits of a removed peer are given to nobody else: as long as shards call its packets late (DX-10).
const REST: Duration = Duration::from_secs(5);

/// The core that an index names by its first bits.
pub const fn core_of(index: u32, core_bits: u8) -> CoreId {
    match index.checked_shr(u32::BITS - core_bits as u32) {
        Some(core) => CoreId(core as u8),
        None => CoreId(0),
    }
}

/// The connection that an index names.
pub const fn connection_of(index: u32) -> u32 {
    index >> SESSION_BITS
}

/// The session that an index names among those of its connection.
pub const fn session_of(index: u32) -> u8 {
    index as u8
}

/// The index of a session of a connection.
pub const fn compose(connection: u32, session: u8) -> u32 {
    connection << SESSION_BITS | session as u32
}

/// An index as logs show it: `(connection|session)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown(pub u32);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:06x}|{:02x})", connection_of(self.0), session_of(self.0))
    }
}

/// The connections that exist, and the slots of their peers.
pub(crate) struct Connections {
    core_bits: u8,
    slots: HashMap<u32, u32, KeyedState>,
    resting: VecDeque<(Instant, u32)>,
}

/// Stands in the map for a connection that rests: no peer has this slot.
const RESTING: u32 = u32::MAX;

impl Connections {
    pub(crate) fn new(core_bits: u8, hasher: KeyedState) -> Self {
        Self { core_bits, slots: HashMap::with_hasher(hasher), resting: VecDeque::new() }
    }

    /// How many connections one core can have: half of what its bits can say, so that a free one is soon found.
    pub(crate) fn per_core_max(&self) -> u32 {
        1 << (CONNECTION_BITS - u32::from(self.core_bits) - 1)
    }

    /// Takes a random free connection on a core.
    pub(crate) fn take(&mut self, now: Instant, core: CoreId, slot: u32, random: &mut impl Rng) -> u32 {
        self.wake(now);
        let random_bits = CONNECTION_BITS - u32::from(self.core_bits);
        loop {
            // Where at most half are taken, all 64 tries fail once in 2^64.
            for _ in 0..64 {
                let low = random.next_u32() & ((1 << random_bits) - 1);
                let connection = u32::from(core.0) << random_bits | low;
                if let Entry::Vacant(free) = self.slots.entry(connection) {
                    free.insert(slot);
                    return connection;
                }
            }
            // So many rest that none is free: the rest of the oldest ends early.
            if let Some((_, connection)) = self.resting.pop_front() {
                self.slots.remove(&connection);
            }
        }
    }

    /// Gives a connection back, to be taken again once packets for it are no longer late but unknown.
    pub(crate) fn release(&mut self, now: Instant, connection: u32) {
        self.wake(now);
        self.slots.insert(connection, RESTING);
        self.resting.push_back((now + REST, connection));
    }

    /// The slot of the peer to which an index belongs.
    pub(crate) fn slot_of(&self, index: u32) -> Option<u32> {
        self.slots.get(&connection_of(index)).copied().filter(|slot| *slot != RESTING)
    }

    /// How many connections have a peer.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.slots.values().filter(|slot| **slot != RESTING).count()
    }

    fn wake(&mut self, now: Instant) {
        while let Some((_, connection)) = self.resting.front().copied().filter(|(until, _)| *until <= now) {
            self.resting.pop_front();
            self.slots.remove(&connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;
    use std::collections::HashSet;

    fn connections(core_bits: u8) -> (Connections, ChaCha12Rng) {
        (Connections::new(core_bits, KeyedState::new(1, 2)), ChaCha12Rng::from_seed([5; 32]))
    }

    // DX-6
    #[test]
    fn an_index_is_24_bits_of_connection_of_which_the_first_name_the_core_and_8_of_session() {
        let (mut taken, mut random) = connections(3);
        for core in 0..8 {
            let connection = taken.take(Instant::ZERO, CoreId(core), 7, &mut random);
            for session in [0, 1, 255] {
                let index = compose(connection, session);
                assert_eq!(core_of(index, 3), CoreId(core));
                assert_eq!((connection_of(index), session_of(index)), (connection, session));
                assert_eq!(taken.slot_of(index), Some(7));
            }
        }
        assert_eq!(core_of(u32::MAX, 0), CoreId(0));
        assert_eq!(Shown(0x0123_4567).to_string(), "(012345|67)");
    }

    // WG-4
    #[test]
    fn connections_are_unique_and_spread_over_the_whole_range() {
        let (mut taken, mut random) = connections(1);
        let all: HashSet<u32> =
            (0..20_000).map(|slot| taken.take(Instant::ZERO, CoreId(1), slot, &mut random)).collect();
        assert_eq!(all.len(), 20_000);
        // Each of the 23 random bits is set in about half of them.
        for bit in 0..23 {
            let set = all.iter().filter(|connection| *connection >> bit & 1 == 1).count();
            assert!((9_000..11_000).contains(&set), "bit {bit}: {set}");
        }
        assert!(all.iter().all(|connection| connection >> 23 == 1));
    }

    // WG-57
    #[test]
    fn wg_57_a_million_peers_of_one_core_are_told_apart_by_their_indices() {
        let (mut taken, mut random) = connections(0);
        let peers = crate::node::Limits::default().peers as u32;
        assert!(peers >= 1_000_000 && peers <= taken.per_core_max());
        let all: Vec<u32> =
            (0..peers).map(|slot| taken.take(Instant::ZERO, CoreId(0), slot, &mut random)).collect();
        for (slot, connection) in all.into_iter().enumerate() {
            assert_eq!(taken.slot_of(compose(connection, 200)), Some(slot as u32));
        }
    }

    #[test]
    fn a_released_connection_rests_for_five_seconds() {
        // 16 core bits leave 8 random ones, so that every connection of a core comes up soon.
        let (mut taken, mut random) = connections(16);
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let first = taken.take(at(0), CoreId(0), 1, &mut random);
        taken.release(at(0), first);
        assert_eq!(taken.slot_of(compose(first, 0)), None);
        let early: Vec<u32> = (0..127).map(|_| taken.take(at(4), CoreId(0), 2, &mut random)).collect();
        assert!(!early.contains(&first));
        let late: Vec<u32> = (0..128).map(|_| taken.take(at(5), CoreId(0), 3, &mut random)).collect();
        assert!(late.contains(&first));
    }
}
