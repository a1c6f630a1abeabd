//! A ring for builds with `--cfg loom`: the promise and the shape of [`crossbeam_queue::ArrayQueue`] (a stamp per slot, acquire
//! and release on it), made of types whose interleavings loom explores. Models of this crate and of those above it use it in
//! the place of crossbeam's, whose inside they do not see.
//!
//! Contains unsafe: reads and writes slots that the stamps say are this thread's.
//!
//! Every access to an atomic is a read-modify-write, also where a load or store would do. Loom 0.7 remembers one access per
//! atomic when it looks for orders that matter, so that a load before a store hides another thread's load, and orders are
//! left out; and it lets a read-modify-write read past a store that nothing orders before it. With the one kind of access,
//! both are right: the mutations that the models must catch are caught.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};

struct Slot<T> {
    /// `position` when free for the push of that position, `position + 1` when it holds its value.
    stamp: AtomicUsize,
    value: UnsafeCell<Option<T>>,
}

/// A bounded ring for many pushers and poppers.
pub struct ArrayQueue<T> {
    slots: Box<[Slot<T>]>,
    head: AtomicUsize,
    tail: AtomicUsize,
}

// SAFETY: a slot's value is only touched by the thread that won the position whose stamp the slot shows; values go from thread
// to thread.
unsafe impl<T: Send> Sync for ArrayQueue<T> {}
// SAFETY: it owns its values.
unsafe impl<T: Send> Send for ArrayQueue<T> {}

impl<T> ArrayQueue<T> {
    /// A ring with this many places.
    pub fn new(capacity: usize) -> Self {
        let slot = |at| Slot { stamp: AtomicUsize::new(at), value: UnsafeCell::new(None) };
        let slots = (0..capacity).map(slot).collect();
        Self { slots, head: AtomicUsize::new(0), tail: AtomicUsize::new(0) }
    }

    /// Puts a value behind the others.
    ///
    /// # Errors
    /// The value, when the ring is full.
    pub fn push(&self, value: T) -> Result<(), T> {
        loop {
            let tail = self.tail.fetch_add(0, Ordering::Relaxed);
            let slot = &self.slots[tail % self.slots.len()];
            // Acquire: pairs with the release of the pop that freed the slot.
            let stamp = slot.stamp.fetch_add(0, Ordering::Acquire);
            if stamp == tail {
                let won = self.tail.compare_exchange(tail, tail + 1, Ordering::Relaxed, Ordering::Relaxed);
                if won.is_ok() {
                    // SAFETY: the stamp said free for this position, and only one thread wins a position.
                    slot.value.with_mut(|cell| unsafe { *cell = Some(value) });
                    // Release: pairs with the acquire of the pop.
                    slot.stamp.swap(tail + 1, Ordering::Release);
                    return Ok(());
                }
            } else if stamp < tail {
                return Err(value);
            }
            loom::thread::yield_now();
        }
    }

    /// Takes the first value.
    pub fn pop(&self) -> Option<T> {
        loop {
            let head = self.head.fetch_add(0, Ordering::Relaxed);
            let slot = &self.slots[head % self.slots.len()];
            // Acquire: pairs with the release of the push.
            let stamp = slot.stamp.fetch_add(0, Ordering::Acquire);
            if stamp == head + 1 {
                let won = self.head.compare_exchange(head, head + 1, Ordering::Relaxed, Ordering::Relaxed);
                if won.is_ok() {
                    // SAFETY: the stamp said filled for this position, and only one thread wins a position.
                    let value = slot.value.with_mut(|cell| unsafe { (*cell).take() });
                    // Release: pairs with the acquire of the push one lap later.
                    slot.stamp.swap(head + self.slots.len(), Ordering::Release);
                    return value;
                }
            } else if stamp <= head {
                return None;
            }
            loom::thread::yield_now();
        }
    }

    /// How many places it has.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Whether a push would be refused at this moment.
    pub fn is_full(&self) -> bool {
        let tail = self.tail.fetch_add(0, Ordering::Acquire);
        self.slots[tail % self.slots.len()].stamp.fetch_add(0, Ordering::Acquire) < tail
    }

    /// Whether a pop would find nothing at this moment.
    pub fn is_empty(&self) -> bool {
        let head = self.head.fetch_add(0, Ordering::Acquire);
        self.slots[head % self.slots.len()].stamp.fetch_add(0, Ordering::Acquire) <= head
    }
}
