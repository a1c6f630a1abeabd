//! Waking a worker from another thread, at the price of one atomic operation unless it sleeps.
//!
//! Contains unsafe: eventfd.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use super::gate::Gate;

#[derive(Debug)]
struct Shared {
    gate: Gate,
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
        if self.shared.gate.call() {
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
        Ok(Self { shared: Arc::new(Shared { gate: Gate::new(), event }) })
    }

    pub(super) fn waker(&self) -> Waker {
        Waker { shared: Arc::clone(&self.shared) }
    }

    /// Announces sleep. False where a waker has called since the last [`Sleep::unpark`]: the worker must not block.
    pub(super) fn park(&self) -> bool {
        self.shared.gate.park()
    }

    /// Ends sleep, and returns whether a waker has called.
    pub(super) fn unpark(&self) -> bool {
        self.shared.gate.unpark()
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
