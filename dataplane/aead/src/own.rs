//! Our own provider: whole batches by a vector kernel, few packets by the library.
//!
//! Where the kernel is worth it stands with each kernel, measured by `cargo bench -p dataplane-benches --bench cipher` (the
//! lines `in turns`, release profile, fat LTO) on one core of a Zen 4; AVX2 by the same loop without the library's stand-in and
//! without LTO.
//!
//! What is missed. The aim is 2.2 times ring at 1,420 bytes: AVX-512 reaches 2.08 sealing and 1.91 opening 44 packets, 1.97 and 1.75
//! of 16; and 1.25 times ring by AVX2, which reaches 1.34 and 1.23 of 44, 1.22 and 1.09 of 16. Batches of 16 have less than
//! batches of 44 to hide Poly1305 behind: opening, the sums of the first 8 packets; sealing, the last 8's. Keystream of the
//! first 8 made into scratch beside their own sums would save 3 % at most by the figures below, for a second pass over them;
//! groups of four packets' blocks, so that sums begin sooner, would save 4 % and cost as much for their pointers and nonces.
//!
//! Of a packet of 1,420 bytes, sealed among 44 by AVX-512, in cycles (364 to 369 ns, taken to be 1,365: Zen 4 at 3.7 GHz; shares by
//! `perf`, so estimates). Ports execute two 512-bit operations a cycle, multiplications by IFMA one.
//!
//! | part | cycles | per byte | what the instructions allow |
//! |---|---|---|---|
//! | ChaCha20, rounds (24 blocks), and 62 % of Poly1305 beside them | 810 | 0.57 | 720: 960 operations for 16 blocks |
//! | ChaCha20, first states, transposition, input and output | 150 | 0.11 | 110: 64 shuffles and 32 additions and combinations for 16 blocks, loads and stores beside them |
//! | Poly1305, the rest, with powers of r and tags | 155 | 0.11 | 105: 90 to 100 multiplications and as many other operations for 8 packets' step |
//! | stream, slots, chains | 195 | 0.14 | |
//! | descriptions, checks, erasure | 55 | 0.04 | |
//!
//! What brought it here, at 44 packets of 1,420 bytes sealed: 426 ns with 32 blocks side by side and Poly1305 after them; 370 with
//! Poly1305 beside the rounds, once its sums stayed in place from group to group (to take them up and put them down each time
//! cost what was gained) and the states went from the rounds to the output in registers, not through a function's arguments in memory.
//! At 64 bytes 96 ns became 67 by finishing equal packets together and writing pointers, counters and nonces in whole vectors.
//!
//! Tried beside what is here. Rounds alone take 1,023 cycles for 32 blocks; with 6 blocks of Poly1305 of one packet in a double
//! round 1,020, with 4 of each of two packets 1,046, 5 and 4: 1,046, 5 and 5: 1,100, 6 and 6: 1,340. In which order instructions
//! of both kinds stand, one by one or 24 by 29, makes no difference. Before that: states of 256 bits (two at a time: as slow as
//! one of 512), byte shuffles for rotations (slower: they share a port), another order of the rounds of one state (58 instead of 60
//! cycles).
//!
//! AVX2: a double round of 8 blocks, with three blocks of Poly1305 beside it, takes 45.3 cycles, where two states of 8 take
//! turns. Ports allow 32, and 36 is what the same instructions took when none waited for another. Of a packet of 1,420
//! bytes, sealed among 44 in 566 ns, 2,090 cycles, rounds take 1,350, first states, transposition and output 230, the ends of
//! sums and those that nothing hides 180, stream, slots and chains 330.
//!
//! Tried there, as cycles of a double round of 8 blocks: one state, 51 with up to four blocks of Poly1305, whatever the order
//! and even with 32 registers (49); two states, a round each, 44 with two blocks, but 48 with three; a pair of quarter rounds
//! each, 51; two states with three blocks, in 7,000 random orders, 44 to 48; with loads and stores not among the rest but
//! before and behind it, 48; with four blocks, 50. A rotation by a shuffle waits two cycles, and so does one by two shifts.
//! That vectors of nonces and places are only as long as a segment (both kernels): 10 % slower by AVX-512.

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
