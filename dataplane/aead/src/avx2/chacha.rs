//! Hot: blocks of ChaCha20 (RFC 8439 §2.3) in turns of 16 side by side, a word of 8 of them in one register.
//!
//! 1. Constants, key, counters and nonces into two states of 16 words; lanes of different packets differ in them.
//! 2. Ten double rounds ([`rounds`](super::rounds)).
//! 3. The state at the beginning is added, rows turned into columns.
//! 4. Input is combined and written.
//!
//! Contains unsafe: vector instructions, and pointers to input and output.

use core::arch::x86_64::*;

use super::rounds::{Work, rounds_and_sums};
use crate::batch::Key;
use crate::lanes::kernel::{CONSTANTS, Chains, Group};

type Words = [__m256i; 16];

/// Makes the blocks of a group and, if there are 32, carries the chains on.
///
/// # Safety
/// AVX2 and BMI2; the rest as [`crate::lanes::kernel::Kernel::chacha`].
#[inline(always)]
pub(super) unsafe fn blocks(keys: &[Key], group: &Group, chains: &mut Chains) {
    // SAFETY: the caller's.
    unsafe {
        if group.count == 1 {
            blocks_of::<false>(keys, group, chains);
        } else {
            blocks_of::<true>(keys, group, chains);
        }
    }
}

/// `MANY`: whether the group has more keys than one.
///
/// # Safety
/// As [`blocks`].
#[inline(never)]
#[target_feature(enable = "avx2,bmi2")]
unsafe fn blocks_of<const MANY: bool>(keys: &[Key], group: &Group, chains: &mut Chains) {
    let mut work = Work::EMPTY;
    let blocks = if group.few { 0 } else { chains.blocks };
    // A turn takes a pair of chains.
    for (turn, pair) in chains.chains.chunks_exact_mut(2).enumerate().take(if group.few { 1 } else { 2 }) {
        let start = [2 * turn, 2 * turn + 1].map(|eight| first_state::<MANY>(keys, group, eight));
        for (word, start) in work.words.as_flattened_mut().iter_mut().zip(start.as_flattened()) {
            // SAFETY: 8 words are 32 bytes.
            unsafe { _mm256_storeu_si256(word.as_mut_ptr().cast(), *start) };
        }
        if blocks > 0 {
            work.chains.copy_from_slice(pair);
        }
        // SAFETY: the caller's.
        unsafe { rounds_and_sums(&mut work, blocks) };
        if blocks > 0 {
            for (chain, of) in work.chains.iter().zip(pair) {
                of.sum = chain.sum;
            }
        }
        for (eight, (words, start)) in (2 * turn..).zip(work.words.iter().zip(start)) {
            let start = again::<MANY>(keys, group, eight, start);
            // SAFETY: the caller's.
            unsafe { write(group, 8 * eight, words, start) };
        }
    }
}

/// The state before the first round once more. Where one key is every lane's it is made anew rather than kept, behind the
/// optimiser's back: to put a word aside costs more than to read it into all lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn again<const MANY: bool>(keys: &[Key], group: &Group, eight: usize, start: Words) -> Words {
    if MANY {
        return start;
    }
    let (keys, group) = core::hint::black_box((keys, group));
    first_state::<false>(keys, group, eight)
}

/// Adds the state at the beginning and combines 8 lanes from `first` with their input.
///
/// # Safety
/// AVX2; 64 bytes can be read at each lane's `src` and written at its `dst`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn write(group: &Group, first: usize, words: &[[u32; 8]; 16], start: Words) {
    let mut v = start;
    for (word, made) in v.iter_mut().zip(words) {
        // SAFETY: 8 words are 32 bytes.
        *word = unsafe { _mm256_add_epi32(*word, _mm256_loadu_si256(made.as_ptr().cast())) };
    }
    let [a, b, c, d, e, f, g, h, ..] = v;
    let halves = columns([a, b, c, d, e, f, g, h]);
    let [.., a, b, c, d, e, f, g, h] = v;
    let halves = halves.into_iter().zip(columns([a, b, c, d, e, f, g, h]));
    let lanes = first..first + 8;
    for ((src, dst), halves) in group.src[lanes.clone()].iter().zip(&group.dst[lanes]).zip(halves) {
        // SAFETY: the caller's.
        unsafe { combine(*src, *dst, halves) };
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

/// The state of an eight of lanes before the first round. `MANY`: whether lanes may have different keys.
#[inline]
#[target_feature(enable = "avx2")]
fn first_state<const MANY: bool>(keys: &[Key], group: &Group, eight: usize) -> Words {
    let mut v = [_mm256_setzero_si256(); 16];
    for (word, constant) in v[..4].iter_mut().zip(CONSTANTS) {
        *word = _mm256_set1_epi32(constant as i32);
    }
    // The lanes' first run is the last that begins at or before them.
    let runs = if MANY { &group.runs[..group.count] } else { &group.runs[..1] };
    let before = runs.iter().skip(1).take_while(|run| run.first as usize <= 8 * eight).count();
    let (first, later) = (&runs[before], &runs[before + 1..]);
    for (word, at) in v[4..12].iter_mut().zip(0..) {
        *word = _mm256_set1_epi32(key_word(keys, first.key, at));
    }
    let lane =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(8 * eight as i32));
    for run in later {
        if run.first as usize >= 8 * eight + 8 {
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
        let lanes = &row.0[8 * eight..8 * eight + 8];
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
