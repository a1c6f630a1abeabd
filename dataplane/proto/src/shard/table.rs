//! From the connection bits of a receiver index to the peer that has them.
//!
//! Hot: 1. the place `connection & mask`; 2. compare whole; 3. on to the next place until it fits or one is empty.
//!
//! No hash: connection bits are random where they come from (DX-6), and a stranger does not choose which of them exist. At
//! most half of the places are taken, so a look-up seldom leaves its cache line. The table grows only by commands.

use dataplane_aead::prefetch;

/// A peer's place among the peers of one shard.
pub(super) type LocalId = u32;

/// Stands for no peer, no session, or the end of a list.
pub(super) const NONE: u32 = u32::MAX;
/// In the place of a peer: the connection was removed a moment ago (DX-10).
const LATE: u32 = u32::MAX - 1;

#[derive(Clone, Copy)]
struct Place {
    connection: u32,
    /// [`NONE`] where the place is empty.
    peer: u32,
}

const EMPTY: Place = Place { connection: 0, peer: NONE };

/// What a connection number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Peer(LocalId),
    Late,
    Unknown,
}

pub(super) struct Table {
    /// A power of two.
    places: Vec<Place>,
    taken: usize,
}

impl Table {
    // tidy: at construction
    pub(super) fn new() -> Self {
        Self { places: vec![EMPTY; 64], taken: 0 }
    }

    #[inline]
    pub(super) fn get(&self, connection: u32) -> Found {
        match self.places[self.find(connection)].peer {
            NONE => Found::Unknown,
            LATE => Found::Late,
            peer => Found::Peer(peer),
        }
    }

    /// As [`Table::get`]; what is no peer's is no place of one either.
    #[inline]
    pub(super) fn find_raw(&self, connection: u32) -> LocalId {
        self.places[self.find(connection)].peer
    }

    /// Begins to load where a connection is looked for first.
    #[inline]
    pub(super) fn prefetch(&self, connection: u32) {
        prefetch(&self.places[connection as usize & (self.places.len() - 1)]);
    }

    /// Gives a connection to a peer, whatever it was before.
    pub(super) fn insert(&mut self, connection: u32, peer: LocalId) {
        if (self.taken + 1) * 2 > self.places.len() {
            self.grow();
        }
        let at = self.find(connection);
        self.taken += usize::from(self.places[at].peer == NONE);
        self.places[at] = Place { connection, peer };
    }

    /// Makes a peer's connection a late one.
    pub(super) fn retire(&mut self, connection: u32) {
        let at = self.find(connection);
        if self.places[at].peer != NONE {
            self.places[at].peer = LATE;
        }
    }

    /// Forgets a connection if it is still late.
    pub(super) fn forget_late(&mut self, connection: u32) {
        let mut hole = self.find(connection);
        if self.places[hole].peer != LATE {
            return;
        }
        self.taken -= 1;
        // Whoever stands behind the hole and could stand in it moves up, so that no search ends too early.
        let mask = self.places.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let place = self.places[at];
            if place.peer == NONE {
                break;
            }
            let home = place.connection as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.places[hole] = place;
                hole = at;
            }
        }
        self.places[hole] = EMPTY;
    }

    /// Where a connection is, or the empty place where it would be. Half of the places are empty, so the search ends.
    #[inline]
    fn find(&self, connection: u32) -> usize {
        let mask = self.places.len() - 1;
        let mut at = connection as usize & mask;
        while self.places[at].peer != NONE && self.places[at].connection != connection {
            at = (at + 1) & mask;
        }
        at
    }

    // tidy: when a session is installed, not per packet
    fn grow(&mut self) {
        let twice = vec![EMPTY; self.places.len() * 2];
        for place in core::mem::replace(&mut self.places, twice) {
            if place.peer != NONE {
                let at = self.find(place.connection);
                self.places[at] = place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        // DX-5, DX-10
        #[test]
        fn any_history_of_changes_finds_what_a_map_would(
            steps in prop::collection::vec((0_u32..3, prop_oneof![0_u32..40, (0_u32..3).prop_map(|n| n * 64 + 63)]), 1..400),
        ) {
            let (mut table, mut map) = (Table::new(), BTreeMap::new());
            for (number, (what, connection)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        table.insert(connection, number as u32);
                        map.insert(connection, Found::Peer(number as u32));
                    }
                    1 => {
                        table.retire(connection);
                        map.entry(connection).and_modify(|found| *found = Found::Late);
                    }
                    _ => {
                        table.forget_late(connection);
                        if map.get(&connection) == Some(&Found::Late) {
                            map.remove(&connection);
                        }
                    }
                }
                for connection in 0..200 {
                    let expected = map.get(&connection).copied().unwrap_or(Found::Unknown);
                    prop_assert_eq!(table.get(connection), expected, "{}", connection);
                }
            }
        }
    }

    #[test]
    fn it_grows_before_it_is_half_full() {
        let mut table = Table::new();
        for number in 0..10_000_u32 {
            table.insert(number.wrapping_mul(0x9e37_79b9) >> 8, number);
        }
        assert!(table.taken * 2 <= table.places.len());
        for number in 0..10_000_u32 {
            assert_eq!(table.get(number.wrapping_mul(0x9e37_79b9) >> 8), Found::Peer(number));
        }
    }
}
