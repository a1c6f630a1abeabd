//! What a provider implements: batches that were already checked, with the whole nonce in view.
//!
//! Two levels, both private. [`Provider`] takes a checked batch and the first word of the nonce, which the public interface
//! fixes at zero and published vectors do not. [`PerPacket`] is for libraries that know one packet at a time.

use crate::batch::{Aead, BatchError, Key, OpenDesc, SealDesc, SealInPlaceDesc, Span, TAG_LEN};
use crate::check::{self, Sizes};

/// Bytes of a nonce (RFC 8439 §2.8).
pub(crate) const NONCE_LEN: usize = 12;

/// A provider behind the checks. `prefix` is the nonce's first word.
pub(crate) trait Provider {
    fn label(&self) -> &'static str;

    fn seal(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        source: &[u8],
        arena: &mut [u8],
        batch: &[SealDesc],
    );

    fn seal_here(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &[SealInPlaceDesc],
    );

    fn open(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &mut [OpenDesc],
    ) -> usize;
}

impl<P: Provider + ?Sized> Aead for P {
    fn name(&self) -> &'static str {
        self.label()
    }

    fn seal_batch(
        &self,
        keys: &[Key],
        gather: &[u8],
        source: &[u8],
        arena: &mut [u8],
        batch: &[SealDesc],
    ) -> Result<(), BatchError> {
        check::batch(&sizes(keys, gather, source, arena), batch)?;
        self.seal(0, keys, gather, source, arena, batch);
        Ok(())
    }

    fn seal_in_place(
        &self,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &[SealInPlaceDesc],
    ) -> Result<(), BatchError> {
        check::batch(&sizes(keys, gather, &[], arena), batch)?;
        self.seal_here(0, keys, gather, arena, batch);
        Ok(())
    }

    fn open_batch(
        &self,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &mut [OpenDesc],
    ) -> Result<usize, BatchError> {
        check::batch(&sizes(keys, gather, &[], arena), batch)?;
        Ok(self.open(0, keys, gather, arena, batch))
    }
}

fn sizes(keys: &[Key], gather: &[u8], source: &[u8], arena: &[u8]) -> Sizes {
    Sizes { keys: keys.len(), gather: gather.len(), source: source.len(), arena: arena.len() }
}

/// The nonce of a packet: the prefix and the counter, both little-endian.
pub(crate) fn nonce(prefix: u32, counter: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..4].copy_from_slice(&prefix.to_le_bytes());
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// The bytes of a checked span; an empty one may lie anywhere.
pub(crate) fn bytes(arena: &[u8], span: Span) -> &[u8] {
    if span.len == 0 {
        return &[];
    }
    &arena[span.offset as usize..][..span.len as usize]
}

/// A library that seals and opens one packet at a time, in place.
pub(crate) trait PerPacket {
    /// A key in the form the library wants; it must erase itself when dropped.
    type Prepared;

    const LABEL: &'static str;

    fn prepare(key: &Key) -> Self::Prepared;

    fn seal_one(key: &Self::Prepared, nonce: &[u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN];

    /// Whether the tag was right. Where it was not, `text` is as it was, or zero.
    fn open_one(
        key: &Self::Prepared,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool;
}

/// The key of the packet before, which is most often the key of this one too.
struct LastKey<'a, P: PerPacket> {
    keys: &'a [Key],
    last: Option<(u32, P::Prepared)>,
}

impl<P: PerPacket> LastKey<'_, P> {
    fn of(&mut self, index: u32) -> &P::Prepared {
        if self.last.as_ref().is_none_or(|(last, _)| *last != index) {
            self.last = None;
        }
        let keys = self.keys;
        &self.last.get_or_insert_with(|| (index, P::prepare(&keys[index as usize]))).1
    }
}

impl<P: PerPacket> Provider for P {
    fn label(&self) -> &'static str {
        P::LABEL
    }

    fn seal(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        source: &[u8],
        arena: &mut [u8],
        batch: &[SealDesc],
    ) {
        let mut key = LastKey::<P> { keys, last: None };
        for desc in batch {
            let (head, body) = (bytes(gather, desc.head), bytes(source, desc.body));
            let len = head.len() + body.len() + desc.pad as usize;
            let (text, tag) = arena[desc.dst as usize..][..len + TAG_LEN].split_at_mut(len);
            let (head_text, rest) = text.split_at_mut(head.len());
            let (body_text, pad) = rest.split_at_mut(body.len());
            head_text.copy_from_slice(head);
            body_text.copy_from_slice(body);
            pad.fill(0);
            let aad = bytes(gather, desc.aad);
            let nonce = nonce(prefix, desc.counter);
            tag.copy_from_slice(&P::seal_one(key.of(desc.key), &nonce, aad, text));
        }
    }

    fn seal_here(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &[SealInPlaceDesc],
    ) {
        let mut key = LastKey::<P> { keys, last: None };
        for desc in batch {
            let len = desc.text.len as usize;
            let (text, tag) = arena[desc.text.offset as usize..][..len + TAG_LEN].split_at_mut(len);
            let aad = bytes(gather, desc.aad);
            let nonce = nonce(prefix, desc.counter);
            tag.copy_from_slice(&P::seal_one(key.of(desc.key), &nonce, aad, text));
        }
    }

    fn open(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &mut [OpenDesc],
    ) -> usize {
        let mut key = LastKey::<P> { keys, last: None };
        let mut opened = 0;
        for desc in batch {
            let len = desc.text.len as usize;
            let (text, rest) = arena[desc.text.offset as usize..].split_at_mut(len);
            let mut tag = [0; TAG_LEN];
            tag.copy_from_slice(&rest[..TAG_LEN]);
            let aad = bytes(gather, desc.aad);
            let nonce = nonce(prefix, desc.counter);
            desc.opened = P::open_one(key.of(desc.key), &nonce, aad, text, &tag);
            opened += usize::from(desc.opened);
        }
        opened
    }
}
