//! Hot: 8 sums of Poly1305 (RFC 8439 §2.5) in two halves of 4 side by side, each of another packet.
//!
//! Numbers are five limbs of 26 bits, multiplied 32 x 32 bits.
//!
//! 1. 64 bytes of each of 4 packets are read and turned, so that a register holds the same 8 bytes of them.
//! 2. Four blocks are multiplied by r^4, r^3, r^2 and r and added up, so that one reduction serves four blocks.
//!
//! Contains unsafe: vector instructions, and pointers to what is read.

use core::arch::x86_64::*;

use subtle::{Choice, ConditionallySelectable};

use crate::lanes::kernel::{BLOCK_LEN, Block, MARK, Marks, STEP_BLOCKS, SUMS, Tags};

const MASK_26: u64 = (1 << 26) - 1;
/// Packets in one register.
const HALF: usize = 4;

/// A limb of 8 packets.
type Limb = [u64; SUMS];
/// A number of 4 packets.
type Number = [__m256i; 5];

/// The one-time keys of 8 packets: r^4, r^3, r^2, r, each as five limbs and the upper four times 5 (2^130 = 5 modulo
/// 2^130 - 5), and the addend's halves.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Powers {
    powers: [[Limb; 9]; STEP_BLOCKS],
    addend: [Limb; 2],
}

impl Powers {
    pub(crate) const ZERO: Self = Self { powers: [[[0; SUMS]; 9]; STEP_BLOCKS], addend: [[0; SUMS]; 2] };
}

/// 8 sums.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Sums([Limb; 5]);

impl Sums {
    pub(crate) const ZERO: Self = Self([[0; SUMS]; 5]);
}

#[inline]
#[target_feature(enable = "avx2")]
fn load<const AT: usize>(limb: &Limb) -> __m256i {
    // SAFETY: 4 packets of 8 are 32 bytes within the limb; the slice is checked.
    unsafe { _mm256_loadu_si256(limb[AT..AT + HALF].as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store<const AT: usize>(limb: &mut Limb, value: __m256i) {
    // SAFETY: as in `load`.
    unsafe { _mm256_storeu_si256(limb[AT..AT + HALF].as_mut_ptr().cast(), value) };
}

/// Adds `a` times `r` to the product. Limbs of `a` below 2^28, of `r` below 2^27, five times that below 2^29: 20 summands
/// stay below 2^62.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply<const AT: usize>(d: &mut Number, a: &Number, r: &[Limb; 9]) {
    // Limb i times limb k weighs limb i + k; beyond the fifth it comes back times 5, which stands at 4 + k.
    let term =
        |limb: __m256i, a: __m256i, k: usize| _mm256_add_epi64(limb, _mm256_mul_epu32(a, load::<AT>(&r[k])));
    let row = |d: Number, a: __m256i, k: [usize; 5]| -> Number {
        [
            term(d[0], a, k[0]),
            term(d[1], a, k[1]),
            term(d[2], a, k[2]),
            term(d[3], a, k[3]),
            term(d[4], a, k[4]),
        ]
    };
    *d = row(*d, a[4], [5, 6, 7, 8, 0]);
    *d = row(*d, a[3], [6, 7, 8, 0, 1]);
    *d = row(*d, a[2], [7, 8, 0, 1, 2]);
    *d = row(*d, a[1], [8, 0, 1, 2, 3]);
    *d = row(*d, a[0], [0, 1, 2, 3, 4]);
}

/// Brings the limbs back to 26 bits and a little more.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce(d: Number) -> Number {
    let mask = _mm256_set1_epi64x(MASK_26 as i64);
    let carry = |low: __m256i, high: __m256i| {
        let over = _mm256_srli_epi64::<26>(low);
        (_mm256_and_si256(low, mask), _mm256_add_epi64(high, over))
    };
    let [d0, d1, d2, d3, d4] = d;
    let (d0, d1) = carry(d0, d1);
    let (d3, d4) = carry(d3, d4);
    let (d1, d2) = carry(d1, d2);
    let over = _mm256_srli_epi64::<26>(d4);
    let d4 = _mm256_and_si256(d4, mask);
    let d0 = _mm256_add_epi64(d0, _mm256_add_epi64(over, _mm256_slli_epi64::<2>(over)));
    let (d2, d3) = carry(d2, d3);
    let (d0, d1) = carry(d0, d1);
    let (d3, d4) = carry(d3, d4);
    [d0, d1, d2, d3, d4]
}

/// 32 bytes of 4 packets, as the 4 words of all of them.
#[inline]
#[target_feature(enable = "avx2")]
fn turn(v: [__m256i; HALF]) -> [__m256i; 4] {
    let [a, b, c, d] = v;
    let ab_even = _mm256_unpacklo_epi64(a, b);
    let ab_odd = _mm256_unpackhi_epi64(a, b);
    let cd_even = _mm256_unpacklo_epi64(c, d);
    let cd_odd = _mm256_unpackhi_epi64(c, d);
    [
        _mm256_permute2x128_si256::<0x20>(ab_even, cd_even),
        _mm256_permute2x128_si256::<0x20>(ab_odd, cd_odd),
        _mm256_permute2x128_si256::<0x31>(ab_even, cd_even),
        _mm256_permute2x128_si256::<0x31>(ab_odd, cd_odd),
    ]
}

/// A block of 128 bits as limbs; the mark is for limbs of 44 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn limbs(low: __m256i, high: __m256i, mark: __m256i) -> Number {
    let mask = _mm256_set1_epi64x(MASK_26 as i64);
    let middle = _mm256_or_si256(_mm256_srli_epi64::<52>(low), _mm256_slli_epi64::<12>(high));
    [
        _mm256_and_si256(low, mask),
        _mm256_and_si256(_mm256_srli_epi64::<26>(low), mask),
        _mm256_and_si256(middle, mask),
        _mm256_and_si256(_mm256_srli_epi64::<14>(high), mask),
        _mm256_or_si256(_mm256_srli_epi64::<40>(high), _mm256_srli_epi64::<16>(mark)),
    ]
}

