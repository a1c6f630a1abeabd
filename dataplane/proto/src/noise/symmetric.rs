//! The running state of a handshake: chaining key and transcript hash.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::NoiseError;
use super::hash::{hash, kdf};

/// Bytes of a tag.
const TAG_LEN: usize = 16;

/// Chaining key and transcript hash. Erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Symmetric {
    chaining_key: [u8; 32],
    hash: [u8; 32],
}

impl Symmetric {
    pub(super) fn new(chaining_key: [u8; 32], hash: [u8; 32]) -> Self {
        Self { chaining_key, hash }
    }

    /// `H := HASH(H ‖ bytes)`
    pub(super) fn mix_hash(&mut self, bytes: &[u8]) {
        self.hash = hash(&[&self.hash, bytes]);
    }

    /// `C := KDF1(C, input)`
    pub(super) fn mix_key(&mut self, input: &[u8]) {
        let [chaining_key] = kdf::<1>(&self.chaining_key, input);
        self.chaining_key = *chaining_key;
    }

    /// `(C, κ) := KDF2(C, input)`
    pub(super) fn mix_cipher(&mut self, input: &[u8]) -> Zeroizing<[u8; 32]> {
        let [chaining_key, key] = kdf::<2>(&self.chaining_key, input);
        self.chaining_key = *chaining_key;
        key
    }

    /// `(C, τ, κ) := KDF3(C, psk)` and `H := HASH(H ‖ τ)`
    pub(super) fn mix_psk(&mut self, psk: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let [chaining_key, tau, key] = kdf::<3>(&self.chaining_key, psk);
        self.chaining_key = *chaining_key;
        self.mix_hash(&tau[..]);
        key
    }

    /// Seals the first bytes of `text`, puts the tag into its last 16, and mixes all of it into the hash. Counter 0, and
    /// the hash so far as associated data (WG-9).
    pub(super) fn seal(&mut self, key: &[u8; 32], text: &mut [u8]) {
        let (plain, tag) = text.split_at_mut(text.len() - TAG_LEN);
        let sealed = ChaCha20Poly1305::new(key.into())
            .encrypt_inout_detached(&Nonce::default(), &self.hash, plain.into())
            .expect("a handshake field is far below the cipher's limit of 256 GiB");
        tag.copy_from_slice(&sealed);
        self.mix_hash(text);
    }

    /// Opens what [`Symmetric::seal`] sealed: `text` begins as ciphertext and tag, and ends as plaintext and tag.
    pub(super) fn open(&mut self, key: &[u8; 32], text: &mut [u8]) -> Result<(), NoiseError> {
        let hashed = hash(&[&self.hash, text]);
        let (cipher, tag) = text.split_at_mut(text.len() - TAG_LEN);
        let tag = Tag::try_from(&*tag).map_err(|_| NoiseError::Tag)?;
        ChaCha20Poly1305::new(key.into())
            .decrypt_inout_detached(&Nonce::default(), &self.hash, cipher.into(), &tag)
            .map_err(|_| NoiseError::Tag)?;
        self.hash = hashed;
        Ok(())
    }

    /// The two transport keys: the initiator's for sending, then the responder's.
    pub(super) fn split(&self) -> [Zeroizing<[u8; 32]>; 2] {
        kdf::<2>(&self.chaining_key, &[])
    }
}
