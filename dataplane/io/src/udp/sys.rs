//! The system calls of the hot path, behind a safe face.
//!
//! Contains unsafe: builds the kernel's message headers, which hold raw pointers, and hands them over. They are built anew
//! right before each call from slices that are borrowed for the length of it, so that no pointer outlives its target.
//!
//! Cost: one system call for up to [`MESSAGES_MAX`] messages, no allocation, no copy but the kernel's.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use super::addr::RawAddr;
use super::control::{ControlIn, ControlOut};

/// Most messages of one call: beyond some tens, the cost of entering the kernel is spread thin enough.
pub(crate) const MESSAGES_MAX: usize = 64;
/// Most pieces over all messages of one call: a train has at most 64, and most have one.
pub(crate) const PIECES_MAX: usize = 1024;

/// One message to send: a datagram, or a train of them.
#[derive(Clone, Copy)]
pub(crate) struct OutMessage {
    pub(crate) addr: RawAddr,
    pub(crate) control: ControlOut,
    /// Index behind its last piece; its first is where the message before it ended.
    pub(crate) pieces_end: u32,
    /// Which train of the batch, which of its datagrams is first, and how many: for whoever built it.
    pub(crate) train: u32,
    pub(crate) first_segment: u32,
    pub(crate) segments: u32,
    pub(crate) bytes: u32,
}

/// The messages of one call.
pub(crate) struct Outgoing {
    pub(crate) messages: Vec<OutMessage>,
    /// Offsets and lengths in the arena.
    pub(crate) pieces: Vec<(u32, u32)>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
}

// SAFETY: the raw pointers in `headers` and `iovecs` are left over from the last call and never followed: each call clears both
// and builds them anew.
unsafe impl Send for Outgoing {}

