//! The gate before the handshake queue, driven by a clock and held against a model: mac1, load, cookies, the rate of a source.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use blake2::digest::{FixedOutput, KeyInit, Mac, consts::U16};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use dataplane_proto::gate::{Gate, InterfaceKeys, Verdict};
use dataplane_wire::wireguard::{COOKIE_REPLY_LEN, DATA_OVERHEAD, INITIATION_LEN, Message, RESPONSE_LEN};
use dataplane_wire::{CoreId, DropReason, Instant};

use crate::input::Input;

/// Messages of one input at most, floods apart.
const STEPS_MAX: usize = 200;
/// Sources that the limiter remembers here. More than take part but in a flood, so that none is pushed out.
const SOURCES_MAX: usize = 4096;
/// The time after which a secret gives way to the next (the WireGuard paper §6.1).
const SECRET_AGE_NS: u64 = 120_000_000_000;
/// What one handshake costs of what a source earns by waiting: 20 per second, 5 at once.
const COST_NS: u64 = 50_000_000;
const BURST: u64 = 5;
const LOAD_NS: u64 = 1_000_000_000;
/// Cookie replies in a quarter of a second that nobody is refused.
const REPLIES_FREE: u32 = 512;

pub(crate) fn mac(key: &[u8], bytes: &[u8]) -> [u8; 16] {
    let state = <blake2::Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("a key of 16 or 32 bytes");
    state.chain_update(bytes).finalize_fixed().into()
}

/// What a source knows, and what it is due.
#[derive(Default)]
struct Source {
    /// The last cookie that it was sent, and in which age of secrets.
    cookie: Option<([u8; 16], u64)>,
}

struct World {
    gate: Gate,
    keys: InterfaceKeys,
    now: u64,
    load_until: u64,
    episodes: u64,
    replies: u64,
    /// When the bucket of a source will be full again (the virtual scheduling form of a token bucket).
    full_at: BTreeMap<IpAddr, u64>,
    sources: BTreeMap<SocketAddr, Source>,
}

/// Messages with right and wrong macs from few sources, and now and then a flood from many: every verdict is the one that the
/// rules give when they are read one by one.
pub fn gate(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(CoreId(input.byte()), u64::from(input.u16()) * 1_000_000_000);
    let mut floods = 1;
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.pick(16) {
            0 => world.now += u64::from(input.u16()) * 1_000_000,
            1 => world.now += u64::from(input.byte()) * 10_000_000_000,
            // The edge of a secret's age.
            2 => world.now = (world.now + 1).next_multiple_of(SECRET_AGE_NS) - u64::from(input.byte() & 1),
            3 if floods > 0 => {
                floods -= 1;
                world.flood(&mut input);
            }
            _ => world.message(&mut input),
        }
    }
}

fn source(number: u8) -> SocketAddr {
    let text = match number % 8 {
        0 => "192.0.2.1:1000",
        1 => "192.0.2.1:1001",
        2 => "[::ffff:192.0.2.1]:1000",
        3 => "192.0.2.2:1000",
        4 => "[2001:db8::1]:1000",
        5 => "[2001:db8::2]:1000",
        6 => "[2001:db8:0:1::1]:1000",
        _ => "[fe80::1%3]:9",
    };
    text.parse().expect("an address")
}

/// What the limiter takes for one source: an IPv4 address, or an IPv6 network of 64 bits.
fn limited_as(remote: SocketAddr) -> IpAddr {
    match remote.ip().to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => IpAddr::from((ip.to_bits() >> 64 << 64).to_be_bytes()),
    }
}

/// What a cookie is bound to.
fn cookie_of(remote: SocketAddr) -> SocketAddr {
    SocketAddr::new(remote.ip().to_canonical(), remote.port())
}

/// An initiation or response with right macs, mac2 where there is a cookie.
fn signed(keys: &InterfaceKeys, len: usize, fill: u8, cookie: Option<&[u8; 16]>) -> Vec<u8> {
    let mut bytes = vec![fill; len];
    bytes[..4].copy_from_slice(&[if len == INITIATION_LEN { 1 } else { 2 }, 0, 0, 0]);
    let mac1 = mac(&keys.mac1, &bytes[..len - 32]);
    bytes[len - 32..len - 16].copy_from_slice(&mac1);
    let mac2 = cookie.map_or([0; 16], |cookie| mac(cookie, &bytes[..len - 16]));
    bytes[len - 16..].copy_from_slice(&mac2);
    bytes
}

