//! Where outgoing datagrams are written, and grouped into trains.
//!
//! Hot:
//! 1. a shard reserves a train: a bump of the arena, no copy, no zero-fill;
//! 2. it commits: the train goes behind the last one to the same destination where the kernel's rules allow it, else it
//!    becomes a train of its own;
//! 3. a backend sends the trains in order, each from one or more pieces of the arena, and clears.
//!
//! Datagrams to one destination leave in the order of their commits: only the last train to a destination is ever extended.
//! Nothing is allocated after construction.

use dataplane_wire::{FourTuple, Train, TxFull, TxMeta, TxSink};
use std::net::SocketAddr;

use crate::memory::{Class, Region, RegionError, Run};

/// Most segments of a train: UDP_MAX_SEGMENTS of Linux before 6.9 (128 since), the least that every kernel takes.
pub const TRAIN_SEGMENTS_MAX: usize = 64;
/// Most bytes of a train: the largest UDP payload over IPv4 (65,535 − 20 − 8). IPv6 would take 20 more.
pub const TRAIN_LEN_MAX: usize = 65_507;

/// Entries of the table that finds the last train to a destination; a power of two. Two destinations that fall on one entry
/// push each other out, which costs a longer train, never the order.
const OPEN_TABLE_LEN: usize = 512;
/// No train, or the end of a chain.
pub(crate) const NONE: u32 = u32::MAX;

/// Bytes of a train that lie together: a whole number of its datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    offset: u32,
    len: u32,
    next: u32,
}

/// Datagrams of equal length to one destination, but for the last, which may be shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrainEntry {
    pub(crate) meta: TxMeta,
    pub(crate) segment_len: u32,
    pub(crate) len: u32,
    pub(crate) segments: u32,
    pub(crate) pieces: u32,
    first_piece: u32,
    last_piece: u32,
    /// For backends with several sockets: the next train that leaves by the same one.
    pub(crate) next_of_socket: u32,
}

impl TrainEntry {
    /// A train whose last datagram is shorter takes no more.
    fn sealed(&self) -> bool {
        self.len != self.segment_len * self.segments
    }

    /// Whether `segments` datagrams of this shape may go behind those that are there.
    fn takes(&self, meta: &TxMeta, shape: Shape) -> bool {
        self.meta == *meta
            && !self.sealed()
            && shape.fits_behind(self.segment_len as usize)
            && self.segments as usize + shape.segments <= TRAIN_SEGMENTS_MAX
            && self.len as usize + shape.len() <= TRAIN_LEN_MAX
    }
}

/// The dimensions of a reservation.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    segment_len: usize,
    segments: usize,
    last_len: usize,
}

impl Shape {
    fn valid(self) -> bool {
        (1..=TRAIN_SEGMENTS_MAX).contains(&self.segments)
            && (1..=TRAIN_LEN_MAX).contains(&self.segment_len)
            && (1..=self.segment_len).contains(&self.last_len)
            && self.len() <= TRAIN_LEN_MAX
    }

    fn len(self) -> usize {
        self.segment_len * (self.segments - 1) + self.last_len
    }

    /// Equal datagrams, or a single one that is not longer: the tail.
    fn fits_behind(self, segment_len: usize) -> bool {
        if self.segments == 1 { self.last_len <= segment_len } else { self.segment_len == segment_len }
    }
}

/// A send arena with its trains.
pub struct TxBatch {
    run: Run,
    used: usize,
    trains: Vec<TrainEntry>,
    pieces: Vec<Piece>,
    /// By hash of the destination: the number of the last train to it. An entry is never cleared: it is right exactly when the
    /// train that it names goes to the destination that asks, because the first train to a destination overwrites it.
    open: Box<[u32; OPEN_TABLE_LEN]>,
    datagrams: usize,
}

impl TxBatch {
    /// A batch over `slabs` contiguous slabs, of at most `trains_max` trains.
    ///
    /// # Errors
    /// [`RegionError::Exhausted`].
    // tidy: at construction
    pub fn new(region: &Region, slabs: usize, trains_max: usize) -> Result<Self, RegionError> {
        let run = region.run(Class::Slab, slabs)?;
        Ok(Self {
            run,
            used: 0,
            trains: Vec::with_capacity(trains_max),
            // A piece is at least one datagram; a train of many small reservations between those of others has one for each.
            pieces: Vec::with_capacity(trains_max.saturating_mul(4)),
            open: Box::new([NONE; OPEN_TABLE_LEN]),
            datagrams: 0,
        })
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.trains.is_empty()
    }

    /// Datagrams that were committed since the last clear.
    pub fn datagrams(&self) -> usize {
        self.datagrams
    }

    /// Bytes that were committed since the last clear.
    pub fn bytes(&self) -> usize {
        self.used
    }

    /// Forgets everything. Backends do this at the end of a send.
    pub fn clear(&mut self) {
        self.used = 0;
        self.trains.clear();
        self.pieces.clear();
        self.datagrams = 0;
    }

