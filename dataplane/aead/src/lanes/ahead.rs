//! Hot: Poly1305 of packets whose tags are not made yet, carried on beside the rounds of ChaCha20 ([`Chains`]).
//!
//! 1. Packets are taken by fours, in order, as soon as their ciphertext is there.
//! 2. With each full group of blocks, each of the four is carried on by so many blocks, from the beginning of its text.
//! 3. After as many as fit beside the rounds for as much text the next four come.
//!
//! How many those are is the kernel's to say ([`Kernel::CHAIN_BLOCKS`], [`Kernel::beside`]).
//!
//! What is left of a packet, its end with the lengths among it, is [`mac`](super::mac)'s, which begins with the sum of here.
//!
//! Contains unsafe: one-time keys, which are not initialised from the beginning, are read.

use core::mem::MaybeUninit;

use crate::batch::BATCH_MAX;
use crate::lanes::kernel::{Block, CHAINS, Chain, Chains, Kernel, SUM_LEN, SUMS};
use crate::lanes::packet::Packet;

/// RFC 8439 §2.5: the bits of r that count.
const CLAMP: [u64; 2] = [0x0fff_fffc_0fff_ffff, 0x0fff_fffc_0fff_fffc];
/// Where in the block of a packet's one-time key its sum is kept: behind the 32 bytes of the key.
const SUM_AT: usize = 4;

/// How far sums are.
pub(crate) struct Ahead {
    /// The first packet of the four.
    first: usize,
    /// By how many blocks each of the four was carried on, will be by the next group, and will be in all.
    blocks: usize,
    next: usize,
    blocks_max: usize,
    /// Whether the chains hold the four.
    taken: bool,
    /// Blocks of each of a four that are summed up.
    done: [u32; BATCH_MAX / CHAINS],
}

impl Ahead {
    pub(crate) fn new<K: Kernel>(packets: &[Packet]) -> Self {
        let done = [0; BATCH_MAX / CHAINS];
        let mut ahead = Self { first: 0, blocks: 0, next: 0, blocks_max: 0, taken: false, done };
        ahead.begin::<K>(packets, 0);
        ahead
    }

    /// Every packet before this one is carried on no more.
    #[inline(always)]
    pub(crate) fn passed(&self) -> usize {
        self.first
    }

    /// Carries packets before `packet`, which begins a four or ends the batch, on no more.
    ///
    /// # Safety
    /// As [`Ahead::take`].
    #[inline(always)]
    pub(crate) unsafe fn skip_to<K: Kernel>(
        &mut self,
        packets: &[Packet],
        packet: usize,
        one_time: &mut [MaybeUninit<Block>],
        chains: &mut Chains,
    ) {
        if self.first < packet {
            // SAFETY: the caller's.
            unsafe { self.release(one_time, chains) };
            self.begin::<K>(packets, packet);
        }
    }

    /// Goes to the four that `packet` begins, or past those of which nothing is to be summed up.
    #[inline(always)]
    fn begin<K: Kernel>(&mut self, packets: &[Packet], packet: usize) {
        self.first = packet;
        self.blocks = 0;
        self.blocks_max = blocks::<K>(packets, packet);
        while self.blocks_max == 0 && self.first < packets.len() {
            self.first += CHAINS;
            self.blocks_max = blocks::<K>(packets, self.first);
        }
        self.next = self.blocks_max.min(K::CHAIN_BLOCKS);
    }

    /// Puts the next sums into chains, of the packets before `ready`, whose ciphertext and one-time keys are there.
    ///
    /// # Safety
    /// The one-time keys of packets before `ready` are initialised.
    #[inline(always)]
    pub(crate) unsafe fn take(
        &mut self,
        packets: &[Packet],
        ready: usize,
        one_time: &[MaybeUninit<Block>],
        chains: &mut Chains,
    ) {
        let end = packets.len().min(self.first + CHAINS);
        if self.taken || self.first >= end || end > ready {
            return;
        }
        self.taken = true;
        // SAFETY: the caller's.
        unsafe { fill(chains, &packets[self.first..end], &one_time[self.first..end]) };
        chains.blocks = self.next;
    }

