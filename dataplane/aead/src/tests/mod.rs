//! One suite over all providers: each test runs every provider this processor has, against expectations made by the
//! reference, a packet at a time.

mod layout;
mod lengths;
#[cfg(target_arch = "x86_64")]
mod parts;
mod refusals;
#[cfg(target_arch = "x86_64")]
mod twins;
mod vectors;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};

use crate::batch::{Key, OpenDesc, SealDesc, SealInPlaceDesc, Span, TAG_LEN};
use crate::cipher::Cipher;
use crate::provider::{Provider, nonce};

/// Every provider under test.
fn providers() -> Vec<Box<dyn Provider>> {
    let mut providers: Vec<Box<dyn Provider>> = Vec::new();
    for cipher in Cipher::available() {
        providers.push(Box::new(cipher));
    }
    // Without the library that stands in for small batches.
    for cipher in Cipher::undiluted() {
        providers.push(Box::new(cipher));
    }
    // The stream and the tags, on plain code.
    #[cfg(target_arch = "x86_64")]
    providers.push(Box::new(crate::lanes::portable::lanes()));
    providers
}

/// A packet to be sealed, with what must come out.
#[derive(Clone, Debug)]
struct Packet {
    key: u32,
    counter: u64,
    aad: Vec<u8>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl Packet {
    fn new(keys: &[Key], prefix: u32, key: u32, counter: u64, aad: &[u8], plain: &[u8]) -> Self {
        let cipher = ChaCha20Poly1305::new(keys[key as usize].bytes().into());
        let mut sealed = plain.to_vec();
        let nonce = Nonce::from(nonce(prefix, counter));
        let tag = cipher.encrypt_inout_detached(&nonce, aad, sealed.as_mut_slice().into()).unwrap();
        sealed.extend_from_slice(&tag);
        Self { key, counter, aad: aad.to_vec(), plain: plain.to_vec(), sealed }
    }
}

/// How packets lie in their arenas.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Bytes before the first packet, its alignment.
    first: usize,
    /// Bytes between packets.
    gap: usize,
    /// Bytes of plaintext that come from `gather`, at most.
    head: usize,
    /// Packets lie in the arena in the opposite order of their descriptions.
    backwards: bool,
}

const PLAIN: Layout = Layout { first: 0, gap: 0, head: 0, backwards: false };

/// What lies in an arena where no packet does.
const GUARD: u8 = 0xa5;

fn span(offset: usize, len: usize) -> Span {
    Span { offset: offset as u32, len: len as u32 }
}

/// Appends bytes and tells where they lie.
fn put(arena: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let at = span(arena.len(), bytes.len());
    arena.extend_from_slice(bytes);
    at
}

/// Where each packet lies in the arena, and how long the arena is.
fn places(layout: Layout, packets: &[Packet]) -> (Vec<usize>, usize) {
    let mut places = vec![0; packets.len()];
    let mut at = layout.first;
    let mut order: Vec<usize> = (0..packets.len()).collect();
    if layout.backwards {
        order.reverse();
    }
    for packet in order {
        places[packet] = at;
        at += packets[packet].sealed.len() + layout.gap;
    }
    (places, at + 64)
}

/// The arena that a right seal leaves behind.
fn sealed_arena(layout: Layout, packets: &[Packet]) -> Vec<u8> {
    let (places, len) = places(layout, packets);
    let mut arena = vec![GUARD; len];
    for (place, packet) in places.iter().zip(packets) {
        arena[*place..][..packet.sealed.len()].copy_from_slice(&packet.sealed);
    }
    arena
}

fn assert_same(what: &str, layout: Layout, got: &[u8], want: &[u8]) {
    if got != want {
        let at = got.iter().zip(want).position(|(a, b)| a != b);
        panic!("{what}, {layout:?}: first difference at {at:?}");
    }
}

/// Seals from gathered source and in place, opens, and compares every byte of the arena each time.
fn check(provider: &dyn Provider, prefix: u32, keys: &[Key], layout: Layout, packets: &[Packet]) {
    let name = provider.label();
    let want = sealed_arena(layout, packets);
    let (places, len) = places(layout, packets);
    let mut gather = vec![GUARD; layout.first % 7];
    let mut source = vec![GUARD; layout.first];
    let mut arena = vec![GUARD; len];
    let mut seals = Vec::new();
    let mut heres = Vec::new();
    let mut opens = Vec::new();
    for (packet, place) in packets.iter().zip(&places) {
        let zeros = packet.plain.iter().rev().take_while(|b| **b == 0).count();
        let pad = zeros.min(15);
        let (head, rest) = packet.plain.split_at(layout.head.min(packet.plain.len() - pad));
        let body = &rest[..rest.len() - pad];
        let (key, counter) = (packet.key, packet.counter);
        let aad = put(&mut gather, &packet.aad);
        seals.push(SealDesc {
            key,
            counter,
            aad,
            head: put(&mut gather, head),
            body: put(&mut source, body),
            pad: pad as u32,
            dst: *place as u32,
        });
        let text = span(*place, packet.plain.len());
        heres.push(SealInPlaceDesc { key, counter, aad, text });
        opens.push(OpenDesc { key, counter, aad, text, opened: false });
    }
    provider.seal(prefix, keys, &gather, &source, &mut arena, &seals);
    assert_same(&format!("{name} seal"), layout, &arena, &want);

    let mut plain = arena.clone();
    let opened = provider.open(prefix, keys, &gather, &mut plain, &mut opens);
    assert_eq!(opened, packets.len(), "{name} {layout:?}");
    assert!(opens.iter().all(|desc| desc.opened), "{name} {layout:?}");
    let mut want_plain = want.clone();
    for (packet, place) in packets.iter().zip(&places) {
        want_plain[*place..][..packet.plain.len()].copy_from_slice(&packet.plain);
    }
    assert_same(&format!("{name} open"), layout, &plain, &want_plain);

    for (packet, place) in packets.iter().zip(&places) {
        plain[*place + packet.plain.len()..][..TAG_LEN].fill(0);
    }
    provider.seal_here(prefix, keys, &gather, &mut plain, &heres);
    assert_same(&format!("{name} seal in place"), layout, &plain, &want);
}

/// Random bytes from a seed (SplitMix64), the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    fn keys(&mut self, count: usize) -> Vec<Key> {
        (0..count).map(|_| Key::new(self.bytes(32).try_into().unwrap())).collect()
    }
}
