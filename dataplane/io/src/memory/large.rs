//! An allocator that lays large blocks in huge pages.
//!
//! Enters: requests of the program's collections. Leaves: the system's blocks; from [`HUGE_PAGE_LEN`] on mappings of their own,
//! aligned to it and advised so (`MADV_HUGEPAGE`). Never: a copy when a large block grows. The records of 100,000 sessions are
//! some 150 MB: in pages of 4 KiB nearly every look-up of a packet misses the TLB too.
//!
//! Contains unsafe: it is an allocator, and maps memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

use super::pages::{HUGE_PAGE_LEN, map_aligned};

/// Bytes of an ordinary page, and of every multiple of it that is mapped.
const PAGE_LEN: usize = 4096;

/// The system's allocator for blocks below 2 MiB; above, huge pages where the kernel has some. For programs:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: dataplane_io::memory::LargePages = dataplane_io::memory::LargePages;
/// ```
///
/// A block takes whole pages and is zero when it is new, without being touched. It grows in its place where it can, else its
/// pages move without a copy: a table of sessions that doubles does not hold its worker up.
#[derive(Clone, Copy, Debug, Default)]
pub struct LargePages;

/// Whether a block is mapped by itself.
fn is_large(layout: &Layout) -> bool {
    layout.size() >= HUGE_PAGE_LEN && layout.align() <= HUGE_PAGE_LEN
}

/// Bytes of the pages that hold a block; not more than `isize::MAX + PAGE_LEN`, since no layout is longer than `isize::MAX`.
fn mapped_len(size: usize) -> usize {
    size.next_multiple_of(PAGE_LEN)
}

/// Maps a block that huge pages can hold; null where there is no memory.
fn map_large(size: usize) -> *mut u8 {
    let len = mapped_len(size);
    let Ok(start) = map_aligned(len) else { return ptr::null_mut() };
    // SAFETY: the range is the mapping just made. The advice changes no content; if it is refused, pages are ordinary.
    unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
    start.as_ptr()
}

/// Gives a large block another size that is large too: in its place, or its pages at another; null where there is no memory, and
/// then nothing has changed.
///
/// # Safety
/// `block` is a mapping of `mapped_len(old)` bytes, and only the caller's.
unsafe fn remap(block: *mut u8, old: usize, new: usize) -> *mut u8 {
    let (old, len) = (mapped_len(old), mapped_len(new));
    // SAFETY: without MREMAP_MAYMOVE the mapping keeps its start; what is behind it is only taken where it is free.
    if unsafe { libc::mremap(block.cast(), old, len, 0) } != libc::MAP_FAILED {
        return block;
    }
    let place = map_large(new);
    if place.is_null() {
        return place;
    }
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the pages move over a mapping of the new length that was just made and that nobody else knows of; both are aligned
    // to huge pages and do not overlap. After success `block` is no mapping any more, and the caller is told the new one.
    let moved = unsafe { libc::mremap(block.cast(), old, len, flags, place) };
    if moved == libc::MAP_FAILED {
        // SAFETY: the mapping is the one just made, and still whole: a move that fails has left both as they were.
        unsafe { libc::munmap(place.cast(), len) };
        return ptr::null_mut();
    }
    moved.cast()
}

// SAFETY: a block is either the system's, from its allocation to its end, or a mapping of its own that holds its size, aligned to
// more than its layout asks; which of the two follows from the layout alone, which callers must repeat. No method unwinds.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(&layout) {
            return map_large(layout.size());
        }
        // SAFETY: the caller's promises are those that the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(&layout) {
            // The kernel's pages are zero.
            return map_large(layout.size());
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(&layout) {
            // SAFETY: a large block is a mapping of this length, and the caller gives it up.
            unsafe { libc::munmap(block.cast(), mapped_len(layout.size())) };
            return;
        }
        // SAFETY: a small block is the system's.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size makes a layout with the old alignment.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (is_large(&layout), is_large(&new)) {
            // SAFETY: a large block is such a mapping, and the caller's alone.
            (true, true) => unsafe { remap(block, layout.size(), new_size) },
            // SAFETY: a small block is the system's.
            (false, false) => unsafe { System.realloc(block, layout, new_size) },
            _ => {
                // SAFETY: the new layout is not empty, by the caller's promise.
                let moved = unsafe { self.alloc(new) };
                if !moved.is_null() {
                    // SAFETY: both blocks hold the smaller of the sizes, and are disjoint since the old one is not freed yet.
                    unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size)) };
                    // SAFETY: the caller gives the old block up.
                    unsafe { self.dealloc(block, layout) };
                }
                moved
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 64).unwrap()
    }

    /// A block, and what it was made with.
    struct Block(*mut u8, Layout);

    impl Block {
        fn new(size: usize) -> Self {
            // SAFETY: the size is not 0.
            Self(unsafe { LargePages.alloc_zeroed(layout(size)) }, layout(size))
        }

        fn resize(&mut self, size: usize) {
            // SAFETY: the block is of this allocator and this layout, and the size is not 0.
            self.0 = unsafe { LargePages.realloc(self.0, self.1, size) };
            self.1 = layout(size);
        }

        fn bytes(&mut self) -> &mut [u8] {
            assert!(!self.0.is_null());
            // SAFETY: the block is this long; every test writes what it reads, or reads what is zero from the beginning.
            unsafe { std::slice::from_raw_parts_mut(self.0, self.1.size()) }
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            // SAFETY: the block is of this allocator and this layout, and nobody uses it any more.
            unsafe { LargePages.dealloc(self.0, self.1) };
        }
    }

    fn mark(at: usize) -> u8 {
        (at / 4096 % 251) as u8 + 1
    }

    #[test]
    fn what_a_block_holds_stays_when_it_grows_and_shrinks() {
        let mut block = Block::new(100);
        let mut known = 0;
        for size in [4096, 2 * MIB - 1, 2 * MIB, 5 * MIB + 3, 16 * MIB, 64 * MIB, 6 * MIB, 2 * MIB, MIB, 50] {
            block.resize(size);
            let bytes = block.bytes();
            known = known.min(size);
            assert!((0..known).step_by(997).all(|at| bytes[at] == mark(at)), "{size}");
            (known..size).for_each(|at| bytes[at] = mark(at));
            known = size;
        }
    }

    #[test]
    fn new_large_blocks_are_zero_aligned_and_apart() {
        let mut blocks: Vec<_> = [2 * MIB, 2 * MIB + 1, 7 * MIB].into_iter().map(Block::new).collect();
        for (number, block) in blocks.iter_mut().enumerate() {
            assert_eq!(block.0.align_offset(HUGE_PAGE_LEN), 0);
            assert!(block.bytes().iter().all(|byte| *byte == 0));
            block.bytes().fill(number as u8 + 1);
        }
        for (number, block) in blocks.iter_mut().enumerate() {
            assert!(block.bytes().iter().all(|byte| *byte == number as u8 + 1));
        }
    }

    #[test]
    fn a_block_that_cannot_be_is_null_and_the_old_one_stays() {
        // SAFETY: the size is not 0.
        assert!(unsafe { LargePages.alloc(layout(1 << 60)) }.is_null());
        let mut block = Block::new(2 * MIB);
        block.bytes().fill(7);
        // SAFETY: the block is of this allocator and this layout.
        assert!(unsafe { LargePages.realloc(block.0, block.1, 1 << 60) }.is_null());
        assert!(block.bytes().iter().all(|byte| *byte == 7));
    }
}
