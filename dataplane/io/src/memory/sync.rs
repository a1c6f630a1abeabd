//! The two shared types of the pool, which a build with `--cfg loom` replaces by ones whose interleavings are explored.
//!
//! What the model checker sees: the pool's own protocol, and a ring that makes the same promise as
//! [`crossbeam_queue::ArrayQueue`] with the same shape (a stamp per slot, acquire and release on it). It does not see the
//! inside of crossbeam's ring, which does not use loom's types.

#[cfg(not(loom))]
pub(super) use {crossbeam_queue::ArrayQueue, std::sync::Arc};

#[cfg(loom)]
pub(super) use {loom::sync::Arc, stand_in::ArrayQueue};

#[cfg(loom)]
mod stand_in {
    //! Contains unsafe: reads and writes slots that the stamps say are this thread's.
    //!
    //! Every access to an atomic is a read-modify-write, also where a load or store would do. Loom 0.7 remembers one access per
    //! atomic when it looks for orders that matter, so that a load before a store hides another thread's load, and orders are
    //! left out; and it lets a read-modify-write read past a store that nothing orders before it. With the one kind of access,
    //! both are right: the mutations that the models must catch are caught.

    use loom::cell::UnsafeCell;
    use loom::sync::atomic::{AtomicUsize, Ordering};

    struct Slot {
        /// `position` when free for the push of that position, `position + 1` when it holds its value.
        stamp: AtomicUsize,
        value: UnsafeCell<u32>,
    }

    /// A bounded ring for many pushers and poppers.
    pub(crate) struct ArrayQueue {
        slots: Box<[Slot]>,
        head: AtomicUsize,
        tail: AtomicUsize,
    }

    // SAFETY: a slot's value is only touched by the thread that won the position whose stamp the slot shows.
    unsafe impl Sync for ArrayQueue {}
    // SAFETY: it holds numbers only.
    unsafe impl Send for ArrayQueue {}

    impl ArrayQueue {
        pub(crate) fn new(capacity: usize) -> Self {
            let slot = |at| Slot { stamp: AtomicUsize::new(at), value: UnsafeCell::new(0) };
            let slots = (0..capacity).map(slot).collect();
            Self { slots, head: AtomicUsize::new(0), tail: AtomicUsize::new(0) }
        }

        pub(crate) fn push(&self, value: u32) -> Result<(), u32> {
            loop {
                let tail = self.tail.fetch_add(0, Ordering::Relaxed);
                let slot = &self.slots[tail % self.slots.len()];
                // Acquire: pairs with the release of the pop that freed the slot.
                let stamp = slot.stamp.fetch_add(0, Ordering::Acquire);
                if stamp == tail {
                    let won =
                        self.tail.compare_exchange(tail, tail + 1, Ordering::Relaxed, Ordering::Relaxed);
                    if won.is_ok() {
                        // SAFETY: the stamp said free for this position, and only one thread wins a position.
                        slot.value.with_mut(|cell| unsafe { *cell = value });
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

        pub(crate) fn pop(&self) -> Option<u32> {
            loop {
                let head = self.head.fetch_add(0, Ordering::Relaxed);
                let slot = &self.slots[head % self.slots.len()];
                // Acquire: pairs with the release of the push.
                let stamp = slot.stamp.fetch_add(0, Ordering::Acquire);
                if stamp == head + 1 {
                    let won =
                        self.head.compare_exchange(head, head + 1, Ordering::Relaxed, Ordering::Relaxed);
                    if won.is_ok() {
                        // SAFETY: the stamp said filled for this position, and only one thread wins a position.
                        let value = slot.value.with(|cell| unsafe { *cell });
                        // Release: pairs with the acquire of the push one lap later.
                        slot.stamp.swap(head + self.slots.len(), Ordering::Release);
                        return Some(value);
                    }
                } else if stamp <= head {
                    return None;
                }
                loom::thread::yield_now();
            }
        }
    }
}
