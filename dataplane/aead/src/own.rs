//! Our own provider: whole batches by a vector kernel, few packets by the library.
//!
//! Where the kernel is worth it stands with each kernel, measured by
//! a loop like that of `cargo bench -p dataplane-benches --bench cipher` (release profile, fat LTO) on one core. Rows of 16 and
//! 44 packets were taken on a machine that others used too.
//!
//! What is missed. The aim is 2.2 times ring at 1,420 bytes; AVX-512 reaches 1.76 sealing and 1.63 opening, 422 ns or 1,560
//! cycles a packet opened (1.1 per byte, Zen 4, taken to run at 3.7 GHz). Rounds are from a loop of them alone, Poly1305 and the
//! last row from `perf` before the last change, the second row is what remains: estimates, not a measurement in one run. Ports execute two 512-bit operations a
//! cycle, rotations and IFMA one.
//!
//! | part | cycles a packet | what the instructions allow |
//! |---|---|---|
//! | ChaCha20, rounds (24 blocks of 64 bytes) | 770 | 720: 960 operations for 16 blocks |
//! | ChaCha20, first states, columns, input and output | 250 | 110: 64 shuffles and 32 additions and combinations for 16 blocks, loads and stores beside them |
//! | Poly1305 | 310 | 200: 72 multiplications for 512 bytes |
//! | descriptions, slots, powers, tags | 210 | |
//!
//! Tried beside what is here: states of 256 bits (two at a time: as slow as one of 512), byte shuffles for rotations (slower:
//! they share a port), another order of the rounds of one state (58 instead of 60 cycles), pointers written 8 at a time
//! (no gain; builds of the same source shape differ by 4 % for reasons not found). Measured alone and not built: the scalar multiplications of Poly1305 between the rounds of two states, six
//! blocks of 16 bytes a double round, cost nothing, which would hide half of Poly1305 in long batches.

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
