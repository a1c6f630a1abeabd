//! The region: one anonymous mapping, made at start, from which everything else is cut.
//!
//! Contains unsafe: it maps and unmaps memory, and lends disjoint parts of it out as slices.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pages::{HUGE_PAGE_LEN, map, map_aligned};
use super::{FRAME_LEN, SLAB_LEN};

/// The two sizes in which memory is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// [`SLAB_LEN`] bytes, page-aligned.
    Slab,
    /// [`FRAME_LEN`] bytes, aligned to their length.
    Frame,
}

impl Class {
    /// Bytes of one unit.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Slab => SLAB_LEN,
            Self::Frame => FRAME_LEN,
        }
    }
}

/// One line of the sum: who needs how many of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who needs them, such as `receive arena of each worker`.
    pub consumer: &'static str,
    /// Of which class.
    pub class: Class,
    /// How many.
    pub count: usize,
}

/// How large the region must be: a sum with a line per consumer. `Display` prints it as a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    lines: Vec<Line>,
}

impl Plan {
    /// A plan without a line.
    pub const fn new() -> Self {
        Self { lines: Vec::new() }
    }

    /// Adds `count` units of `class` for `consumer`.
    #[must_use]
    pub fn with(mut self, consumer: &'static str, class: Class, count: usize) -> Self {
        self.lines.push(Line { consumer, class, count });
        self
    }

    /// The lines, in the order they were added.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Units of one class over all lines.
    pub fn count(&self, class: Class) -> usize {
        self.lines.iter().filter(|line| line.class == class).map(|line| line.count).sum()
    }

    /// Bytes over all lines.
    pub fn bytes(&self) -> usize {
        self.count(Class::Slab) * SLAB_LEN + self.count(Class::Frame) * FRAME_LEN
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let kib = line.count * line.class.bytes() / 1024;
            writeln!(f, "{:>10} KiB  {:>6} x {:<5?}  {}", kib, line.count, line.class, line.consumer)?;
        }
        write!(f, "{:>10} KiB  in all", self.bytes() / 1024)
    }
}

/// Which pages hold the region; for `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Huge pages that the operator set aside (`vm.nr_hugepages`).
    Huge,
    /// Ordinary pages that the kernel was asked to join (`madvise(MADV_HUGEPAGE)`).
    TransparentHuge,
    /// Ordinary pages.
    Ordinary,
}

/// Why no memory was to be had.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// The kernel refused the mapping: fewer workers or smaller arenas need less.
    #[error("cannot map {bytes} bytes for packet buffers: {error}")]
    Map {
        /// How much was asked for.
        bytes: usize,
        /// What the kernel said.
        error: io::Error,
    },
    /// The plan did not hold this consumer: a line is missing, or someone took more than its line says.
    #[error("the packet region has no {count} contiguous {class:?} units left")]
    Exhausted {
        /// Of which class.
        class: Class,
        /// How many were asked for.
        count: usize,
    },
}

/// The mapping. Unmapped when the last run is gone.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
    pages: Pages,
}

// SAFETY: the mapping is plain memory, tied to no thread; this type only ever unmaps it. Access to the bytes goes through
// `Run`, which is the only owner of its part.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared `Mapping` gives no access to bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(bytes: usize) -> Result<Self, RegionError> {
        let len = bytes.max(1).next_multiple_of(HUGE_PAGE_LEN);
        if let Ok(start) = map(len, libc::MAP_HUGETLB) {
            return Ok(Self { start, len, pages: Pages::Huge });
        }
        let start = map_aligned(len).map_err(|error| RegionError::Map { bytes: len, error })?;
        // SAFETY: the range is exactly the mapping just made, which nobody else knows of. The advice changes no content.
        let advised = unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) } == 0;
        let pages = if advised { Pages::TransparentHuge } else { Pages::Ordinary };
        Ok(Self { start, len, pages })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are of a mapping that only this value owns, and no `Run` is left: each holds the `Arc`
        // whose last count drops this.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Free units of one class, as ranges in ascending order that never touch.
struct FreeRanges(Vec<(usize, usize)>);

impl FreeRanges {
    /// First fit: the first unit of `count` contiguous ones.
    fn take(&mut self, count: usize) -> Option<usize> {
        let at = self.0.iter().position(|&(_, len)| len >= count)?;
        let (first, len) = self.0[at];
        if len == count {
            self.0.remove(at);
        } else {
            self.0[at] = (first + count, len - count);
        }
        Some(first)
    }

    fn give_back(&mut self, first: usize, count: usize) {
        let at = self.0.partition_point(|&(start, _)| start < first);
        self.0.insert(at, (first, count));
        if at + 1 < self.0.len() && first + count == self.0[at + 1].0 {
            self.0[at].1 += self.0.remove(at + 1).1;
        }
        if at > 0 && self.0[at - 1].0 + self.0[at - 1].1 == first {
            self.0[at - 1].1 += self.0.remove(at).1;
        }
    }
}

struct Free {
    slabs: FreeRanges,
    frames: FreeRanges,
}

struct Inner {
    mapping: Mapping,
    /// Where frames begin: behind the slabs, which end on a page.
    frames_offset: usize,
    /// Cold: locked when a worker is built or torn down, never per packet.
    free: Mutex<Free>,
}

impl Inner {
    /// The list stays right when a holder panics: each change of it is complete before anything can fail.
    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All packet memory of a process. Cloning shares it.
#[derive(Clone)]
pub struct Region {
    inner: Arc<Inner>,
}

impl Region {
    /// Maps the sum of a plan. The pages are zero and are only backed by memory once they are touched.
    ///
    /// # Errors
    /// [`RegionError::Map`].
    pub fn new(plan: &Plan) -> Result<Self, RegionError> {
        let slabs = plan.count(Class::Slab);
        let frames = plan.count(Class::Frame);
        let mapping = Mapping::new(plan.bytes())?;
        let ranges = |count| FreeRanges(if count > 0 { vec![(0, count)] } else { Vec::new() });
        let free = Mutex::new(Free { slabs: ranges(slabs), frames: ranges(frames) });
        Ok(Self { inner: Arc::new(Inner { mapping, frames_offset: slabs * SLAB_LEN, free }) })
    }

