//! Every function of every kernel against its portable twin.
//!
//! Contains unsafe: kernels take pointers.
//!
//! Contains unsafe: it calls kernels as their callers do.

use super::*;
use crate::lanes::kernel::{
    BLOCK_LEN, BLOCKS, BLOCKS_FEW, Block, CHAIN_BLOCKS_MAX, CHAINS, Chains, Group, Kernel, Lengths, MARK,
    Marks, Part, STEP_BLOCKS, SUM_LEN, SUMS, Tags,
};
use crate::lanes::portable::Portable;

/// Runs a test of one kernel on every kernel this processor has.
macro_rules! on_every_kernel {
    ($test:ident) => {
        if crate::avx512::lanes().is_some() {
            $test::<crate::avx512::Avx512>();
        }
        if crate::avx2::lanes().is_some() {
            $test::<crate::avx2::Avx2>();
        }
    };
}

fn block(bytes: &[u8]) -> Block {
    Block(bytes.try_into().unwrap())
}

fn chacha<K: Kernel>() {
    let mut random = Random(30);
    let keys = random.keys(4);
    for round in 0..200 {
        let mut group = Group::EMPTY;
        group.few = round % 5 == 0;
        // Keys change at some segments, at all, or never.
        let key_max = 1 + round % 4;
        let mut first = 0;
        let lanes = if group.few { BLOCKS_FEW } else { BLOCKS };
        while first < lanes {
            // Counters wrap in some rounds.
            let counter = if round % 3 == 0 { u32::MAX - 5 } else { random.next() as u32 };
            let nonce = [random.next() as u32, random.next() as u32, random.next() as u32];
            let count = (1 + random.below(if round % 2 == 0 { 24 } else { 3 })).min(lanes - first);
            group.segment(first, count, random.below(key_max) as u32, counter, nonce);
            first += count;
        }
        let input = random.bytes(BLOCKS * BLOCK_LEN + 64);
        let (mut got, mut want) = (vec![0; BLOCKS * BLOCK_LEN], vec![0; BLOCKS * BLOCK_LEN]);
        for lane in 0..BLOCKS {
            group.src[lane] = input.as_ptr().wrapping_add(lane * BLOCK_LEN + round % 64);
            group.dst[lane] = want.as_mut_ptr().wrapping_add(lane * BLOCK_LEN);
        }
        let text = random.bytes(CHAINS * 500);
        // What is left of a text may be less than a kernel carries on at once, where it ends sums.
        let blocks = if K::ENDS && round % 2 == 0 { K::beside(round) } else { K::CHAIN_BLOCKS };
        let mut got_chains = chains(&mut random, &text, blocks.min(K::CHAIN_BLOCKS));
        let mut want_chains = got_chains;
        // SAFETY: pointers lie in the vectors above.
        unsafe { Portable::chacha(&keys, &group, &mut want_chains) };
        for lane in 0..BLOCKS {
            group.dst[lane] = got.as_mut_ptr().wrapping_add(lane * BLOCK_LEN);
        }
        // SAFETY: as above; the processor was asked.
        unsafe { K::chacha(&keys, &group, &mut got_chains) };
        assert_eq!(got, want, "{} round {round}", K::LABEL);
        for (got, want) in got_chains.chains.iter().zip(&want_chains.chains) {
            assert!(got.sum[2] <= 4);
            assert_eq!(modulo(got.sum), modulo(want.sum), "{} round {round}", K::LABEL);
        }
    }
}

/// Chains over parts of a text, with any sums and multipliers, some of them at limits.
fn chains(random: &mut Random, text: &[u8], blocks: usize) -> Chains {
    let mut chains = Chains { blocks, ..Chains::IDLE };
    for chain in &mut chains.chains {
        let words = edgy(random, 40);
        let word = |at: usize| u64::from_le_bytes(words[8 * at..8 * at + 8].try_into().unwrap());
        chain.sum = [word(0), word(1), word(2) % 5];
        chain.r = [word(3) & 0x0fff_fffc_0fff_ffff, word(4) & 0x0fff_fffc_0fff_fffc];
        chain.s = chain.r[1] / 4 * 5;
        chain.at = text[random.below(text.len() - CHAIN_BLOCKS_MAX * SUM_LEN)..].as_ptr();
    }
    chains
}

