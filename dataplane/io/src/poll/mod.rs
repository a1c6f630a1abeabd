//! Where a worker waits: for readable descriptors, for other threads, or for time to pass.
//!
//! Enters: descriptors with a token each, and a timeout in nanoseconds. Leaves: tokens that are ready, and whether another
//! thread called. Never: an allocation after creation, a system call to wake a worker that does not sleep.
//!
//! Contains unsafe: the epoll and eventfd system calls.

mod gate;
#[cfg(all(test, loom))]
mod gate_model;
mod waker;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic;
use std::time::Duration;

use waker::Sleep;
pub use waker::Waker;
pub(crate) use waker::eventfd;

/// A caller's name for a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// The token of the poller's own eventfd, which no caller may use.
const WAKER_TOKEN: u64 = u64::MAX;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Readable.
    Read,
    /// Writable.
    Write,
    /// Either.
    Both,
    /// Neither; errors and hang-ups are reported still.
    Nothing,
}

impl Interest {
    const fn bits(self) -> u32 {
        match self {
            Self::Read => libc::EPOLLIN as u32,
            Self::Write => libc::EPOLLOUT as u32,
            Self::Both => (libc::EPOLLIN | libc::EPOLLOUT) as u32,
            Self::Nothing => 0,
        }
    }
}

/// A descriptor that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which one.
    pub token: Token,
    /// Reading would not block; it may yield an error or the end.
    pub readable: bool,
    /// Writing would not block.
    pub writable: bool,
    /// An error waits, or what stood behind the descriptor is gone.
    pub failed: bool,
}

/// Waits for descriptors, for a [`Waker`], or for time to pass. Level-triggered: what is not read to the end is reported again.
///
/// One thread waits; any number may hold its [`Waker`]s.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
    /// Events of the last wait, from the front of `events`.
    reported: usize,
    sleep: Sleep,
    /// The kernel has `epoll_pwait2` (Linux 5.11); without it a timeout is rounded up to milliseconds.
    precise: bool,
}

impl Poller {
    /// A poller that reports at most `capacity` descriptors per wait; more wait for the next one.
    ///
    /// # Errors
    /// Those of `epoll_create1` and `eventfd`: no descriptors are left (raise `RLIMIT_NOFILE`), or no memory.
    pub fn new(capacity: usize) -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the call above has just returned this descriptor, so nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let sleep = Sleep::new()?;
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; capacity.max(1) + 1].into_boxed_slice();
        let poller = Self { epoll, events, reported: 0, sleep, precise: true };
        // Edge-triggered: every wake-up is an edge, so the counter behind it need never be read.
        let bits = (libc::EPOLLIN | libc::EPOLLET) as u32;
        poller.control(libc::EPOLL_CTL_ADD, poller.sleep.fd(), bits, WAKER_TOKEN)?;
        Ok(poller)
    }

    /// A handle with which any thread ends this poller's wait, or keeps the next one from blocking.
    pub fn waker(&self) -> Waker {
        self.sleep.waker()
    }

    /// Adds a descriptor. It must be removed before it is closed if a duplicate of it lives on.
    ///
    /// # Errors
    /// `InvalidInput` for the one token that is reserved (`u64::MAX`); else those of `epoll_ctl`, such as a descriptor that
    /// is there already.
    pub fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        if token.0 == WAKER_TOKEN {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.control(libc::EPOLL_CTL_ADD, fd.as_fd(), interest.bits(), token.0)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// As [`Poller::add`]; a descriptor that was not added.
    pub fn modify(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        if token.0 == WAKER_TOKEN {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.control(libc::EPOLL_CTL_MOD, fd.as_fd(), interest.bits(), token.0)
    }

    /// Removes a descriptor.
    ///
    /// # Errors
    /// A descriptor that was not added.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd.as_fd(), 0, 0)
    }

    /// Waits until a descriptor is ready, a [`Waker`] was called since the last wait, or `timeout` has passed (`None`: for
    /// ever; zero: not at all). Returns whether a waker was called. [`Poller::ready`] has the rest.
    ///
    /// Cost: one system call, two atomic operations. A signal ends the wait with nothing ready.
    ///
    /// # Errors
    /// None that a correct caller can cause.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.reported = 0;
        let blocks = timeout != Some(Duration::ZERO);
        let timeout = if blocks && !self.sleep.park() { Some(Duration::ZERO) } else { timeout };
        let waited = self.wait_kernel(timeout);
        let woken = self.sleep.unpark();
        self.reported = match waited {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        Ok(woken)
    }

    /// What the last wait found.
    pub fn ready(&self) -> impl Iterator<Item = Ready> + '_ {
        self.events[..self.reported].iter().filter(|event| event.u64 != WAKER_TOKEN).map(|event| {
            let bits = event.events;
            let has = |mask: libc::c_int| bits & mask as u32 != 0;
            Ready {
                token: Token(event.u64),
                readable: has(libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR),
                writable: has(libc::EPOLLOUT),
                failed: has(libc::EPOLLERR | libc::EPOLLHUP),
            }
        })
    }

    fn wait_kernel(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        if self.precise {
            match self.wait_precise(timeout) {
                // Linux before 5.11, and sandboxes that do not know the call and refuse it.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    self.precise = false;
                }
                other => return other,
            }
        }
        self.wait_millis(timeout)
    }

    fn wait_precise(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        /// What the kernel calls `__kernel_timespec`: 64 bits on every architecture, unlike libc's.
        #[repr(C)]
        struct KernelTimespec {
            sec: i64,
            nsec: i64,
        }
        let limit = timeout.map(|timeout| KernelTimespec {
            sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nsec: i64::from(timeout.subsec_nanos()),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `events` is valid for writes of its own length; `limit` is null or points at a structure that lives until
        // the end of this function; the signal mask is null, for which its size is ignored.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                limit,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn wait_millis(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        // Rounded up: a timer that fires early would only be armed again.
        let millis = timeout.map_or(-1, |timeout| {
            libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
        });
        let len = self.events.len() as libc::c_int;
        // SAFETY: `events` is valid for writes of `len` entries.
        let count =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), len, millis) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn control(&self, operation: libc::c_int, fd: BorrowedFd<'_>, bits: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: bits, u64: token };
        // SAFETY: `event` lives through the call, which copies it; both descriptors are open, being borrowed.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event) })
            .map(drop)
    }
}

impl AsFd for Poller {
    /// The epoll descriptor: readable while anything is ready, so that a poller can be waited for in another loop.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests;
