//! Packets of all three kinds of batch in one shape: pointers into checked arenas.
//!
//! Making a pointer is safe; what may be done with it is argued where it is used.

use crate::batch::{OpenDesc, SealDesc, SealInPlaceDesc, Span};

/// Bytes somewhere.
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    pub(crate) ptr: *const u8,
    pub(crate) len: usize,
}

impl Bytes {
    pub(crate) const EMPTY: Self = Self { ptr: core::ptr::null(), len: 0 };

    /// A checked span; an empty one may lie anywhere.
    fn of(arena: &[u8], span: Span) -> Self {
        Self { ptr: arena.as_ptr().wrapping_add(span.offset as usize), len: span.len as usize }
    }
}

/// A packet: what goes in, what comes out, under which key and nonce.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    /// Its place in the batch.
    pub(crate) index: u8,
    pub(crate) key: u32,
    pub(crate) nonce: [u32; 3],
    pub(crate) aad: Bytes,
    /// Input is `head`, `body`, and zeroes up to `len`.
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
    pub(crate) len: usize,
    /// Output goes here; the tag lies behind it.
    pub(crate) dst: *mut u8,
}

impl Packet {
    pub(crate) fn seal(
        index: u8,
        prefix: u32,
        gather: &[u8],
        source: &[u8],
        arena: *mut u8,
        desc: &SealDesc,
    ) -> Self {
        let (head, body) = (Bytes::of(gather, desc.head), Bytes::of(source, desc.body));
        Self {
            index,
            key: desc.key,
            nonce: nonce(prefix, desc.counter),
            aad: Bytes::of(gather, desc.aad),
            head,
            body,
            len: head.len + body.len + desc.pad as usize,
            dst: arena.wrapping_add(desc.dst as usize),
        }
    }

    pub(crate) fn seal_here(
        index: u8,
        prefix: u32,
        gather: &[u8],
        arena: *mut u8,
        desc: &SealInPlaceDesc,
    ) -> Self {
        let (key, counter) = (desc.key, desc.counter);
        Self::in_place(index, key, nonce(prefix, counter), gather, desc.aad, arena, desc.text)
    }

    pub(crate) fn open(index: u8, prefix: u32, gather: &[u8], arena: *mut u8, desc: &OpenDesc) -> Self {
        let (key, counter) = (desc.key, desc.counter);
        Self::in_place(index, key, nonce(prefix, counter), gather, desc.aad, arena, desc.text)
    }

    fn in_place(
        index: u8,
        key: u32,
        nonce: [u32; 3],
        gather: &[u8],
        aad: Span,
        arena: *mut u8,
        text: Span,
    ) -> Self {
        let (dst, len) = (arena.wrapping_add(text.offset as usize), text.len as usize);
        Self {
            index,
            key,
            nonce,
            aad: Bytes::of(gather, aad),
            head: Bytes::EMPTY,
            body: Bytes { ptr: dst, len },
            len,
            dst,
        }
    }
}

fn nonce(prefix: u32, counter: u64) -> [u32; 3] {
    [prefix, counter as u32, (counter >> 32) as u32]
}
