//! Hot: whole batches through a vector kernel.
//!
//! Sealing: 1. packets in order of length, so that neighbours finish together; 2. all blocks of all packets as one stream
//! ([`stream`]), one-time keys first; 3. beside the rounds of each full group of blocks, most of the sums of packets made
//! before ([`ahead`]); 4. as soon as 8 packets are made and summed up so far, their tags ([`mac`]). Opening: 1.
//! one-time keys of all packets; 2. tags of 8 packets; 3. those whose tag was right go into the stream, beside whose rounds the
//! sums of the next 8 are begun; the others are never decrypted.
//!
//! How constant time was checked: by reading the assembly of every kernel function (each conditional jump counts steps, runs
//! of keys, lanes, double rounds or chains, or checks an index of a key; no load or store has an address made of a key, a sum
//! or a text), and by the statistics of `perf`'s constant-time. Either found what source could not show: a comparison of tags
//! and a last subtraction of which the optimiser had made branches. Both now go through `subtle`. Assembler that is written by
//! hand ([`sums`](crate::sums) and both kernels' `rounds`) says the same of itself: its multiplications, `mulx` and
//! `imul`, are on Intel's list of instructions whose time does not depend on their operands.
//!
//! One answer is open. Of 16 packets of 1,420 bytes opened by AVX2, texts of zeroes took 0.3 to 4 ns of 10,150 less than random
//! ones: |t| of 5 to 22 beside other work, of 0.9, 5.0 and 5.2 on a quiet machine, in 100,000 rounds each. Texts of most other
//! bytes took as long as random ones (128 as zeroes); without chains, by AVX-512 and by ring there is no difference. What is
//! computed on does not make it: the question about keys, where every text is of zeroes and ciphertexts and sums differ, sees
//! nothing (1.0, 1.4, 2.7), and no jump and no address in the assembly is made of a text or a sum ([`ends`] too). What is left
//! is that zeroes are what is written, which nothing reads again; why the processor should care is not known.
//!
//! Costs: no allocation, no copy of a packet beside the cipher itself. Time and memory accesses depend on lengths, places
//! and on whether a tag was right, never on a key or a byte of a packet.
//!
//! Contains unsafe: pointers into checked arenas go to the stream and the tags, and secrets on the stack are erased.

mod ahead;
mod ends;
pub(crate) mod kernel;
mod mac;
mod packet;
#[cfg(test)]
pub(crate) mod portable;
mod stream;

use core::mem::MaybeUninit;

use arrayvec::ArrayVec;
use subtle::ConstantTimeEq;
use zeroize::{optimization_barrier, zeroize_stack};

use crate::batch::{BATCH_MAX, Key, OpenDesc, SealDesc, SealInPlaceDesc};
use crate::lanes::kernel::{BLOCKS, Block, Chains, Kernel, SUMS, Tags};
use crate::lanes::mac::{Desk, Message};
use crate::lanes::packet::{Bytes, Packet};
use crate::lanes::stream::Stream;
use crate::provider::Provider;

/// Our own provider on a vector kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes<K>(K);

type Packets = ArrayVec<Packet, BATCH_MAX>;

impl<K: Kernel> Lanes<K> {
    /// # Safety
    /// The processor has the kernel's features.
    pub(crate) const unsafe fn new(kernel: K) -> Self {
        Self(kernel)
    }
}

/// What must not stay on the stack: one-time keys, what tags are made on, and blocks put together in slots.
struct Secrets<K: Kernel> {
    one_time: [MaybeUninit<Block>; BATCH_MAX],
    slots: [Block; BLOCKS],
    chains: Chains,
    desk: Desk<K>,
    used: usize,
}

impl<K: Kernel> Secrets<K> {
    fn new(used: usize) -> Self {
        Self {
            one_time: [MaybeUninit::uninit(); BATCH_MAX],
            slots: [Block::ZERO; BLOCKS],
            chains: Chains::IDLE,
            desk: Desk::new(),
            used,
        }
    }
}

impl<K: Kernel> Secrets<K> {
    fn desks(&mut self) -> (stream::Desk<'_>, &mut Desk<K>) {
        let Self { one_time, slots, chains, desk, used } = self;
        (stream::Desk { one_time: &mut one_time[..*used], slots, chains }, desk)
    }
}

