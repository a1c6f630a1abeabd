//! Hot: 32 blocks of ChaCha20 (RFC 8439 §2.3) side by side, a word of 16 of them in one register.
//!
//! 1. Constants, key, counters and nonces into 16 registers, twice; lanes of different packets differ in them.
//! 2. Ten double rounds ([`rounds`](super::rounds)): 32 registers hold two states and need no shuffling between rounds.
//! 3. The state at the beginning is added, rows turned into columns, so that each register holds a lane's block.
//! 4. Input is combined and written.
//!
//! Contains unsafe: vector instructions, and pointers to input and output.

use core::arch::x86_64::*;

use crate::batch::Key;
use crate::lanes::kernel::{BLOCKS_FEW, CONSTANTS, Chains, Group};

type Words = [__m512i; 16];

/// Adds the state at the beginning and combines 16 lanes from `$first` with their input. A macro, because a function that the
/// optimiser does not inline is given 16 registers through memory, at two cycles each.
macro_rules! combine {
    ($group:ident, $first:expr, $v:expr, $start:expr) => {{
        let (mut v, start) = ($v, $start);
        for (word, start) in v.iter_mut().zip(start) {
            *word = _mm512_add_epi32(*word, start);
        }
        let lanes = $first..$first + BLOCKS_FEW;
        let places = $group.src[lanes.clone()].iter().zip(&$group.dst[lanes]);
        for (block, (src, dst)) in columns(v).iter().zip(places) {
            // SAFETY: 64 bytes can be read at each `src` and written at each `dst`.
            unsafe {
                let input = _mm512_loadu_si512(src.cast());
                _mm512_storeu_si512(dst.cast(), _mm512_xor_si512(*block, input));
            }
        }
    }};
}

/// Makes the blocks of a group and, if there are 32, carries the chains on.
///
/// # Safety
/// AVX-512; the rest as [`crate::lanes::kernel::Kernel::chacha`].
#[inline(always)]
pub(super) unsafe fn blocks(keys: &[Key], group: &Group, chains: &mut Chains) {
    // SAFETY: the caller's.
    unsafe {
        if group.few {
            blocks_of_one(keys, group);
        } else if group.count == 1 {
            blocks_of_two::<false>(keys, group, chains);
        } else {
            blocks_of_two::<true>(keys, group, chains);
        }
    }
}

/// Makes 16 blocks.
///
/// # Safety
/// As [`blocks`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn blocks_of_one(keys: &[Key], group: &Group) {
    macro_rules! quarters {
        ($v:ident, $left:literal, $right:literal, $([$a:literal, $b:literal, $c:literal, $d:literal])*) => {
            $($v[$a] = _mm512_add_epi32($v[$a], $v[$b]);)*
            $($v[$d] = _mm512_rol_epi32::<$left>(_mm512_xor_si512($v[$d], $v[$a]));)*
            $($v[$c] = _mm512_add_epi32($v[$c], $v[$d]);)*
            $($v[$b] = _mm512_rol_epi32::<$right>(_mm512_xor_si512($v[$b], $v[$c]));)*
        };
    }
    let start = first_state::<true>(keys, group, 0);
    let mut v = start;
    for _ in 0..10 {
        quarters!(v, 16, 12, [0, 4, 8, 12] [1, 5, 9, 13] [2, 6, 10, 14] [3, 7, 11, 15]);
        quarters!(v, 8, 7, [0, 4, 8, 12] [1, 5, 9, 13] [2, 6, 10, 14] [3, 7, 11, 15]);
        quarters!(v, 16, 12, [0, 5, 10, 15] [1, 6, 11, 12] [2, 7, 8, 13] [3, 4, 9, 14]);
        quarters!(v, 8, 7, [0, 5, 10, 15] [1, 6, 11, 12] [2, 7, 8, 13] [3, 4, 9, 14]);
    }
    combine!(group, 0, v, start);
}

/// Makes 32 blocks and carries the chains on. `MANY`: whether the group has more keys than one.
///
/// # Safety
/// As [`blocks`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
unsafe fn blocks_of_two<const MANY: bool>(keys: &[Key], group: &Group, chains: &mut Chains) {
    let a = first_state::<MANY>(keys, group, 0);
    let b = first_state::<MANY>(keys, group, BLOCKS_FEW);
    let mut v = [_mm512_setzero_si512(); 16];
    let mut w = v;
    // SAFETY: states in registers; every chain's steps can be read; chains can be written and lie as the assembler wants it.
    unsafe {
        rounds_and_sums!(chains.chains.as_mut_ptr(), [
            "zmm0" a[0], v[0]; "zmm1" a[1], v[1]; "zmm2" a[2], v[2]; "zmm3" a[3], v[3];
            "zmm4" a[4], v[4]; "zmm5" a[5], v[5]; "zmm6" a[6], v[6]; "zmm7" a[7], v[7];
            "zmm8" a[8], v[8]; "zmm9" a[9], v[9]; "zmm10" a[10], v[10]; "zmm11" a[11], v[11];
            "zmm12" a[12], v[12]; "zmm13" a[13], v[13]; "zmm14" a[14], v[14]; "zmm15" a[15], v[15];
            "zmm16" b[0], w[0]; "zmm17" b[1], w[1]; "zmm18" b[2], w[2]; "zmm19" b[3], w[3];
            "zmm20" b[4], w[4]; "zmm21" b[5], w[5]; "zmm22" b[6], w[6]; "zmm23" b[7], w[7];
            "zmm24" b[8], w[8]; "zmm25" b[9], w[9]; "zmm26" b[10], w[10]; "zmm27" b[11], w[11];
            "zmm28" b[12], w[12]; "zmm29" b[13], w[13]; "zmm30" b[14], w[14]; "zmm31" b[15], w[15];
        ]);
    }
    combine!(group, 0, v, again::<MANY>(keys, group, 0, a));
    combine!(group, BLOCKS_FEW, w, again::<MANY>(keys, group, BLOCKS_FEW, b));
}