impl World {
    fn new(core: CoreId, now: u64) -> Self {
        Self {
            gate: Gate::new(&[7; 32], core, SOURCES_MAX),
            keys: InterfaceKeys::of(&[9; 32]),
            now,
            load_until: 0,
            episodes: 0,
            replies: 0,
            full_at: BTreeMap::new(),
            sources: BTreeMap::new(),
        }
    }

    fn message(&mut self, input: &mut Input<'_>) {
        let remote = source(input.byte());
        let (kind, fill, flaw) = (input.pick(8), input.byte(), input.pick(8));
        let capacity = [1, 2, 8, 16, 64, 0, 1024, 8][usize::from(input.pick(8))];
        let queued = input.below(capacity + 1);
        let len = match kind {
            0 => return self.unsigned(remote, queued, capacity, fill),
            1 | 2 => RESPONSE_LEN,
            _ => INITIATION_LEN,
        };
        let held = self.sources.get(&cookie_of(remote)).and_then(|known| known.cookie);
        let mut bytes = signed(&self.keys, len, fill, held.as_ref().map(|(cookie, _)| cookie));
        let mut mac2_right = held.is_some_and(|(_, age)| self.now / SECRET_AGE_NS - age <= 1);
        let mut mac1_right = true;
        match flaw {
            // Any bit in front of the macs, or of mac1.
            0 => {
                bytes[4 + input.below(len - 20)] ^= 1 << (input.byte() & 7);
                mac1_right = false;
            }
            1 => {
                bytes[len - 1 - input.below(16)] ^= 1 << (input.byte() & 7);
                mac2_right = false;
            }
            2 => {
                bytes[len - 16..].fill(0);
                mac2_right = false;
            }
            _ => {}
        }
        let expected = self.expected(remote, mac1_right, mac2_right, queued, capacity);
        let got = self.check(remote, &bytes, queued, capacity);
        match (expected, got) {
            (None, Verdict::CookieReply(reply)) => self.receive_cookie(remote, &bytes, &reply),
            (Some(expected), got) => assert_eq!(got, expected, "from {remote} at {} ns", self.now),
            (None, got) => panic!("{got:?} instead of a cookie"),
        }
        let stats = self.gate.stats(Instant::from_nanos(self.now));
        assert_eq!((stats.under_load, stats.load_episodes), (self.now < self.load_until, self.episodes));
        assert_eq!((stats.cookie_replies, stats.cookie_replies_withheld), (self.replies, 0));
    }

    /// Cookie replies carry no mac1, and find half of the queue; data is not for the gate.
    fn unsigned(&mut self, remote: SocketAddr, queued: usize, capacity: usize, fill: u8) {
        let cookie = fill & 1 == 0;
        let (kind, len) = if cookie { (3, COOKIE_REPLY_LEN) } else { (4, DATA_OVERHEAD) };
        let mut bytes = vec![fill; len];
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        let expected = match cookie {
            true if queued < capacity / 2 => Verdict::Pass,
            true => Verdict::Drop(DropReason::HandshakeQueueFull),
            false => Verdict::Drop(DropReason::Unclassified),
        };
        assert_eq!(self.check(remote, &bytes, queued, capacity), expected);
    }

    fn check(&mut self, remote: SocketAddr, bytes: &[u8], queued: usize, capacity: usize) -> Verdict {
        let message = Message::parse(bytes).expect("of the right length");
        let now = Instant::from_nanos(self.now);
        self.gate.check(now, &self.keys, remote, &message, queued, capacity)
    }

