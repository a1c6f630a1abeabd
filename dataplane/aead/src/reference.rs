//! The reference provider: `chacha20poly1305`, audited, portable, slow. What every other provider is tested against.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};

use crate::batch::{Key, TAG_LEN};
use crate::provider::{NONCE_LEN, PerPacket};

/// ChaCha20-Poly1305 by the crate `chacha20poly1305`, a packet at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl PerPacket for Reference {
    // Erases itself: the crate's feature `zeroize` is on.
    type Prepared = ChaCha20Poly1305;

    const LABEL: &'static str = "reference";

    fn prepare(key: &Key) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(key.bytes().into())
    }

    fn seal_one(
        key: &ChaCha20Poly1305,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_LEN] {
        key.encrypt_inout_detached(nonce.into(), aad, text.into())
            .expect("a packet is shorter than 2^32 bytes, which RFC 8439 allows")
            .into()
    }

    fn open_one(
        key: &ChaCha20Poly1305,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        // The crate checks the tag before it decrypts, so a wrong packet stays as it was.
        let tag: &Tag = tag.into();
        key.decrypt_inout_detached(nonce.into(), aad, text.into(), tag).is_ok()
    }
}
