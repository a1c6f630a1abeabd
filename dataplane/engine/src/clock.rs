//! The one place that reads time.
//!
//! Protocol timers run on the boot clock, which counts through a suspend (FT-6); the wall clock serves timestamps only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dataplane_wire::Instant;
use rustix::time::{ClockId, clock_gettime};

/// Now, on the boot clock.
pub(crate) fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    let now = Instant::from_nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs());
    #[cfg(all(test, not(loom)))]
    let now = now + Duration::from_nanos(SLEPT_NS.load(core::sync::atomic::Ordering::Relaxed));
    now
}

/// How long the machine has slept, as far as tests let it: the boot clock cannot be set.
#[cfg(all(test, not(loom)))]
static SLEPT_NS: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// Lets the machine of this test process sleep.
#[cfg(all(test, not(loom)))]
pub(crate) fn sleep_machine(time: Duration) {
    SLEPT_NS.fetch_add(time.as_nanos() as u64, core::sync::atomic::Ordering::Relaxed);
}

/// Wall clock as time since 1970; zero for a clock that stands before.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How long the machine has been awake: the clock that stands still through a suspend.
pub(crate) fn awake() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    Instant::from_nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// What two clocks part by between two looks at them without a suspend: a thread that was put aside between the two reads.
const SLEPT_MIN: Duration = Duration::from_millis(500);

/// Finds out that the machine has slept: the boot clock has gone on, the other one has not.
pub(crate) struct SuspendWatch {
    apart: Duration,
}

impl SuspendWatch {
    pub(crate) fn new(boot: Instant, awake: Instant) -> Self {
        Self { apart: boot.since(awake) }
    }

    /// Whether the machine has slept since the last call.
    pub(crate) fn has_slept(&mut self, boot: Instant, awake: Instant) -> bool {
        let apart = boot.since(awake);
        let slept = apart.saturating_sub(self.apart) >= SLEPT_MIN;
        // Less than that stays in the sum, so that many short sleeps are one long one.
        if slept || apart < self.apart {
            self.apart = apart;
        }
        slept
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// FT-6
    #[test]
    fn a_suspend_is_told_once_and_neither_a_stall_nor_a_set_clock_is_one() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut watch = SuspendWatch::new(at(1_000), at(400));
        assert!(!watch.has_slept(at(61_000), at(60_400)), "a thread that did not run for a minute");
        assert!(watch.has_slept(at(71_000), at(60_400)));
        assert!(!watch.has_slept(at(72_000), at(61_400)));
        // Short sleeps add up.
        assert!(!watch.has_slept(at(73_300), at(62_400)));
        assert!(watch.has_slept(at(74_600), at(63_400)));
    }
}