/// A number below 5 * 2^128 modulo 2^130 - 5, as its upper and lower half.
fn modulo(sum: [u64; 3]) -> (u64, u128) {
    let low = u128::from(sum[1]) << 64 | u128::from(sum[0]);
    let (low, carry) = low.overflowing_add(u128::from(sum[2] / 4) * 5);
    let high = sum[2] % 4 + u64::from(carry);
    if high > 3 || high == 3 && low >= u128::MAX - 4 { (high - 3, low.wrapping_add(5)) } else { (high, low) }
}

#[test]
fn blocks_of_every_kernel_are_those_of_its_twin() {
    on_every_kernel!(chacha);
}

/// Bytes that are most often random and sometimes at a limit of carries.
fn edgy(random: &mut Random, len: usize) -> Vec<u8> {
    match random.below(4) {
        0 => vec![0xff; len],
        1 => (0..len).map(|_| if random.below(8) == 0 { 0xfb } else { 0xff }).collect(),
        2 => (0..len).map(|_| if random.below(8) == 0 { 1 } else { 0 }).collect(),
        _ => random.bytes(len),
    }
}

/// Keys, runs of steps with marks and idle lanes, and the tags of all.
fn tags<K: Kernel>(seed: u64) -> Tags {
    let mut random = Random(seed);
    let keys: Vec<Block> = (0..SUMS).map(|_| block(&edgy(&mut random, 64))).collect();
    let (mut powers, mut sums) = (K::POWERS, K::SUMS);
    if random.below(2) == 0 {
        let [mut low, mut high, mut top] = [[0; SUMS]; 3];
        for ((low, high), top) in low.iter_mut().zip(&mut high).zip(&mut top) {
            let bytes = edgy(&mut random, 24);
            let word = |at: usize| u64::from_le_bytes(bytes[8 * at..8 * at + 8].try_into().unwrap());
            (*low, *high, *top) = (word(0), word(1), word(2) % 5);
        }
        let words = [low, high, top];
        // SAFETY: the processor was asked (so below).
        unsafe { K::join(&mut sums, &words) };
    }
    // SAFETY: as above.
    unsafe { K::powers(&mut powers, core::array::from_fn(|lane| &keys[lane])) };
    for _ in 0..1 + random.below(4) {
        let steps = 1 + random.below(6);
        let texts: Vec<Vec<u8>> = (0..SUMS).map(|_| edgy(&mut random, steps * BLOCK_LEN)).collect();
        let at = core::array::from_fn(|lane| texts[lane].as_ptr());
        let mut marks = Marks::ALL;
        if random.below(3) == 0 {
            for lane in 0..SUMS {
                for j in 0..random.below(STEP_BLOCKS + 1) {
                    marks.0[j][lane] = if random.below(2) == 0 { MARK } else { 0 };
                }
            }
        }
        let active = if random.below(3) == 0 { random.next() as u8 } else { 0xff };
        // SAFETY: each text has `steps` times 64 bytes.
        unsafe { K::absorb(&mut sums, &powers, &at, steps, &marks, active) };
    }
    let blocks = random.below(5);
    if blocks > 0 {
        let texts: Vec<Vec<u8>> = (0..SUMS).map(|_| edgy(&mut random, BLOCK_LEN)).collect();
        let at = core::array::from_fn(|lane| texts[lane].as_ptr());
        // SAFETY: each text has 64 bytes.
        unsafe { K::last(&mut sums, &powers, &at, blocks) };
    }
    // SAFETY: the processor was asked.
    unsafe { K::finish(&sums, &powers) }
}

