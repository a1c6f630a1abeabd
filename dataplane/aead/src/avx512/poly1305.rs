//! Hot: 8 sums of Poly1305 (RFC 8439 §2.5) side by side, each of another packet.
//!
//! Numbers are three limbs of 44, 44 and 42 bits, each limb of all packets in one register, multiplied by IFMA
//! (52 x 52 bits, low and high halves apart).
//!
//! 1. 64 bytes of each packet are read and turned, so that a register holds the same 8 bytes of all packets.
//! 2. Four blocks are multiplied by r^4, r^3, r^2 and r and added up, so that one reduction serves four blocks.
//!
//! Contains unsafe: vector instructions, and pointers to what is read.

use core::arch::x86_64::*;

use crate::lanes::kernel::{BLOCK_LEN, Block, MARK, Marks, STEP_BLOCKS, SUMS, Tags};

const MASK_44: i64 = (1 << 44) - 1;
const MASK_42: i64 = (1 << 42) - 1;

/// A limb of 8 packets.
type Limb = [u64; SUMS];

/// A number as multiplier: three limbs, and the upper two times 20.
///
/// 20, for 2^132 = 4 * 2^130 = 4 * 5 modulo 2^130 - 5.
#[derive(Clone, Copy)]
struct Multiplier {
    r0: __m512i,
    r1: __m512i,
    r2: __m512i,
    s1: __m512i,
    s2: __m512i,
}

/// The one-time keys of 8 packets: r^4, r^3, r^2, r as multipliers of five limbs, and the addend's halves.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Powers {
    powers: [[Limb; 5]; STEP_BLOCKS],
    addend: [Limb; 2],
}

impl Powers {
    pub(crate) const ZERO: Self = Self { powers: [[[0; SUMS]; 5]; STEP_BLOCKS], addend: [[0; SUMS]; 2] };
}

/// 8 sums.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Sums([Limb; 3]);

impl Sums {
    pub(crate) const ZERO: Self = Self([[0; SUMS]; 3]);
}

/// Low and high halves of products, added up per limb.
#[derive(Clone, Copy)]
struct Product {
    low: [__m512i; 3],
    high: [__m512i; 3],
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(limb: &Limb) -> __m512i {
    // SAFETY: a limb is 64 bytes.
    unsafe { _mm512_loadu_si512(limb.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(limb: &mut Limb, value: __m512i) {
    // SAFETY: a limb is 64 bytes.
    unsafe { _mm512_storeu_si512(limb.as_mut_ptr().cast(), value) };
}

impl Multiplier {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(limbs: &[Limb; 5]) -> Self {
        Self {
            r0: load(&limbs[0]),
            r1: load(&limbs[1]),
            r2: load(&limbs[2]),
            s1: load(&limbs[3]),
            s2: load(&limbs[4]),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn of(limbs: [__m512i; 3]) -> Self {
        let [r0, r1, r2] = limbs;
        // times 20 = times 4, times 5
        let s = |r| {
            let four = _mm512_slli_epi64::<2>(r);
            _mm512_add_epi64(_mm512_slli_epi64::<2>(four), four)
        };
        Self { r0, r1, r2, s1: s(r1), s2: s(r2) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(&self, limbs: &mut [Limb; 5]) {
        for (limb, value) in limbs.iter_mut().zip([self.r0, self.r1, self.r2, self.s1, self.s2]) {
            store(limb, value);
        }
    }
}

impl Product {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Self { low: [zero; 3], high: [zero; 3] }
    }

    /// Adds `a` times `r`. Limbs of `a` below 2^52, of `r` below 2^44, so that 12 summands stay below 2^56.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&mut self, a: [__m512i; 3], r: &Multiplier) {
        let terms = [
            [(a[0], r.r0), (a[1], r.s2), (a[2], r.s1)],
            [(a[0], r.r1), (a[1], r.r0), (a[2], r.s2)],
            [(a[0], r.r2), (a[1], r.r1), (a[2], r.r0)],
        ];
        for column in 0..3 {
            for (limb, terms) in terms.iter().enumerate() {
                let (x, y) = terms[column];
                self.low[limb] = _mm512_madd52lo_epu64(self.low[limb], x, y);
                self.high[limb] = _mm512_madd52hi_epu64(self.high[limb], x, y);
            }
        }
    }

    /// Brings the limbs back to 44, 44 (and a few beyond 2^44) and 42 bits.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn reduce(self) -> [__m512i; 3] {
        let mask_44 = _mm512_set1_epi64(MASK_44);
        let mask_42 = _mm512_set1_epi64(MASK_42);
        let Self { low, high } = self;
        // The high half of a limb's product weighs 2^52: 2^8 in the limb above.
        let d0 = low[0];
        let d1 = _mm512_add_epi64(low[1], _mm512_slli_epi64::<8>(high[0]));
        let d2 = _mm512_add_epi64(low[2], _mm512_slli_epi64::<8>(high[1]));
        let d1 = _mm512_add_epi64(d1, _mm512_srli_epi64::<44>(d0));
        let d2 = _mm512_add_epi64(d2, _mm512_srli_epi64::<44>(d1));
        // What goes beyond 2^130 comes back times 5; the last high half weighs 2^140.
        let over = _mm512_add_epi64(_mm512_srli_epi64::<42>(d2), _mm512_slli_epi64::<10>(high[2]));
        let over = _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over));
        let h0 = _mm512_add_epi64(_mm512_and_si512(d0, mask_44), over);
        let h1 = _mm512_and_si512(d1, mask_44);
        let h2 = _mm512_and_si512(d2, mask_42);
        let h1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(h0));
        [_mm512_and_si512(h0, mask_44), h1, h2]
    }
}

/// 64 bytes of 8 packets, as the 8 words of all packets.
#[inline]
#[target_feature(enable = "avx512f")]
fn turn(v: [__m512i; 8]) -> [__m512i; 8] {
    // Even and odd words of two packets each, a block per quarter.
    let mut y = v;
    for i in 0..4 {
        y[i] = _mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]);
        y[4 + i] = _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]);
    }
    let mut z = y;
    for half in 0..2 {
        let [a, b, c, d] = [y[4 * half], y[4 * half + 1], y[4 * half + 2], y[4 * half + 3]];
        let ab_low = _mm512_shuffle_i64x2::<0x44>(a, b);
        let ab_high = _mm512_shuffle_i64x2::<0xee>(a, b);
        let cd_low = _mm512_shuffle_i64x2::<0x44>(c, d);
        let cd_high = _mm512_shuffle_i64x2::<0xee>(c, d);
        z[half] = _mm512_shuffle_i64x2::<0x88>(ab_low, cd_low);
        z[2 + half] = _mm512_shuffle_i64x2::<0xdd>(ab_low, cd_low);
        z[4 + half] = _mm512_shuffle_i64x2::<0x88>(ab_high, cd_high);
        z[6 + half] = _mm512_shuffle_i64x2::<0xdd>(ab_high, cd_high);
    }
    z
}

