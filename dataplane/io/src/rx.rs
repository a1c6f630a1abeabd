//! Where received datagrams land.
//!
//! Hot:
//! 1. a backend clears the ring and writes datagrams, or GRO trains of them, into its slots, from the next unused one on;
//! 2. for each it pushes what is known of it ([`RxMeta`]), but for those that it drops;
//! 3. the worker splits the ring into arena and metadata, opens in place, delivers, and comes back to 1.
//!
//! Nothing is allocated after construction, and nothing is copied.

use dataplane_wire::RxMeta;

use crate::memory::{Class, HEADROOM, Region, RegionError, Run};

/// Most bytes that lie in front of a slot's datagram, beside [`HEADROOM`]: see [`RxRing::place`].
const STAGGER_STEP: usize = 192;
/// After how many slots the stagger begins again.
const STAGGER_SLOTS: usize = 16;

/// The largest UDP payload, and the largest GRO train (the kernel's limit of an IP packet).
pub const DATAGRAM_LEN_MAX: usize = 65_535;

const _: () =
    assert!(HEADROOM + STAGGER_STEP * (STAGGER_SLOTS - 1) + DATAGRAM_LEN_MAX <= crate::memory::SLAB_LEN);

/// A contiguous arena of slots, and what is known of the datagrams in them.
pub struct RxRing {
    run: Run,
    used: usize,
    metas: Vec<RxMeta>,
}

impl RxRing {
    /// A ring of `slots` slots cut out of the region. Slabs take whole GRO trains; frames are for backends that receive single
    /// datagrams of at most 1.9 KB, and for tests.
    ///
    /// # Errors
    /// [`RegionError::Exhausted`].
    // tidy: at construction
    pub fn new(region: &Region, class: Class, slots: usize) -> Result<Self, RegionError> {
        Ok(Self { run: region.run(class, slots)?, used: 0, metas: Vec::with_capacity(slots) })
    }

    /// How many datagrams or trains one receive may fill.
    pub fn slots(&self) -> usize {
        self.run.count()
    }

    /// The first slot that nothing lies in.
    pub fn next_slot(&self) -> usize {
        self.used
    }

    /// Slots that nothing lies in.
    pub fn slots_left(&self) -> usize {
        self.slots() - self.used
    }

    /// Marks the next slots as filled, whether or not their datagrams are pushed.
    ///
    /// # Panics
    /// When fewer are left.
    pub fn use_slots(&mut self, count: usize) {
        assert!(count <= self.slots_left(), "{count} slots of {}", self.slots_left());
        self.used += count;
    }

    /// Where in the arena the datagram of a slot goes, and how much room it has.
    ///
    /// Datagrams do not all begin at the same offset of a page: they would share the same few sets of the L1 cache.
    pub fn place(&self, slot: usize) -> (usize, usize) {
        let len = self.run.class().bytes();
        match self.run.class() {
            Class::Slab => (slot * len + HEADROOM + (slot % STAGGER_SLOTS) * STAGGER_STEP, DATAGRAM_LEN_MAX),
            Class::Frame => (slot * len + HEADROOM, len - HEADROOM),
        }
    }

    /// The bytes of a slot, for a backend to fill.
    ///
    /// # Panics
    /// When the ring has no such slot.
    pub fn slot(&mut self, slot: usize) -> &mut [u8] {
        let (offset, len) = self.place(slot);
        &mut self.run[offset..offset + len]
    }

    /// Adds a datagram or train. It may lie anywhere in the arena; `offset + len` must not leave it.
    ///
    /// # Panics
    /// When more is pushed than there are slots.
    pub fn push(&mut self, meta: RxMeta) {
        assert!(self.metas.len() < self.slots(), "more datagrams than slots");
        debug_assert!(meta.offset as usize + meta.len as usize <= self.run.len());
        self.metas.push(meta);
    }

    /// Forgets everything received.
    pub fn clear(&mut self) {
        self.used = 0;
        self.metas.clear();
    }

    /// What was received.
    pub fn metas(&self) -> &[RxMeta] {
        &self.metas
    }

    /// Forgets the datagrams that `keep` does not want.
    pub fn retain(&mut self, keep: impl FnMut(&RxMeta) -> bool) {
        self.metas.retain(keep);
    }

    /// The arena.
    pub fn arena(&mut self) -> &mut [u8] {
        &mut self.run
    }

    /// Arena and metadata at once: what a shard works on.
    pub fn split(&mut self) -> (&mut [u8], &[RxMeta]) {
        (&mut self.run, &self.metas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Plan;

    #[test]
    fn slots_do_not_overlap_and_each_takes_the_largest_train() {
        let region = Region::new(&Plan::new().with("ring", Class::Slab, 40)).unwrap();
        let ring = RxRing::new(&region, Class::Slab, 40).unwrap();
        let mut end = 0;
        for slot in 0..40 {
            let (offset, len) = ring.place(slot);
            assert!(offset >= end + HEADROOM, "slot {slot} has no headroom");
            assert_eq!(len, DATAGRAM_LEN_MAX);
            end = offset + len;
        }
        assert!(end <= 40 * Class::Slab.bytes());
    }
}