/// # Safety
/// AVX2; the rest as [`crate::lanes::kernel::Kernel::powers`].
#[inline(never)]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn powers(powers: &mut Powers, keys: [&Block; SUMS]) {
    half_powers::<0>(powers, &keys);
    half_powers::<HALF>(powers, &keys);
}

#[inline]
#[target_feature(enable = "avx2")]
fn half_powers<const AT: usize>(powers: &mut Powers, keys: &[&Block; SUMS]) {
    // SAFETY: a block is 64 bytes.
    let row = |lane: usize| unsafe { _mm256_loadu_si256(keys[AT + lane].0.as_ptr().cast()) };
    let words = turn([row(0), row(1), row(2), row(3)]);
    // RFC 8439 §2.5: some bits of r are cleared.
    let low = _mm256_and_si256(words[0], _mm256_set1_epi64x(0x0fff_fffc_0fff_ffff));
    let high = _mm256_and_si256(words[1], _mm256_set1_epi64x(0x0fff_fffc_0fff_fffc));
    let r = limbs(low, high, _mm256_setzero_si256());
    keep::<AT>(&mut powers.powers[3], &r);
    let mut power = r;
    for j in [2, 1, 0] {
        let mut product = [_mm256_setzero_si256(); 5];
        multiply::<AT>(&mut product, &power, &powers.powers[3]);
        power = reduce(product);
        keep::<AT>(&mut powers.powers[j], &power);
    }
    store::<AT>(&mut powers.addend[0], words[2]);
    store::<AT>(&mut powers.addend[1], words[3]);
}

/// Stores a number as multiplier.
#[inline]
#[target_feature(enable = "avx2")]
fn keep<const AT: usize>(multiplier: &mut [Limb; 9], r: &Number) {
    for (limb, r) in multiplier.iter_mut().zip(r) {
        store::<AT>(limb, *r);
    }
    for (limb, r) in multiplier[5..].iter_mut().zip(&r[1..]) {
        store::<AT>(limb, _mm256_add_epi64(*r, _mm256_slli_epi64::<2>(*r)));
    }
}

/// # Safety
/// AVX2; the rest as [`crate::lanes::kernel::Kernel::absorb`].
#[inline(never)]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn absorb(
    sums: &mut Sums,
    powers: &Powers,
    at: &[*const u8; SUMS],
    steps: usize,
    marks: &Marks,
    active: u8,
) {
    // SAFETY: the caller's.
    unsafe {
        half_absorb::<0>(sums, powers, at, steps, marks, active);
        half_absorb::<HALF>(sums, powers, at, steps, marks, active);
    }
}

/// # Safety
/// As [`absorb`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn half_absorb<const AT: usize>(
    sums: &mut Sums,
    powers: &Powers,
    at: &[*const u8; SUMS],
    steps: usize,
    marks: &Marks,
    active: u8,
) {
    if active >> AT & 0xf == 0 {
        sums.0.iter_mut().for_each(|limb| store::<AT>(limb, _mm256_setzero_si256()));
        return;
    }
    let mut h = sums.0.each_ref().map(|limb| load::<AT>(limb));
    for step in 0..steps {
        let half_step = |offset: usize| {
            let row = |lane: usize| {
                let at = at[AT + lane].wrapping_add(step * BLOCK_LEN + offset);
                // SAFETY: the caller's: `steps` times 64 bytes can be read at each pointer.
                unsafe { _mm256_loadu_si256(at.cast()) }
            };
            turn([row(0), row(1), row(2), row(3)])
        };
        let mark = |j: usize| load::<AT>(&marks.0[j]);
        let mut product = [_mm256_setzero_si256(); 5];
        let words = half_step(32);
        multiply::<AT>(&mut product, &limbs(words[0], words[1], mark(2)), &powers.powers[2]);
        multiply::<AT>(&mut product, &limbs(words[2], words[3], mark(3)), &powers.powers[3]);
        let words = half_step(0);
        multiply::<AT>(&mut product, &limbs(words[2], words[3], mark(1)), &powers.powers[1]);
        // The sum so far goes with the first block, and last into the product, for it is what the others wait for.
        let mut block = limbs(words[0], words[1], mark(0));
        for (limb, h) in block.iter_mut().zip(h) {
            *limb = _mm256_add_epi64(*limb, h);
        }
        multiply::<AT>(&mut product, &block, &powers.powers[0]);
        h = reduce(product);
    }
    let bit = |lane: usize| -i64::from(active >> (AT + lane) & 1);
    let keep = _mm256_set_epi64x(bit(3), bit(2), bit(1), bit(0));
    for (limb, h) in sums.0.iter_mut().zip(h) {
        store::<AT>(limb, _mm256_and_si256(h, keep));
    }
}

