//! Inner packets that wait for a session, in memory of a fixed size.
//!
//! Enters: packets as they came from the inner side, super-packets whole with the header that describes them. Leaves: the
//! same, oldest first. Never: an allocation after construction, more than [`STAGED_MAX`] packets of one peer.
//!
//! Memory is cut into frames of 2 KiB, chained for longer packets. It is reserved at construction and touched for the first
//! time when it is used for the first time, so that who never waits never pays.

use dataplane_wire::offload::VnetHeader;

/// Most packets that wait for one peer (the Linux kernel's implementation has the same; WG-40). A super-packet counts as
/// the packets that it will become.
pub const STAGED_MAX: u32 = 128;
/// Bytes of a frame.
pub const FRAME_LEN: usize = 2048;

const NIL: u32 = u32::MAX;

/// What is known of a frame: its link, and where it is the first of a packet, that packet.
#[derive(Clone, Copy)]
struct Frame {
    /// The next frame of the same packet, or of the free list.
    next: u32,
    /// The first frame of the packet that came after this one.
    next_packet: u32,
    len: u32,
    packets: u32,
    vnet: VnetHeader,
}

/// The packets of one peer, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    first: u32,
    last: u32,
    packets: u32,
}

impl Queue {
    /// A queue with nothing in it.
    pub const EMPTY: Self = Self { first: NIL, last: NIL, packets: 0 };

    /// Whether nothing waits.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.first == NIL
    }

    /// How many packets wait, a super-packet counted as what it will become.
    pub const fn packets(&self) -> u32 {
        self.packets
    }
}

/// The store is full; the packet was not put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagingFull;

/// The store that the queues of a shard share.
pub struct Staging {
    memory: Vec<u8>,
    /// Frames that were ever used; grows within its capacity.
    frames: Vec<Frame>,
    free: u32,
    free_len: usize,
    frames_max: usize,
}

impl Staging {
    /// A store of so many frames.
    pub fn new(frames_max: usize) -> Self {
        // Zeroed memory of this size comes from the kernel page by page, on first use.
        let memory = vec![0; frames_max * FRAME_LEN];
        Self { memory, frames: Vec::with_capacity(frames_max), free: NIL, free_len: 0, frames_max }
    }

    /// Frames that are in use.
    pub fn used(&self) -> usize {
        self.frames.len() - self.free_len
    }

    /// Puts a packet behind those of a queue, and returns how many of its oldest went to make room. `packets` is what a
    /// super-packet will become.
    ///
    /// # Errors
    /// [`StagingFull`]: nothing was changed but that older packets of the same queue may have gone; `1` names how many.
    pub fn push(
        &mut self,
        queue: &mut Queue,
        vnet: VnetHeader,
        packets: u32,
        packet: &[u8],
    ) -> Result<u32, (StagingFull, u32)> {
        let mut gone = 0;
        let wanted = packet.len().div_ceil(FRAME_LEN).max(1);
        if packets > STAGED_MAX || wanted > self.frames_max {
            return Err((StagingFull, 0));
        }
        while queue.packets + packets > STAGED_MAX || self.frames_max - self.used() < wanted {
            match self.drop_oldest(queue) {
                0 => return Err((StagingFull, gone)),
                dropped => gone += dropped,
            }
        }
        let first = self.store(packet);
        let frame = &mut self.frames[first as usize];
        (frame.len, frame.packets, frame.vnet) = (packet.len() as u32, packets, vnet);
        match queue.last {
            NIL => queue.first = first,
            last => self.frames[last as usize].next_packet = first,
        }
        queue.last = first;
        queue.packets += packets;
        Ok(gone)
    }

    /// Copies the oldest packet to the beginning of `out`; `None` if there is none, or `out` does not hold it.
    pub fn peek(&self, queue: &Queue, out: &mut [u8]) -> Option<(VnetHeader, usize)> {
        let Frame { len, vnet, .. } = *self.frames.get(queue.first as usize)?;
        let len = len as usize;
        let mut at = queue.first;
        for piece in out.get_mut(..len)?.chunks_mut(FRAME_LEN) {
            piece.copy_from_slice(&self.memory[at as usize * FRAME_LEN..][..piece.len()]);
            at = self.frames[at as usize].next;
        }
        Some((vnet, len))
    }

    /// Drops all of a queue, and returns how many packets that were.
    pub fn purge(&mut self, queue: &mut Queue) -> u32 {
        let packets = queue.packets;
        while self.drop_oldest(queue) != 0 {}
        packets
    }

    /// Drops the oldest of a queue, and returns how many packets it counted for; 0 if there is none.
    pub fn drop_oldest(&mut self, queue: &mut Queue) -> u32 {
        let Some(&Frame { next_packet, packets, .. }) = self.frames.get(queue.first as usize) else {
            return 0;
        };
        let mut at = queue.first;
        while at != NIL {
            let next = core::mem::replace(&mut self.frames[at as usize].next, self.free);
            self.free = at;
            self.free_len += 1;
            at = next;
        }
        queue.first = next_packet;
        if next_packet == NIL {
            queue.last = NIL;
        }
        queue.packets -= packets;
        packets
    }

