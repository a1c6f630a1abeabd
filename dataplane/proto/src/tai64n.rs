//! Timestamps of initiations: TAI64N, coarse, never stepping back.

use core::time::Duration;

use dataplane_wire::Instant;

/// The TAI64 label of 1970-01-01 00:00:00 UTC (2^62), and the ten seconds by which TAI was ahead then.
const EPOCH: u64 = (1 << 62) + 10;
/// Nanoseconds are rounded down to a multiple of this, so that they say little of the clock (WG-12): the largest power of
/// two in the 20 ms that lie between two accepted initiations.
const GRAIN_NS: u32 = 1 << 24;

/// Seconds and nanoseconds, both big endian, so that the order of the bytes is the order of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tai64n(pub [u8; 12]);

impl Tai64n {
    /// The timestamp of a point in time since 1970, nanoseconds rounded down.
    pub fn from_unix(unix: Duration) -> Self {
        let mut bytes = [0; 12];
        let nanos = unix.subsec_nanos() / GRAIN_NS * GRAIN_NS;
        bytes[..8].copy_from_slice(&EPOCH.saturating_add(unix.as_secs()).to_be_bytes());
        bytes[8..].copy_from_slice(&nanos.to_be_bytes());
        Self(bytes)
    }

    /// The point in time since 1970; zero for one that lies before.
    pub fn to_unix(self) -> Duration {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3] = self.0;
        let secs = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]).saturating_sub(EPOCH);
        Duration::from_secs(secs) + Duration::from_nanos(u32::from_be_bytes([n0, n1, n2, n3]).into())
    }

    /// The next timestamp that can be told from this one.
    pub(crate) fn next(self) -> Self {
        Self::from_unix(self.to_unix() + Duration::from_nanos(GRAIN_NS.into()))
    }
}

/// The wall clock as nanoseconds that it is ahead of the monotonic one.
///
/// Two readings: what the clock says, for show, and one for timestamps that goes on as it was when the wall clock steps
/// back (WG-62).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WallClock {
    ahead_ns: i64,
    ahead_most_ns: i64,
}

impl WallClock {
    /// At `now` it was `unix` since 1970.
    pub(crate) fn set(&mut self, now: Instant, unix: Duration) {
        let ahead = unix.as_nanos() as i128 - i128::from(now.as_nanos());
        self.ahead_ns = ahead.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        self.ahead_most_ns = self.ahead_most_ns.max(self.ahead_ns);
    }

    /// Nanoseconds since 1970.
    pub(crate) fn unix_ns(&self, now: Instant) -> u64 {
        now.as_nanos().saturating_add_signed(self.ahead_ns)
    }

    /// Timestamps from now on are not earlier than `least`.
    pub(crate) fn raise(&mut self, now: Instant, least: Tai64n) {
        if self.timestamp(now) < least {
            let ahead = least.to_unix().as_nanos() as i128 - i128::from(now.as_nanos());
            self.ahead_most_ns = ahead.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        }
    }

    /// The timestamp of an initiation made now.
    pub(crate) fn timestamp(&self, now: Instant) -> Tai64n {
        Tai64n::from_unix(Duration::from_nanos(now.as_nanos().saturating_add_signed(self.ahead_most_ns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // WG-12
    #[test]
    fn a_timestamp_is_the_tai64_label_with_nanoseconds_rounded_down() {
        let label = |secs, nanos| Tai64n::from_unix(Duration::new(secs, nanos)).0;
        // 1 s after the epoch is label 2^62 + 11 (DJB's TAI64 page counts ten seconds at the epoch).
        assert_eq!(label(1, 0), [0x40, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0]);
        assert_eq!(label(1, (1 << 24) - 1), label(1, 0));
        assert_eq!(label(1, 1 << 24)[8..], [1, 0, 0, 0]);
        assert_eq!(label(1, 999_999_999)[8..], [0x3b, 0, 0, 0]);
        assert!(Tai64n(label(1, 999_999_999)) < Tai64n(label(2, 0)));
        assert!(Tai64n(label(255, 0)) < Tai64n(label(256, 0)));
    }

    #[test]
    fn a_timestamp_reads_back_and_the_next_is_the_least_that_is_later() {
        for unix in [Duration::ZERO, Duration::new(1, 999_999_999), Duration::new(1_700_000_000, 1 << 24)] {
            let stamp = Tai64n::from_unix(unix);
            assert_eq!(Tai64n::from_unix(stamp.to_unix()), stamp);
            assert!(stamp.next() > stamp);
            assert!(Tai64n::from_unix(stamp.next().to_unix() - Duration::from_nanos(1)) <= stamp);
        }
        assert_eq!(Tai64n::default().to_unix(), Duration::ZERO);
    }

    // WG-62
    #[test]
    fn timestamps_rise_while_the_wall_clock_steps_back_and_the_shown_time_follows_it() {
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let mut clock = WallClock::default();
        clock.set(at(100), Duration::from_secs(1_000_000));
        let before = clock.timestamp(at(100));
        clock.set(at(105), Duration::from_secs(10));
        assert!(clock.timestamp(at(105)) > before);
        assert_eq!(clock.timestamp(at(105)), Tai64n::from_unix(Duration::from_secs(1_000_005)));
        assert_eq!(clock.unix_ns(at(105)), 10_000_000_000);
    }
}
