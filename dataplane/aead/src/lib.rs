//! ChaCha20-Poly1305 (RFC 8439) over batches of packets.
//!
//! Enters: keys, byte arenas, and descriptions of packets as offsets into those arenas. Leaves: ciphertext with its tag
//! behind it, or plaintext where the tag was right. Never: a protocol, an allocation per packet, a byte written before the
//! whole batch was checked.
//!
//! The nonce of a packet is 4 zero bytes and its 64-bit counter, little-endian (the WireGuard paper §5.4.6; Noise).
//!
//! | room | what |
//! |---|---|
//! | `batch` | the interface |
//! | `check` | refuses wrong batches before a byte is written |
//! | `cipher` | chooses a provider at run time |
//! | `provider` | what a provider implements behind the checks |
//! | `lanes` | whole batches by a vector kernel: blocks of all packets as one stream, tags of 8 packets at once |
//! | `avx512`, `avx2` | the vector kernels |
//! | `own` | `lanes`, and the library where a batch is too small for it |
//! | `prefetch` | memory that a batch will need |
//! | `reference`, `library` | providers of one packet at a time: `chacha20poly1305` and `ring` |

// Text for the assembler of both kernels, so before them.
#[cfg(target_arch = "x86_64")]
#[macro_use]
mod sums;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod batch;
mod check;
mod cipher;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod library;
#[cfg(target_arch = "x86_64")]
mod own;
mod prefetch;
mod provider;
mod reference;
#[cfg(test)]
mod tests;

pub use batch::{
    Aead, BATCH_MAX, BatchError, KEY_LEN, Key, OpenDesc, SealDesc, SealInPlaceDesc, Span, TAG_LEN,
};
pub use cipher::Cipher;
pub use library::Ring;
pub use prefetch::prefetch;
pub use reference::Reference;
