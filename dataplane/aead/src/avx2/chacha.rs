//! Hot: blocks of ChaCha20 (RFC 8439 §2.3) in turns of 8 side by side, a word of 8 of them in one register.
//!
//! 1. Constants, key, counters and nonces into 16 registers; lanes of different packets differ in them.
//! 2. Ten double rounds ([`rounds`](super::rounds)).
//! 3. The state at the beginning is added, rows turned into columns.
//! 4. Input is combined and written.
//!
//! Contains unsafe: vector instructions, and pointers to input and output.

use core::arch::x86_64::*;

use super::rounds::{Work, rounds_and_sums};
use crate::batch::Key;
use crate::lanes::kernel::{BLOCK_LEN, BLOCKS, BLOCKS_FEW, CHAIN_STEPS, CONSTANTS, Chain, Chains, Group};

type Words = [__m256i; 16];

/// Where bytes come from when words are rotated by 16 and by 8 bits.
const ROTATIONS: [[u8; 32]; 2] = {
    let mut from = [[0; 32]; 2];
    let mut i = 0;
    while i < 32 {
        from[0][i] = (i & 12 | (i + 2) & 3 | i & 16) as u8 & 15;
        from[1][i] = (i & 12 | (i + 3) & 3 | i & 16) as u8 & 15;
        i += 1;
    }
    from
};

/// Makes the blocks of a group and, if there are 32, carries the chains on.
///
/// # Safety
/// AVX2 and BMI2; the rest as [`crate::lanes::kernel::Kernel::chacha`].
#[inline(never)]
#[target_feature(enable = "avx2,bmi2")]
pub(super) unsafe fn blocks(keys: &[Key], group: &Group, chains: &mut Chains) {
    let mut work = Work { words: [[0; 8]; 16], rotations: ROTATIONS, chains: [Chain::IDLE; 2] };
    for turn in 0..if group.few { BLOCKS_FEW } else { BLOCKS } / 8 {
        let start = first_state(keys, group, turn);
        for (word, start) in work.words.iter_mut().zip(start) {
            // SAFETY: 8 words are 32 bytes.
            unsafe { _mm256_storeu_si256(word.as_mut_ptr().cast(), start) };
        }
        // A pair of chains takes two turns.
        let pair = 2 * (turn / 2)..2 * (turn / 2) + 2;
        let done = turn % 2 * CHAIN_STEPS * BLOCK_LEN / 2;
        if !group.few {
            for (chain, of) in work.chains.iter_mut().zip(&chains.0[pair.clone()]) {
                *chain = Chain { at: of.at.wrapping_add(done), ..*of };
            }
        }
        // SAFETY: the caller's; where there are no chains, idle ones have as much to read.
        unsafe { rounds_and_sums(&mut work) };
        if !group.few {
            for (chain, of) in work.chains.iter().zip(&mut chains.0[pair]) {
                of.sum = chain.sum;
            }
        }
        let mut v = start;
        for (word, (made, start)) in v.iter_mut().zip(work.words.iter().zip(start)) {
            // SAFETY: 8 words are 32 bytes.
            *word = unsafe { _mm256_add_epi32(_mm256_loadu_si256(made.as_ptr().cast()), start) };
        }
        let [a, b, c, d, e, f, g, h, ..] = v;
        let first = columns([a, b, c, d, e, f, g, h]);
        let [.., a, b, c, d, e, f, g, h] = v;
        let second = columns([a, b, c, d, e, f, g, h]);
        for (lane, halves) in (8 * turn..).zip(first.into_iter().zip(second)) {
            // SAFETY: the caller's: 64 bytes can be read at `src` and written at `dst`.
            unsafe { combine(group.src[lane], group.dst[lane], halves) };
        }
    }
}

/// # Safety
/// AVX2; 64 bytes can be read at `src` and written at `dst`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn combine(src: *const u8, dst: *mut u8, block: (__m256i, __m256i)) {
    // SAFETY: the caller's.
    unsafe {
        let first = _mm256_loadu_si256(src.cast());
        let second = _mm256_loadu_si256(src.add(32).cast());
        _mm256_storeu_si256(dst.cast(), _mm256_xor_si256(first, block.0));
        _mm256_storeu_si256(dst.add(32).cast(), _mm256_xor_si256(second, block.1));
    }
}

/// The state of 8 lanes before the first round.
#[inline]
#[target_feature(enable = "avx2")]
fn first_state(keys: &[Key], group: &Group, turn: usize) -> Words {
    let mut v = [_mm256_setzero_si256(); 16];
    for (word, constant) in v[..4].iter_mut().zip(CONSTANTS) {
        *word = _mm256_set1_epi32(constant as i32);
    }
    // The lanes' first run is the last that begins at or before them.
    let runs = &group.runs[..group.count];
    let before = runs.iter().skip(1).take_while(|run| run.first as usize <= 8 * turn).count();
    let (first, later) = (&runs[before], &runs[before + 1..]);
    for (word, at) in v[4..12].iter_mut().zip(0..) {
        *word = _mm256_set1_epi32(key_word(keys, first.key, at));
    }
    let lane =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(8 * turn as i32));
    for run in later {
        if run.first as usize >= 8 * turn + 8 {
            break;
        }
        // Lanes from here on; a later run takes its own again.
        let lanes = _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(run.first as i32 - 1));
        for (word, at) in v[4..12].iter_mut().zip(0..) {
            let key = _mm256_set1_epi32(key_word(keys, run.key, at));
            *word = _mm256_blendv_epi8(*word, key, lanes);
        }
    }
    for (word, row) in v[12..].iter_mut().zip(&group.rows) {
        let lanes = &row.0[8 * turn..8 * turn + 8];
        // SAFETY: 8 words are 32 bytes.
        *word = unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) };
    }
    v
}

#[inline(always)]
fn key_word(keys: &[Key], key: u32, at: usize) -> i32 {
    let key = keys[key as usize].bytes();
    i32::from_le_bytes([key[4 * at], key[4 * at + 1], key[4 * at + 2], key[4 * at + 3]])
}

/// Turns 8 registers that hold a word of every lane into 8 that hold 8 words of a lane.
#[inline]
#[target_feature(enable = "avx2")]
fn columns(v: [__m256i; 8]) -> [__m256i; 8] {
    let mut y = v;
    for i in 0..2 {
        let (a, b, c, d) = (v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
        let ab_low = _mm256_unpacklo_epi32(a, b);
        let ab_high = _mm256_unpackhi_epi32(a, b);
        let cd_low = _mm256_unpacklo_epi32(c, d);
        let cd_high = _mm256_unpackhi_epi32(c, d);
        y[4 * i] = _mm256_unpacklo_epi64(ab_low, cd_low);
        y[4 * i + 1] = _mm256_unpackhi_epi64(ab_low, cd_low);
        y[4 * i + 2] = _mm256_unpacklo_epi64(ab_high, cd_high);
        y[4 * i + 3] = _mm256_unpackhi_epi64(ab_high, cd_high);
    }
    let mut z = y;
    for e in 0..4 {
        z[e] = _mm256_permute2x128_si256::<0x20>(y[e], y[4 + e]);
        z[4 + e] = _mm256_permute2x128_si256::<0x31>(y[e], y[4 + e]);
    }
    z
}
