//! mac1, mac2 and cookie replies (the WireGuard paper §5.4.4 and §5.4.7).

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use dataplane_wire::Instant;
use dataplane_wire::wireguard::{COOKIE_REPLY_LEN, CookieReply, Macs};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::noise::hash::{hash, mac};

/// How long a secret makes cookies (the paper §6.1: COOKIE_REFRESH_TIME).
pub(crate) const SECRET_AGE: Duration = Duration::from_secs(120);
/// How long an initiator uses a cookie: what is left of [`SECRET_AGE`] when 5 s of latency are taken off (WG-19).
pub(crate) const COOKIE_AGE: Duration = Duration::from_secs(115);

/// The keys of messages to the owner of a public key, which anyone who knows that key can compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceKeys {
    /// Key of mac1.
    pub mac1: [u8; 32],
    /// Key under which cookies are sealed.
    pub cookie: [u8; 32],
}

impl InterfaceKeys {
    /// The keys that belong to a public key.
    pub fn of(public: &[u8; 32]) -> Self {
        Self { mac1: hash(&[b"mac1----", public]), cookie: hash(&[b"cookie--", public]) }
    }

    /// Whether mac1 of a message is right, in constant time (WG-16).
    pub(crate) fn verify_mac1(&self, macs: &Macs<'_>) -> bool {
        mac(&self.mac1, &[macs.mac1_input()]).ct_eq(macs.mac1).into()
    }
}

/// Makes and checks cookies, under secrets that change every 120 s and follow from a master seed and the time alone: all
/// gates with the same seed and clock agree, whichever of them a source reaches.
pub(crate) struct CookieJar {
    master: [u8; 32],
    epoch: u64,
    current: [u8; 32],
    previous: [u8; 32],
}

impl CookieJar {
    pub(crate) fn new(master: &[u8; 32]) -> Self {
        let master = hash(&[b"cookie secrets", master]);
        Self { master, epoch: 0, current: secret(&master, 0), previous: secret(&master, u64::MAX) }
    }

    /// The cookie of a source now: a MAC over its address and port (WG-18).
    pub(crate) fn cookie(&mut self, now: Instant, source: SocketAddr) -> [u8; 16] {
        self.rotate(now);
        make(&self.current, source)
    }

    /// Whether mac2 shows that the sender received a cookie at its address, made under the present secret or the last.
    pub(crate) fn verify_mac2(&mut self, now: Instant, source: SocketAddr, macs: &Macs<'_>) -> bool {
        // Who holds no cookie says so (WG-17): most of a flood is told from the rest without a hash.
        if *macs.mac2 == [0; 16] {
            return false;
        }
        self.rotate(now);
        let right = |secret| bool::from(mac(&make(secret, source), &[macs.mac2_input()]).ct_eq(macs.mac2));
        right(&self.current) || right(&self.previous)
    }

    fn rotate(&mut self, now: Instant) {
        let epoch = now.as_nanos() / SECRET_AGE.as_nanos() as u64;
        if epoch != self.epoch {
            self.epoch = epoch;
            self.current = secret(&self.master, epoch);
            self.previous = secret(&self.master, epoch.wrapping_sub(1));
        }
    }
}

impl Drop for CookieJar {
    fn drop(&mut self) {
        self.master.zeroize();
        self.current.zeroize();
        self.previous.zeroize();
    }
}

fn secret(master: &[u8; 32], epoch: u64) -> [u8; 32] {
    hash(&[master, &epoch.to_le_bytes()])
}

fn make(secret: &[u8; 32], source: SocketAddr) -> [u8; 16] {
    let port = source.port().to_be_bytes();
    match source.ip().to_canonical() {
        IpAddr::V4(ip) => mac(secret, &[&ip.octets(), &port]),
        IpAddr::V6(ip) => mac(secret, &[&ip.octets(), &port]),
    }
}

/// Writes the reply that carries a cookie, bound to the mac1 of the message it answers (WG-20).
pub(crate) fn seal_reply(
    keys: &InterfaceKeys,
    receiver: u32,
    nonce: &[u8; 24],
    answered_mac1: &[u8; 16],
    cookie: &[u8; 16],
) -> [u8; COOKIE_REPLY_LEN] {
    let mut sealed = [0; 32];
    let (text, tag) = sealed.split_at_mut(16);
    text.copy_from_slice(cookie);
    let made = XChaCha20Poly1305::new(&keys.cookie.into())
        .encrypt_inout_detached(&XNonce::from(*nonce), answered_mac1, text.into())
        .expect("16 bytes are far below the cipher's limit of 256 GiB");
    tag.copy_from_slice(&made);
    let mut reply = [0; COOKIE_REPLY_LEN];
    CookieReply::emit(&mut reply, receiver, nonce, &sealed);
    reply
}

/// A cookie that we hold. Erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct HeldCookie {
    cookie: [u8; 16],
    #[zeroize(skip)]
    received: Instant,
}

impl HeldCookie {
    /// Opens a reply to our message with `sent_mac1`; `None` where it is none.
    pub(crate) fn open(
        now: Instant,
        keys: &InterfaceKeys,
        sent_mac1: &[u8; 16],
        reply: &CookieReply<'_>,
    ) -> Option<Self> {
        let (text, tag) = reply.sealed_cookie().split_at(16);
        let mut cookie: [u8; 16] = text.try_into().ok()?;
        let tag = Tag::try_from(tag).ok()?;
        XChaCha20Poly1305::new(&keys.cookie.into())
            .decrypt_inout_detached(&XNonce::from(*reply.nonce()), sent_mac1, (&mut cookie[..]).into(), &tag)
            .ok()?;
        Some(Self { cookie, received: now })
    }

    /// mac2 of a message; `None` once the cookie is too old (WG-19).
    pub(crate) fn mac2(&self, now: Instant, covered: &[u8]) -> Option<[u8; 16]> {
        (now.since(self.received) < COOKIE_AGE).then(|| mac(&self.cookie, &[covered]))
    }
}

#[cfg(test)]
#[path = "cookie_tests.rs"]
mod tests;