impl<K: Kernel> Drop for Secrets<K> {
    fn drop(&mut self) {
        self.one_time[..self.used].fill(MaybeUninit::new(Block::ZERO));
        self.slots = [Block::ZERO; BLOCKS];
        self.chains = Chains::IDLE;
        self.desk = Desk::new();
        optimization_barrier(self);
        // The frames of the kernels lay below, with what they spilled.
        zeroize_stack::<FRAMES_LEN>();
        // SAFETY: secrets are made where the kernel is there.
        unsafe { K::forget() };
    }
}

/// Bytes of stack below a call that kernels use. Their functions that hold keys, keystream or sums are never inlined, so that
/// what they spill lies there; the deepest seen in the assembly take less than 7 KiB. Nobody can promise that a register keeps
/// nothing, nor that a compiler to come spills no secret elsewhere.
const FRAMES_LEN: usize = 8192;

impl<K: Kernel> Lanes<K> {
    /// Seals packets, each to its place.
    ///
    /// # Safety
    /// Every packet was checked: its key is among the keys, what it reads can be read, `len + TAG_LEN` bytes at `dst` can
    /// be written and belong to no other packet nor, but in place, to what is read.
    #[inline(always)]
    unsafe fn seal_all(keys: &[Key], packets: &mut [Packet]) {
        sort(packets);
        let mut secrets = Secrets::<K>::new(packets.len());
        let (desk, mac) = secrets.desks();
        let mut stream = Stream::new::<K>(keys, packets, desk, true);
        // SAFETY: `self` proves the kernel (so below).
        unsafe { stream.one_time_keys::<K>() };
        let mut tagged = 0;
        for packet in packets.iter() {
            // SAFETY: the caller's.
            unsafe { stream.text::<K>(packet) };
            while stream.finished() >= tagged + SUMS {
                // SAFETY: a finished packet's output is written, and its one-time key was before.
                unsafe { put_tags::<K>(&mut stream, packets, tagged, mac) };
                tagged += SUMS;
            }
        }
        // SAFETY: the caller's.
        unsafe { stream.flush::<K>() };
        while tagged < packets.len() {
            // SAFETY: everything is finished.
            unsafe { put_tags::<K>(&mut stream, packets, tagged, mac) };
            tagged += SUMS;
        }
    }

    /// Opens packets where they lie and tells which, by their index before sorting.
    ///
    /// # Safety
    /// As [`Lanes::seal_all`], in place.
    #[inline(always)]
    unsafe fn open_all(keys: &[Key], packets: &mut [Packet]) -> u64 {
        sort(packets);
        let mut secrets = Secrets::<K>::new(packets.len());
        let (desk, mac) = secrets.desks();
        let mut stream = Stream::new::<K>(keys, packets, desk, false);
        // SAFETY: `self` proves the kernel (so below); the packets' texts are there.
        unsafe { stream.one_time_keys::<K>() };
        // SAFETY: the blocks are still there.
        unsafe { stream.flush::<K>() };
        stream.all_ready();
        let mut opened = 0;
        for first in (0..packets.len()).step_by(SUMS) {
            // SAFETY: the texts can be read; the one-time keys are made.
            let tags = unsafe { tags_of::<K>(&mut stream, packets, first, mac) };
            for (lane, packet) in packets[first..].iter().take(SUMS).enumerate() {
                // SAFETY: the tag lies behind the text, within the arena.
                let tag = unsafe { packet.dst.add(packet.len).cast::<[u64; 2]>().read_unaligned() };
                // Both halves, whatever the first says: the optimiser would ask one after the other if it saw through this,
                // and the time would tell a forger which half was right.
                let low = tags.low[lane].ct_eq(&u64::from_le(tag[0]));
                let high = tags.high[lane].ct_eq(&u64::from_le(tag[1]));
                if bool::from(low & high) {
                    opened |= 1 << packet.index;
                    // SAFETY: the caller's; the packet was left above.
                    unsafe { stream.text::<K>(packet) };
                }
            }
        }
        // SAFETY: the caller's.
        unsafe { stream.flush::<K>() };
        opened
    }
}

/// Order in which packets are worked on: as they come where their lengths are equal, else the longest first.
fn sort(packets: &mut [Packet]) {
    if packets.windows(2).any(|pair| pair[0].len != pair[1].len) {
        packets.sort_unstable_by_key(|packet| core::cmp::Reverse(packet.len));
    }
}

