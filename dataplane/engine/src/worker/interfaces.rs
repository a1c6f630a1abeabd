//! The inner sides that a worker reads and writes, by number of their interface.

use dataplane_io::inner::{GsoKind, Inner};
use dataplane_io::poll::Ready;
use dataplane_wire::offload::Offloads;

/// What the poller said of an inner side.
pub(super) struct SideReady {
    pub(super) readable: bool,
}

impl From<Ready> for SideReady {
    fn from(ready: Ready) -> Self {
        Self { readable: ready.readable || ready.failed }
    }
}

/// The inner side of one interface.
struct Side {
    inner: Box<dyn Inner + Send>,
    /// This worker is the one that reads it.
    reads: bool,
    readable: bool,
}

/// The inner sides of a worker.
#[derive(Default)]
pub(super) struct Interfaces {
    sides: Vec<Option<Side>>,
}

impl Interfaces {
    pub(super) fn add(&mut self, slot: usize, inner: Box<dyn Inner + Send>, reads: bool) {
        if self.sides.len() <= slot {
            self.sides.resize_with(slot + 1, || None);
        }
        self.sides[slot] = Some(Side { inner, reads, readable: reads });
    }

    pub(super) fn remove(&mut self, slot: usize) -> Option<Box<dyn Inner + Send>> {
        self.sides.get_mut(slot)?.take().map(|side| side.inner)
    }

    pub(super) fn side_mut(&mut self, slot: usize) -> Option<&mut dyn Inner> {
        match self.sides.get_mut(slot) {
            Some(Some(side)) => Some(side.inner.as_mut()),
            _ => None,
        }
    }

    /// Everything for this inner side is written, for now.
    pub(super) fn flush(&mut self, slot: Option<usize>) {
        if let Some(side) = slot.and_then(|slot| self.side_mut(slot)) {
            side.flush();
        }
    }

    /// What it takes merged; nothing where there is none.
    pub(super) fn offloads(&self, slot: usize) -> Offloads {
        match self.sides.get(slot) {
            Some(Some(side)) => Offloads {
                tcp: side.inner.takes(GsoKind::Tcp4) && side.inner.takes(GsoKind::Tcp6),
                udp: side.inner.takes(GsoKind::Udp),
            },
            _ => Offloads::NONE,
        }
    }

    pub(super) fn set_ready(&mut self, slot: usize, ready: SideReady) {
        if let Some(Some(side)) = self.sides.get_mut(slot) {
            side.readable = ready.readable;
        }
    }

    /// Something may wait in each, whatever the poller has said.
    pub(super) fn set_all_ready(&mut self) {
        self.sides.iter_mut().flatten().for_each(|side| side.readable = side.reads);
    }

    /// Nothing waits any more: the poller will say when something does.
    pub(super) fn set_drained(&mut self, slot: usize) {
        self.set_ready(slot, SideReady { readable: false });
    }

    /// The first inner side from `from` on that has something to read.
    pub(super) fn next_readable(&self, from: usize) -> Option<usize> {
        (from..self.sides.len()).find(|&slot| self.sides[slot].as_ref().is_some_and(|side| side.readable))
    }
}