impl Outgoing {
    pub(crate) fn new() -> Self {
        Self {
            messages: Vec::with_capacity(MESSAGES_MAX),
            pieces: Vec::with_capacity(PIECES_MAX),
            headers: Vec::with_capacity(MESSAGES_MAX),
            iovecs: Vec::with_capacity(PIECES_MAX),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.messages.clear();
        self.pieces.clear();
    }
}

/// One received message, before it is understood.
#[derive(Clone, Copy)]
pub(crate) struct InMessage {
    pub(crate) addr: RawAddr,
    pub(crate) control: ControlIn,
    /// Bytes of the datagram or train, which may be more than the slot took.
    pub(crate) len: u32,
    pub(crate) truncated: bool,
}

/// The messages of one call.
pub(crate) struct Incoming {
    /// Where they go: offsets and lengths in the arena, ascending.
    pub(crate) slots: Vec<(usize, usize)>,
    pub(crate) messages: Vec<InMessage>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
}

// SAFETY: as for `Outgoing`.
unsafe impl Send for Incoming {}

impl Incoming {
    pub(crate) fn new() -> Self {
        let empty = InMessage { addr: RawAddr::EMPTY, control: ControlIn::EMPTY, len: 0, truncated: false };
        Self {
            slots: Vec::with_capacity(MESSAGES_MAX),
            messages: vec![empty; MESSAGES_MAX],
            headers: Vec::with_capacity(MESSAGES_MAX),
            iovecs: Vec::with_capacity(MESSAGES_MAX),
        }
    }
}

/// An error number.
pub(crate) type Errno = i32;

/// The system calls, as a seam: tests put faults between the backend and the kernel.
pub(crate) trait Calls: Send {
    /// sendmmsg(2): how many messages the kernel took, from the first on.
    fn send(&mut self, fd: BorrowedFd<'_>, arena: &[u8], out: &mut Outgoing) -> Result<usize, Errno>;

    /// recvmmsg(2) into the slots of `incoming`: how many messages came.
    fn recv(&mut self, fd: BorrowedFd<'_>, arena: &mut [u8], incoming: &mut Incoming)
    -> Result<usize, Errno>;

    /// Waits until the socket takes more, or the time is over.
    fn wait_writable(&mut self, fd: BorrowedFd<'_>, at_most: Duration);
}

/// The calls themselves.
pub(crate) struct Kernel;

/// A header with every field zero.
fn empty_header() -> libc::mmsghdr {
    // SAFETY: plain integers and pointers, for all of which zero is a value; some C libraries add private padding, which is why
    // it cannot be written as a literal.
    unsafe { std::mem::zeroed() }
}

fn last_errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

impl Calls for Kernel {
    fn send(&mut self, fd: BorrowedFd<'_>, arena: &[u8], out: &mut Outgoing) -> Result<usize, Errno> {
        out.headers.clear();
        out.iovecs.clear();
        for &(offset, len) in &out.pieces {
            // Checked slicing: a piece outside of the arena is a panic here, not a read in the kernel.
            let piece = &arena[offset as usize..][..len as usize];
            // The kernel only reads through this pointer; `iovec` knows no difference.
            out.iovecs.push(libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() });
        }
        let mut first = 0;
        for message in &out.messages {
            let iovecs = &mut out.iovecs[first..message.pieces_end as usize];
            first = message.pieces_end as usize;
            let mut header = empty_header();
            header.msg_hdr.msg_name = message.addr.bytes.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = message.addr.len;
            header.msg_hdr.msg_iov = iovecs.as_mut_ptr();
            header.msg_hdr.msg_iovlen = iovecs.len() as _;
            if message.control.len > 0 {
                header.msg_hdr.msg_control = message.control.bytes.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_controllen = message.control.len as _;
            }
            out.headers.push(header);
        }
        let count = out.headers.len() as libc::c_uint;
        // SAFETY: `headers` has `count` elements. Each points to the address and control bytes of its message and to its range of
        // `iovecs`, which point into `arena`. All of these are borrowed for this call and not touched meanwhile; the kernel reads
        // through them (it writes only `msg_len`, in `headers`). Neither vector was moved since: all pushes came before.
        let sent = unsafe {
            libc::sendmmsg(fd.as_raw_fd(), out.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _)
        };
        if sent < 0 { Err(last_errno()) } else { Ok(sent as usize) }
    }

    fn recv(
        &mut self,
        fd: BorrowedFd<'_>,
        arena: &mut [u8],
        incoming: &mut Incoming,
    ) -> Result<usize, Errno> {
        incoming.headers.clear();
        incoming.iovecs.clear();
        let mut end = 0;
        for &(offset, len) in &incoming.slots {
            // Ascending and checked: no slot leaves the arena, none overlaps another.
            assert!(offset >= end, "slots overlap");
            end = offset + len;
            let slot = &mut arena[offset..end];
            incoming.iovecs.push(libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: len });
        }
        for (message, iovec) in incoming.messages.iter_mut().zip(&mut incoming.iovecs) {
            let mut header = empty_header();
            header.msg_hdr.msg_name = message.addr.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = message.addr.bytes.len() as _;
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = message.control.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = ControlIn::LEN as _;
            incoming.headers.push(header);
        }
        let count = incoming.headers.len() as libc::c_uint;
        // MSG_TRUNC asks for the real length of a datagram that did not fit.
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: `headers` has `count` elements. Each points to address and control bytes of its own message and to its own iovec,
        // whose slot lies in `arena`, apart from all others (asserted above). All are borrowed mutably for this call and not
        // touched meanwhile; the lengths given are theirs. No vector was moved since: all pushes came before. Any bytes the
        // kernel writes are valid for the byte arrays and integers there.
        let came = unsafe {
            let timeout = std::ptr::null_mut();
            libc::recvmmsg(fd.as_raw_fd(), incoming.headers.as_mut_ptr(), count, flags as _, timeout)
        };
        if came < 0 {
            return Err(last_errno());
        }
        let came = came as usize;
        for (message, header) in incoming.messages.iter_mut().zip(&incoming.headers[..came]) {
            message.addr.len = header.msg_hdr.msg_namelen;
            message.control.len = header.msg_hdr.msg_controllen as _;
            message.len = header.msg_len;
            message.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        }
        Ok(came)
    }

    fn wait_writable(&mut self, fd: BorrowedFd<'_>, at_most: Duration) {
        let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        let millis = at_most.as_millis().max(1) as libc::c_int;
        // SAFETY: one `pollfd`, borrowed for the call; the descriptor is open as long as `fd`. The outcome does not matter: the
        // caller tries to send again and sees.
        unsafe { libc::poll(&mut poll, 1, millis) };
    }
}
