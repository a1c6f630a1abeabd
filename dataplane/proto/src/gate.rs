//! The gate before the handshake queue: mac1, cookies, load, and the rate of a source, in one object per shard.
//!
//! Enters: each handshake message that a shard received, and how full the queue behind the gate is. Leaves: a verdict.
//! Never: a Diffie-Hellman, an allocation after construction, a state that one source's flood takes from another.
//!
//! 1. mac1, in constant time: without it a message costs one hash and nothing else (WG-16). Under load, who shows no cookie
//!    and is owed none before the next window costs not even that.
//! 2. Not under load: through. Load begins when the queue is an eighth full, and lasts until it has not been for 1 s
//!    (WG-25).
//! 3. Under load: mac2 proves that the sender gets what is sent to its address. Who cannot show it is answered with a
//!    cookie, which is shorter than every message that it answers (WG-24), and never queued.
//! 4. Who can is held to 20 handshakes/s, burst 5 (WG-26).
//!
//! So a flood without cookies fills an eighth of the queue, and a flood with them 20 places per second and address; the
//! rest is for honest sources, which need one refused attempt and one with the cookie (WG-27). Gates of the same master
//! seed take each other's cookies, so the second attempt may reach another core.

use core::hash::BuildHasher;
use core::net::SocketAddr;
use core::time::Duration;

use dataplane_wire::wireguard::{COOKIE_REPLY_LEN, Macs, Message};
use dataplane_wire::{CoreId, DropReason, Instant};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

pub use crate::cookie::InterfaceKeys;
use crate::cookie::{CookieJar, seal_reply};
use crate::keyed::KeyedState;
use crate::limiter::Limiter;
use crate::noise::hash::hash;

/// How long load lasts after the queue was last an eighth full.
pub const LOAD_STICKS: Duration = Duration::from_secs(1);
/// The part of the queue from which on there is load.
const LOAD_PART: usize = 8;

/// Cookie replies that one gate gives in a second at most.
pub const REPLIES_PER_SECOND: u64 = (ReplyShares::FREE as u64
    + ReplyShares::GROUPS as u64 * ReplyShares::SHARE as u64)
    * (1_000_000_000 / ReplyShares::WINDOW_NS);

/// What becomes of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Queue it for the node.
    Pass,
    /// Drop and count it.
    Drop(DropReason),
    /// Drop it as [`DropReason::NeedsCookie`], and send this to where it came from.
    CookieReply([u8; COOKIE_REPLY_LEN]),
}

/// What a gate has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateStats {
    /// Whether there is load now.
    pub under_load: bool,
    /// How often load has begun.
    pub load_episodes: u64,
    /// Cookie replies made.
    pub cookie_replies: u64,
    /// Cookie replies that were owed but withheld: their source had its share of them.
    pub cookie_replies_withheld: u64,
}

/// The gate of one shard.
pub struct Gate {
    cookies: CookieJar,
    limiter: Limiter,
    replies: ReplyShares,
    random: ChaCha12Rng,
    load_until: Instant,
    stats: GateStats,
}

impl Gate {
    /// A gate of the shard of `core` that remembers the rate of `sources_max` sources. The master seed is the same on all
    /// shards of an engine, and new at every start.
    pub fn new(master_seed: &[u8; 32], core: CoreId, sources_max: usize) -> Self {
        let mut random = ChaCha12Rng::from_seed(hash(&[b"gate", master_seed, &[core.0]]));
        Self {
            cookies: CookieJar::new(master_seed),
            limiter: Limiter::new(sources_max, KeyedState::draw(&mut random)),
            replies: ReplyShares::new(KeyedState::draw(&mut random)),
            random,
            load_until: Instant::ZERO,
            stats: GateStats::default(),
        }
    }

    /// Decides about one handshake message. `queued` of `capacity` places of the queue behind the gate are taken.
    ///
    /// A cookie reply carries no mac1. The caller has looked up that its receiver index names a connection; here it only
    /// finds half of the queue, so that a flood of them leaves room for messages that show more.
    pub fn check(
        &mut self,
        now: Instant,
        keys: &InterfaceKeys,
        remote: SocketAddr,
        message: &Message<'_>,
        queued: usize,
        capacity: usize,
    ) -> Verdict {
        let (sender, macs) = match message {
            Message::Initiation(initiation) => (initiation.sender(), initiation.macs()),
            Message::Response(response) => (response.sender(), response.macs()),
            Message::CookieReply(_) if queued < capacity / 2 => return Verdict::Pass,
            Message::CookieReply(_) => return Verdict::Drop(DropReason::HandshakeQueueFull),
            Message::Data(_) => return Verdict::Drop(DropReason::Unclassified),
        };
        // Without a cookie, and owed none before the next window: what it comes to is known, and a hash would not change it.
        if self.under_load(now) && *macs.mac2 == [0; 16] && !self.replies.has_room(now, remote) {
            return self.withhold();
        }
        if !keys.verify_mac1(&macs) {
            return Verdict::Drop(DropReason::BadMac1);
        }
        self.note_load(now, queued, capacity);
        if self.under_load(now) {
            if !self.cookies.verify_mac2(now, remote, &macs) {
                return self.owe_cookie(now, keys, remote, sender, &macs);
            }
            if !self.limiter.allow(now, remote) {
                return Verdict::Drop(DropReason::HandshakeRate);
            }
        }
        if queued < capacity { Verdict::Pass } else { Verdict::Drop(DropReason::HandshakeQueueFull) }
    }

