//! Hot: the blocks of a batch as one stream, so that the lanes of the cipher are always full.
//!
//! 1. A one-time key per packet: block 0 (RFC 8439 §2.6), kept aside.
//! 2. Then block after block, packet after packet, 32 to a group, whatever packets they belong to.
//! 3. A block whose input is not 64 bytes in one piece (head and body, padding, a tail) is put together in a slot first.
//! 4. A block whose output is not 64 bytes long is made in a slot and copied.
//!
//! Contains unsafe: calls the kernel with pointers into the arenas.

use crate::batch::Key;
use crate::lanes::kernel::{BLOCK_LEN, BLOCKS, BLOCKS_FEW, Block, Group, Kernel, Part, Segment};
use crate::lanes::packet::Packet;

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
    group: Group,
    lanes: usize,
    tails: [Tail; BLOCKS],
    tail_count: usize,
    slots: &'a mut [Block; BLOCKS],
    pushed: usize,
    finished: usize,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(keys: &'a [Key], slots: &'a mut [Block; BLOCKS]) -> Self {
        const NO_TAIL: Tail = Tail { lane: 0, dst: core::ptr::null_mut(), len: 0 };
        Self {
            keys,
            group: Group {
                segments: [Segment::EMPTY; BLOCKS],
                count: 0,
                few: false,
                src: [core::ptr::null(); BLOCKS],
                dst: [core::ptr::null_mut(); BLOCKS],
            },
            lanes: 0,
            tails: [NO_TAIL; BLOCKS],
            tail_count: 0,
            slots,
            pushed: 0,
            finished: 0,
        }
    }

    /// How many of the packets put in by [`Stream::text`] are surely made.
    #[inline(always)]
    pub(crate) fn finished(&self) -> usize {
        self.finished
    }

    /// Puts a packet's one-time key into `block`, by the next full group or by [`Stream::flush`].
    ///
    /// # Safety
    /// The processor has the kernel; `block` can be written until then; the packet's key is among the keys.
    #[inline(always)]
    pub(crate) unsafe fn one_time_key<K: Kernel>(&mut self, packet: &Packet, block: *mut Block) {
        static ZERO: Block = Block::ZERO;
        self.segment(packet, 0);
        self.group.src[self.lanes] = (&raw const ZERO).cast();
        self.group.dst[self.lanes] = block.cast();
        self.lanes += 1;
        if self.lanes == BLOCKS {
            // SAFETY: the caller's; all lanes are set.
            unsafe { self.run::<K>() };
        }
    }

    /// Puts a packet's blocks into the stream. Those that fill a group are made; others wait for the next.
    ///
    /// # Safety
    /// The processor has the kernel. `head` and `body` can be read, `dst` written, for their lengths, until the stream is
    /// flushed; the packet's key is among the keys; no output overlaps an input but its own, in place.
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
            self.segment(packet, block as u32 + 1);
            let first = self.lanes;
            let (src, dst) =
                (body.wrapping_add(block * BLOCK_LEN), packet.dst.wrapping_add(block * BLOCK_LEN));
            // All of them at first, for the loop is the shorter for it; those that are not whole again below.
            for (i, lane) in self.group.src[first..first + count].iter_mut().enumerate() {
                *lane = src.wrapping_add(i * BLOCK_LEN);
            }
            for (i, lane) in self.group.dst[first..first + count].iter_mut().enumerate() {
                *lane = dst.wrapping_add(i * BLOCK_LEN);
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
            let slot: *mut u8 = (&raw mut self.slots[lane]).cast();
            self.group.src[lane] = slot;
            self.group.dst[lane] = slot;
        }
        // SAFETY: the caller's; idle lanes work on their own slots, under whatever the kernel takes for a key there.
        unsafe { self.run::<K>() };
        self.group.few = false;
    }

    #[inline(always)]
    fn segment(&mut self, packet: &Packet, counter: u32) {
        // Lanes and segments both number at most 32, and a segment has a lane at least.
        self.group.segments[self.group.count % BLOCKS] =
            Segment { first: self.lanes as u32, key: packet.key, counter, nonce: packet.nonce };
        self.group.count += 1;
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
        let slot = &mut self.slots[lane];
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
        // SAFETY: the caller's.
        unsafe { K::chacha(self.keys, &self.group) };
        for tail in &self.tails[..self.tail_count] {
            // SAFETY: a tail is the rest of a packet's output, shorter than a block.
            unsafe { K::emit(tail.dst, &self.slots[tail.lane], tail.len) };
        }
        self.finished = self.pushed;
        self.lanes = 0;
        self.group.count = 0;
        self.tail_count = 0;
    }
}
