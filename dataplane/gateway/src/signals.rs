//! Signals that end the program, as a descriptor that becomes readable.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
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

    /// Whether one comes within this time, or has come before.
    pub fn within(&self, time: Duration) -> bool {
        let timeout = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        let mut fds = [PollFd::new(&self.arrived, PollFlags::IN)];
        // Interrupted by the very signal: the descriptor is readable at the next look.
        rustix::event::poll(&mut fds, Some(&timeout)).is_ok_and(|count| count > 0)
    }
}

impl AsFd for Termination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arrived.as_fd()
    }
}
