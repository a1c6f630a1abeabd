//! Checks a whole batch before a byte is written.
//!
//! Enters: the sizes of the arenas and the descriptions. Leaves: nothing, or the first thing that is wrong. A batch whose
//! packets lie in ascending order, which nearly all do, is checked in one pass; any other is sorted on the stack.

use crate::batch::{BATCH_MAX, BatchError, OpenDesc, SealDesc, SealInPlaceDesc, Span, TAG_LEN};

/// How much there is of everything a description may point into.
pub(crate) struct Sizes {
    pub(crate) keys: usize,
    pub(crate) gather: usize,
    pub(crate) source: usize,
    pub(crate) arena: usize,
}

/// What the three kinds of description have in common.
pub(crate) trait Described {
    fn key(&self) -> u32;
    fn aad(&self) -> Span;
    fn head(&self) -> Span {
        Span::default()
    }
    fn body(&self) -> Span {
        Span::default()
    }
    /// Where the packet begins in the arena, and the length of its text without the tag.
    fn text(&self) -> (u32, u64);
}

impl Described for SealDesc {
    fn key(&self) -> u32 {
        self.key
    }
    fn aad(&self) -> Span {
        self.aad
    }
    fn head(&self) -> Span {
        self.head
    }
    fn body(&self) -> Span {
        self.body
    }
    fn text(&self) -> (u32, u64) {
        let len = u64::from(self.head.len) + u64::from(self.body.len) + u64::from(self.pad);
        (self.dst, len)
    }
}

impl Described for SealInPlaceDesc {
    fn key(&self) -> u32 {
        self.key
    }
    fn aad(&self) -> Span {
        self.aad
    }
    fn text(&self) -> (u32, u64) {
        (self.text.offset, u64::from(self.text.len))
    }
}

impl Described for OpenDesc {
    fn key(&self) -> u32 {
        self.key
    }
    fn aad(&self) -> Span {
        self.aad
    }
    fn text(&self) -> (u32, u64) {
        (self.text.offset, u64::from(self.text.len))
    }
}

/// Checks every description of a batch. Text, tag included, of every packet lies in the arena and in no other packet.
pub(crate) fn batch<D: Described>(sizes: &Sizes, batch: &[D]) -> Result<(), BatchError> {
    if batch.len() > BATCH_MAX {
        return Err(BatchError::TooMany(batch.len()));
    }
    let mut ascending = true;
    let mut last_end = 0u64;
    for (packet, desc) in batch.iter().enumerate() {
        let (start, end) = one(sizes, packet, desc)?;
        ascending &= start >= last_end;
        last_end = end;
    }
    if ascending { Ok(()) } else { disjoint(batch) }
}

/// Checks one description by itself and tells the range it writes.
fn one<D: Described>(sizes: &Sizes, packet: usize, desc: &D) -> Result<(u64, u64), BatchError> {
    let key = desc.key();
    if key as usize >= sizes.keys {
        return Err(BatchError::Key { packet, key });
    }
    let (dst, len) = desc.text();
    // Far below the limit of RFC 8439 §2.8 (2^32 - 1 blocks), which 32-bit lengths cannot reach.
    if len > u64::from(u32::MAX) - TAG_LEN as u64 {
        return Err(BatchError::TooLong { packet });
    }
    if !within(desc.aad(), sizes.gather) || !within(desc.head(), sizes.gather) {
        return Err(BatchError::OutOfBounds { packet, arena: "gather" });
    }
    if !within(desc.body(), sizes.source) {
        return Err(BatchError::OutOfBounds { packet, arena: "source" });
    }
    let start = u64::from(dst);
    let end = start + len + TAG_LEN as u64;
    if end > sizes.arena as u64 {
        return Err(BatchError::OutOfBounds { packet, arena: "arena" });
    }
    Ok((start, end))
}

fn within(span: Span, size: usize) -> bool {
    span.len == 0 || u64::from(span.offset) + u64::from(span.len) <= size as u64
}

