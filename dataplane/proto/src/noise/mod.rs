//! Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as WireGuard uses it (the WireGuard paper §5.4).
//!
//! Enters: keys, ephemeral secrets that the caller drew, views of messages. Leaves: messages without their macs, session
//! keys. Never: a change to anything that outlives the call: every function takes what it needs by reference and returns
//! what is new, so a message that fails leaves nothing behind (WG-11). Secrets are erased when dropped, so on every way
//! out of a function (WG-37).
//!
//! | who | step | function |
//! |---|---|---|
//! | initiator | sends the first message | [`create_initiation`] |
//! | responder | learns who claims to have sent it | [`claim`] |
//! | responder | verifies that, and reads the timestamp | [`Claim::verify`] |
//! | responder | answers | [`Verified::create_response`] |
//! | initiator | reads the answer | [`Initiated::consume_response`] |

use dataplane_aead::Key;
use dataplane_wire::wireguard::{INITIATION_LEN, Initiation, RESPONSE_LEN, Response};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

pub(crate) mod hash;
mod symmetric;
#[cfg(test)]
pub(crate) mod tests;

use hash::hash;
use symmetric::Symmetric;

/// The name of the protocol, of which the first chaining key is the hash.
const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// Mixed into every transcript.
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// Why a handshake message was of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoiseError {
    /// A Diffie-Hellman result was all zero: the public key is one of low order (WG-7).
    LowOrder,
    /// A sealed field did not open.
    Tag,
}

/// The keys of a session as one end uses them.
pub(crate) struct SessionKeys {
    /// Seals what this end sends.
    pub(crate) send: Key,
    /// Opens what this end receives.
    pub(crate) recv: Key,
}

/// The private key of an interface with what follows from it alone.
pub(crate) struct Identity {
    secret: StaticSecret,
    public: [u8; 32],
    /// Chaining key and hash at the start of a handshake that others begin with us.
    as_responder: Symmetric,
}

impl Identity {
    pub(crate) fn new(private_key: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*private_key);
        let public = PublicKey::from(&secret).to_bytes();
        let as_responder = begin(&public);
        Self { secret, public, as_responder }
    }

    /// The public key.
    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The private key as it was given.
    pub(crate) fn private(&self) -> &[u8; 32] {
        self.secret.as_bytes()
    }

    /// The static-static secret with a peer, to be computed once per peer (WG-8).
    ///
    /// # Errors
    /// [`NoiseError::LowOrder`]: no handshake with this peer can ever succeed.
    pub(crate) fn static_static(&self, peer: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, NoiseError> {
        diffie_hellman(&self.secret, peer)
    }
}

/// Chaining key and hash before the first message to the owner of a public key.
fn begin(responder: &[u8; 32]) -> Symmetric {
    let chaining_key = hash(&[CONSTRUCTION]);
    let mut symmetric = Symmetric::new(chaining_key, hash(&[&chaining_key, IDENTIFIER]));
    symmetric.mix_hash(responder);
    symmetric
}

fn diffie_hellman(secret: &StaticSecret, public: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, NoiseError> {
    let shared = secret.diffie_hellman(&PublicKey::from(*public));
    if shared.was_contributory() { Ok(Zeroizing::new(shared.to_bytes())) } else { Err(NoiseError::LowOrder) }
}

/// What an initiator keeps until the response comes.
pub(crate) struct Initiated {
    symmetric: Symmetric,
    ephemeral: StaticSecret,
}

/// Writes an initiation, macs still zero.
///
/// # Errors
/// [`NoiseError::LowOrder`]: `peer` is a key of low order, and nothing may be sent to it.
pub(crate) fn create_initiation(
    identity: &Identity,
    peer: &[u8; 32],
    static_static: &[u8; 32],
    ephemeral: &[u8; 32],
    sender: u32,
    timestamp: &[u8; 12],
) -> Result<(Initiated, [u8; INITIATION_LEN]), NoiseError> {
    let ephemeral = StaticSecret::from(*ephemeral);
    let ephemeral_public = PublicKey::from(&ephemeral).to_bytes();
    let mut symmetric = begin(peer);
    symmetric.mix_key(&ephemeral_public);
    symmetric.mix_hash(&ephemeral_public);

    let key = symmetric.mix_cipher(&diffie_hellman(&ephemeral, peer)?[..]);
    let mut sealed_static = [0; 48];
    sealed_static[..32].copy_from_slice(&identity.public);
    symmetric.seal(&key, &mut sealed_static);

    let key = symmetric.mix_cipher(static_static);
    let mut sealed_timestamp = [0; 28];
    sealed_timestamp[..12].copy_from_slice(timestamp);
    symmetric.seal(&key, &mut sealed_timestamp);

    let mut message = [0; INITIATION_LEN];
    Initiation::emit(&mut message, sender, &ephemeral_public, &sealed_static, &sealed_timestamp);
    Ok((Initiated { symmetric, ephemeral }, message))
}

#[cfg(test)]
impl core::fmt::Debug for Initiated {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Initiated").field(&self.symmetric).field(self.ephemeral.as_bytes()).finish()
    }
}

