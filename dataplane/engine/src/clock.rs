//! The one place that reads time.
//!
//! Protocol timers run on the boot clock, which counts through a suspend (FT-6); the wall clock serves timestamps only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dataplane_wire::Instant;
use rustix::time::{ClockId, clock_gettime};

/// Now, on the boot clock.
pub(crate) fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    Instant::from_nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// Wall clock as time since 1970; zero for a clock that stands before.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
