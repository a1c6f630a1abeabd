//! The library provider: `ring`, a packet at a time.
//!
//! Why ring and not aws-lc-rs: on an AMD EPYC of the Zen 4 generation (2026-11, ring 0.17.14, aws-lc-rs 1.19.0, least of 300
//! repetitions in one process, sealing in place) both run BoringSSL's stitched AVX2 code and take the same time, 729 and
//! 736 ns at 1,420 bytes, 170 and 175 ns at 64, 6.2 µs at 16 KiB. A key costs ring 2 ns and aws-lc-rs 33 ns with an
//! allocation, which a batch over many peers pays per packet; and ring needs no CMake and builds in a tenth of the time.
//!
//! Contains unsafe: ring never erases a key, so its bytes are overwritten here when the key is dropped.

use std::mem::MaybeUninit;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use crate::batch::{Key, TAG_LEN};
use crate::provider::{NONCE_LEN, PerPacket};

/// ChaCha20-Poly1305 by the crate `ring`, a packet at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring;

/// A key of ring that erases itself.
pub(crate) struct ErasedKey(MaybeUninit<LessSafeKey>);

impl ErasedKey {
    fn new(key: &Key) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.bytes()).expect("ring takes keys of 32 bytes");
        Self(MaybeUninit::new(LessSafeKey::new(key)))
    }

    fn key(&self) -> &LessSafeKey {
        // SAFETY: `new` is the only constructor and initialises the key; only `drop` overwrites it.
        unsafe { self.0.assume_init_ref() }
    }
}

impl Drop for ErasedKey {
    fn drop(&mut self) {
        // Nothing to run for the key itself: `LessSafeKey` owns no memory (asserted below), it is bytes and a reference.
        const { assert!(!std::mem::needs_drop::<LessSafeKey>()) };
        self.0.zeroize();
    }
}

impl PerPacket for Ring {
    type Prepared = ErasedKey;

    const LABEL: &'static str = "ring";

    fn prepare(key: &Key) -> ErasedKey {
        ErasedKey::new(key)
    }

    fn seal_one(key: &ErasedKey, nonce: &[u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = key
            .key()
            .seal_in_place_separate_tag(nonce, Aad::from(aad), text)
            .expect("a packet is shorter than 2^32 bytes, which RFC 8439 allows");
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn open_one(
        key: &ErasedKey,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = ring::aead::Tag::from(*tag);
        let opened = key.key().open_in_place_separate_tag(nonce, Aad::from(aad), tag, text, 0..).is_ok();
        if !opened {
            // ring decrypts while it authenticates and zeroes afterwards. That it does is not in its documentation, so it
            // is done here again; failures are rare and the bytes are in the cache.
            text.zeroize();
        }
        opened
    }
}