/// A block of 128 bits as limbs.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi2")]
fn limbs(low: __m512i, high: __m512i, mark: __m512i) -> [__m512i; 3] {
    let mask_44 = _mm512_set1_epi64(MASK_44);
    [
        _mm512_and_si512(low, mask_44),
        _mm512_and_si512(_mm512_shrdi_epi64::<44>(low, high), mask_44),
        _mm512_or_si512(_mm512_srli_epi64::<24>(high), mark),
    ]
}

/// # Safety
/// AVX-512; the rest as [`crate::lanes::kernel::Kernel::powers`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) unsafe fn powers(powers: &mut Powers, keys: [&Block; SUMS]) {
    // SAFETY: a block is 64 bytes.
    let rows = keys.map(|key| unsafe { _mm512_loadu_si512(key.0.as_ptr().cast()) });
    let words = turn(rows);
    // RFC 8439 §2.5: some bits of r are cleared.
    let low = _mm512_and_si512(words[0], _mm512_set1_epi64(0x0fff_fffc_0fff_ffff));
    let high = _mm512_and_si512(words[1], _mm512_set1_epi64(0x0fff_fffc_0fff_fffc));
    let r = limbs(low, high, _mm512_setzero_si512());
    let by_r = Multiplier::of(r);
    let times = |a, r: &Multiplier| {
        let mut product = Product::zero();
        product.add(a, r);
        product.reduce()
    };
    let r2 = times(r, &by_r);
    let by_r2 = Multiplier::of(r2);
    let r3 = times(r2, &by_r);
    let r4 = times(r2, &by_r2);
    Multiplier::of(r4).store(&mut powers.powers[0]);
    Multiplier::of(r3).store(&mut powers.powers[1]);
    by_r2.store(&mut powers.powers[2]);
    by_r.store(&mut powers.powers[3]);
    store(&mut powers.addend[0], words[2]);
    store(&mut powers.addend[1], words[3]);
}

