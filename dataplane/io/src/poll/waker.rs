//! Waking a worker from another thread, at the price of one atomic operation unless it sleeps.
//!
//! The state of the worker is one byte: awake, parked (about to sleep, or asleep), or woken. Only who turns parked into woken
//! writes to the eventfd, so any number of calls between two waits cost one system call together, or none.
//!
//! Contains unsafe: eventfd.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The worker runs; it will look at its queues before it sleeps.
const AWAKE: u8 = 0;
/// The worker sleeps, or is just about to.
const PARKED: u8 = 1;
/// Somebody has called since the worker last looked.
const WOKEN: u8 = 2;

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    /// An eventfd; as a `File` for its safe `write`.
    event: std::fs::File,
}

/// Ends a [`Poller`](super::Poller)'s wait from any thread.
///
/// What the caller wrote before [`Waker::wake`] is seen by the worker after its wait has returned.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

impl Waker {
    /// Ends the wait of the worker, or keeps its next one from blocking.
    ///
    /// Cost: one atomic operation; a system call only where the worker sleeps and nobody has woken it yet.
    pub fn wake(&self) {
        // Release pairs with the acquire of `park` and `unpark`: the worker sees what was queued before this call.
        if self.shared.state.swap(WOKEN, Ordering::AcqRel) == PARKED {
            // An eventfd refuses a write only when its counter is full, that is when it is readable already.
            let _ = (&self.shared.event).write(&1u64.to_ne_bytes());
        }
    }
}

/// The worker's side of its wakers.
#[derive(Debug)]
pub(super) struct Sleep {
    shared: Arc<Shared>,
}

impl Sleep {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd()?.into();
        Ok(Self { shared: Arc::new(Shared { state: AtomicU8::new(AWAKE), event }) })
    }

    pub(super) fn waker(&self) -> Waker {
        Waker { shared: Arc::clone(&self.shared) }
    }

    /// Announces sleep. False where a waker has called since the last [`Sleep::unpark`]: the worker must not block.
    pub(super) fn park(&self) -> bool {
        // Acquire on failure pairs with the release of `wake`. On success nothing was published to us; the release half keeps
        // what this worker did before ahead of it for who wakes it.
        self.shared.state.compare_exchange(AWAKE, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends sleep, and returns whether a waker has called.
    pub(super) fn unpark(&self) -> bool {
        // Acquire pairs with the release of `wake`.
        self.shared.state.swap(AWAKE, Ordering::AcqRel) == WOKEN
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

/// A new eventfd that does not block.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above has just returned this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
