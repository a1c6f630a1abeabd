//! The portable twin of the vector kernels: the same shapes, one lane after another, as RFC 8439 says it.
//!
//! Tests hold every kernel against it, and run the stream and the tags on it as on any other.
//!
//! Contains unsafe: pointers to input and output, as the kernels have them.

use crate::batch::Key;
use crate::lanes::Lanes;
use crate::lanes::kernel::{
    BLOCK_LEN, BLOCKS, BLOCKS_FEW, Block, CONSTANTS, Chain, Chains, Group, Kernel, Lengths, Marks, Part,
    STEP_BLOCKS, SUMS, Tags,
};

const MASK_26: u64 = (1 << 26) - 1;

/// A number modulo 2^130 - 5 in limbs of 26 bits.
type Number = [u64; 5];

/// The kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

/// r and the addend's halves, of 8 packets.
#[derive(Clone, Copy)]
pub(crate) struct Powers([(Number, [u64; 2]); SUMS]);

/// Batches on this kernel.
pub(crate) fn lanes() -> Lanes<Portable> {
    // SAFETY: it needs nothing of the processor.
    unsafe { Lanes::new(Portable) }
}

fn chacha_block(key: &Key, counter: u32, nonce: [u32; 3]) -> [u8; BLOCK_LEN] {
    let mut start = [0; 16];
    start[..4].copy_from_slice(&CONSTANTS);
    for (word, bytes) in start[4..12].iter_mut().zip(key.bytes().chunks(4)) {
        *word = u32::from_le_bytes(bytes.try_into().unwrap());
    }
    start[12] = counter;
    start[13..].copy_from_slice(&nonce);
    let mut v: [u32; 16] = start;
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        for (left, right) in [(16, 12), (8, 7)] {
            v[a] = v[a].wrapping_add(v[b]);
            v[d] = (v[d] ^ v[a]).rotate_left(left);
            v[c] = v[c].wrapping_add(v[d]);
            v[b] = (v[b] ^ v[c]).rotate_left(right);
        }
    };
    for _ in 0..10 {
        for i in 0..4 {
            quarter(i, 4 + i, 8 + i, 12 + i);
        }
        for i in 0..4 {
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
        }
    }
    let mut block = [0; BLOCK_LEN];
    for ((bytes, word), start) in block.chunks_mut(4).zip(v).zip(start) {
        bytes.copy_from_slice(&word.wrapping_add(start).to_le_bytes());
    }
    block
}

fn limbs(low: u64, high: u64) -> Number {
    [low & MASK_26, low >> 26 & MASK_26, (low >> 52 | high << 12) & MASK_26, high >> 14 & MASK_26, high >> 40]
}

/// Brings every limb below 2^26, but the first, which may be a little above.
fn carry(mut h: Number) -> Number {
    for _ in 0..2 {
        for i in 0..4 {
            h[i + 1] += h[i] >> 26;
            h[i] &= MASK_26;
        }
        h[0] += (h[4] >> 26) * 5;
        h[4] &= MASK_26;
    }
    h
}

fn times(a: Number, r: Number) -> Number {
    let mut product = [0; 5];
    for (i, a) in a.iter().enumerate() {
        for (j, r) in r.iter().enumerate() {
            let times_5 = if i + j < 5 { 1 } else { 5 };
            product[(i + j) % 5] += a * r * times_5;
        }
    }
    carry(product)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[8 * at..][..8].try_into().unwrap())
}

/// # Safety
/// So many blocks can be read where the chain is.
unsafe fn carry_on(chain: &mut Chain, blocks: usize) {
    let [h0, h1, h2] = chain.sum;
    // Limbs of 26 bits; what is above 2^130 stays in the last.
    let mut h = limbs(h0, h1);
    h[4] += h2 << 24;
    let r = limbs(chain.r[0], chain.r[1]);
    assert_eq!(chain.s, chain.r[1] / 4 * 5);
    for block in 0..blocks {
        // SAFETY: the caller's.
        let bytes = unsafe { chain.at.add(16 * block).cast::<[u8; 16]>().read() };
        let mut number = limbs(word(&bytes, 0), word(&bytes, 1));
        number[4] |= 1 << 24;
        h.iter_mut().zip(number).for_each(|(h, number)| *h += number);
        h = times(h, r);
    }
    let h = carry(h);
    let low = h.iter().take(4).rev().fold(0_u128, |sum, limb| sum << 26 | u128::from(*limb));
    let (low, over) = low.overflowing_add(u128::from(h[4]) << 104);
    chain.sum = [low as u64, (low >> 64) as u64, (h[4] >> 24) + u64::from(over)];
}

impl Kernel for Portable {
    type Powers = Powers;
    type Sums = [Number; SUMS];

    const LABEL: &'static str = "portable";
    const POWERS: Powers = Powers([([0; 5], [0; 2]); SUMS]);
    const SUMS: [Number; SUMS] = [[0; 5]; SUMS];

    fn worth_it(_packets: usize, _bytes: usize) -> bool {
        true
    }

    unsafe fn enter<R>(work: impl FnOnce() -> R) -> R {
        work()
    }

    const CHAIN_BLOCKS: usize = 20;
    const ENDS: bool = false;

    fn beside(blocks: usize) -> usize {
        blocks / 8 * STEP_BLOCKS
    }

