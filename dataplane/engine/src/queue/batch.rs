//! Packets in one buffer, one behind the other.

/// Most packets in one batch: what one receive call opens at once.
pub const BATCH_PACKETS_MAX: usize = 64;
/// Bytes of a batch: so many packets of an Ethernet frame each, and more than the largest IP packet.
pub(super) const BATCH_BYTES: usize = BATCH_PACKETS_MAX * 1500;

const _: () = assert!(BATCH_BYTES > u16::MAX as usize, "a batch holds the largest packet");

/// Packets behind each other. Its memory is taken once; it never grows.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Where each packet ends.
    ends: Vec<u32>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(BATCH_BYTES), ends: Vec::with_capacity(BATCH_PACKETS_MAX) }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Whether a packet of so many bytes fits.
    pub(super) fn fits(&self, len: usize) -> bool {
        self.ends.len() < BATCH_PACKETS_MAX && self.bytes.len() + len <= BATCH_BYTES
    }

    /// Packet `index`; `None` past the end.
    pub(super) fn packet(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.bytes.get(start as usize..end as usize)
    }

    /// Appends a packet that [`Batch::fits`], in pieces.
    pub(super) fn push<'p>(&mut self, pieces: impl Iterator<Item = &'p [u8]>) {
        pieces.for_each(|piece| self.bytes.extend_from_slice(piece));
        self.ends.push(self.bytes.len() as u32);
    }

    /// Appends a packet of `len` zeros that [`Batch::fits`], to be written in place.
    pub(super) fn push_zeroed(&mut self, len: usize) -> &mut [u8] {
        let start = self.bytes.len();
        self.bytes.resize(start + len, 0);
        self.ends.push(self.bytes.len() as u32);
        &mut self.bytes[start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_as_they_went_in_and_the_buffer_never_grows() {
        let mut batch = Batch::new();
        let capacity = batch.bytes.capacity();
        batch.push([&b"ab"[..], b"c"].into_iter());
        batch.push_zeroed(2)[1] = 7;
        assert_eq!((batch.packet(0), batch.packet(1)), (Some(&b"abc"[..]), Some(&[0, 7][..])));
        assert_eq!((batch.len(), batch.packet(2)), (2, None));
        while batch.fits(1500) {
            batch.push_zeroed(1500);
        }
        assert_eq!((batch.len(), batch.bytes.capacity()), (BATCH_PACKETS_MAX, capacity));
        batch.clear();
        assert!(batch.fits(u16::MAX.into()) && !batch.fits(BATCH_BYTES + 1));
    }
}
