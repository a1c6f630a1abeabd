//! Hot: blocks of ChaCha20 (RFC 8439 §2.3) in turns of 8 side by side, a word of 8 of them in one register.
//!
//! 1. Constants, key, counters and nonces into 16 registers; lanes of different packets differ in them.
//! 2. Ten double rounds; the state fills all 16 registers, so a few words pass through memory.
//! 3. The state at the beginning is added, rows turned into columns.
//! 4. Input is combined and written.
//!
//! Contains unsafe: vector instructions, and pointers to input and output.

use core::arch::x86_64::*;

use crate::batch::Key;
use crate::lanes::kernel::{BLOCKS, BLOCKS_FEW, CONSTANTS, Group, Segment};

type Words = [__m256i; 16];

/// Where bytes come from when words are rotated by 16 and by 8 bits.
static ROTATIONS: [[u8; 32]; 2] = {
    let mut from = [[0; 32]; 2];
    let mut i = 0;
    while i < 32 {
        from[0][i] = (i & 12 | (i + 2) & 3 | i & 16) as u8 & 15;
        from[1][i] = (i & 12 | (i + 3) & 3 | i & 16) as u8 & 15;
        i += 1;
    }
    from
};

macro_rules! quarters {
    ($v:ident, $r16:ident, $r8:ident, $([$a:literal, $b:literal, $c:literal, $d:literal]),*) => {
        $($v[$a] = _mm256_add_epi32($v[$a], $v[$b]);)*
        $($v[$d] = _mm256_shuffle_epi8(_mm256_xor_si256($v[$d], $v[$a]), $r16);)*
        $($v[$c] = _mm256_add_epi32($v[$c], $v[$d]);)*
        $($v[$b] = rotate::<12, 20>(_mm256_xor_si256($v[$b], $v[$c]));)*
        $($v[$a] = _mm256_add_epi32($v[$a], $v[$b]);)*
        $($v[$d] = _mm256_shuffle_epi8(_mm256_xor_si256($v[$d], $v[$a]), $r8);)*
        $($v[$c] = _mm256_add_epi32($v[$c], $v[$d]);)*
        $($v[$b] = rotate::<7, 25>(_mm256_xor_si256($v[$b], $v[$c]));)*
    };
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
}

/// Makes the blocks of a group.
///
/// # Safety
/// AVX2; the rest as [`crate::lanes::kernel::Kernel::chacha`].
#[inline(never)]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn blocks(keys: &[Key], group: &Group) {
    // Hidden from the optimiser, which would make two instructions of one where it knows the bytes.
    let [r16, r8] = *core::hint::black_box(&ROTATIONS);
    // SAFETY: 32 bytes each.
    let (r16, r8) =
        unsafe { (_mm256_loadu_si256(r16.as_ptr().cast()), _mm256_loadu_si256(r8.as_ptr().cast())) };
    for turn in 0..if group.few { BLOCKS_FEW } else { BLOCKS } / 8 {
        let start = first_state(keys, group, turn);
        let mut v = start;
        for _ in 0..10 {
            quarters!(v, r16, r8, [0, 4, 8, 12], [1, 5, 9, 13]);
            quarters!(v, r16, r8, [2, 6, 10, 14], [3, 7, 11, 15]);
            quarters!(v, r16, r8, [0, 5, 10, 15], [1, 6, 11, 12]);
            quarters!(v, r16, r8, [2, 7, 8, 13], [3, 4, 9, 14]);
        }
        for (word, start) in v.iter_mut().zip(start) {
            *word = _mm256_add_epi32(*word, start);
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
    // The lanes' first segment is the last that begins at or before them.
    let segments = &group.segments[..group.count];
    let before = segments.iter().skip(1).take_while(|segment| segment.first as usize <= 8 * turn).count();
    let segments = &segments[before..];
    let first = &segments[0];
    let mut v = [_mm256_setzero_si256(); 16];
    for (word, constant) in v[..4].iter_mut().zip(CONSTANTS) {
        *word = _mm256_set1_epi32(constant as i32);
    }
    for (word, at) in v[4..12].iter_mut().zip(0..) {
        *word = _mm256_set1_epi32(key_word(keys, first, at));
    }
    // Lane numbers are added below, so a segment's first lane must come out as its counter.
    v[12] = _mm256_set1_epi32(first.counter.wrapping_sub(first.first) as i32);
    for (word, nonce) in v[13..].iter_mut().zip(first.nonce) {
        *word = _mm256_set1_epi32(nonce as i32);
    }
    let lane =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(8 * turn as i32));
    for pair in segments.windows(2) {
        let (before, segment) = (&pair[0], &pair[1]);
        if segment.first as usize >= 8 * turn + 8 {
            break;
        }
        // Lanes from here on; a later segment takes its own again.
        let lanes = _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(segment.first as i32 - 1));
        let take = |word: __m256i, new: i32| _mm256_blendv_epi8(word, _mm256_set1_epi32(new), lanes);
        if segment.key != before.key {
            for (word, at) in v[4..12].iter_mut().zip(0..) {
                *word = take(*word, key_word(keys, segment, at));
            }
        }
        v[12] = take(v[12], segment.counter.wrapping_sub(segment.first) as i32);
        for (word, nonce) in v[13..].iter_mut().zip(segment.nonce) {
            *word = take(*word, nonce as i32);
        }
    }
    v[12] = _mm256_add_epi32(v[12], lane);
    v
}

#[inline(always)]
fn key_word(keys: &[Key], segment: &Segment, at: usize) -> i32 {
    let key = keys[segment.key as usize].bytes();
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