    unsafe fn chacha(keys: &[Key], group: &Group, chains: &mut Chains) {
        let runs = &group.runs[..group.count];
        for lane in 0..if group.few { BLOCKS_FEW } else { BLOCKS } {
            let run = runs.iter().rev().find(|run| run.first as usize <= lane).unwrap();
            let [counter, nonce @ ..] = group.rows.each_ref().map(|row| row.0[lane]);
            let mut block = chacha_block(&keys[run.key as usize], counter, nonce);
            // SAFETY: the caller's: 64 bytes can be read at `src` and written at `dst`.
            unsafe {
                let input = group.src[lane].cast::<[u8; BLOCK_LEN]>().read();
                block.iter_mut().zip(input).for_each(|(byte, input)| *byte ^= input);
                group.dst[lane].cast::<[u8; BLOCK_LEN]>().write(block);
            }
        }
        if !group.few {
            for chain in &mut chains.chains {
                // SAFETY: the caller's.
                unsafe { carry_on(chain, chains.blocks) };
            }
        }
    }

    unsafe fn powers(powers: &mut Powers, keys: [&Block; SUMS]) {
        for ((r, addend), key) in powers.0.iter_mut().zip(keys) {
            let low = word(&key.0, 0) & 0x0fff_fffc_0fff_ffff;
            let high = word(&key.0, 1) & 0x0fff_fffc_0fff_fffc;
            *r = limbs(low, high);
            *addend = [word(&key.0, 2), word(&key.0, 3)];
        }
    }

    unsafe fn absorb(
        sums: &mut Self::Sums,
        powers: &Powers,
        at: &[*const u8; SUMS],
        steps: usize,
        marks: &Marks,
        active: u8,
    ) {
        for (lane, h) in sums.iter_mut().enumerate() {
            for step in 0..steps {
                // SAFETY: the caller's: `steps` times 64 bytes can be read.
                let bytes = unsafe { at[lane].add(step * BLOCK_LEN).cast::<[u8; BLOCK_LEN]>().read() };
                for j in 0..STEP_BLOCKS {
                    let mut block = limbs(word(&bytes, 2 * j), word(&bytes, 2 * j + 1));
                    // Marks are for limbs of 44 bits.
                    block[4] |= marks.0[j][lane] >> 16;
                    h.iter_mut().zip(block).for_each(|(h, block)| *h += block);
                    *h = times(*h, powers.0[lane].0);
                }
            }
            if active >> lane & 1 == 0 {
                *h = [0; 5];
            }
        }
    }

    unsafe fn join(sums: &mut Self::Sums, words: &[[u64; SUMS]; 3]) {
        for (lane, h) in sums.iter_mut().enumerate() {
            let mut sum = limbs(words[0][lane], words[1][lane]);
            sum[4] += words[2][lane] << 24;
            h.iter_mut().zip(sum).for_each(|(h, sum)| *h += sum);
        }
    }

    unsafe fn last(sums: &mut Self::Sums, powers: &Powers, at: &[*const u8; SUMS], blocks: usize) {
        for (lane, h) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's: 64 bytes can be read.
            let bytes = unsafe { at[lane].cast::<[u8; BLOCK_LEN]>().read() };
            for j in STEP_BLOCKS - blocks..STEP_BLOCKS {
                let mut block = limbs(word(&bytes, 2 * j), word(&bytes, 2 * j + 1));
                block[4] |= 1 << 24;
                h.iter_mut().zip(block).for_each(|(h, block)| *h += block);
                *h = times(*h, powers.0[lane].0);
            }
        }
    }

    unsafe fn forget() {}

    unsafe fn finish(sums: &Self::Sums, powers: &Powers) -> Tags {
        let mut tags = Tags { low: [0; SUMS], high: [0; SUMS] };
        for (lane, sum) in sums.iter().enumerate() {
            let mut h = carry(carry(*sum));
            let mut less = h;
            less[0] += 5;
            for i in 0..4 {
                less[i + 1] += less[i] >> 26;
                less[i] &= MASK_26;
            }
            if less[4] >> 26 != 0 {
                less[4] &= MASK_26;
                h = less;
            }
            let h = h.iter().rev().fold(0_u128, |sum, limb| sum << 26 | u128::from(*limb));
            let addend = powers.0[lane].1;
            let addend = u128::from(addend[1]) << 64 | u128::from(addend[0]);
            let tag = h.wrapping_add(addend);
            tags.low[lane] = tag as u64;
            tags.high[lane] = (tag >> 64) as u64;
        }
        tags
    }

    unsafe fn stage(block: &mut Block, parts: [Part; 2], lengths: Option<Lengths>) {
        *block = Block::ZERO;
        for part in parts {
            for i in 0..part.len {
                let at = part.offset + i as isize;
                if (0..BLOCK_LEN as isize).contains(&at) {
                    // SAFETY: the caller's: the part's bytes that fall into the block can be read.
                    block.0[at as usize] = unsafe { *part.ptr.add(i) };
                }
            }
        }
        if let Some(lengths) = lengths {
            block.0[16 * lengths.at..][..8].copy_from_slice(&lengths.aad.to_le_bytes());
            block.0[16 * lengths.at + 8..][..8].copy_from_slice(&lengths.text.to_le_bytes());
        }
    }

    unsafe fn emit(dst: *mut u8, block: &Block, len: usize) {
        for (i, byte) in block.0[..len].iter().enumerate() {
            // SAFETY: the caller's: `dst` can be written for `len` bytes.
            unsafe { *dst.add(i) = *byte };
        }
    }
}
