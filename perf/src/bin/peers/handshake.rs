//! The initiator's half of WireGuard's handshake, by snow.

use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit as _, Mac};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use dataplane_aead::Key;
use dataplane_proto::gate::InterfaceKeys;
use dataplane_proto::tai64n::Tai64n;
use dataplane_wire::wireguard::{CookieReply, INITIATION_LEN, Response, TYPE_INITIATION};
use snow::{Builder, HandshakeState};
use std::time::SystemTime;

/// The gateway that all handshakes are with.
pub(crate) struct Gateway {
    public: [u8; 32],
    keys: InterfaceKeys,
}

/// A handshake under way.
pub(crate) struct Begun {
    state: HandshakeState,
    pub(crate) message: [u8; INITIATION_LEN],
}

/// The keys of a session as the initiator uses them.
pub(crate) struct Session {
    pub(crate) send: Key,
    pub(crate) recv: Key,
    /// The gateway's index.
    pub(crate) remote_index: u32,
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 16] {
    let mut state = <Blake2sMac<U16>>::new_from_slice(key).expect("keys have 16 or 32 bytes");
    state.update(text);
    state.finalize_fixed().into()
}

impl Gateway {
    pub(crate) fn new(public: [u8; 32]) -> Self {
        Self { public, keys: InterfaceKeys::of(&public) }
    }

    /// Begins a handshake; `cookie` is what the gateway asked for before.
    ///
    /// # Errors
    /// The public key is no point that a secret comes out of.
    pub(crate) fn begin(
        &self,
        private: &[u8; 32],
        index: u32,
        cookie: Option<&[u8; 16]>,
    ) -> Result<Begun, snow::Error> {
        let pattern = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s".parse()?;
        let mut state = Builder::new(pattern)
            .prologue(b"WireGuard v1 zx2c4 Jason@zx2c4.com")?
            .local_private_key(private)?
            .remote_public_key(&self.public)?
            .psk(2, &[0; 32])?
            .build_initiator()?;
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut message = [0; INITIATION_LEN];
        message[..4].copy_from_slice(&TYPE_INITIATION.to_le_bytes());
        message[4..8].copy_from_slice(&index.to_le_bytes());
        state.write_message(&Tai64n::from_unix(unix).0, &mut message[8..116])?;
        let mac1 = mac(&self.keys.mac1, &message[..116]);
        message[116..132].copy_from_slice(&mac1);
        if let Some(cookie) = cookie {
            let mac2 = mac(cookie, &message[..132]);
            message[132..].copy_from_slice(&mac2);
        }
        Ok(Begun { state, message })
    }

    /// Opens the cookie that the gateway answers a message with; `None` where it answers another.
    pub(crate) fn cookie(&self, begun: &Begun, reply: &CookieReply<'_>) -> Option<[u8; 16]> {
        let (text, tag) = reply.sealed_cookie().split_at(16);
        let mut cookie: [u8; 16] = text.try_into().ok()?;
        XChaCha20Poly1305::new(&self.keys.cookie.into())
            .decrypt_inout_detached(
                &XNonce::from(*reply.nonce()),
                &begun.message[116..132],
                (&mut cookie[..]).into(),
                &Tag::try_from(tag).ok()?,
            )
            .ok()?;
        Some(cookie)
    }
}

impl Begun {
    /// Ends the handshake.
    ///
    /// # Errors
    /// The response answers another message, or was changed on its way.
    pub(crate) fn finish(mut self, response: &Response<'_>, bytes: &[u8]) -> Result<Session, snow::Error> {
        self.state.read_message(&bytes[12..60], &mut [0; 16])?;
        let (send, recv) = self.state.dangerously_get_raw_split();
        Ok(Session { send: Key::new(send), recv: Key::new(recv), remote_index: response.sender() })
    }
}
