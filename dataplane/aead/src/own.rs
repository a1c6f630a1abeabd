//! Our own provider: whole batches by a vector kernel, few packets by the library.

use crate::batch::{Key, OpenDesc, SealDesc, SealInPlaceDesc};
use crate::lanes::Lanes;
use crate::lanes::kernel::Kernel;
use crate::library::Ring;
use crate::provider::Provider;

/// Batches by `K`, and by ring where they are too small to fill its lanes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<K>(Lanes<K>);

impl<K: Kernel> Own<K> {
    pub(crate) fn new(lanes: Lanes<K>) -> Self {
        Self(lanes)
    }

    fn worth_it(packets: usize) -> bool {
        packets >= K::PACKETS_MIN
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
        if Self::worth_it(batch.len()) {
            self.0.seal(prefix, keys, gather, source, arena, batch);
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
        if Self::worth_it(batch.len()) {
            self.0.seal_here(prefix, keys, gather, arena, batch);
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
        if Self::worth_it(batch.len()) {
            self.0.open(prefix, keys, gather, arena, batch)
        } else {
            Ring.open(prefix, keys, gather, arena, batch)
        }
    }
}