/// Sorts what the packets write and compares neighbours. No range is empty, for each has a tag.
#[cold]
fn disjoint<D: Described>(batch: &[D]) -> Result<(), BatchError> {
    let mut ranges = [(0u64, 0u64, 0usize); BATCH_MAX];
    let ranges = &mut ranges[..batch.len()];
    for (packet, (slot, desc)) in ranges.iter_mut().zip(batch).enumerate() {
        let (dst, len) = desc.text();
        let start = u64::from(dst);
        *slot = (start, start + len + TAG_LEN as u64, packet);
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        let (left, right) = (pair[0], pair[1]);
        if right.0 < left.1 {
            return Err(BatchError::Overlap { first: left.2.min(right.2), second: left.2.max(right.2) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { keys: 2, gather: 100, source: 1_000, arena: 2_000 };

    fn span(offset: u32, len: u32) -> Span {
        Span { offset, len }
    }

    fn at(dst: u32, len: u32) -> SealDesc {
        SealDesc { body: span(0, len), dst, ..SealDesc::default() }
    }

    #[test]
    fn packets_that_touch_but_do_not_overlap_pass_in_any_order() {
        let a = at(0, 84);
        let b = at(100, 10);
        let c = at(126, 0);
        assert_eq!(batch(&SIZES, &[a, b, c]), Ok(()));
        assert_eq!(batch(&SIZES, &[c, a, b]), Ok(()));
    }

    #[test]
    fn overlap_by_one_byte_of_a_tag_is_refused_in_any_order() {
        let a = at(0, 85);
        let b = at(100, 10);
        let first_second = BatchError::Overlap { first: 0, second: 1 };
        assert_eq!(batch(&SIZES, &[a, b]), Err(first_second));
        assert_eq!(batch(&SIZES, &[b, a]), Err(first_second));
        let far = at(500, 0);
        let inside = BatchError::Overlap { first: 1, second: 2 };
        assert_eq!(batch(&SIZES, &[far, b, a]), Err(inside));
        // The one that holds all others is found too.
        assert!(matches!(
            batch(&SIZES, &[at(600, 0), at(10, 900), at(20, 1)]),
            Err(BatchError::Overlap { .. })
        ));
    }

    #[test]
    fn spans_are_refused_one_byte_past_their_arena() {
        let gather = |aad, head| SealDesc { aad, head, ..SealDesc::default() };
        let out = |arena| Err(BatchError::OutOfBounds { packet: 0, arena });
        let empty = span(u32::MAX, 0);
        assert_eq!(batch(&SIZES, &[gather(span(90, 10), span(0, 100))]), Ok(()));
        assert_eq!(batch(&SIZES, &[gather(empty, empty)]), Ok(()));
        assert_eq!(batch(&SIZES, &[gather(span(90, 11), empty)]), out("gather"));
        assert_eq!(batch(&SIZES, &[gather(empty, span(1, 100))]), out("gather"));
        assert_eq!(batch(&SIZES, &[gather(empty, span(u32::MAX, 20))]), out("gather"));
        assert_eq!(batch(&SIZES, &[at(0, 1_001)]), out("source"));
        assert_eq!(batch(&SIZES, &[at(1_984, 0)]), Ok(()));
        assert_eq!(batch(&SIZES, &[at(1_985, 0)]), out("arena"));
        let open = OpenDesc { text: span(1_900, 85), ..OpenDesc::default() };
        assert_eq!(batch(&SIZES, &[open]), out("arena"));
        let seal = SealInPlaceDesc { text: span(u32::MAX, u32::MAX - 16), ..SealInPlaceDesc::default() };
        assert_eq!(batch(&SIZES, &[seal]), out("arena"));
    }

    #[test]
    fn too_many_too_long_and_unknown_keys_are_named() {
        let many = [SealInPlaceDesc::default(); BATCH_MAX + 1];
        assert_eq!(batch(&SIZES, &many), Err(BatchError::TooMany(BATCH_MAX + 1)));
        let unknown = SealInPlaceDesc { key: 2, text: span(16, 0), ..SealInPlaceDesc::default() };
        assert_eq!(
            batch(&SIZES, &[SealInPlaceDesc::default(), unknown]),
            Err(BatchError::Key { packet: 1, key: 2 })
        );
        let long = SealDesc { pad: u32::MAX - 15, ..SealDesc::default() };
        assert_eq!(batch(&SIZES, &[long]), Err(BatchError::TooLong { packet: 0 }));
    }
}