/// The state before the first round once more. Where one key is every lane's it is made anew rather than kept, behind the
/// optimiser's back: to put 64 bytes aside takes two cycles, to read a word into all lanes half of one.
#[inline]
#[target_feature(enable = "avx512f")]
fn again<const MANY: bool>(keys: &[Key], group: &Group, from: usize, start: Words) -> Words {
    if MANY {
        return start;
    }
    let (keys, group) = core::hint::black_box((keys, group));
    first_state::<false>(keys, group, from)
}

/// The state of 16 lanes from `from` before the first round. `MANY`: whether lanes may have different keys.
#[inline]
#[target_feature(enable = "avx512f")]
fn first_state<const MANY: bool>(keys: &[Key], group: &Group, from: usize) -> Words {
    let mut v = [_mm512_setzero_si512(); 16];
    for (word, constant) in v[..4].iter_mut().zip(CONSTANTS) {
        *word = _mm512_set1_epi32(constant as i32);
    }
    // The lanes' first run is the last that begins at or before them.
    let runs = if MANY { &group.runs[..group.count] } else { &group.runs[..1] };
    let before = runs.iter().skip(1).take_while(|run| run.first as usize <= from).count();
    let (first, later) = (&runs[before], &runs[before + 1..]);
    for (word, at) in v[4..12].iter_mut().zip(0..) {
        *word = _mm512_set1_epi32(key_word(keys, first.key, at));
    }
    for run in later {
        if run.first as usize >= from + BLOCKS_FEW {
            break;
        }
        // Lanes from here on; a later run takes its own again.
        let lanes = (!0u16) << (run.first as usize - from);
        for (word, at) in v[4..12].iter_mut().zip(0..) {
            *word = _mm512_mask_set1_epi32(*word, lanes, key_word(keys, run.key, at));
        }
    }
    for (word, row) in v[12..].iter_mut().zip(&group.rows) {
        let lanes = &row.0[from..from + BLOCKS_FEW];
        // SAFETY: 16 words are 64 bytes.
        *word = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
    }
    v
}

#[inline(always)]
fn key_word(keys: &[Key], key: u32, at: usize) -> i32 {
    let key = keys[key as usize].bytes();
    i32::from_le_bytes([key[4 * at], key[4 * at + 1], key[4 * at + 2], key[4 * at + 3]])
}

/// Turns 16 registers that hold a word of every lane into 16 that hold all words of a lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn columns(v: Words) -> Words {
    // Within each quarter of 128 bits: `y[4 * i + e]` holds words 4i..4i+4 of the lanes 4q + e, q the quarter.
    let mut y = v;
    for i in 0..4 {
        let (a, b, c, d) = (v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
        let ab_low = _mm512_unpacklo_epi32(a, b);
        let ab_high = _mm512_unpackhi_epi32(a, b);
        let cd_low = _mm512_unpacklo_epi32(c, d);
        let cd_high = _mm512_unpackhi_epi32(c, d);
        y[4 * i] = _mm512_unpacklo_epi64(ab_low, cd_low);
        y[4 * i + 1] = _mm512_unpackhi_epi64(ab_low, cd_low);
        y[4 * i + 2] = _mm512_unpacklo_epi64(ab_high, cd_high);
        y[4 * i + 3] = _mm512_unpackhi_epi64(ab_high, cd_high);
    }
    // Then the quarters themselves.
    let mut z = y;
    for e in 0..4 {
        let (a, b, c, d) = (y[e], y[4 + e], y[8 + e], y[12 + e]);
        let ab_low = _mm512_shuffle_i32x4::<0x44>(a, b);
        let ab_high = _mm512_shuffle_i32x4::<0xee>(a, b);
        let cd_low = _mm512_shuffle_i32x4::<0x44>(c, d);
        let cd_high = _mm512_shuffle_i32x4::<0xee>(c, d);
        z[e] = _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low);
        z[4 + e] = _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low);
        z[8 + e] = _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high);
        z[12 + e] = _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high);
    }
    z
}
