//! Hot: a descriptor that is readable from a ring on until it is quieted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use crate::sync::{AtomicBool, Event};

/// Rung by any thread, quieted by the one that reads the queue behind it.
pub(super) struct Bell {
    event: Event,
    rung: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { event: Event::new()?, rung: AtomicBool::new(false) })
    }

    /// One system call, unless it has rung already.
    pub(super) fn ring(&self) {
        // AcqRel pairs with `quiet`: who finds it rung knows that the reader looks at the queue again after its own swap.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.event.set();
        }
    }

    /// Makes the descriptor unreadable. The caller looks at the queue once more, and rings again where it finds something.
    pub(super) fn quiet(&self) {
        // Rung, and yet not readable: who rings is just about to write. It stays rung, for the reader that this write wakes;
        // or the descriptor would be readable with nobody who knows, and its reader would never sleep.
        if self.rung.load(Ordering::Acquire) && self.event.clear() {
            // AcqRel pairs with `ring`: what was pushed before a ring that did nothing is seen by the look that follows.
            self.rung.swap(false, Ordering::AcqRel);
        }
    }

    /// What stands for the descriptor in a model.
    #[cfg(all(test, loom))]
    pub(super) fn event(&self) -> &Event {
        &self.event
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
