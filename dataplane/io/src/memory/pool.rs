//! Slabs and frames of one worker.
//!
//! Contains unsafe: a [`Buf`] turns its unit of the pool's run into a slice.
//!
//! Hot:
//! 1. the owner takes from its private list: no atomic, no shared line;
//! 2. and puts back onto it ([`Pool::put`]);
//! 3. a buffer that ends on another core is dropped there: its number goes home by the return queue;
//! 4. the owner empties the return queue when its private list is down to the reserve.
//!
//! The number of a unit is at any time in exactly one place: the private list, the return queue, or a live `Buf`. That is the
//! whole argument for the slices below, and what the tests check.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::region::{Class, Region, RegionError, Run};
use super::sync::{Arc, ArrayQueue};

/// How many buffers a pool has, and how many of them ordinary traffic may not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSizes {
    /// All slabs.
    pub slabs: usize,
    /// Of these, only for [`Pool::take_reserved`].
    pub slabs_reserve: usize,
    /// All frames.
    pub frames: usize,
    /// Of these, only for [`Pool::take_reserved`].
    pub frames_reserve: usize,
}

/// The memory of one class, and the way home.
struct Shelf {
    run: Run,
    returned: ArrayQueue<u32>,
}

impl Shelf {
    fn new(region: &Region, class: Class, count: usize) -> Result<Option<Self>, RegionError> {
        if count == 0 {
            return Ok(None);
        }
        // One place more than there are numbers: the queue is never full, so that a push never waits for a slow pop.
        Ok(Some(Self { run: region.run(class, count)?, returned: ArrayQueue::new(count + 1) }))
    }
}

/// What a pool and its buffers share. Lives until the last of them is gone.
struct Home {
    slabs: Option<Shelf>,
    frames: Option<Shelf>,
}

impl Home {
    fn shelf(&self, class: Class) -> Option<&Shelf> {
        match class {
            Class::Slab => self.slabs.as_ref(),
            Class::Frame => self.frames.as_ref(),
        }
    }
}

/// The free buffers of one class that the owner holds.
struct FreeList {
    /// Whole buffers rather than numbers: their count on [`Home`] is paid once, not at each take. Never grows.
    bufs: Vec<Buf>,
    reserve: usize,
}

/// A worker's buffers. Taking and putting back is for its owner; the buffers themselves may go anywhere.
pub struct Pool {
    home: Arc<Home>,
    slabs: FreeList,
    frames: FreeList,
}

impl Pool {
    /// Cuts a pool out of the region. All its memory is taken here.
    ///
    /// # Errors
    /// [`RegionError::Exhausted`]: the plan has no line for it.
    // tidy: at construction
    pub fn new(region: &Region, sizes: PoolSizes) -> Result<Self, RegionError> {
        let home = Arc::new(Home {
            slabs: Shelf::new(region, Class::Slab, sizes.slabs)?,
            frames: Shelf::new(region, Class::Frame, sizes.frames)?,
        });
        let list = |class, count: usize, reserve| {
            // The last is taken first, so that a small load stays in the same few units.
            let bufs = (0..count as u32).rev().filter_map(|number| Buf::new(&home, class, number)).collect();
            FreeList { bufs, reserve }
        };
        let slabs = list(Class::Slab, sizes.slabs, sizes.slabs_reserve);
        let frames = list(Class::Frame, sizes.frames, sizes.frames_reserve);
        Ok(Self { home, slabs, frames })
    }

    /// A buffer for ordinary traffic; `None` when only the reserve is left, which the caller counts
    /// (`DropReason::NoBuffer`). Its bytes are what its last user left.
    pub fn take(&mut self, class: Class) -> Option<Buf> {
        let list = self.list(class);
        if list.bufs.len() <= list.reserve {
            self.welcome_returned(class);
        }
        let list = self.list(class);
        if list.bufs.len() > list.reserve { list.bufs.pop() } else { None }
    }

    /// A buffer for handshakes and control, which may use the reserve.
    pub fn take_reserved(&mut self, class: Class) -> Option<Buf> {
        if self.list(class).bufs.is_empty() {
            self.welcome_returned(class);
        }
        self.list(class).bufs.pop()
    }

    /// Puts a buffer back. One of another pool goes home by that pool's queue.
    pub fn put(&mut self, buf: Buf) {
        if Arc::ptr_eq(&self.home, &buf.home) {
            self.list(buf.class).bufs.push(buf);
        }
    }

    /// Buffers that a take could give now, the reserve included.
    pub fn free(&mut self, class: Class) -> usize {
        self.welcome_returned(class);
        self.list(class).bufs.len()
    }

    fn list(&mut self, class: Class) -> &mut FreeList {
        match class {
            Class::Slab => &mut self.slabs,
            Class::Frame => &mut self.frames,
        }
    }

    /// Empties the return queue into the private list. Bounded by the number of buffers.
    #[cold]
    fn welcome_returned(&mut self, class: Class) {
        let Some(shelf) = self.home.shelf(class) else { return };
        let list = match class {
            Class::Slab => &mut self.slabs,
            Class::Frame => &mut self.frames,
        };
        while let Some(number) = shelf.returned.pop() {
            list.bufs.extend(Buf::new(&self.home, class, number));
        }
    }
}

/// A slab or frame with one owner, who may be on any thread. Derefs to all its bytes; goes home when dropped.
pub struct Buf {
    home: Arc<Home>,
    start: NonNull<u8>,
    number: u32,
    class: Class,
}

// SAFETY: a `Buf` is the only owner of its unit (its number is nowhere else while it lives) and the unit is plain memory, so
// that it may move between threads like a `Box<[u8]>`. What it shares with others is `Home`, which is `Sync`.
unsafe impl Send for Buf {}
// SAFETY: a shared `Buf` only gives shared slices.
unsafe impl Sync for Buf {}

impl Buf {
    /// The buffer of a number that its caller owns: fresh, or popped from the return queue.
    fn new(home: &Arc<Home>, class: Class, number: u32) -> Option<Self> {
        let start = home.shelf(class)?.run.unit(number as usize);
        Some(Self { home: Arc::clone(home), start, number, class })
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.class
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is unit `number` of a run that `home` keeps alive, of `class.bytes()` initialised bytes (zeroed by the
        // kernel); nobody else has the number, and nobody slices the run itself.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.class.bytes()) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes it the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.class.bytes()) }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        if let Some(shelf) = self.home.shelf(self.class) {
            // Never full: it has more places than there are numbers, and each number is in one place only. The push releases
            // what this thread wrote into the unit; the owner's pop acquires it.
            let pushed = shelf.returned.push(self.number);
            debug_assert!(pushed.is_ok(), "a buffer came home twice");
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "pool_tests.rs"]
mod tests;

#[cfg(all(test, loom))]
#[path = "pool_model.rs"]
mod model;
