//! The kernel for processors with AVX-512 (F, BW, VL, DQ, IFMA, VBMI2): Zen 4, Ice Lake and later.
//!
//! Contains unsafe: vector instructions, which need a processor that has them, and pointers.

#[macro_use]
mod rounds;
mod chacha;
mod poly1305;

use core::arch::x86_64::*;

use crate::batch::Key;
use crate::lanes::Lanes;
use crate::lanes::kernel::{Block, Chains, Group, Kernel, Lengths, Marks, Part, STEP_BLOCKS, SUMS, Tags};

/// The kernel; to hold one is to have asked the processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

/// Batches on this kernel, if this processor can run it.
pub(crate) fn lanes() -> Option<Lanes<Avx512>> {
    let able = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("bmi2");
    // SAFETY: the processor has every feature that functions of this kernel enable.
    able.then(|| unsafe { Lanes::new(Avx512(())) })
}

impl Kernel for Avx512 {
    type Powers = poly1305::Powers;
    type Sums = poly1305::Sums;

    const LABEL: &'static str = "avx512";
    const POWERS: poly1305::Powers = poly1305::Powers::ZERO;
    const SUMS: poly1305::Sums = poly1305::Sums::ZERO;

    // Measured on Zen 4 against ring, sealing and opening, as times its speed (see `own` for the command). In one run
    // of four, in which ring was a tenth slower too, 64 bytes gained less: 1.80 / 1.94 for 44 packets, 0.97 / 0.81 for 5.
    //
    // | packets | 64 bytes    | 512 bytes   | 1,420 bytes |
    // |       1 | 0.33 / 0.26 | 0.45 / 0.40 | 0.59 / 0.47 |
    // |       4 | 1.06 / 0.84 | 1.17 / 1.16 | 1.39 / 1.16 |
    // |       5 | 1.29 / 1.01 | 1.24 / 1.22 | 1.49 / 1.26 |
    // |       6 | 1.51 / 1.19 | 1.52 / 1.42 | 1.62 / 1.38 |
    // |       8 | 1.91 / 1.52 | 1.73 / 1.67 | 1.75 / 1.56 |
    // |      16 | 2.25 / 2.31 | 2.02 / 2.02 | 1.97 / 1.75 |
    // |      44 | 2.62 / 2.71 | 2.18 / 2.25 | 2.08 / 1.91 |
    // |      64 |             | 2.39 / 2.32 | 2.14 / 1.97 |
    fn worth_it(packets: usize, bytes: usize) -> bool {
        packets >= 6 || packets >= 4 && bytes >= 512 * packets
    }

    #[inline(always)]
    unsafe fn enter<R>(work: impl FnOnce() -> R) -> R {
        // SAFETY: the caller's.
        unsafe { enter(work) }
    }

    const CHAIN_BLOCKS: usize = 20;
    const ENDS: bool = false;

    // 20 blocks of four chains in a group of 32 blocks of four times the size: five eighths of the work, in whole twenties,
    // rounded, but never more than there are.
    fn beside(blocks: usize) -> usize {
        let steps = blocks / STEP_BLOCKS;
        20 * ((steps + 4) / 8).min(steps / 5)
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
                // which leaves the upper 16 alone
                "vpxord xmm16, xmm16, xmm16",
                "vpxord xmm17, xmm17, xmm17",
                "vpxord xmm18, xmm18, xmm18",
                "vpxord xmm19, xmm19, xmm19",
                "vpxord xmm20, xmm20, xmm20",
                "vpxord xmm21, xmm21, xmm21",
                "vpxord xmm22, xmm22, xmm22",
                "vpxord xmm23, xmm23, xmm23",
                "vpxord xmm24, xmm24, xmm24",
                "vpxord xmm25, xmm25, xmm25",
                "vpxord xmm26, xmm26, xmm26",
                "vpxord xmm27, xmm27, xmm27",
                "vpxord xmm28, xmm28, xmm28",
                "vpxord xmm29, xmm29, xmm29",
                "vpxord xmm30, xmm30, xmm30",
                "vpxord xmm31, xmm31, xmm31",
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _,
                out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _,
                out("zmm30") _, out("zmm31") _,
                options(nomem, nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn finish(sums: &Self::Sums, powers: &Self::Powers) -> Tags {
        // SAFETY: the caller's.
        unsafe { poly1305::finish(sums, powers) }
    }

    #[inline(always)]
    unsafe fn stage(block: &mut Block, parts: [Part; 2], lengths: Option<Lengths>) {
        // SAFETY: the caller's.
        unsafe { stage(block, parts, lengths) };
    }

    #[inline(always)]
    unsafe fn emit(dst: *mut u8, block: &Block, len: usize) {
        // SAFETY: the caller's.
        unsafe { emit(dst, block, len) };
    }
}

/// # Safety
/// AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2,bmi2")]
unsafe fn enter<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// The bytes of a block that the part covers; zero elsewhere.
///
/// # Safety
/// AVX-512; the part's bytes that fall into the block can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
unsafe fn covered(part: &Part) -> __m512i {
    let (start, end) = part.cover();
    let mask = _bzhi_u64(!0, end as u32) & !_bzhi_u64(!0, start as u32);
    if mask == 0 {
        // A masked load of nothing is right anywhere, but where no page is mapped it takes hundreds of cycles.
        return _mm512_setzero_si512();
    }
    let block = part.ptr.wrapping_offset(part.offset.wrapping_neg());
    // SAFETY: only bytes under the mask are read, which are the part's.
    unsafe { _mm512_maskz_loadu_epi8(mask, block.cast()) }
}

/// # Safety
/// As [`Kernel::stage`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
unsafe fn stage(block: &mut Block, parts: [Part; 2], lengths: Option<Lengths>) {
    // SAFETY: the caller's.
    let mut bytes = unsafe { _mm512_or_si512(covered(&parts[0]), covered(&parts[1])) };
    if let Some(lengths) = lengths {
        let pair = _mm_set_epi64x(lengths.text as i64, lengths.aad as i64);
        let mask = 3u8 << (2 * lengths.at);
        bytes = _mm512_or_si512(bytes, _mm512_maskz_broadcast_i64x2(mask, pair));
    }
    // SAFETY: a block is 64 bytes, aligned to 64.
    unsafe { _mm512_store_si512((&raw mut *block).cast(), bytes) };
}

/// # Safety
/// As [`Kernel::emit`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
unsafe fn emit(dst: *mut u8, block: &Block, len: usize) {
    let mask = _bzhi_u64(!0, len as u32);
    // SAFETY: a block is 64 bytes, aligned to 64; only the first `len` bytes are written.
    unsafe {
        let bytes = _mm512_load_si512((&raw const *block).cast());
        _mm512_mask_storeu_epi8(dst.cast(), mask, bytes);
    }
}
