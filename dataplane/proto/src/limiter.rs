//! How many handshakes one source may cause: a token bucket per IPv4 address or IPv6 /64 (WG-26).
//!
//! The table is an array that never grows: a source lies in one of the few places that a keyed hash of its address names.
//! Where these are all taken, the one that has been silent for longest goes: memory is bounded, and a source that comes
//! seldom is never refused because others come often.

use core::hash::{BuildHasher, Hash};
use core::net::{IpAddr, SocketAddr};

use dataplane_wire::Instant;

use crate::keyed::KeyedState;

/// Handshakes per second that a source may cause for ever.
pub(crate) const RATE: u64 = 20;
/// Handshakes that a source may cause at once after a pause.
pub(crate) const BURST: u64 = 5;

/// Places among which a source lies.
const WAYS: usize = 4;
/// What one handshake costs: the time in which a bucket earns it back.
const COST_NS: u64 = 1_000_000_000 / RATE;
/// What a full bucket holds. A source that has been silent for this long is as good as unknown: its place is free.
const FULL_NS: u64 = BURST * COST_NS;

/// An IPv4 address, or the first 64 bits of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    V6(u64),
}

impl Source {
    fn of(remote: SocketAddr) -> Self {
        match remote.ip().to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

#[derive(Clone, Copy)]
struct Bucket {
    source: Source,
    /// What is in the bucket, in nanoseconds of waiting.
    tokens_ns: u64,
    seen: Instant,
}

/// The buckets of all sources that have been seen lately.
pub(crate) struct Limiter {
    buckets: Box<[Option<Bucket>]>,
    hasher: KeyedState,
}

impl Limiter {
    /// Room for `sources_max` sources, rounded up to whole groups. Allocates here and never again.
    pub(crate) fn new(sources_max: usize, hasher: KeyedState) -> Self {
        Self { buckets: vec![None; sources_max.max(1).next_multiple_of(WAYS)].into(), hasher }
    }

    /// Whether the source may cause one more handshake now; if so, it is charged for it.
    pub(crate) fn allow(&mut self, now: Instant, remote: SocketAddr) -> bool {
        let source = Source::of(remote);
        let bucket = self.place(source);
        let (tokens_ns, seen) = match bucket {
            Some(known) if known.source == source => (known.tokens_ns, known.seen),
            _ => (FULL_NS, now),
        };
        let tokens_ns = tokens_ns.saturating_add(now.since(seen).as_nanos() as u64).min(FULL_NS);
        let left = tokens_ns.checked_sub(COST_NS);
        *bucket = Some(Bucket { source, tokens_ns: left.unwrap_or(tokens_ns), seen: now });
        left.is_some()
    }

    /// The place of a source: its own, or the one of its group that is free or has been silent for longest.
    fn place(&mut self, source: Source) -> &mut Option<Bucket> {
        let group = self.hasher.hash_one(source) as usize % (self.buckets.len() / WAYS) * WAYS;
        let group = &mut self.buckets[group..group + WAYS];
        let own = group.iter().position(|bucket| bucket.is_some_and(|bucket| bucket.source == source));
        let silent = || {
            let age = |way: &usize| group[*way].map_or(Instant::ZERO, |bucket| bucket.seen);
            (0..WAYS).min_by_key(age).unwrap_or(0)
        };
        let way = own.unwrap_or_else(silent);
        &mut group[way]
    }

    /// Sources that are remembered now. Walks the table: for status, not for the path of a datagram.
    pub(crate) fn sources(&self, now: Instant) -> usize {
        let young = |bucket: &&Bucket| now.since(bucket.seen).as_nanos() < u128::from(FULL_NS);
        self.buckets.iter().flatten().filter(young).count()
    }
}
