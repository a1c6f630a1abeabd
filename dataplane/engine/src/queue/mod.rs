//! An inner side as a queue of batches: for an own network stack, or whatever else has packets without a TUN device.
//!
//! Enters and leaves: plain IP packets, in batches of up to [`BATCH_PACKETS_MAX`]. Batches are the credit: a queue has
//! [`Depth`] of them in either direction, made at construction, and nothing ever waits outside of them. Who is out of credit
//! waits; a worker never does: what its queue does not take is dropped and counted as
//! [`DropReason::InnerFull`](crate::DropReason::InnerFull).
//!
//! Waiting is by wakers, by a descriptor ([`AsFd`]) or with a timeout; no runtime is needed.

mod batch;
mod bell;
mod end;
mod lane;
mod slots;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pub use batch::BATCH_PACKETS_MAX;
use batch::Batch;
pub(crate) use end::QueueEnd;
use lane::Shared;
pub use slots::{PushError, Slots};

use crate::park::wait_until;

/// How many batches a queue has in each direction.
///
/// A batch takes 94 KiB and holds up to [`BATCH_PACKETS_MAX`] packets. While packets come one by one, a batch holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth(usize);

impl Depth {
    /// So many batches in each direction; at least 2.
    pub const fn batches(count: usize) -> Self {
        Self(if count < 2 { 2 } else { count })
    }
}

/// The engine's side of a queue: closed when the last who has it lets go.
pub(crate) struct EngineSide(Arc<Shared>);

impl Drop for EngineSide {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A queue of this depth: the engine's side, and the embedder's.
pub(crate) fn open(depth: Depth) -> io::Result<(Arc<EngineSide>, Packets)> {
    let shared = Shared::new(depth.0)?;
    let side = Arc::new(EngineSide(Arc::clone(&shared)));
    let sender = PacketSender { shared: Arc::clone(&shared) };
    Ok((side, Packets { receiver: PacketReceiver { shared }, sender }))
}

/// The embedder's side of a queue: what peers sent comes out, what is put in goes to peers.
///
/// Dropping it ends the interface's inner side: [`Event::InterfaceGone`](crate::Event::InterfaceGone).
pub struct Packets {
    receiver: PacketReceiver,
    sender: PacketSender,
}

impl Packets {
    /// Two halves, for two tasks or threads. The queue closes when either is dropped.
    pub fn split(self) -> (PacketReceiver, PacketSender) {
        (self.receiver, self.sender)
    }

    /// See [`PacketReceiver::recv`].
    pub async fn recv(&mut self) -> Option<ReceivedBatch> {
        self.receiver.recv().await
    }

    /// See [`PacketReceiver::try_recv`].
    pub fn try_recv(&mut self) -> Option<ReceivedBatch> {
        self.receiver.try_recv()
    }

    /// See [`PacketReceiver::recv_timeout`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<ReceivedBatch> {
        self.receiver.recv_timeout(timeout)
    }

    /// See [`PacketSender::reserve`].
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn reserve(&mut self, packets: usize) -> Result<Slots<'_>, Closed> {
        self.sender.reserve(packets).await
    }

    /// See [`PacketSender::try_reserve`].
    pub fn try_reserve(&mut self, packets: usize) -> Option<Slots<'_>> {
        self.sender.try_reserve(packets)
    }

    /// See [`PacketSender::reserve_timeout`].
    pub fn reserve_timeout(&mut self, packets: usize, timeout: Duration) -> Option<Slots<'_>> {
        self.sender.reserve_timeout(packets, timeout)
    }

    /// Whether the interface is gone. What it had delivered can still be received.
    pub fn is_closed(&self) -> bool {
        self.receiver.is_closed()
    }
}

/// As [`PacketReceiver`].
impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

/// What peers sent.
pub struct PacketReceiver {
    shared: Arc<Shared>,
}

impl PacketReceiver {
    /// The next batch, if one is there. `None` also when the interface is gone: see [`PacketReceiver::is_closed`].
    pub fn try_recv(&mut self) -> Option<ReceivedBatch> {
        let batch = self.shared.inbound.next(self.shared.closed())?;
        Some(ReceivedBatch { batch: Some(batch), shared: Arc::clone(&self.shared) })
    }

    /// The next batch; `None` when the interface is gone and nothing is left. Cancel-safe.
    pub async fn recv(&mut self) -> Option<ReceivedBatch> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`PacketReceiver::recv`], for a task that polls by hand.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<ReceivedBatch>> {
        self.shared.inbound.waiting.register(cx.waker());
        // Asked before the lane is: what was published before the end is still received.
        let closed = self.shared.is_closed();
        match self.try_recv() {
            None if !closed => Poll::Pending,
            next => Poll::Ready(next),
        }
    }

    /// Waits for the next batch, for at most `timeout`. `None` when none came or the interface is gone.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<ReceivedBatch> {
        wait_until(timeout, |cx| self.poll_recv(cx)).flatten()
    }

    /// Whether the interface is gone. What it had delivered can still be received.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }
}

/// Readable while a batch may wait or the interface is gone, until [`PacketReceiver::try_recv`] has said `None`. Level-triggered
/// polling will do.
impl AsFd for PacketReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.inbound.bell.as_fd()
    }
}

impl Drop for PacketReceiver {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// The way to peers.
pub struct PacketSender {
    shared: Arc<Shared>,
}

impl PacketSender {
    /// Room for `packets` packets (between 1 and [`BATCH_PACKETS_MAX`]; what is beyond is cut), if there is credit.
    pub fn try_reserve(&mut self, packets: usize) -> Option<Slots<'_>> {
        if self.shared.is_closed() {
            return None;
        }
        let batch = self.shared.outbound.take_free()?;
        Some(Slots::new(batch, &self.shared, packets))
    }

    /// As [`PacketSender::try_reserve`], but waits for credit. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`]: the interface is gone.
    pub async fn reserve(&mut self, packets: usize) -> Result<Slots<'_>, Closed> {
        poll_fn(|cx| self.poll_ready(cx)).await?;
        self.try_reserve(packets).ok_or(Closed)
    }

    /// Whether there is credit, for a task that polls by hand: the next [`PacketSender::try_reserve`] has room then.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.shared.outbound.waiting.register(cx.waker());
        if self.shared.is_closed() {
            return Poll::Ready(Err(Closed));
        }
        if self.shared.outbound.has_free() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Waits for credit, for at most `timeout`. `None` when there was none or the interface is gone.
    pub fn reserve_timeout(&mut self, packets: usize, timeout: Duration) -> Option<Slots<'_>> {
        wait_until(timeout, |cx| self.poll_ready(cx))?.ok()?;
        self.try_reserve(packets)
    }
}

impl Drop for PacketSender {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// The interface of a queue is gone, or the engine has shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the interface of this queue is gone")]
pub struct Closed;

/// Packets that peers sent, in the order in which each peer sent them. Dropping it gives its credit back.
pub struct ReceivedBatch {
    /// Taken when dropped.
    batch: Option<Batch>,
    shared: Arc<Shared>,
}

impl ReceivedBatch {
    /// How many packets there are; never 0.
    pub fn len(&self) -> usize {
        self.batch.as_ref().map_or(0, Batch::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Packet `index`, IP header first, exactly as long as its header says; `None` past the end.
    pub fn packet(&self, index: usize) -> Option<&[u8]> {
        self.batch.as_ref()?.packet(index)
    }

    /// All packets, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.packet(index))
    }
}

impl Drop for ReceivedBatch {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.shared.inbound.put_free(batch);
        }
    }
}
