//! Hot: the ends of Poly1305 sums (RFC 8439 §2.5) that chains have begun, and their tags, on the integer units.
//!
//! Packets go two by two, so that the multiplications of one fill the gaps of the other's.
//!
//! Contains unsafe: reads texts by pointers.

use subtle::{Choice, ConditionallySelectable};

use crate::lanes::ahead;
use crate::lanes::kernel::{Block, Kernel, SUM_LEN, SUMS, Tags};

/// A sum and what it is multiplied by, in words of 64 bits, as a [`Chain`](crate::lanes::kernel::Chain) holds them.
struct Sum {
    h: [u64; 3],
    r: [u64; 2],
    s: u64,
}

impl Sum {
    /// Adds a block and multiplies. `h` is less than 5 * 2^128 before and afterwards.
    #[inline(always)]
    fn absorb(&mut self, block: u128) {
        let Self { h, r, s } = self;
        let wide = |a: u64, b: u64| u128::from(a) * u128::from(b);
        let (low, over) = (u128::from(h[1]) << 64 | u128::from(h[0])).overflowing_add(block);
        let (h0, h1, h2) = (low as u64, (low >> 64) as u64, h[2] + 1 + u64::from(over));
        // r is below 2^124, s below 2^61 and h2 at most 6: nothing overflows.
        let d0 = wide(h0, r[0]) + wide(h1, *s);
        let d1 = wide(h0, r[1]) + wide(h1, r[0]) + u128::from(h2 * *s) + (d0 >> 64);
        let d2 = h2 * r[0] + (d1 >> 64) as u64;
        // What is above 2^130 comes back times 5.
        let (low, over) =
            (d1 << 64 | u128::from(d0 as u64)).overflowing_add(u128::from((d2 & !3) + (d2 >> 2)));
        *h = [low as u64, (low >> 64) as u64, (d2 & 3) + u64::from(over)];
    }

    /// The sum modulo 2^130 - 5, and the addend: the tag's halves.
    #[inline(always)]
    fn tag(&self, addend: [u64; 2]) -> [u64; 2] {
        let number = |words: &[u64]| u128::from(words[1]) << 64 | u128::from(words[0]);
        let low = number(&self.h);
        // At most once too large. The choice is hidden from the optimiser, which might make a branch of it.
        let (less, over) = low.overflowing_add(5);
        let large = Choice::from(((self.h[2] + u64::from(over)) >> 2) as u8);
        let low = [low as u64, (low >> 64) as u64];
        let less = [less as u64, (less >> 64) as u64];
        let sum = [0, 1].map(|i| u64::conditional_select(&low[i], &less[i], large));
        let tag = number(&sum).wrapping_add(number(&addend));
        [tag as u64, (tag >> 64) as u64]
    }
}

/// # Safety
/// 16 bytes can be read there.
#[inline(always)]
unsafe fn block(at: *const u8) -> u128 {
    // SAFETY: the caller's.
    u128::from_le_bytes(unsafe { at.cast::<[u8; SUM_LEN]>().read() })
}

/// Tags of two texts of `len` bytes without associated data, of which `done` blocks are summed up already.
///
/// # Safety
/// Both texts can be read, and 16 bytes behind each.
#[inline(always)]
unsafe fn two(texts: [*const u8; 2], len: usize, done: usize, keys: [&Block; 2]) -> [[u64; 2]; 2] {
    let mut sums = keys.map(|key| {
        let h = if done == 0 { [0; 3] } else { ahead::sum(key) };
        let (r, s) = ahead::multiplier(key);
        Sum { h, r, s }
    });
    let whole = len / SUM_LEN;
    for at in done..whole {
        for (sum, text) in sums.iter_mut().zip(texts) {
            // SAFETY: so many blocks lie in each text.
            sum.absorb(unsafe { block(text.wrapping_add(at * SUM_LEN)) });
        }
    }
    let rest = len % SUM_LEN;
    if rest > 0 {
        let mask = u128::MAX >> (8 * (SUM_LEN - rest));
        for (sum, text) in sums.iter_mut().zip(texts) {
            // SAFETY: what is read behind the text is fewer than 16 bytes.
            sum.absorb(unsafe { block(text.wrapping_add(whole * SUM_LEN)) } & mask);
        }
    }
    // RFC 8439 §2.8: the lengths, of which that of associated data is 0.
    sums.iter_mut().for_each(|sum| sum.absorb((len as u128) << 64));
    [sums[0].tag([keys[0].word(2), keys[0].word(3)]), sums[1].tag([keys[1].word(2), keys[1].word(3)])]
}

/// Tags of 1..=8 texts of `len` bytes without associated data, of which `done` blocks are summed up already, two neighbours'
/// as many.
///
/// Not inlined, so that its copies of sums lie where the stack is erased.
///
/// # Safety
/// The processor has the kernel; texts can be read, and 16 bytes behind each, where its tag belongs; there are as many keys
/// and counts as texts; sums stand behind keys where there are blocks done.
#[inline(never)]
pub(crate) unsafe fn tags<K: Kernel>(
    texts: &[*const u8],
    len: usize,
    done: &[usize],
    keys: &[&Block],
) -> Tags {
    let mut tags = Tags { low: [0; SUMS], high: [0; SUMS] };
    let count = texts.len().min(keys.len()).min(done.len()).min(SUMS);
    for first in (0..count).step_by(2) {
        let second = (first + 1).min(count - 1);
        // SAFETY: the caller's.
        let [a, b] = unsafe {
            K::enter(
                #[inline(always)]
                || two([texts[first], texts[second]], len, done[first], [keys[first], keys[second]]),
            )
        };
        [tags.low[first], tags.high[first]] = a;
        [tags.low[second], tags.high[second]] = b;
    }
    tags
}
