//! Descriptors that whoever started this program opened for it.
//!
//! Contains unsafe: one `fcntl` with a number from outside.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// A descriptor of its own for what stands behind the inherited descriptor `number`, closed on exec.
///
/// The inherited one stays open as long as the process: nobody can tell here whether something else uses it.
///
/// # Errors
/// `EBADF`: no descriptor of that number is open; or the process has too many.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    // Not 0 to 2: whatever writes to standard output must not meet this one.
    // SAFETY: F_DUPFD_CLOEXEC takes no pointer, and an error for whatever number is not open.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and told nobody else of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn an_inherited_descriptor_is_the_same_thing_under_a_number_of_its_own() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let copy = inherited(far.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), far.as_raw_fd());
        let mut copy = UnixStream::from(copy);
        near.write_all(b"x").unwrap();
        copy.read_exact(&mut [0]).unwrap();
        drop(copy);
        near.write_all(b"x").unwrap();
        (&far).read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        for number in [-1, i32::MIN, i32::MAX] {
            assert_eq!(inherited(number).unwrap_err().raw_os_error(), Some(libc::EBADF));
        }
    }
}
