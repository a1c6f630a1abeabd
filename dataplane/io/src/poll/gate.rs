//! Who has to ring for a sleeping worker, and whether the worker may sleep.
//!
//! The state of the worker is one byte: awake, parked (about to sleep, or asleep), or called. Only who turns parked into called
//! rings, so any number of calls between two waits ring once together, or never.

use super::atomic::{AtomicU8, Ordering};

/// The worker runs; it will look at its queues before it sleeps.
const AWAKE: u8 = 0;
/// The worker sleeps, or is just about to.
const PARKED: u8 = 1;
/// Somebody has called since the worker last looked.
const CALLED: u8 = 2;

/// The state of one worker.
#[derive(Debug)]
pub(super) struct Gate(AtomicU8);

impl Gate {
    /// An awake worker's.
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// Calls the worker. True where the caller must ring: the worker sleeps, and nobody has rung yet.
    pub(super) fn call(&self) -> bool {
        // Release pairs with the acquire of `park` and `unpark`: the worker sees what was queued before this call.
        self.0.swap(CALLED, Ordering::AcqRel) == PARKED
    }

    /// Announces sleep. False where somebody has called since the last [`Gate::unpark`]: the worker must not block.
    pub(super) fn park(&self) -> bool {
        // Acquire on failure pairs with the release of `call`. On success there is nothing to see yet; the release half lets who
        // then calls see what this worker did before.
        self.0.compare_exchange(AWAKE, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends sleep, and returns whether somebody has called.
    pub(super) fn unpark(&self) -> bool {
        // Acquire pairs with the release of `call`.
        self.0.swap(AWAKE, Ordering::AcqRel) == CALLED
    }
}