    /// The trains in the order in which they leave.
    pub fn trains(&self) -> impl ExactSizeIterator<Item = TrainView<'_>> {
        self.trains.iter().map(|entry| TrainView { batch: self, entry })
    }

    pub(crate) fn entries(&self) -> &[TrainEntry] {
        &self.trains
    }

    pub(crate) fn entries_mut(&mut self) -> &mut [TrainEntry] {
        &mut self.trains
    }

    pub(crate) fn bytes_at(&self) -> &[u8] {
        &self.run
    }

    /// Offset and length of a train's pieces in the arena.
    pub(crate) fn piece_ranges(&self, entry: &TrainEntry) -> impl Iterator<Item = (u32, u32)> + use<'_> {
        let mut at = entry.first_piece;
        std::iter::from_fn(move || {
            let piece = self.pieces.get(at as usize)?;
            at = piece.next;
            Some((piece.offset, piece.len))
        })
    }

    /// The same for all trains to one destination from one socket, whatever their source address: these must stay in order too.
    fn open_slot(tuple: &FourTuple) -> usize {
        let (bits, port) = match tuple.remote {
            SocketAddr::V4(remote) => (u64::from(remote.ip().to_bits()), remote.port()),
            SocketAddr::V6(remote) => {
                let bits = remote.ip().to_bits();
                ((bits >> 64) as u64 ^ (bits as u64).rotate_left(23), remote.port())
            }
        };
        let mixed = bits ^ (u64::from(port) << 32) ^ (u64::from(tuple.socket.0) << 48);
        // Fibonacci hashing: an odd constant near 2^64 / φ spreads the low bits over the high ones.
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize % OPEN_TABLE_LEN
    }

    /// The number of the train behind which this one goes, if any.
    fn open_train(&self, slot: usize, meta: &TxMeta, shape: Shape) -> Option<usize> {
        let index = self.open[slot] as usize;
        self.trains.get(index).filter(|train| train.takes(meta, shape)).map(|_| index)
    }
}

impl TxSink for TxBatch {
    fn reserve_train(
        &mut self,
        meta: &TxMeta,
        segment_len: usize,
        segments: usize,
        last_len: usize,
    ) -> Result<Train<'_, Self>, TxFull> {
        let shape = Shape { segment_len, segments, last_len };
        if !shape.valid() || shape.len() > self.room() || self.trains_room() == 0 {
            return Err(TxFull);
        }
        let offset = self.used;
        self.used += shape.len();
        Ok(Train::new(self, *meta, offset, segment_len, segments, last_len))
    }

    fn arena(&mut self) -> &mut [u8] {
        &mut self.run
    }

    fn room(&self) -> usize {
        self.run.len() - self.used
    }

    /// By the tables, as trains of one piece each. One that goes behind another needs less.
    fn trains_room(&self) -> usize {
        let trains = self.trains.capacity() - self.trains.len();
        trains.min(self.pieces.capacity() - self.pieces.len())
    }

    fn commit(&mut self, meta: &TxMeta, offset: usize, segment_len: usize, segments: usize, last_len: usize) {
        let shape = Shape { segment_len, segments, last_len };
        let slot = Self::open_slot(&meta.tuple);
        let (offset, len) = (offset as u32, shape.len() as u32);
        self.datagrams += segments;
        let next_piece = self.pieces.len() as u32;
        let next_train = self.trains.len() as u32;
        let piece = Piece { offset, len, next: NONE };
        let Some(index) = self.open_train(slot, meta, shape) else {
            self.open[slot] = next_train;
            let segment_len = if segments == 1 { last_len } else { segment_len } as u32;
            let (segments, pieces) = (segments as u32, 1);
            let (first_piece, last_piece, next_of_socket) = (next_piece, next_piece, NONE);
            self.trains.push(TrainEntry {
                meta: *meta,
                segment_len,
                len,
                segments,
                pieces,
                first_piece,
                last_piece,
                next_of_socket,
            });
            self.pieces.push(piece);
            return;
        };
        let train = &mut self.trains[index];
        train.segments += segments as u32;
        train.len += len;
        let last = &mut self.pieces[train.last_piece as usize];
        if last.offset + last.len == offset {
            last.len += len;
            return;
        }
        last.next = next_piece;
        train.last_piece = next_piece;
        train.pieces += 1;
        self.pieces.push(piece);
    }

    fn roll_back(&mut self, offset: usize) {
        self.used = offset;
    }
}

/// A train of a batch, for a backend.
#[derive(Clone, Copy)]
pub struct TrainView<'b> {
    batch: &'b TxBatch,
    entry: &'b TrainEntry,
}

impl<'b> TrainView<'b> {
    /// Where it goes, and how.
    pub fn meta(&self) -> &'b TxMeta {
        &self.entry.meta
    }

    /// How many datagrams it holds.
    pub fn segments(&self) -> usize {
        self.entry.segments as usize
    }

    /// Bytes of each datagram but the last.
    pub fn segment_len(&self) -> usize {
        self.entry.segment_len as usize
    }

    /// Bytes of all of them.
    pub fn len(&self) -> usize {
        self.entry.len as usize
    }

    /// A train is never empty.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Its bytes, in order, in as many pieces as they lie apart. Each piece is a whole number of datagrams.
    pub fn pieces(&self) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let batch = self.batch;
        let ranges = batch.piece_ranges(self.entry);
        ranges.map(|(offset, len)| &batch.run[offset as usize..(offset + len) as usize])
    }

    /// Its datagrams one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let segment_len = self.segment_len();
        self.pieces().flat_map(move |piece| piece.chunks(segment_len))
    }
}

#[cfg(test)]
#[path = "tx_tests.rs"]
mod tests;