    /// Says that the chains were carried on.
    ///
    /// # Safety
    /// As [`Ahead::take`].
    #[inline(always)]
    pub(crate) unsafe fn carried_on<K: Kernel>(
        &mut self,
        packets: &[Packet],
        one_time: &mut [MaybeUninit<Block>],
        chains: &mut Chains,
    ) {
        if !self.taken {
            return;
        }
        self.blocks += self.next;
        if self.blocks == self.blocks_max {
            // SAFETY: the caller's.
            unsafe { self.skip_to::<K>(packets, self.first + CHAINS, one_time, chains) };
            return;
        }
        self.next = (self.blocks_max - self.blocks).min(K::CHAIN_BLOCKS);
        chains.blocks = self.next;
        for (chain, packet) in chains.chains.iter_mut().zip(&packets[self.first..]) {
            chain.at = packet.dst.wrapping_add(self.blocks * SUM_LEN);
        }
    }

    /// Takes the sums back from the chains.
    ///
    /// # Safety
    /// As [`Ahead::take`].
    #[inline(always)]
    unsafe fn release(&mut self, one_time: &mut [MaybeUninit<Block>], chains: &mut Chains) {
        if !self.taken {
            return;
        }
        self.taken = false;
        // A text has less than 2^32 bytes.
        self.done[self.first / CHAINS % (BATCH_MAX / CHAINS)] = self.blocks as u32;
        // SAFETY: the caller's.
        unsafe { empty(chains, &mut one_time[self.first..]) };
    }

    /// Blocks of a packet that are summed up.
    #[inline(always)]
    pub(crate) fn blocks(&self, packet: usize) -> usize {
        self.done[packet / CHAINS % (BATCH_MAX / CHAINS)] as usize
    }
}

/// Puts packets into chains. Not inlined, so that copies of keys lie where the stack is erased, and so below.
///
/// # Safety
/// The one-time keys are initialised.
#[inline(never)]
unsafe fn fill(chains: &mut Chains, packets: &[Packet], one_time: &[MaybeUninit<Block>]) {
    for (chain, (packet, block)) in chains.chains.iter_mut().zip(packets.iter().zip(one_time)) {
        // SAFETY: the caller's.
        let block = unsafe { block.assume_init_ref() };
        let (r, s) = multiplier(block);
        *chain = Chain { r, s, at: packet.dst, ..Chain::IDLE };
    }
}

/// Puts sums behind one-time keys.
///
/// # Safety
/// As [`fill`].
#[inline(never)]
unsafe fn empty(chains: &mut Chains, one_time: &mut [MaybeUninit<Block>]) {
    for (chain, block) in chains.chains.iter_mut().zip(one_time) {
        // SAFETY: the caller's.
        let block = unsafe { block.assume_init_mut() };
        for (i, word) in chain.sum.into_iter().enumerate() {
            block.put_word(SUM_AT + i, word);
        }
        *chain = Chain::IDLE;
    }
}

/// What the sum of the packet whose one-time key this is is multiplied by, as [`Chain::r`] and [`Chain::s`].
#[inline(always)]
pub(crate) fn multiplier(block: &Block) -> ([u64; 2], u64) {
    let r = [block.word(0) & CLAMP[0], block.word(1) & CLAMP[1]];
    (r, r[1] + (r[1] >> 2))
}

/// The sum of what [`Ahead::blocks`] says, of a packet whose one-time key is in this block.
#[inline(always)]
pub(crate) fn sum(block: &Block) -> [u64; 3] {
    core::array::from_fn(|i| block.word(SUM_AT + i))
}

/// By how many blocks the four from `first` on are to be carried on: none, unless the eight that they belong to are of equal
/// length and without associated data, for [`mac`](super::mac) begins with sums only there.
#[inline(always)]
fn blocks<K: Kernel>(packets: &[Packet], first: usize) -> usize {
    let eight = first / SUMS * SUMS;
    let eight = &packets[eight.min(packets.len())..packets.len().min(eight + SUMS)];
    if !are_even(eight) {
        return 0;
    }
    K::beside(eight.first().map_or(0, |packet| packet.len / SUM_LEN))
}

/// Whether packets are of equal length and without associated data.
#[inline(always)]
pub(crate) fn are_even(packets: &[Packet]) -> bool {
    let len = packets.first().map_or(0, |packet| packet.len);
    packets.iter().all(|packet| packet.len == len && packet.aad.len == 0)
}