/// # Safety
/// AVX-512; the rest as [`crate::lanes::kernel::Kernel::absorb`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) unsafe fn absorb(
    sums: &mut Sums,
    powers: &Powers,
    at: &[*const u8; SUMS],
    steps: usize,
    marks: &Marks,
    active: u8,
) {
    let mut h = [load(&sums.0[0]), load(&sums.0[1]), load(&sums.0[2])];
    for step in 0..steps {
        // SAFETY: the caller's: `steps` times 64 bytes can be read at each pointer.
        let rows = at.map(|at| unsafe { _mm512_loadu_si512(at.add(step * BLOCK_LEN).cast()) });
        let words = turn(rows);
        let mut product = Product::zero();
        // The sum so far goes with the first block, and last into the product, for it is what the others wait for.
        for j in [1, 2, 3, 0] {
            let mut block = limbs(words[2 * j], words[2 * j + 1], load(&marks.0[j]));
            if j == 0 {
                for (limb, h) in block.iter_mut().zip(h) {
                    *limb = _mm512_add_epi64(*limb, h);
                }
            }
            product.add(block, &Multiplier::load(&powers.powers[j]));
        }
        h = product.reduce();
    }
    for (limb, h) in sums.0.iter_mut().zip(h) {
        store(limb, _mm512_maskz_mov_epi64(active, h));
    }
}

/// Adds numbers of three words to sums; either is 0.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi2")]
pub(super) fn join(sums: &mut Sums, words: &[Limb; 3]) {
    let top = _mm512_slli_epi64::<40>(load(&words[2]));
    for (limb, h) in sums.0.iter_mut().zip(limbs(load(&words[0]), load(&words[1]), top)) {
        store(limb, _mm512_add_epi64(load(limb), h));
    }
}

/// # Safety
/// AVX-512; the rest as [`crate::lanes::kernel::Kernel::last`].
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
unsafe fn last_from<const FROM: usize>(sums: &mut Sums, powers: &Powers, at: &[*const u8; SUMS]) {
    // SAFETY: the caller's: 64 bytes can be read at each pointer.
    let words = turn(at.map(|at| unsafe { _mm512_loadu_si512(at.cast()) }));
    let mark = _mm512_set1_epi64(MARK as i64);
    let mut product = Product::zero();
    for j in FROM..STEP_BLOCKS {
        let mut block = limbs(words[2 * j], words[2 * j + 1], mark);
        if j == FROM {
            for (limb, sum) in block.iter_mut().zip(&sums.0) {
                *limb = _mm512_add_epi64(*limb, load(sum));
            }
        }
        product.add(block, &Multiplier::load(&powers.powers[j]));
    }
    for (limb, h) in sums.0.iter_mut().zip(product.reduce()) {
        store(limb, h);
    }
}

/// # Safety
/// AVX-512.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn finish(sums: &Sums, powers: &Powers) -> Tags {
    let mask_44 = _mm512_set1_epi64(MASK_44);
    let mask_42 = _mm512_set1_epi64(MASK_42);
    let [mut h0, mut h1, mut h2] = [load(&sums.0[0]), load(&sums.0[1]), load(&sums.0[2])];
    // Twice around: the first time h1 may be above 2^44, the second time the 5 may carry once more.
    for _ in 0..2 {
        h2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<44>(h1));
        h1 = _mm512_and_si512(h1, mask_44);
        let over = _mm512_srli_epi64::<42>(h2);
        h2 = _mm512_and_si512(h2, mask_42);
        h0 = _mm512_add_epi64(h0, _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over)));
        h1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(h0));
        h0 = _mm512_and_si512(h0, mask_44);
    }
    // The sum minus 2^130 - 5, kept where it is not negative.
    let g0 = _mm512_add_epi64(h0, _mm512_set1_epi64(5));
    let g1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(g0));
    let g2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<44>(g1));
    let g2 = _mm512_sub_epi64(g2, _mm512_set1_epi64(1 << 42));
    let negative = _mm512_movepi64_mask(g2);
    let h0 = _mm512_mask_mov_epi64(_mm512_and_si512(g0, mask_44), negative, h0);
    let h1 = _mm512_mask_mov_epi64(_mm512_and_si512(g1, mask_44), negative, h1);
    let h2 = _mm512_mask_mov_epi64(g2, negative, h2);
    let low = _mm512_or_si512(h0, _mm512_slli_epi64::<44>(h1));
    let high = _mm512_or_si512(_mm512_srli_epi64::<20>(h1), _mm512_slli_epi64::<24>(h2));
    let low = _mm512_add_epi64(low, load(&powers.addend[0]));
    let carry = _mm512_cmplt_epu64_mask(low, load(&powers.addend[0]));
    let high = _mm512_add_epi64(high, load(&powers.addend[1]));
    let high = _mm512_mask_add_epi64(high, carry, high, _mm512_set1_epi64(1));
    let mut tags = Tags { low: [0; SUMS], high: [0; SUMS] };
    store(&mut tags.low, low);
    store(&mut tags.high, high);
    tags
}
