//! Hot: 16 blocks of ChaCha20 (RFC 8439 §2.3) side by side, a word of all of them in one register.
//!
//! 1. Constants, key, counters and nonces into 16 registers; lanes of different packets differ in them.
//! 2. Ten double rounds: 32 registers hold the state and need no shuffling between rounds.
//! 3. The state at the beginning is added, rows turned into columns, so that each register holds a lane's block.
//! 4. Input is combined and written.
//!
//! Contains unsafe: vector instructions, and pointers to input and output.

use core::arch::x86_64::*;

use crate::batch::Key;
use crate::lanes::kernel::{CONSTANTS, Group, Segment};

type Words = [__m512i; 16];

/// Four quarter rounds at once: columns or diagonals.
macro_rules! quarters {
    ($v:ident, $([$a:literal, $b:literal, $c:literal, $d:literal]),*) => {
        quarters!(@half $v, 16, 12, $([$a, $b, $c, $d]),*);
        quarters!(@half $v, 8, 7, $([$a, $b, $c, $d]),*);
    };
    (@half $v:ident, $left:literal, $right:literal, $([$a:literal, $b:literal, $c:literal, $d:literal]),*) => {
        $($v[$a] = _mm512_add_epi32($v[$a], $v[$b]);)*
        $($v[$d] = _mm512_xor_si512($v[$d], $v[$a]);)*
        $($v[$d] = _mm512_rol_epi32::<$left>($v[$d]);)*
        $($v[$c] = _mm512_add_epi32($v[$c], $v[$d]);)*
        $($v[$b] = _mm512_xor_si512($v[$b], $v[$c]);)*
        $($v[$b] = _mm512_rol_epi32::<$right>($v[$b]);)*
    };
}

/// Makes 16 blocks.
///
/// # Safety
/// AVX-512; the rest as [`crate::lanes::kernel::Kernel::chacha`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn blocks(keys: &[Key], group: &Group) {
    let start = first_state(keys, group);
    let mut v = start;
    for _ in 0..10 {
        quarters!(v, [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]);
        quarters!(v, [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]);
    }
    for (word, start) in v.iter_mut().zip(start) {
        *word = _mm512_add_epi32(*word, start);
    }
    let v = columns(v);
    for ((block, src), dst) in v.iter().zip(group.src).zip(group.dst) {
        // SAFETY: the caller's: 64 bytes can be read at `src` and written at `dst`.
        unsafe {
            let input = _mm512_loadu_si512(src.cast());
            _mm512_storeu_si512(dst.cast(), _mm512_xor_si512(*block, input));
        }
    }
}

/// The state before the first round.
#[inline]
#[target_feature(enable = "avx512f")]
fn first_state(keys: &[Key], group: &Group) -> Words {
    let segments = &group.segments[..group.count];
    let first = &segments[0];
    let mut v = [_mm512_setzero_si512(); 16];
    for (word, constant) in v[..4].iter_mut().zip(CONSTANTS) {
        *word = _mm512_set1_epi32(constant as i32);
    }
    for (word, at) in v[4..12].iter_mut().zip(0..) {
        *word = _mm512_set1_epi32(key_word(keys, first, at));
    }
    v[12] = _mm512_set1_epi32(first.counter as i32);
    for (word, nonce) in v[13..].iter_mut().zip(first.nonce) {
        *word = _mm512_set1_epi32(nonce as i32);
    }
    for pair in segments.windows(2) {
        let (before, segment) = (&pair[0], &pair[1]);
        // Lanes from here on; a later segment takes its own again.
        let lanes = (!0u16) << segment.first;
        if segment.key != before.key {
            for (word, at) in v[4..12].iter_mut().zip(0..) {
                *word = _mm512_mask_set1_epi32(*word, lanes, key_word(keys, segment, at));
            }
        }
        // Lane numbers are added below, so the segment's first lane must come out as its counter.
        let counter = segment.counter.wrapping_sub(segment.first);
        v[12] = _mm512_mask_set1_epi32(v[12], lanes, counter as i32);
        for (word, nonce) in v[13..].iter_mut().zip(segment.nonce) {
            *word = _mm512_mask_set1_epi32(*word, lanes, nonce as i32);
        }
    }
    let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    v[12] = _mm512_add_epi32(v[12], lane);
    v
}

#[inline(always)]
fn key_word(keys: &[Key], segment: &Segment, at: usize) -> i32 {
    let key = keys[segment.key as usize].bytes();
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
