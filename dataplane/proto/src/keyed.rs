//! A hasher for maps whose keys a stranger can choose: SipHash with a key from the seed.
//!
//! The same seed gives the same map. Even so no order of iteration may show: it changes with the seed.

use core::hash::BuildHasher;

use rand_core::Rng;
use siphasher::sip::SipHasher13;

/// Builds SipHash-1-3 with one key.
#[derive(Clone, Copy)]
pub(crate) struct KeyedState {
    key: (u64, u64),
}

impl KeyedState {
    pub(crate) fn new(key0: u64, key1: u64) -> Self {
        Self { key: (key0, key1) }
    }

    /// A key from a seeded generator.
    pub(crate) fn draw(random: &mut impl Rng) -> Self {
        Self::new(random.next_u64(), random.next_u64())
    }
}

impl BuildHasher for KeyedState {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.key.0, self.key.1)
    }
}
