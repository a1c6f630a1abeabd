//! Room in a batch on its way to the engine.

use super::batch::{BATCH_PACKETS_MAX, Batch};
use super::lane::Shared;

/// Room for packets to peers. Nothing leaves before [`Slots::commit`]; dropping takes everything back.
pub struct Slots<'q> {
    /// Taken by commit, or when dropped.
    batch: Option<Batch>,
    shared: &'q Shared,
    left: usize,
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// As many packets as were reserved are there, or their bytes fill the batch: commit, and reserve anew.
    #[error("the reserved slots are full: commit them, and reserve more")]
    Full,
    /// No IP packet is empty, or longer than 65,535 bytes.
    #[error("a packet of {0} bytes: an IP packet has between 1 and 65535")]
    Length(usize),
}

impl<'q> Slots<'q> {
    pub(super) fn new(batch: Batch, shared: &'q Shared, packets: usize) -> Self {
        Self { batch: Some(batch), shared, left: packets.clamp(1, BATCH_PACKETS_MAX) }
    }

    /// How many packets still fit, as far as their bytes do: 64 of 1,500 bytes always do.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Appends an IP packet. It is looked at when it is routed: what is no IP packet is dropped and counted then.
    ///
    /// Cost: one copy.
    ///
    /// # Errors
    /// [`PushError`]: nothing of it was taken.
    pub fn push(&mut self, packet: &[u8]) -> Result<(), PushError> {
        self.room_for(packet.len())?.push([packet].into_iter());
        Ok(())
    }

    /// Appends an IP packet of `len` bytes that `write` fills in place; they are zero before.
    ///
    /// # Errors
    /// [`PushError`]: `write` was not called.
    pub fn push_with<T>(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> T) -> Result<T, PushError> {
        self.room_for(len).map(|batch| write(batch.push_zeroed(len)))
    }

    fn room_for(&mut self, len: usize) -> Result<&mut Batch, PushError> {
        if len == 0 || len > usize::from(u16::MAX) {
            return Err(PushError::Length(len));
        }
        let batch = self.batch.as_mut().filter(|batch| self.left > 0 && batch.fits(len));
        let batch = batch.ok_or(PushError::Full)?;
        self.left -= 1;
        Ok(batch)
    }

    /// Hands all packets to the engine, in the order in which they were pushed.
    ///
    /// Cost: one system call if the worker sleeps.
    pub fn commit(mut self) {
        if let Some(batch) = self.batch.take_if(|batch| batch.len() > 0) {
            self.shared.outbound.publish(batch);
            self.shared.outbound.bell.ring();
        }
    }
}

impl Drop for Slots<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.shared.outbound.put_free(batch);
        }
    }
}