    /// Copies bytes into a chain of frames, of which there are enough, and returns the first.
    fn store(&mut self, packet: &[u8]) -> u32 {
        let mut first = NIL;
        let mut last = NIL;
        let (mut pieces, empty) = (packet.chunks(FRAME_LEN), packet.is_empty());
        while let Some(piece) = pieces.next().or((empty && first == NIL).then_some(&[][..])) {
            let at = self.take();
            self.memory[at as usize * FRAME_LEN..][..piece.len()].copy_from_slice(piece);
            match last {
                NIL => first = at,
                last => self.frames[last as usize].next = at,
            }
            last = at;
        }
        first
    }

    fn take(&mut self) -> u32 {
        let blank = Frame { next: NIL, next_packet: NIL, len: 0, packets: 0, vnet: VnetHeader::default() };
        if self.free == NIL {
            self.frames.push(blank);
            return self.frames.len() as u32 - 1;
        }
        let at = self.free;
        self.free = core::mem::replace(&mut self.frames[at as usize], blank).next;
        self.free_len -= 1;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn push(staging: &mut Staging, queue: &mut Queue, packet: &[u8]) -> Result<u32, (StagingFull, u32)> {
        staging.push(queue, VnetHeader::default(), 1, packet)
    }

    fn pop(staging: &mut Staging, queue: &mut Queue) -> Option<Vec<u8>> {
        let mut out = vec![0; 70_000];
        let (_, len) = staging.peek(queue, &mut out)?;
        staging.drop_oldest(queue);
        Some(out[..len].to_vec())
    }

    // WG-40
    #[test]
    fn wg_40_the_oldest_of_more_than_128_goes_first() {
        let (mut staging, mut queue) = (Staging::new(1000), Queue::EMPTY);
        for number in 0..130_u8 {
            assert_eq!(push(&mut staging, &mut queue, &[number]), Ok(u32::from(number >= 128)));
        }
        assert_eq!((queue.packets(), staging.used()), (128, 128));
        for number in 2..130 {
            assert_eq!(pop(&mut staging, &mut queue), Some(vec![number]));
        }
        assert_eq!((pop(&mut staging, &mut queue), queue, staging.used()), (None, Queue::EMPTY, 0));
    }

    // WG-40
    #[test]
    fn wg_40_a_super_packet_counts_as_what_it_will_become() {
        let (mut staging, mut queue) = (Staging::new(1000), Queue::EMPTY);
        push(&mut staging, &mut queue, b"oldest").unwrap();
        push(&mut staging, &mut queue, b"older").unwrap();
        assert_eq!(staging.push(&mut queue, VnetHeader::default(), 127, &[7; 60_000]), Ok(1));
        assert_eq!(staging.push(&mut queue, VnetHeader::default(), 129, &[7; 60_000]), Err((StagingFull, 0)));
        assert_eq!(pop(&mut staging, &mut queue).as_deref(), Some(&b"older"[..]));
        assert_eq!(pop(&mut staging, &mut queue), Some(vec![7; 60_000]));
    }

    #[test]
    fn a_full_store_takes_from_the_own_queue_and_never_from_another() {
        let mut staging = Staging::new(4);
        let (mut one, mut other) = (Queue::EMPTY, Queue::EMPTY);
        push(&mut staging, &mut one, &[1; 3 * FRAME_LEN]).unwrap();
        push(&mut staging, &mut other, &[2]).unwrap();
        assert_eq!(push(&mut staging, &mut other, &[3; FRAME_LEN + 1]), Err((StagingFull, 1)));
        assert_eq!(push(&mut staging, &mut one, &[4; 1]), Ok(0));
        assert_eq!(push(&mut staging, &mut one, &[5; 2 * FRAME_LEN]), Ok(1));
        assert_eq!(staging.purge(&mut one), 2);
        assert_eq!(staging.used(), 0);
    }

    #[test]
    fn nothing_grows_after_construction() {
        let (mut staging, mut queue) = (Staging::new(64), Queue::EMPTY);
        let before = (staging.frames.capacity(), staging.memory.capacity());
        for len in 0..500 {
            let _ = push(&mut staging, &mut queue, &vec![0; len * 37]);
        }
        assert_eq!((staging.frames.capacity(), staging.memory.capacity()), before);
    }

    proptest! {
        // WG-40, WG-56
        #[test]
        fn what_comes_out_is_what_went_in_in_order(
            steps in prop::collection::vec((0_usize..3, prop_oneof![Just(0), 0_usize..9000, 60_000_usize..65_536], any::<bool>()), 1..200),
        ) {
            let mut staging = Staging::new(100);
            let mut queues = [0; 3].map(|_| (Queue::EMPTY, VecDeque::<Vec<u8>>::new()));
            for (number, (which, len, out)) in steps.into_iter().enumerate() {
                let (queue, model) = &mut queues[which];
                if out {
                    prop_assert_eq!(pop(&mut staging, queue), model.pop_front());
                } else {
                    let packet: Vec<u8> = (0..len).map(|at| (at * 7 + number) as u8).collect();
                    let (gone, stored) = match push(&mut staging, queue, &packet) {
                        Ok(gone) => (gone, true),
                        Err((StagingFull, gone)) => (gone, false),
                    };
                    model.drain(..gone as usize);
                    if stored {
                        model.push_back(packet);
                    }
                }
                let used: usize = queues.iter().flat_map(|(_, model)| model).map(|p| p.len().div_ceil(FRAME_LEN).max(1)).sum();
                prop_assert_eq!(staging.used(), used);
            }
        }
    }
}
