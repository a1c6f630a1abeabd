//! Our own provider: whole batches by a vector kernel, few packets by the library.
//!
//! Where the kernel is worth it stands with each kernel, measured by
//! `cargo bench -p dataplane-benches --bench cipher` on one core, everything in one run.

use crate::batch::{Key, OpenDesc, SealDesc, SealInPlaceDesc};
use crate::check::Described;
use crate::lanes::Lanes;
use crate::lanes::kernel::Kernel;
use crate::library::Ring;
use crate::provider::Provider;

/// Batches by `K`, and by ring where they are too small to fill its lanes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<K> {
    lanes: Lanes<K>,
    always: bool,
}

impl<K: Kernel> Own<K> {
    /// `always`: even where the library is faster, so that tests reach every path.
    pub(crate) fn new(lanes: Lanes<K>, always: bool) -> Self {
        Self { lanes, always }
    }

    fn worth_it<D: Described>(&self, batch: &[D]) -> bool {
        // Checked: a text has less than 2^32 bytes.
        let bytes = batch.iter().map(|desc| desc.text().1 as usize).sum();
        self.always || K::worth_it(batch.len(), bytes)
    }
}

impl<K: Kernel> Provider for Own<K> {
    fn label(&self) -> &'static str {
        K::LABEL
    }

    fn seal(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        source: &[u8],
        arena: &mut [u8],
        batch: &[SealDesc],
    ) {
        if self.worth_it(batch) {
            self.lanes.seal(prefix, keys, gather, source, arena, batch);
        } else {
            Ring.seal(prefix, keys, gather, source, arena, batch);
        }
    }

    fn seal_here(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &[SealInPlaceDesc],
    ) {
        if self.worth_it(batch) {
            self.lanes.seal_here(prefix, keys, gather, arena, batch);
        } else {
            Ring.seal_here(prefix, keys, gather, arena, batch);
        }
    }

    fn open(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &mut [OpenDesc],
    ) -> usize {
        if self.worth_it(batch) {
            self.lanes.open(prefix, keys, gather, arena, batch)
        } else {
            Ring.open(prefix, keys, gather, arena, batch)
        }
    }
}
