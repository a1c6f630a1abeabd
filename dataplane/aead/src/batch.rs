//! The batch interface: what a provider is given, and what it promises.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a key (RFC 8439 §2.8).
pub const KEY_LEN: usize = 32;
/// Bytes of a tag (RFC 8439 §2.8).
pub const TAG_LEN: usize = 16;
/// Most packets that one call takes. A send train has at most 64 segments; a caller with more calls more than once.
pub const BATCH_MAX: usize = 64;

/// A key, erased when dropped. Never in two cache lines.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[repr(align(32))]
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// A key from its bytes.
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Takes the bytes of another key, over its own. Costs one copy, where an assignment would first erase.
    #[inline]
    pub fn set(&mut self, other: &Self) {
        self.0 = other.0;
    }

    /// The bytes of the key.
    pub fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

/// A range of bytes in one of the arenas of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub offset: u32,
    /// Number of bytes; an empty span may lie anywhere, even past the end.
    pub len: u32,
}

/// A packet to be sealed from elsewhere into the arena.
///
/// Plaintext is `gather[head]`, then `source[body]`, then `pad` zero bytes. Ciphertext of the same length goes to
/// `arena[dst..]`, its tag directly behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealDesc {
    /// Index into the keys of the call.
    pub key: u32,
    /// The nonce.
    pub counter: u64,
    /// Associated data, in `gather`; empty for transport data.
    pub aad: Span,
    /// First part of the plaintext, in `gather`.
    pub head: Span,
    /// Second part of the plaintext, in `source`.
    pub body: Span,
    /// Zero bytes behind the second part.
    pub pad: u32,
    /// Where the ciphertext begins, in `arena`.
    pub dst: u32,
}

/// A packet to be sealed where it lies. `text` is the plaintext, padding included; the tag goes directly behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealInPlaceDesc {
    /// Index into the keys of the call.
    pub key: u32,
    /// The nonce.
    pub counter: u64,
    /// Associated data, in `gather`; empty for transport data.
    pub aad: Span,
    /// The plaintext, in `arena`. `TAG_LEN` more bytes behind it are written.
    pub text: Span,
}

/// A packet to be opened where it lies. `text` is the ciphertext without its tag, which lies directly behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenDesc {
    /// Index into the keys of the call.
    pub key: u32,
    /// The nonce.
    pub counter: u64,
    /// Associated data, in `gather`; empty for transport data.
    pub aad: Span,
    /// The ciphertext, in `arena`. `TAG_LEN` more bytes behind it are read.
    pub text: Span,
    /// Written by the call: whether the tag was right. Where it was not, `text` holds no plaintext afterwards: its bytes
    /// are as they were, or zero.
    pub opened: bool,
}

/// Why a batch was refused. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// More than [`BATCH_MAX`] packets.
    #[error("a batch of {0} packets: at most {BATCH_MAX} fit one call, split it")]
    TooMany(usize),
    /// A key index outside of the keys.
    #[error("packet {packet} names key {key}, which is not among the keys of the call")]
    Key {
        /// Which packet of the batch.
        packet: usize,
        /// The index it named.
        key: u32,
    },
    /// A span that leaves its arena.
    #[error("packet {packet} names bytes outside of its {arena}")]
    OutOfBounds {
        /// Which packet of the batch.
        packet: usize,
        /// `"arena"`, `"source"` or `"gather"`.
        arena: &'static str,
    },
    /// Two packets would write the same bytes.
    #[error("packets {first} and {second} overlap in the arena")]
    Overlap {
        /// One packet.
        first: usize,
        /// The other.
        second: usize,
    },
    /// A packet longer than RFC 8439 allows or than an offset of 32 bits can say.
    #[error("packet {packet} is too long")]
    TooLong {
        /// Which packet of the batch.
        packet: usize,
    },
}

/// A provider of ChaCha20-Poly1305 over batches.
///
/// Every call checks all descriptions first and writes nothing if one is wrong. Cost beside the cipher itself: no
/// allocation, no system call.
pub trait Aead {
    /// A short name for logs and `status`, such as `ring` or `avx512`.
    fn name(&self) -> &'static str;

    /// Seals packets from `gather` and `source` into `arena`.
    ///
    /// # Errors
    /// [`BatchError`]: a description was wrong; nothing was written. It is a defect of the caller.
    fn seal_batch(
        &self,
        keys: &[Key],
        gather: &[u8],
        source: &[u8],
        arena: &mut [u8],
        batch: &[SealDesc],
    ) -> Result<(), BatchError>;

    /// Seals packets where they lie in `arena`.
    ///
    /// # Errors
    /// As [`Aead::seal_batch`].
    fn seal_in_place(
        &self,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &[SealInPlaceDesc],
    ) -> Result<(), BatchError>;

    /// Opens packets where they lie in `arena`, sets `opened` of each, and returns how many were.
    ///
    /// A packet whose tag is wrong shows no plaintext and touches no other.
    ///
    /// # Errors
    /// As [`Aead::seal_batch`].
    fn open_batch(
        &self,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &mut [OpenDesc],
    ) -> Result<usize, BatchError>;
}