/// Tags of at most 8 packets from `first` on, whose ciphertext lies at `dst`.
///
/// # Safety
/// The processor has the kernel, the texts and the tags' places can be read, the one-time keys are made.
#[inline(always)]
unsafe fn tags_of<K: Kernel>(
    stream: &mut Stream,
    packets: &[Packet],
    first: usize,
    desk: &mut Desk<K>,
) -> Tags {
    let packets = &packets[first..packets.len().min(first + SUMS)];
    // SAFETY: the caller's.
    unsafe { stream.leave::<K>(first + SUMS) };
    // SAFETY: the caller's.
    let (one_time, done): (ArrayVec<&Block, SUMS>, ArrayVec<usize, SUMS>) =
        (first..first + packets.len()).map(|at| unsafe { stream.one_time(at) }).unzip();
    if ahead::are_even(packets) {
        let texts: ArrayVec<*const u8, SUMS> = packets.iter().map(|packet| packet.dst.cast_const()).collect();
        // SAFETY: the caller's.
        return unsafe { mac::even_tags::<K>(&texts, packets[0].len, &done, &one_time, desk) };
    }
    debug_assert!(done.iter().all(|done| *done == 0), "only even packets are summed up ahead");
    let message = |packet: &Packet| Message::new(packet.aad, Bytes { ptr: packet.dst, len: packet.len });
    let mut messages: ArrayVec<Message, SUMS> = packets.iter().map(message).collect();
    // SAFETY: the caller's.
    unsafe { mac::tags::<K>(&mut messages, &one_time, desk) }
}

/// Puts tags behind at most 8 packets from `first` on.
///
/// # Safety
/// As [`tags_of`]; the tags' places can be written.
#[inline(always)]
unsafe fn put_tags<K: Kernel>(stream: &mut Stream, packets: &[Packet], first: usize, desk: &mut Desk<K>) {
    // SAFETY: the caller's.
    let tags = unsafe { tags_of::<K>(stream, packets, first, desk) };
    for (lane, packet) in packets[first..].iter().take(SUMS).enumerate() {
        let tag = [tags.low[lane].to_le(), tags.high[lane].to_le()];
        // SAFETY: the tag's place lies behind the text, within the arena.
        unsafe { packet.dst.add(packet.len).cast::<[u64; 2]>().write_unaligned(tag) };
    }
}

impl<K: Kernel> Provider for Lanes<K> {
    fn label(&self) -> &'static str {
        K::LABEL
    }

    fn seal(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        source: &[u8],
        arena: &mut [u8],
        batch: &[SealDesc],
    ) {
        let arena = arena.as_mut_ptr();
        let mut packets: Packets = (0..)
            .zip(batch)
            .map(|(index, desc)| Packet::seal(index, prefix, gather, source, arena, desc))
            .collect();
        // SAFETY: the batch was checked; sources are borrowed shared and the arena exclusively, so they do not overlap.
        unsafe {
            K::enter(
                #[inline(always)]
                || Self::seal_all(keys, &mut packets),
            )
        };
    }

    fn seal_here(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &[SealInPlaceDesc],
    ) {
        let arena = arena.as_mut_ptr();
        let mut packets: Packets = (0..)
            .zip(batch)
            .map(|(index, desc)| Packet::seal_here(index, prefix, gather, arena, desc))
            .collect();
        // SAFETY: the batch was checked; the arena is borrowed exclusively.
        unsafe {
            K::enter(
                #[inline(always)]
                || Self::seal_all(keys, &mut packets),
            )
        };
    }

    fn open(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &mut [OpenDesc],
    ) -> usize {
        let arena = arena.as_mut_ptr();
        let mut packets: Packets = (0..)
            .zip(batch.iter())
            .map(|(index, desc)| Packet::open(index, prefix, gather, arena, desc))
            .collect();
        // SAFETY: the batch was checked; the arena is borrowed exclusively.
        let opened = unsafe {
            K::enter(
                #[inline(always)]
                || Self::open_all(keys, &mut packets),
            )
        };
        for (index, desc) in batch.iter_mut().enumerate() {
            desc.opened = opened >> index & 1 == 1;
        }
        opened.count_ones() as usize
    }
}
