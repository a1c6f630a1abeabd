//! Mappings of anonymous memory, where huge pages can hold it.
//!
//! Contains unsafe: it maps memory, and unmaps what it mapped too much.

use std::io;
use std::ptr::NonNull;

/// Bytes of a huge page (x86-64 and AArch64 with pages of 4 KiB).
pub(super) const HUGE_PAGE_LEN: usize = 2 * 1024 * 1024;

/// Maps `len` zeroed, private, writable bytes at a place of the kernel's choice.
pub(super) fn map(len: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: without MAP_FIXED the kernel picks free addresses, so that no memory in use is touched; no descriptor is passed.
    let start =
        unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}

/// Maps `len` bytes, whole pages, aligned to [`HUGE_PAGE_LEN`]: one huge page more than needed, then both ends cut off.
pub(super) fn map_aligned(len: usize) -> io::Result<NonNull<u8>> {
    let whole = map(len + HUGE_PAGE_LEN, 0)?;
    let before = whole.as_ptr().align_offset(HUGE_PAGE_LEN);
    let after = HUGE_PAGE_LEN - before;
    // SAFETY: `before + len + after` is the length just mapped, so that all three parts lie in it; they are disjoint, page
    // aligned (`before` ends on a huge page, `len` on a page), and nobody has a pointer into the parts cut off.
    unsafe {
        let start = whole.add(before);
        if before > 0 {
            libc::munmap(whole.as_ptr().cast(), before);
        }
        if after > 0 {
            libc::munmap(start.add(len).as_ptr().cast(), after);
        }
        Ok(start)
    }
}