fn sums<K: Kernel>() {
    for seed in 0..3_000 {
        let (got, want) = (tags::<K>(seed), tags::<Portable>(seed));
        assert_eq!((got.low, got.high), (want.low, want.high), "{} seed {seed}", K::LABEL);
    }
}

#[test]
fn tags_of_every_kernel_are_those_of_its_twin() {
    on_every_kernel!(sums);
}

/// Sums that are 2^130 - 5, a little less or more, before the last subtraction: r = 1, so that blocks just add up.
fn limits<K: Kernel>() {
    let mut key = [0; 64];
    key[0] = 1;
    for last in [0_u64, 1, 2, 3, 4, 5, 6, 7, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff] {
        // Three marked blocks of ones and one to taste: around 4 * 2^128 = 2^130.
        let mut text = [0xff; BLOCK_LEN];
        text[..32].fill(0);
        text[16] = last as u8;
        text[32..48].fill(0);
        text[48..].fill(0);
        let mut below = text;
        below[48..].fill(0xff);
        let mut lines = [text; SUMS];
        lines[1] = below;
        lines[2] = [0xff; BLOCK_LEN];
        lines[3][..16].fill(last as u8);
        let mut marks = Marks::ALL;
        marks.0[0][1] = 0;
        let at = core::array::from_fn(|lane| lines[lane].as_ptr());
        let key = Block(key);
        let result = |tags: Tags| (tags.low, tags.high);
        // SAFETY: each line has 64 bytes; the processor was asked.
        let (got, want) = unsafe {
            let (mut powers, mut sums) = (K::POWERS, K::SUMS);
            K::powers(&mut powers, [&key; SUMS]);
            K::absorb(&mut sums, &powers, &at, 1, &marks, 0xff);
            let got = result(K::finish(&sums, &powers));
            let (mut powers, mut sums) = (Portable::POWERS, Portable::SUMS);
            Portable::powers(&mut powers, [&key; SUMS]);
            Portable::absorb(&mut sums, &powers, &at, 1, &marks, 0xff);
            (got, result(Portable::finish(&sums, &powers)))
        };
        assert_eq!(got, want, "{} {last}", K::LABEL);
    }
}

#[test]
fn sums_around_the_modulus_are_reduced_as_by_the_twin() {
    on_every_kernel!(limits);
}

fn staging<K: Kernel>() {
    let mut random = Random(31);
    let text = random.bytes(400);
    for _ in 0..3_000 {
        let mut part = || {
            let (start, len) = (random.below(200), random.below(200));
            Part { ptr: text.as_ptr().wrapping_add(start), len, offset: random.below(400) as isize - 200 }
        };
        let first = part();
        let mut second = part();
        // Parts follow each other; they never overlap.
        second.offset = first.offset + first.len as isize + random.below(3) as isize;
        let lengths =
            (random.below(2) == 0).then(|| Lengths { at: 3, aad: random.next(), text: random.next() });
        if lengths.is_some() {
            // The last block is the lengths' own.
            second.len = second.len.min((48 - second.offset).max(0) as usize);
            if first.offset + first.len as isize > 48 {
                continue;
            }
        }
        let (mut got, mut want) = (Block([9; 64]), Block([7; 64]));
        // SAFETY: parts lie in the text; the processor was asked.
        unsafe {
            K::stage(&mut got, [first, second], lengths);
            Portable::stage(&mut want, [first, second], lengths);
        }
        assert_eq!(got.0, want.0, "{}", K::LABEL);
        let len = random.below(65);
        let (mut got, mut want_out) = ([5; 70], [5; 70]);
        // SAFETY: 70 bytes hold the 64 at most that are written.
        unsafe {
            K::emit(got.as_mut_ptr(), &want, len);
            Portable::emit(want_out.as_mut_ptr(), &want, len);
        }
        assert_eq!(got, want_out, "{} {len}", K::LABEL);
    }
}

#[test]
fn staging_of_every_kernel_is_that_of_its_twin() {
    on_every_kernel!(staging);
}
