//! Hot: what both sides of a queue share: two lanes of batches, and how each side is told of the other.
//!
//! 1. The writer takes a free batch: its credit. There is none: it waits, or drops and counts.
//! 2. It fills the batch, pushes it, and rings.
//! 3. The reader pops the batch, and gives it back empty when it is done: the writer is woken.
//!
//! A batch is at any time with the writer, in `filled`, with the reader, or in `free`; there are never more than the lane was
//! made with. No lock, no allocation.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use atomic_waker::AtomicWaker;

use super::batch::Batch;
use super::bell::Bell;
use crate::sync::{ArrayQueue, AtomicBool};

/// One direction.
pub(super) struct Lane {
    filled: ArrayQueue<Batch>,
    free: ArrayQueue<Batch>,
    /// Readable while `filled` may hold something, or the queue is closed.
    pub(super) bell: Bell,
    /// The embedder's task that waits: for packets where it reads, for credit where it writes.
    pub(super) waiting: AtomicWaker,
}

impl Lane {
    // tidy: all memory of a lane, at construction
    fn new(batches: usize) -> io::Result<Self> {
        let free = ArrayQueue::new(batches);
        for _ in 0..batches {
            // Cannot fail: the queue was made for as many.
            let _ = free.push(Batch::new());
        }
        let (filled, bell) = (ArrayQueue::new(batches), Bell::new()?);
        Ok(Self { filled, free, bell, waiting: AtomicWaker::new() })
    }

    /// A batch to fill; `None` where all are taken.
    pub(super) fn take_free(&self) -> Option<Batch> {
        self.free.pop()
    }

    /// An empty batch goes home.
    pub(super) fn put_free(&self, mut batch: Batch) {
        batch.clear();
        // Cannot fail: there are never more batches than places.
        let _ = self.free.push(batch);
    }

    /// Hands a filled batch to the reader. Telling it is up to the caller.
    pub(super) fn publish(&self, batch: Batch) {
        // Cannot fail: there are never more batches than places.
        let _ = self.filled.push(batch);
    }

    /// The next filled batch. Where there is none, the bell is quiet until another one comes.
    pub(super) fn next(&self, closed: &AtomicBool) -> Option<Batch> {
        if let Some(batch) = self.filled.pop() {
            return Some(batch);
        }
        self.bell.quiet();
        let batch = self.filled.pop();
        if batch.is_some() || closed.load(Ordering::Acquire) {
            self.bell.ring();
        }
        batch
    }

    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }
}

/// Both directions of a queue.
pub(super) struct Shared {
    /// From peers to the embedder.
    pub(super) inbound: Lane,
    /// From the embedder to peers.
    pub(super) outbound: Lane,
    /// One of the two sides is gone.
    closed: AtomicBool,
}

impl Shared {
    // tidy: at construction
    pub(super) fn new(batches: usize) -> io::Result<Arc<Self>> {
        let (inbound, outbound) = (Lane::new(batches)?, Lane::new(batches)?);
        Ok(Arc::new(Self { inbound, outbound, closed: AtomicBool::new(false) }))
    }

    /// What has been published is still read; nothing is published any more.
    pub(super) fn close(&self) {
        // Release pairs with the acquire of `is_closed`: who sees the end sees all that came before it.
        self.closed.store(true, Ordering::Release);
        for lane in [&self.inbound, &self.outbound] {
            lane.bell.ring();
            lane.waiting.wake();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn closed(&self) -> &AtomicBool {
        &self.closed
    }
}

#[cfg(all(test, loom))]
#[path = "lane_model.rs"]
mod model;