impl Initiated {
    /// Reads the response and derives the session. The state stays as it was, also on success.
    ///
    /// # Errors
    /// [`NoiseError`]: drop the message; the response that we wait for may still come.
    pub(crate) fn consume_response(
        &self,
        identity: &Identity,
        psk: &[u8; 32],
        response: &Response<'_>,
    ) -> Result<SessionKeys, NoiseError> {
        let mut symmetric = self.symmetric.clone();
        symmetric.mix_key(response.ephemeral());
        symmetric.mix_hash(response.ephemeral());
        symmetric.mix_key(&diffie_hellman(&self.ephemeral, response.ephemeral())?[..]);
        symmetric.mix_key(&diffie_hellman(&identity.secret, response.ephemeral())?[..]);
        let key = symmetric.mix_psk(psk);
        symmetric.open(&key, &mut response.sealed_nothing().clone())?;
        let [send, recv] = symmetric.split();
        Ok(SessionKeys { send: Key::new(*send), recv: Key::new(*recv) })
    }
}

/// An initiation of which the sender's static key is known, but nothing proved.
pub(crate) struct Claim {
    symmetric: Symmetric,
    /// Who claims to have sent it.
    pub(crate) peer: [u8; 32],
    ephemeral: [u8; 32],
}

/// Reads who sent an initiation.
///
/// # Errors
/// [`NoiseError`]: drop the message.
pub(crate) fn claim(identity: &Identity, initiation: &Initiation<'_>) -> Result<Claim, NoiseError> {
    let mut symmetric = identity.as_responder.clone();
    symmetric.mix_key(initiation.ephemeral());
    symmetric.mix_hash(initiation.ephemeral());
    let key = symmetric.mix_cipher(&diffie_hellman(&identity.secret, initiation.ephemeral())?[..]);
    let mut text = *initiation.sealed_static();
    symmetric.open(&key, &mut text)?;
    let mut peer = [0; 32];
    peer.copy_from_slice(&text[..32]);
    Ok(Claim { symmetric, peer, ephemeral: *initiation.ephemeral() })
}

/// An initiation that the owner of the static key has made, now or earlier: the timestamp tells.
pub(crate) struct Verified {
    symmetric: Symmetric,
    /// Who made it.
    pub(crate) peer: [u8; 32],
    ephemeral: [u8; 32],
    /// When.
    pub(crate) timestamp: [u8; 12],
}

impl Claim {
    /// Proves that the sender has the static key, and reads the timestamp.
    ///
    /// # Errors
    /// [`NoiseError`]: drop the message.
    pub(crate) fn verify(
        self,
        static_static: &[u8; 32],
        initiation: &Initiation<'_>,
    ) -> Result<Verified, NoiseError> {
        let Self { mut symmetric, peer, ephemeral } = self;
        let key = symmetric.mix_cipher(static_static);
        let mut text = *initiation.sealed_timestamp();
        symmetric.open(&key, &mut text)?;
        let mut timestamp = [0; 12];
        timestamp.copy_from_slice(&text[..12]);
        Ok(Verified { symmetric, peer, ephemeral, timestamp })
    }
}

impl Verified {
    /// Writes the response, macs still zero, and derives the session.
    ///
    /// # Errors
    /// [`NoiseError::LowOrder`]: drop the initiation.
    pub(crate) fn create_response(
        &self,
        ephemeral: &[u8; 32],
        psk: &[u8; 32],
        sender: u32,
        receiver: u32,
    ) -> Result<(SessionKeys, [u8; RESPONSE_LEN]), NoiseError> {
        let ephemeral = StaticSecret::from(*ephemeral);
        let ephemeral_public = PublicKey::from(&ephemeral).to_bytes();
        let mut symmetric = self.symmetric.clone();
        symmetric.mix_key(&ephemeral_public);
        symmetric.mix_hash(&ephemeral_public);
        symmetric.mix_key(&diffie_hellman(&ephemeral, &self.ephemeral)?[..]);
        symmetric.mix_key(&diffie_hellman(&ephemeral, &self.peer)?[..]);
        let key = symmetric.mix_psk(psk);
        let mut sealed_nothing = [0; 16];
        symmetric.seal(&key, &mut sealed_nothing);

        let mut message = [0; RESPONSE_LEN];
        Response::emit(&mut message, sender, receiver, &ephemeral_public, &sealed_nothing);
        let [recv, send] = symmetric.split();
        Ok((SessionKeys { send: Key::new(*send), recv: Key::new(*recv) }, message))
    }
}
