//! Hot: the blocks of a batch as one stream, so that the lanes of the cipher are always full.
//!
//! 1. A one-time key per packet: block 0 (RFC 8439 §2.6), kept aside.
//! 2. Then block after block, packet after packet, 32 to a group, whatever packets they belong to.
//! 3. A block whose input is not 64 bytes in one piece (head and body, padding, a tail) is put together in a slot first.
//! 4. A block whose output is not 64 bytes long is made in a slot and copied.
//!
//! Contains unsafe: calls the kernel with pointers into the arenas.

use core::mem::MaybeUninit;

use crate::batch::Key;
use crate::lanes::ahead::Ahead;
use crate::lanes::kernel::{BLOCK_LEN, BLOCKS, BLOCKS_FEW, Block, Chains, Group, Kernel, Part};
use crate::lanes::packet::Packet;

/// What the stream holds of secrets; its owner erases it.
pub(crate) struct Desk<'a> {
    /// One-time keys of all packets, each behind the first 32 bytes of a block, and their sums behind that.
    pub(crate) one_time: &'a mut [MaybeUninit<Block>],
    pub(crate) slots: &'a mut [Block; BLOCKS],
    pub(crate) chains: &'a mut Chains,
}

/// A tail that waits in a slot for its place.
#[derive(Clone, Copy)]
struct Tail {
    lane: usize,
    dst: *mut u8,
    len: usize,
}

/// Groups of blocks on their way through the kernel.
pub(crate) struct Stream<'a> {
    keys: &'a [Key],
    packets: &'a [Packet],
    desk: Desk<'a>,
    ahead: Ahead,
    /// Packets before this one may be summed up.
    ready: usize,
    /// Whether packets are ready by being made.
    sealing: bool,
    group: Group,
    lanes: usize,
    tails: [Tail; BLOCKS],
    tail_count: usize,
    pushed: usize,
    finished: usize,
}

impl<'a> Stream<'a> {
    /// Packets in the order in which they are put in. `sealing`: their ciphertext is what the stream makes; else it is there.
    pub(crate) fn new<K: Kernel>(
        keys: &'a [Key],
        packets: &'a [Packet],
        desk: Desk<'a>,
        sealing: bool,
    ) -> Self {
        const NO_TAIL: Tail = Tail { lane: 0, dst: core::ptr::null_mut(), len: 0 };
        Self {
            keys,
            packets,
            desk,
            ahead: Ahead::new::<K>(packets),
            ready: 0,
            sealing,
            group: Group::EMPTY,
            lanes: 0,
            tails: [NO_TAIL; BLOCKS],
            tail_count: 0,
            pushed: 0,
            finished: 0,
        }
    }

    /// How many of the packets put in by [`Stream::text`] are surely made and wait for nothing but their tags.
    #[inline(always)]
    pub(crate) fn finished(&self) -> usize {
        self.finished.min(self.ahead.passed())
    }

    /// Says that every packet's ciphertext and one-time key is there.
    #[inline(always)]
    pub(crate) fn all_ready(&mut self) {
        self.ready = self.packets.len();
    }

    /// Sums up no text before that of `packet`, which begins an eight or ends the batch, from now on: its tag is to be made.
    ///
    /// # Safety
    /// One-time keys are made.
    #[inline(always)]
    pub(crate) unsafe fn leave<K: Kernel>(&mut self, packet: usize) {
        // SAFETY: the caller's.
        unsafe { self.ahead.skip_to::<K>(self.packets, packet, self.desk.one_time, self.desk.chains) };
    }

    /// The one-time key of a packet, and how many of its blocks are summed up.
    ///
    /// # Safety
    /// One-time keys are made.
    #[inline(always)]
    pub(crate) unsafe fn one_time(&self, packet: usize) -> (&Block, usize) {
        // SAFETY: the caller's.
        let block = unsafe { self.desk.one_time[packet].assume_init_ref() };
        (block, self.ahead.blocks(packet))
    }

    /// Puts the one-time keys of all packets into the stream; they are made by the next full group or by [`Stream::flush`].
    ///
    /// # Safety
    /// The processor has the kernel; the packets' keys are among the keys.
    #[inline(always)]
    pub(crate) unsafe fn one_time_keys<K: Kernel>(&mut self) {
        static ZERO: Block = Block::ZERO;
        for (at, packet) in self.packets.iter().enumerate() {
            self.group.segment(self.lanes, 1, packet.key, 0, packet.nonce);
            self.group.src[self.lanes] = (&raw const ZERO).cast();
            self.group.dst[self.lanes] = self.desk.one_time[at].as_mut_ptr().cast();
            self.lanes += 1;
            if self.lanes == BLOCKS {
                // SAFETY: the caller's; all lanes are set.
                unsafe { self.run::<K>() };
            }
        }
    }

