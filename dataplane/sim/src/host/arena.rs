//! A send arena of a fixed size, as plain memory.

use dataplane_wire::{Train, TxFull, TxMeta, TxSink};

/// Bytes: room for a few super-packets, small enough to be full sometimes.
const ROOM: usize = 160 << 10;
/// The limits of one train, as [`TxSink::reserve_train`] has them.
const SEGMENTS_MAX: usize = 64;
const TRAIN_MAX: usize = 65_507;

/// Trains that were committed and not sent yet.
#[derive(Default)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    used: usize,
    trains: Vec<(TxMeta, usize, usize, usize)>,
}

impl Arena {
    /// Hands every datagram out, in order, and is empty then.
    pub(super) fn drain(&mut self, mut each: impl FnMut(&TxMeta, &[u8])) {
        for (meta, offset, segment, len) in self.trains.drain(..) {
            self.bytes[offset..offset + len].chunks(segment).for_each(|datagram| each(&meta, datagram));
        }
        self.used = 0;
    }
}

impl TxSink for Arena {
    fn reserve_train(
        &mut self,
        meta: &TxMeta,
        len: usize,
        n: usize,
        last: usize,
    ) -> Result<Train<'_, Self>, TxFull> {
        let total = len * (n - 1) + last;
        if n > SEGMENTS_MAX || total > TRAIN_MAX || total > self.room() {
            return Err(TxFull);
        }
        let offset = self.used;
        self.used += total;
        if self.bytes.len() < self.used {
            self.bytes.resize(self.used, 0);
        }
        Ok(Train::new(self, *meta, offset, len, n, last))
    }

    fn arena(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn room(&self) -> usize {
        ROOM - self.used
    }

    fn trains_room(&self) -> usize {
        usize::MAX
    }

    fn commit(&mut self, meta: &TxMeta, offset: usize, len: usize, n: usize, last: usize) {
        self.trains.push((*meta, offset, len, len * (n - 1) + last));
    }

    fn roll_back(&mut self, offset: usize) {
        self.used = offset;
    }
}
