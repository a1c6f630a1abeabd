//! Where outgoing datagrams are written: reserve, fill, commit.

use crate::TxMeta;

/// The send arena has no room for the reservation. The caller sends what is there and tries once more, or drops and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxFull;

/// A bump arena of outgoing datagrams, grouped into trains that leave in one send each.
///
/// Bytes of a committed train may still be written through [`TxSink::arena`] until the sink is sent: that is how packets
/// are described first and sealed as one batch just before the send.
pub trait TxSink {
    /// Reserves `segments` datagrams of `segment_len` bytes, but for the last, of `last_len` (at most `segment_len`, at
    /// least 1), laid out one directly behind the other. Lengths count everything above UDP.
    ///
    /// The reserved bytes hold whatever was there before: the caller writes each of them.
    ///
    /// # Errors
    /// [`TxFull`] when arena, train table or the limits of one train (64 segments, 65,507 bytes) do not hold it.
    fn reserve_train(
        &mut self,
        meta: &TxMeta,
        segment_len: usize,
        segments: usize,
        last_len: usize,
    ) -> Result<Train<'_, Self>, TxFull>;

    /// The whole arena. Offsets of committed trains stay valid until the sink is sent.
    fn arena(&mut self) -> &mut [u8];

    /// Bytes that may still be reserved.
    fn room(&self) -> usize;

    /// Trains that may still be reserved, as far as their bytes fit; `usize::MAX` where nothing but bytes limits them.
    fn trains_room(&self) -> usize;

    /// Makes a reservation part of the next send, as a train of its own or behind an open one to the same destination.
    #[doc(hidden)]
    fn commit(&mut self, meta: &TxMeta, offset: usize, segment_len: usize, segments: usize, last_len: usize);

    /// Gives an uncommitted reservation back.
    #[doc(hidden)]
    fn roll_back(&mut self, offset: usize);
}

/// A reservation: filled, then committed. Dropping it rolls back.
#[must_use = "a reservation that is dropped sends nothing"]
pub struct Train<'s, S: TxSink + ?Sized> {
    sink: &'s mut S,
    meta: TxMeta,
    offset: usize,
    segment_len: usize,
    segments: usize,
    last_len: usize,
}

impl<'s, S: TxSink + ?Sized> Train<'s, S> {
    /// For implementations of [`TxSink`]: a reservation of checked dimensions at `offset` of the arena.
    #[doc(hidden)]
    pub fn new(
        sink: &'s mut S,
        meta: TxMeta,
        offset: usize,
        segment_len: usize,
        segments: usize,
        last_len: usize,
    ) -> Self {
        Self { sink, meta, offset, segment_len, segments, last_len }
    }

    /// Where the train begins in the arena.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes of the whole train.
    pub fn len(&self) -> usize {
        self.segment_len * (self.segments - 1) + self.last_len
    }

    /// A reservation is never empty.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bytes of the train.
    pub fn bytes(&mut self) -> &mut [u8] {
        let (start, end) = (self.offset, self.offset + self.len());
        &mut self.sink.arena()[start..end]
    }

    /// Makes the train part of the next send and returns its offset in the arena.
    pub fn commit(self) -> usize {
        // The destructor would roll back; it must not run any more.
        let mut done = core::mem::ManuallyDrop::new(self);
        let (offset, meta) = (done.offset, done.meta);
        let (segment_len, segments, last_len) = (done.segment_len, done.segments, done.last_len);
        done.sink.commit(&meta, offset, segment_len, segments, last_len);
        offset
    }
}

impl<S: TxSink + ?Sized> Drop for Train<'_, S> {
    fn drop(&mut self) {
        self.sink.roll_back(self.offset);
    }
}