    /// Puts a packet's blocks into the stream. Those that fill a group are made; others wait for the next.
    ///
    /// # Safety
    /// The processor has the kernel. `head` and `body` can be read, `dst` written, for their lengths, until the stream is
    /// flushed; the packet's key is among the keys; no output overlaps an input but its own, in place. Opening, nothing of the
    /// packet is summed up any more ([`Stream::leave`]).
    #[inline(always)]
    pub(crate) unsafe fn text<K: Kernel>(&mut self, packet: &Packet) {
        let blocks = packet.len.div_ceil(BLOCK_LEN);
        // Blocks that lie in the body as a whole: their input needs no putting together.
        let whole_first = packet.head.len.div_ceil(BLOCK_LEN);
        let whole_end = (packet.head.len + packet.body.len) / BLOCK_LEN;
        let body = packet.body.ptr.wrapping_sub(packet.head.len);
        let mut block = 0;
        while block < blocks {
            let count = (blocks - block).min(BLOCKS - self.lanes);
            // RFC 8439 §2.8: text begins with block counter 1. No packet is long enough to wrap it.
            self.group.segment(self.lanes, count, packet.key, block as u32 + 1, packet.nonce);
            let first = self.lanes;
            let (src, dst) =
                (body.wrapping_add(block * BLOCK_LEN), packet.dst.wrapping_add(block * BLOCK_LEN));
            if count == 1 {
                (self.group.src[first], self.group.dst[first]) = (src, dst);
            } else {
                // More than needed, for a length that is known makes vectors of it; those that are not whole again below.
                for i in 0..BLOCKS {
                    self.group.src[first % BLOCKS + i] = src.wrapping_add(i * BLOCK_LEN);
                }
                for i in 0..BLOCKS {
                    self.group.dst[first % BLOCKS + i] = dst.wrapping_add(i * BLOCK_LEN);
                }
            }
            let end = block + count;
            for at in (block..end.min(whole_first)).chain(block.max(whole_end).max(whole_first)..end) {
                // SAFETY: the caller's: head and body can be read.
                unsafe { self.piecemeal::<K>(packet, at, first + at - block) };
            }
            self.lanes += count;
            block = end;
            if self.lanes == BLOCKS {
                // SAFETY: the caller's; all lanes are set.
                unsafe { self.run::<K>() };
            }
        }
        self.pushed += 1;
    }

    /// Makes what is left in the stream.
    ///
    /// # Safety
    /// The processor has the kernel, and what was promised at each packet still holds.
    #[inline(always)]
    pub(crate) unsafe fn flush<K: Kernel>(&mut self) {
        if self.lanes == 0 {
            self.finished = self.pushed;
            return;
        }
        self.group.few = self.lanes <= BLOCKS_FEW;
        for lane in self.lanes..if self.group.few { BLOCKS_FEW } else { BLOCKS } {
            let slot: *mut u8 = (&raw mut self.desk.slots[lane]).cast();
            self.group.src[lane] = slot;
            self.group.dst[lane] = slot;
        }
        // SAFETY: the caller's; idle lanes work on their own slots, under whatever the kernel takes for a key there.
        unsafe { self.run::<K>() };
        self.group.few = false;
    }

    /// A block that is put together from head, body and zeroes, or that is shorter than 64 bytes.
    ///
    /// # Safety
    /// As [`Stream::text`].
    #[inline(always)]
    unsafe fn piecemeal<K: Kernel>(&mut self, packet: &Packet, at: usize, lane: usize) {
        let start = (at * BLOCK_LEN) as isize;
        let head = Part { ptr: packet.head.ptr, len: packet.head.len, offset: -start };
        let body =
            Part { ptr: packet.body.ptr, len: packet.body.len, offset: packet.head.len as isize - start };
        let slot = &mut self.desk.slots[lane];
        // SAFETY: the caller's: head and body can be read for their lengths.
        unsafe { K::stage(slot, [head, body], None) };
        let slot: *mut u8 = (slot as *mut Block).cast();
        self.group.src[lane] = slot;
        let left = packet.len - at * BLOCK_LEN;
        if left < BLOCK_LEN {
            let dst = self.group.dst[lane];
            self.group.dst[lane] = slot;
            self.tails[self.tail_count % BLOCKS] = Tail { lane, dst, len: left };
            self.tail_count += 1;
        }
    }

    /// # Safety
    /// All lanes that are made point to what can be read and written.
    #[inline(always)]
    unsafe fn run<K: Kernel>(&mut self) {
        let Desk { one_time, chains, .. } = &mut self.desk;
        let chained = !self.group.few;
        // SAFETY: what is ready has a one-time key; the rest is the caller's. Chains read ciphertext that the group does not
        // write: sealing, it is written already; opening, it is not to be opened yet.
        unsafe {
            if chained {
                self.ahead.take(self.packets, self.ready, one_time, chains);
            }
            K::chacha(self.keys, &self.group, chains);
            if chained {
                self.ahead.carried_on::<K>(self.packets, one_time, chains);
            }
        }
        for tail in &self.tails[..self.tail_count] {
            // SAFETY: a tail is the rest of a packet's output, shorter than a block.
            unsafe { K::emit(tail.dst, &self.desk.slots[tail.lane], tail.len) };
        }
        self.finished = self.pushed;
        if self.sealing {
            self.ready = self.finished;
        }
        self.lanes = 0;
        self.group.count = 0;
        self.tail_count = 0;
    }
}