    /// The verdict that the rules give; `None` for a cookie.
    fn expected(
        &mut self,
        remote: SocketAddr,
        mac1: bool,
        mac2: bool,
        queued: usize,
        capacity: usize,
    ) -> Option<Verdict> {
        if !mac1 {
            return Some(Verdict::Drop(DropReason::BadMac1));
        }
        if queued >= 1.max(capacity / 8) {
            self.episodes += u64::from(self.now >= self.load_until);
            self.load_until = self.now + LOAD_NS;
        }
        if self.now < self.load_until {
            if !mac2 {
                return None;
            }
            let full_at = self.full_at.entry(limited_as(remote)).or_insert(0);
            let begun = (*full_at).max(self.now);
            if begun - self.now > (BURST - 1) * COST_NS {
                return Some(Verdict::Drop(DropReason::HandshakeRate));
            }
            *full_at = begun + COST_NS;
        }
        let full = queued >= capacity;
        Some(if full { Verdict::Drop(DropReason::HandshakeQueueFull) } else { Verdict::Pass })
    }

    /// What an initiator does with a reply: the cookie opens, and is the one that this source has at this time.
    fn receive_cookie(&mut self, remote: SocketAddr, answered: &[u8], reply: &[u8; COOKIE_REPLY_LEN]) {
        self.replies += 1;
        let Ok(Message::CookieReply(view)) = Message::parse(reply) else {
            panic!("no cookie reply: {reply:?}")
        };
        assert_eq!(view.receiver().to_le_bytes(), answered[4..8]);
        assert!(reply.len() < answered.len(), "an answer is never longer than what it answers");
        let (text, tag) = view.sealed_cookie().split_at(16);
        let mut cookie: [u8; 16] = text.try_into().expect("16 bytes");
        let tag = Tag::try_from(tag).expect("16 bytes");
        let mac1 = &answered[answered.len() - 32..answered.len() - 16];
        XChaCha20Poly1305::new(&self.keys.cookie.into())
            .decrypt_inout_detached(&XNonce::from(*view.nonce()), mac1, (&mut cookie[..]).into(), &tag)
            .expect("a cookie that its owner can open");
        let age = self.now / SECRET_AGE_NS;
        let known = &mut self.sources.entry(cookie_of(remote)).or_default().cookie;
        if let Some((before, of)) = known {
            assert_eq!(*before == cookie, *of == age, "a cookie changes with the secret and only then");
        }
        *known = Some((cookie, age));
    }

    /// Thousands of sources without a cookie: replies are bounded, and so is what is remembered. Some come back with theirs.
    fn flood(&mut self, input: &mut Input<'_>) {
        // A window of its own.
        self.now = self.now.next_multiple_of(250_000_000) + 250_000_000;
        let (count, first) = (u32::from(input.u16()) % 4_000, u32::from(input.u16()) << 12);
        let (mut replies, mut withheld) = (0, 0);
        for number in 0..count {
            let remote = SocketAddr::from(((0x0a00_0000 + first + number).to_be_bytes(), 5));
            let bytes = signed(&self.keys, INITIATION_LEN, number as u8, None);
            let verdict = self.check(remote, &bytes, 64, 64);
            if number == 0 {
                self.episodes += u64::from(self.now >= self.load_until);
                self.load_until = self.now + LOAD_NS;
            }
            match verdict {
                Verdict::CookieReply(reply) if number % 16 == 0 => {
                    self.receive_cookie(remote, &bytes, &reply)
                }
                Verdict::CookieReply(_) => self.replies += 1,
                other => {
                    assert_eq!(other, Verdict::Drop(DropReason::NeedsCookie));
                    withheld += 1;
                    continue;
                }
            }
            replies += 1;
        }
        assert!(replies >= count.min(REPLIES_FREE), "{withheld} of {count} got no cookie");
        let stats = self.gate.stats(Instant::from_nanos(self.now));
        assert_eq!((stats.cookie_replies, stats.cookie_replies_withheld), (self.replies, withheld));
        for (remote, source) in std::mem::take(&mut self.sources) {
            let young = |(_, age): &([u8; 16], u64)| self.now / SECRET_AGE_NS - age <= 1;
            let Some((cookie, _)) = source.cookie.filter(young) else { continue };
            let bytes = signed(&self.keys, RESPONSE_LEN, 1, Some(&cookie));
            let expected = self.expected(remote, true, true, 8, 64);
            assert_eq!(Some(self.check(remote, &bytes, 8, 64)), expected, "{remote} comes back");
        }
        assert!(self.gate.limited_sources(Instant::from_nanos(self.now)) <= SOURCES_MAX);
        *self = Self::new(CoreId(0), self.now);
    }
}