    /// Whether there is load (WG-25).
    pub fn under_load(&self, now: Instant) -> bool {
        now < self.load_until
    }

    /// What the gate has seen, for status.
    pub fn stats(&self, now: Instant) -> GateStats {
        GateStats { under_load: self.under_load(now), ..self.stats }
    }

    /// How many sources have a bucket that is not full again. Walks the table.
    pub fn limited_sources(&self, now: Instant) -> usize {
        self.limiter.sources(now)
    }

    fn note_load(&mut self, now: Instant, queued: usize, capacity: usize) {
        if queued >= (capacity / LOAD_PART).max(1) {
            self.stats.load_episodes += u64::from(!self.under_load(now));
            self.load_until = now + LOAD_STICKS;
        }
    }

    /// Counts a cookie reply that is owed and not given.
    fn withhold(&mut self) -> Verdict {
        self.stats.cookie_replies_withheld += 1;
        Verdict::Drop(DropReason::NeedsCookie)
    }

    fn owe_cookie(
        &mut self,
        now: Instant,
        keys: &InterfaceKeys,
        remote: SocketAddr,
        receiver: u32,
        macs: &Macs<'_>,
    ) -> Verdict {
        if !self.replies.allow(now, remote) {
            return self.withhold();
        }
        self.stats.cookie_replies += 1;
        let mut nonce = [0; 24];
        self.random.fill_bytes(&mut nonce);
        let cookie = self.cookies.cookie(now, remote);
        Verdict::CookieReply(seal_reply(keys, receiver, &nonce, macs.mac1, &cookie))
    }
}

/// Shares out cookie replies when very many are owed, so that a flood does not make the core seal and send without end.
///
/// Below [`ReplyShares::FREE`] replies in a window everyone is answered: nobody can use up another's share by sending in
/// its name at a low rate. Above it each of 1,024 groups of sources has a share; groups are drawn anew for every
/// window, so that who shares one with a flood now does not when it tries again. A reply costs some microseconds, most of
/// them in the kernel: all that are ever given ([`REPLIES_PER_SECOND`]) are a few percent of a core.
struct ReplyShares {
    hasher: KeyedState,
    window: u64,
    given: u32,
    groups: Box<[u8]>,
}

impl ReplyShares {
    /// The length of a window.
    const WINDOW_NS: u64 = 250_000_000;
    /// Replies per window before shares count: 2,048 per second.
    const FREE: u32 = 512;
    /// Groups of sources.
    const GROUPS: usize = 1_024;
    /// Replies per window and group beyond.
    const SHARE: u8 = 2;

    fn new(hasher: KeyedState) -> Self {
        Self { hasher, window: 0, given: 0, groups: vec![0; Self::GROUPS].into() }
    }

    /// Whether [`ReplyShares::allow`] would allow another reply. Changes no share.
    fn has_room(&mut self, now: Instant, remote: SocketAddr) -> bool {
        self.given_in(now) < Self::FREE || self.groups[self.group(remote)] < Self::SHARE
    }

    /// Takes a reply from what there is for this source, if anything is left.
    fn allow(&mut self, now: Instant, remote: SocketAddr) -> bool {
        if self.given_in(now) < Self::FREE {
            self.given += 1;
            return true;
        }
        let group = self.group(remote);
        let allowed = self.groups[group] < Self::SHARE;
        self.groups[group] += u8::from(allowed);
        allowed
    }

    /// Replies given without regard to shares in the window of `now`, which becomes the current one.
    fn given_in(&mut self, now: Instant) -> u32 {
        let window = now.as_nanos() / Self::WINDOW_NS;
        if window != self.window {
            self.window = window;
            self.given = 0;
            self.groups.fill(0);
        }
        self.given
    }

    fn group(&self, remote: SocketAddr) -> usize {
        self.hasher.hash_one((remote, self.window)) as usize % Self::GROUPS
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
