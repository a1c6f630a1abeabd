//! Hot: one queue of a TUN interface.
//!
//! 1. [`Queue::recv`]: one `read`, straight into the worker's buffer, vnet header first.
//! 2. [`Queue::send_gather`]: one `writev`, the head and up to 64 ranges straight from the receive arena.
//!
//! No allocation, no lock, no copy.
//!
//! Contains unsafe: read and writev on memory that the caller lends.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use dataplane_wire::Span;

use crate::inner::{GsoKind, Inner, PARTS_MAX, RecvError, SendError, VNET_HEADER_LEN, check_gather};

/// What is known of writing super-packets of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gso {
    /// Nothing yet: the first refusal switches it off.
    Untried,
    /// It has worked. A refusal concerns that packet, so that a peer cannot switch it off by a packet that only the kernel
    /// finds fault with.
    Proven,
    /// Refused, by this errno, or not offered (0).
    Off(i32),
}

/// One queue of a TUN interface, owned by one worker.
#[derive(Debug)]
pub struct Queue {
    fd: OwnedFd,
    /// The interface puts vnet headers before packets. One that was handed over may not; then there are no super-packets.
    vnet: bool,
    gso: [Gso; GsoKind::ALL.len()],
}

impl Queue {
    pub(super) fn new(fd: OwnedFd, vnet: bool, uso: bool) -> Self {
        let offered = |kind| vnet && (uso || kind != GsoKind::Udp);
        let gso = GsoKind::ALL.map(|kind| if offered(kind) { Gso::Untried } else { Gso::Off(0) });
        Self { fd, vnet, gso }
    }

    /// Why super-packets of a kind are not written: the errno with which the kernel refused the first, or 0 where the
    /// interface does not offer them. `None` while they are.
    pub fn refusal(&self, kind: GsoKind) -> Option<i32> {
        match self.gso[kind as usize] {
            Gso::Off(errno) => Some(errno),
            Gso::Untried | Gso::Proven => None,
        }
    }

    /// Writes no super-packets of this kind from now on: by configuration.
    pub fn switch_off(&mut self, kind: GsoKind) {
        self.gso[kind as usize] = Gso::Off(0);
    }

    /// A second handle of the same queue: for a worker that writes to a queue which another one reads.
    ///
    /// # Errors
    /// Those of `dup`: no descriptors are left (raise `RLIMIT_NOFILE`).
    pub fn duplicate(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, vnet: self.vnet, gso: self.gso })
    }

    /// The descriptor, to be handed to another process or [`adopt`](super::adopt)ed again.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// After a refused super-packet: whether its kind is to be tried again.
    fn refused(&mut self, kind: GsoKind, errno: i32) -> SendError {
        let state = &mut self.gso[kind as usize];
        if *state == Gso::Untried {
            *state = Gso::Off(errno);
        }
        SendError::GsoRefused
    }
}

impl Inner for Queue {
    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, RecvError> {
        let skip = if self.vnet { 0 } else { VNET_HEADER_LEN };
        let Some((header, space)) = buffer.split_at_mut_checked(skip) else {
            return Err(RecvError::Io(io::ErrorKind::InvalidInput.into()));
        };
        header.fill(0);
        // SAFETY: `space` is valid for writes of its own length.
        let len = unsafe { libc::read(self.fd.as_raw_fd(), space.as_mut_ptr().cast(), space.len()) };
        if let Ok(len) = usize::try_from(len) {
            // Longer than the buffer when the packet was cut off.
            return Ok(Some(skip + len.min(space.len())));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(None),
            // EFAULT is what a reader gets while the interface is being torn down: its queue is shut first.
            Some(libc::EBADFD | libc::ENODEV | libc::EFAULT) => Err(RecvError::Gone),
            _ => Err(RecvError::Io(error)),
        }
    }

    fn send_gather(&mut self, head: &[u8], arena: &[u8], parts: &[Span]) -> Result<(), SendError> {
        check_gather(head, arena, parts)?;
        let kind = GsoKind::of(head);
        if kind.is_some_and(|kind| !self.takes(kind)) {
            return Err(SendError::GsoRefused);
        }
        let head = if self.vnet { head } else { &head[VNET_HEADER_LEN..] };
        let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; PARTS_MAX + 1];
        vectors[0].write(libc::iovec { iov_base: head.as_ptr().cast_mut().cast(), iov_len: head.len() });
        for (vector, part) in vectors[1..].iter_mut().zip(parts) {
            let bytes = &arena[part.range()];
            vector.write(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
        }
        let count = (1 + parts.len()) as libc::c_int;
        // SAFETY: the first `count` vectors were written above (`check_gather` has seen that there are at most PARTS_MAX
        // parts). Each names bytes of `head` or `arena`, borrowed until the end of this function; writev only reads them.
        let written = unsafe { libc::writev(self.fd.as_raw_fd(), vectors.as_ptr().cast(), count) };
        if written >= 0 {
            if let Some(kind) = kind {
                self.gso[kind as usize] = Gso::Proven;
            }
            return Ok(());
        }
        match (io::Error::last_os_error().raw_os_error().unwrap_or_default(), kind) {
            (libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR, _) => Err(SendError::Full),
            (libc::EIO, _) => Err(SendError::Down),
            (libc::EBADFD | libc::ENODEV, _) => Err(SendError::Gone),
            (errno, Some(kind)) => Err(self.refused(kind, errno)),
            (errno, None) => Err(SendError::Refused(errno)),
        }
    }

    fn takes(&self, kind: GsoKind) -> bool {
        !matches!(self.gso[kind as usize], Gso::Off(_))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
