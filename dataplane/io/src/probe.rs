//! What the kernel would let other backends have: asked by trying, for whoever reports on a machine.
//!
//! Contains unsafe: one system call that no crate here wraps.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use socket2::{Domain, Socket, Type};

/// Bytes of `struct io_uring_params` (linux/io_uring.h), all numbers.
const PARAMS_LEN: usize = 120;

/// Makes an io_uring of two entries, and lets it go again.
///
/// # Errors
/// `ENOSYS`: the kernel has none. `EPERM`: a sandbox or `kernel.io_uring_disabled` forbids it. `ENOMEM`: the limit of locked
/// memory of an old kernel.
pub fn io_uring() -> io::Result<()> {
    let mut params = [0u64; PARAMS_LEN / 8];
    // SAFETY: io_uring_setup reads and writes PARAMS_LEN bytes at `params`, which are as long, aligned for its numbers of 64
    // bits, and zero where it wants zeros.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 2, params.as_mut_ptr()) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and told nobody else of it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

/// Makes a socket of AF_XDP, and lets it go again. That a network card can serve one is another matter.
///
/// # Errors
/// `EAFNOSUPPORT`: the kernel has none. `EPERM`: CAP_NET_RAW is missing.
pub fn af_xdp() -> io::Result<()> {
    Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_is_there_or_is_refused_for_a_reason_that_the_kernel_gives() {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for tried in [io_uring(), af_xdp()] {
            if let Err(error) = tried {
                let known = [libc::ENOSYS, libc::EPERM, libc::EACCES, libc::ENOMEM, libc::EAFNOSUPPORT];
                assert!(known.contains(&error.raw_os_error().unwrap()), "{error}");
            }
        }
        assert_eq!(open(), before, "nothing stays open");
    }
}