    /// Cuts out `count` contiguous units. They come back when the run is dropped.
    ///
    /// # Errors
    /// [`RegionError::Exhausted`].
    pub fn run(&self, class: Class, count: usize) -> Result<Run, RegionError> {
        let exhausted = RegionError::Exhausted { class, count };
        if count == 0 {
            return Err(exhausted);
        }
        let mut free = self.inner.free();
        let (first, base) = match class {
            Class::Slab => (free.slabs.take(count), 0),
            Class::Frame => (free.frames.take(count), self.inner.frames_offset),
        };
        drop(free);
        let first = first.ok_or(exhausted)?;
        // SAFETY: the free lists only hold units below the counts from which the mapping's length was summed up.
        let start = unsafe { self.inner.mapping.start.add(base + first * class.bytes()) };
        Ok(Run { inner: Arc::clone(&self.inner), start, class, first, count })
    }

    /// Which pages it lies in.
    pub fn pages(&self) -> Pages {
        self.inner.mapping.pages
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapping = &self.inner.mapping;
        f.debug_struct("Region").field("len", &mapping.len).field("pages", &mapping.pages).finish()
    }
}

/// Contiguous units of a region with one owner; derefs to their bytes.
pub struct Run {
    inner: Arc<Inner>,
    start: NonNull<u8>,
    class: Class,
    first: usize,
    count: usize,
}

// SAFETY: a run is the only owner of its bytes (units leave the free list when it is made and return when it is dropped),
// so that it may move between threads like a `Box<[u8]>`.
unsafe impl Send for Run {}
// SAFETY: a shared run only gives shared slices.
unsafe impl Sync for Run {}

impl Run {
    /// Units of it.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Class of its units.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Bytes of all its units.
    fn bytes(&self) -> usize {
        self.count * self.class.bytes()
    }

    /// The first byte of unit `index`, for the pool, which lends units out one by one.
    ///
    /// # Panics
    /// When the run has no such unit.
    pub(super) fn unit(&self, index: usize) -> NonNull<u8> {
        assert!(index < self.count, "unit {index} of {}", self.count);
        // SAFETY: `index` was just checked, so that the address lies in the run.
        unsafe { self.start.add(index * self.class.bytes()) }
    }
}

impl Deref for Run {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` and `bytes` describe a part of the mapping, which `inner` keeps alive, was zeroed by the kernel and
        // so is initialised, and belongs to this run alone; the borrow of `self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes()) }
    }
}

impl DerefMut for Run {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes it the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes()) }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut free = self.inner.free();
        match self.class {
            Class::Slab => free.slabs.give_back(self.first, self.count),
            Class::Frame => free.frames.give_back(self.first, self.count),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_the_sum_of_its_lines() {
        let plan = Plan::new().with("receive", Class::Slab, 3).with("control", Class::Frame, 5);
        assert_eq!(plan.bytes(), 3 * SLAB_LEN + 5 * FRAME_LEN);
        let table = plan.to_string();
        assert!(
            table.contains("3 x Slab") && table.contains("control") && table.ends_with("in all"),
            "{table}"
        );
    }

    #[test]
    fn runs_are_disjoint_page_aligned_and_zero() {
        let plan = Plan::new().with("a", Class::Slab, 3).with("b", Class::Frame, 4);
        let region = Region::new(&plan).unwrap();
        let mut runs = [(Class::Slab, 2), (Class::Slab, 1), (Class::Frame, 1), (Class::Frame, 3)]
            .map(|(class, count)| region.run(class, count).unwrap());
        for (mark, run) in runs.iter_mut().enumerate() {
            assert!(run.iter().all(|&byte| byte == 0));
            assert_eq!(run.as_ptr().align_offset(run.class().bytes().min(4096)), 0);
            run.fill(mark as u8 + 1);
        }
        for (mark, run) in runs.iter().enumerate() {
            assert!(run.iter().all(|&byte| byte == mark as u8 + 1), "run {mark} was overwritten");
        }
    }

    #[test]
    fn a_region_gives_no_more_than_its_plan() {
        let region = Region::new(&Plan::new().with("a", Class::Slab, 2)).unwrap();
        assert!(matches!(region.run(Class::Slab, 3), Err(RegionError::Exhausted { .. })));
        assert!(matches!(region.run(Class::Frame, 1), Err(RegionError::Exhausted { .. })));
        let _whole = region.run(Class::Slab, 2).unwrap();
        assert!(matches!(region.run(Class::Slab, 1), Err(RegionError::Exhausted { .. })));
    }

    #[test]
    fn dropped_runs_join_again_in_any_order() {
        let region = Region::new(&Plan::new().with("a", Class::Slab, 4)).unwrap();
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut runs: Vec<_> = (0..4).map(|_| region.run(Class::Slab, 1).ok()).collect();
            for at in order {
                assert!(runs[at].take().is_some());
            }
            assert_eq!(region.run(Class::Slab, 4).unwrap().count(), 4, "after {order:?}");
        }
    }

    #[test]
    fn a_run_outlives_its_region() {
        let region = Region::new(&Plan::new().with("a", Class::Slab, 1)).unwrap();
        let mut run = region.run(Class::Slab, 1).unwrap();
        drop(region);
        run.fill(7);
        assert_eq!(run[SLAB_LEN - 1], 7);
    }
}