/// Adds numbers of three words to sums; either is 0.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn join(sums: &mut Sums, words: &[Limb; 3]) {
    half_join::<0>(sums, words);
    half_join::<HALF>(sums, words);
}

#[inline]
#[target_feature(enable = "avx2")]
fn half_join<const AT: usize>(sums: &mut Sums, words: &[Limb; 3]) {
    let [low, high, top] = words.each_ref().map(|word| load::<AT>(word));
    for (limb, h) in sums.0.iter_mut().zip(limbs(low, high, _mm256_slli_epi64::<40>(top))) {
        store::<AT>(limb, _mm256_add_epi64(load::<AT>(limb), h));
    }
}

/// # Safety
/// AVX2; the rest as [`crate::lanes::kernel::Kernel::last`].
#[inline(always)]
pub(super) unsafe fn last(sums: &mut Sums, powers: &Powers, at: &[*const u8; SUMS], blocks: usize) {
    // SAFETY: the caller's.
    unsafe {
        match blocks {
            1 => last_from::<3>(sums, powers, at),
            2 => last_from::<2>(sums, powers, at),
            3 => last_from::<1>(sums, powers, at),
            _ => last_from::<0>(sums, powers, at),
        }
    }
}

/// # Safety
/// As [`last`].
#[inline(never)]
#[target_feature(enable = "avx2")]
unsafe fn last_from<const FROM: usize>(sums: &mut Sums, powers: &Powers, at: &[*const u8; SUMS]) {
    // SAFETY: the caller's.
    unsafe {
        half_last::<0, FROM>(sums, powers, at);
        half_last::<HALF, FROM>(sums, powers, at);
    }
}

/// # Safety
/// As [`last`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn half_last<const AT: usize, const FROM: usize>(
    sums: &mut Sums,
    powers: &Powers,
    at: &[*const u8; SUMS],
) {
    let mark = _mm256_set1_epi64x(MARK as i64);
    let mut product = [_mm256_setzero_si256(); 5];
    for half in FROM / 2..2 {
        let row = |lane: usize| {
            let at = at[AT + lane].wrapping_add(32 * half);
            // SAFETY: the caller's: 64 bytes can be read at each pointer.
            unsafe { _mm256_loadu_si256(at.cast()) }
        };
        let words = turn([row(0), row(1), row(2), row(3)]);
        for j in FROM.max(2 * half)..2 * half + 2 {
            let mut block = limbs(words[2 * (j % 2)], words[2 * (j % 2) + 1], mark);
            if j == FROM {
                for (limb, sum) in block.iter_mut().zip(&sums.0) {
                    *limb = _mm256_add_epi64(*limb, load::<AT>(sum));
                }
            }
            multiply::<AT>(&mut product, &block, &powers.powers[j]);
        }
    }
    for (limb, h) in sums.0.iter_mut().zip(reduce(product)) {
        store::<AT>(limb, h);
    }
}

/// Makes tags, a packet after another: a few operations each.
#[inline(never)]
pub(super) fn finish(sums: &Sums, powers: &Powers) -> Tags {
    let mut tags = Tags { low: [0; SUMS], high: [0; SUMS] };
    for lane in 0..SUMS {
        let mut h = sums.0.map(|limb| limb[lane]);
        // Twice around: the first time limbs are above 2^26, the second time the 5 may carry once more.
        for _ in 0..2 {
            for i in 0..4 {
                h[i + 1] += h[i] >> 26;
                h[i] &= MASK_26;
            }
            h[0] += (h[4] >> 26) * 5;
            h[4] &= MASK_26;
        }
        h[1] += h[0] >> 26;
        h[0] &= MASK_26;
        // The sum minus 2^130 - 5, kept where it is not negative.
        let mut g = h;
        g[0] += 5;
        for i in 0..4 {
            g[i + 1] += g[i] >> 26;
            g[i] &= MASK_26;
        }
        g[4] = g[4].wrapping_sub(1 << 26);
        // The choice is hidden from the optimiser, which had made a branch of it.
        let negative = Choice::from((g[4] >> 63) as u8);
        for (h, g) in h.iter_mut().zip(g) {
            *h = u64::conditional_select(&g, h, negative);
        }
        let low = h[0] | h[1] << 26 | h[2] << 52;
        let high = h[2] >> 12 | h[3] << 14 | h[4] << 40;
        let (low, carry) = low.overflowing_add(powers.addend[0][lane]);
        tags.low[lane] = low;
        tags.high[lane] = high.wrapping_add(powers.addend[1][lane]).wrapping_add(u64::from(carry));
    }
    tags
}
