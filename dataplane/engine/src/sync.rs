//! What threads of the engine share, which a build with `--cfg loom` replaces by types whose interleavings are explored.
//!
//! What the model checker sees: answers, fences, the rings between threads and the flags of a worker's life, all as they are;
//! in the place of crossbeam's ring one that makes the same promise, in the place of an eventfd a flag or a counter.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

#[cfg(not(loom))]
pub(crate) use crossbeam_queue::ArrayQueue;
#[cfg(not(loom))]
pub(crate) use std::sync::{Arc, Condvar, Mutex, atomic::AtomicBool};

#[cfg(loom)]
pub(crate) use dataplane_io::ring_model::ArrayQueue;
#[cfg(loom)]
pub(crate) use loom::sync::{Arc, Condvar, Mutex, atomic::AtomicBool};

/// An eventfd.
pub(crate) struct Event {
    fd: OwnedFd,
    #[cfg(loom)]
    set: Mutex<bool>,
    #[cfg(loom)]
    changed: Condvar,
}

#[cfg(not(loom))]
impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Makes it readable.
    pub(crate) fn set(&self) {
        // Refused only when its counter is full, that is when it is readable already.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Makes it unreadable; whether it was readable.
    pub(crate) fn clear(&self) -> bool {
        rustix::io::read(&self.fd, &mut [0; 8]).is_ok()
    }
}

#[cfg(loom)]
impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd, set: Mutex::new(false), changed: Condvar::new() })
    }

    pub(crate) fn set(&self) {
        *self.set.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub(crate) fn clear(&self) -> bool {
        std::mem::replace(&mut *self.set.lock().unwrap(), false)
    }

    /// Whether it is readable.
    pub(crate) fn is_set(&self) -> bool {
        *self.set.lock().unwrap()
    }

    /// Waits until it is readable.
    pub(crate) fn wait(&self) {
        let mut set = self.set.lock().unwrap();
        while !*set {
            set = self.changed.wait(set).unwrap();
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
