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

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn limiter(sources_max: usize) -> Limiter {
        Limiter::new(sources_max, KeyedState::new(1, 2))
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn source(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 4000)
    }

    // WG-26
    #[test]
    fn a_source_gets_five_at_once_and_twenty_a_second() {
        let mut limiter = limiter(64);
        let it = source("192.0.2.1");
        let mut allowed_by = |millis| (0..100).filter(|_| limiter.allow(at(millis), it)).count();
        assert_eq!(allowed_by(1000), 5);
        assert_eq!(allowed_by(1000), 0);
        assert_eq!(allowed_by(1049), 0);
        assert_eq!(allowed_by(1050), 1);
        // Ten seconds of asking a thousand times each, whenever it asks.
        let total: usize = (1..=10_000).map(|millis| allowed_by(1050 + millis).min(1)).sum();
        assert_eq!(total, 200);
        assert_eq!(allowed_by(100_000), 5);
    }

    // WG-26
    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network_of_64_bits_whatever_the_port() {
        let mut limiter = limiter(64);
        let mut drained = |text: &str| {
            let ports = (0..6).map(|port| SocketAddr::new(text.parse().unwrap(), port));
            ports.filter(|remote| limiter.allow(at(0), *remote)).count()
        };
        assert_eq!(drained("192.0.2.1"), 5);
        assert_eq!(drained("192.0.2.2"), 5);
        assert_eq!(drained("::ffff:192.0.2.1"), 0);
        assert_eq!(drained("2001:db8:0:1::1"), 5);
        assert_eq!(drained("2001:db8:0:1:ffff::2"), 0);
        assert_eq!(drained("2001:db8:0:2::1"), 5);
    }

    // WG-26
    #[test]
    fn the_table_is_capped_ages_out_and_makes_room_for_a_new_source_at_the_cost_of_the_most_silent() {
        let mut limiter = limiter(64);
        let busy = source("198.51.100.1");
        let numbered = |number: u32| SocketAddr::from((number.to_be_bytes(), 1));
        for number in 0..10_000 {
            // The busy one asks all the time and is over its rate; every stranger gets in.
            while limiter.allow(at(number.into()), busy) {}
            assert!(limiter.allow(at(number.into()), numbered(number)), "{number}");
            assert!(!limiter.allow(at(number.into()), busy), "{number}");
        }
        assert_eq!(limiter.buckets.len(), 64);
        assert!(limiter.sources(at(10_000)) > 32);
        assert_eq!(limiter.sources(at(10_250)), 0);
    }
}
