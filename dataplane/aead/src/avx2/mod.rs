//! The kernel for processors with AVX2 and BMI2 and no AVX-512: blocks in turns of 16, 8 sums in two halves.
//!
//! Contains unsafe: vector instructions, which need a processor that has them, and pointers.

mod chacha;
mod poly1305;
mod rounds;

use crate::batch::Key;
use crate::lanes::Lanes;
use crate::lanes::kernel::{
    BLOCKS, Block, CHAIN_BLOCKS_MAX, CHAINS, Chains, Group, Kernel, Lengths, Marks, Part, STEP_BLOCKS, SUMS,
    Tags,
};

/// The kernel; to hold one is to have asked the processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

/// Batches on this kernel, if this processor can run it.
pub(crate) fn lanes() -> Option<Lanes<Avx2>> {
    let able = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
    // SAFETY: the processor has every feature that functions of this kernel enable.
    able.then(|| unsafe { Lanes::new(Avx2(())) })
}

impl Kernel for Avx2 {
    type Powers = poly1305::Powers;
    type Sums = poly1305::Sums;

    const LABEL: &'static str = "avx2";
    const POWERS: poly1305::Powers = poly1305::Powers::ZERO;
    const SUMS: poly1305::Sums = poly1305::Sums::ZERO;

    // Measured on Zen 4 against ring, sealing and opening, as times its speed (see `own` for the command):
    //
    // | packets | 64 bytes    | 512 bytes   | 1,420 bytes |
    // |       4 | 0.71 / 0.59 | 0.80 / 0.81 | 0.97 / 0.81 |
    // |       8 | 1.22 / 1.00 | 1.07 / 1.03 | 1.04 / 0.93 |
    // |      12 |             |             | 1.17 / 1.03 |
    // |      16 | 1.38 / 1.45 | 1.31 / 1.31 | 1.22 / 1.09 |
    // |      24 |             | 1.44 / 1.38 | 1.29 / 1.14 |
    // |      32 |             | 1.48 / 1.47 | 1.32 / 1.20 |
    // |      44 | 1.47 / 1.56 | 1.45 / 1.51 | 1.34 / 1.23 |
    // |      64 |             | 1.57 / 1.57 | 1.38 / 1.27 |
    fn worth_it(packets: usize, bytes: usize) -> bool {
        packets >= 12 || packets >= 8 && bytes <= 512 * packets
    }

    #[inline(always)]
    unsafe fn enter<R>(work: impl FnOnce() -> R) -> R {
        // SAFETY: the caller's.
        unsafe { enter(work) }
    }

    const CHAIN_BLOCKS: usize = CHAIN_BLOCKS_MAX;
    const ENDS: bool = true;

    // All of them, in threes, as many as there are rounds for to the nearest group: a four has four times as many blocks as
    // its texts, and one-time keys. Short texts would leave most of what is beside rounds empty.
    fn beside(blocks: usize) -> usize {
        let groups = (CHAINS * (blocks / STEP_BLOCKS + 1) + BLOCKS / 2) / BLOCKS;
        let whole = blocks / rounds::BESIDE * rounds::BESIDE;
        if blocks < CHAIN_BLOCKS_MAX { 0 } else { whole.min(groups * CHAIN_BLOCKS_MAX) }
    }

    #[inline(always)]
    unsafe fn chacha(keys: &[Key], group: &Group, chains: &mut Chains) {
        // SAFETY: the caller's.
        unsafe { chacha::blocks(keys, group, chains) };
    }

    #[inline(always)]
    unsafe fn powers(powers: &mut Self::Powers, keys: [&Block; SUMS]) {
        // SAFETY: the caller's.
        unsafe { poly1305::powers(powers, keys) };
    }

    #[inline(always)]
    unsafe fn absorb(
        sums: &mut Self::Sums,
        powers: &Self::Powers,
        at: &[*const u8; SUMS],
        steps: usize,
        marks: &Marks,
        active: u8,
    ) {
        // SAFETY: the caller's.
        unsafe { poly1305::absorb(sums, powers, at, steps, marks, active) };
    }

    #[inline(always)]
    unsafe fn join(sums: &mut Self::Sums, words: &[[u64; SUMS]; 3]) {
        // SAFETY: the caller's.
        unsafe { poly1305::join(sums, words) };
    }

    #[inline(always)]
    unsafe fn last(sums: &mut Self::Sums, powers: &Self::Powers, at: &[*const u8; SUMS], blocks: usize) {
        // SAFETY: the caller's.
        unsafe { poly1305::last(sums, powers, at, blocks) };
    }

    #[inline(always)]
    unsafe fn forget() {
        // SAFETY: the processor has the registers, and the compiler is told that they change.
        unsafe {
            core::arch::asm!(
                "vzeroall",
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
                out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nomem, nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn finish(sums: &Self::Sums, powers: &Self::Powers) -> Tags {
        poly1305::finish(sums, powers)
    }

    #[inline(always)]
    unsafe fn stage(block: &mut Block, parts: [Part; 2], lengths: Option<Lengths>) {
        // SAFETY: the caller's.
        unsafe { stage(block, parts, lengths) };
    }

    #[inline(always)]
    unsafe fn emit(dst: *mut u8, block: &Block, len: usize) {
        // SAFETY: the caller's.
        unsafe { core::ptr::copy_nonoverlapping(block.0.as_ptr(), dst, len) };
    }
}

/// # Safety
/// AVX2.
#[target_feature(enable = "avx2,bmi2")]
unsafe fn enter<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// # Safety
/// As [`Kernel::stage`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn stage(block: &mut Block, parts: [Part; 2], lengths: Option<Lengths>) {
    *block = Block::ZERO;
    for part in parts {
        let (start, end) = part.cover();
        if start < end {
            let skip = (start as isize - part.offset) as usize;
            // SAFETY: the caller's: these bytes are the part's; the block is no part of an arena.
            unsafe {
                let from = part.ptr.add(skip);
                core::ptr::copy_nonoverlapping(from, block.0.as_mut_ptr().add(start), end - start);
            }
        }
    }
    if let Some(lengths) = lengths {
        let slot = &mut block.0[16 * lengths.at..][..16];
        slot[..8].copy_from_slice(&lengths.aad.to_le_bytes());
        slot[8..].copy_from_slice(&lengths.text.to_le_bytes());
    }
}
