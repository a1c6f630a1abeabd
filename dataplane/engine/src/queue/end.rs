//! Hot: the worker's end of a queue.
//!
//! 1. Packets for the embedder are appended to an open batch, which is published when it is full and at the end of each batch of
//!    deliveries.
//! 2. No free batch: the packet is refused ([`SendError::Full`]), and the worker counts it and goes on.
//! 3. Packets from the embedder are copied out of its batches one by one; an empty batch gives its credit back.
//!
//! No lock, no allocation, and one system call for each time that the reader had gone to sleep.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use dataplane_io::inner::{GsoKind, Inner, RecvError, SendError, VNET_HEADER_LEN};
use dataplane_wire::Span;

use super::EngineSide;
use super::batch::Batch;
use super::lane::Shared;

/// One worker's end.
pub(crate) struct QueueEnd {
    side: Arc<EngineSide>,
    /// Being filled for the embedder.
    open: Option<Batch>,
    /// Being read, from this packet on.
    reading: Option<(Batch, usize)>,
}

impl QueueEnd {
    pub(crate) fn new(side: Arc<EngineSide>) -> Self {
        Self { side, open: None, reading: None }
    }

    fn shared(&self) -> &Shared {
        &self.side.0
    }

    /// The batch that takes a packet of this length; a full one is published first.
    fn room_for(&mut self, len: usize) -> Option<&mut Batch> {
        if self.open.as_ref().is_some_and(|batch| !batch.fits(len)) {
            self.flush();
        }
        if self.open.is_none() {
            self.open = self.shared().inbound.take_free();
        }
        self.open.as_mut().filter(|batch| batch.fits(len))
    }
}

impl Inner for QueueEnd {
    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, RecvError> {
        loop {
            if let Some((batch, next)) = &mut self.reading {
                if let Some(packet) = batch.packet(*next) {
                    *next += 1;
                    let (header, space) = buffer.split_at_mut(VNET_HEADER_LEN);
                    header.fill(0);
                    let len = packet.len().min(space.len());
                    space[..len].copy_from_slice(&packet[..len]);
                    return Ok(Some(VNET_HEADER_LEN + len));
                }
                if let Some((batch, _)) = self.reading.take() {
                    let lane = &self.shared().outbound;
                    lane.put_free(batch);
                    lane.waiting.wake();
                }
            }
            let shared = self.shared();
            // Asked before the lane is: what was published before the end is still read.
            let closed = shared.is_closed();
            match shared.outbound.next(shared.closed()) {
                Some(batch) => self.reading = Some((batch, 0)),
                None if closed => return Err(RecvError::Gone),
                None => return Ok(None),
            }
        }
    }

    fn send_gather(&mut self, head: &[u8], arena: &[u8], parts: &[Span]) -> Result<(), SendError> {
        if GsoKind::of(head).is_some() {
            return Err(SendError::GsoRefused);
        }
        if self.shared().is_closed() {
            return Err(SendError::Gone);
        }
        let head = head.get(VNET_HEADER_LEN..).ok_or(SendError::OutOfBounds)?;
        let inside = |part: &Span| arena.get(part.range()).is_some();
        if !parts.iter().all(inside) {
            return Err(SendError::OutOfBounds);
        }
        let len = head.len() + parts.iter().map(|part| part.len as usize).sum::<usize>();
        let batch = self.room_for(len).ok_or(SendError::Full)?;
        batch.push([head].into_iter().chain(parts.iter().map(|part| &arena[part.range()])));
        Ok(())
    }

    fn flush(&mut self) {
        if let Some(batch) = self.open.take() {
            let lane = &self.shared().inbound;
            lane.publish(batch);
            lane.bell.ring();
            lane.waiting.wake();
        }
    }

    /// Never: whoever reads the queue shall not have to know of super-packets.
    fn takes(&self, _: GsoKind) -> bool {
        false
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.shared().outbound.bell.as_fd()
    }
}

impl Drop for QueueEnd {
    fn drop(&mut self) {
        self.flush();
        if let Some((batch, _)) = self.reading.take() {
            self.shared().outbound.put_free(batch);
        }
    }
}
