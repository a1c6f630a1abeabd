//! Signals that end the program, as a descriptor that becomes readable.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Readable once SIGTERM, SIGINT or SIGHUP has come; until then none of them ends the process.
#[derive(Debug)]
pub struct Termination {
    arrived: UnixStream,
}

impl Termination {
    /// Catches the signals from now on.
    ///
    /// # Errors
    /// Those of descriptors: the process has too many.
    pub fn catch() -> io::Result<Self> {
        let (arrived, write) = UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { arrived })
    }
}

impl AsFd for Termination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arrived.as_fd()
    }
}
