//! The inner side: where plain packets come from and go to, as super-packets.
//!
//! Enters: packets behind a virtio-net header of [`VNET_HEADER_LEN`] bytes, which says how one large packet stands for many.
//! Leaves: the same, gathered from a header and ranges of a receive arena, so that a run of coalesced packets is written
//! without a copy. Never: blocking; a look into the packet.
//!
//! [`tun`](crate::tun) has the kernel's implementation, [`memory`] one for tests and for embedders without a TUN.

pub mod memory;

use std::os::fd::BorrowedFd;

use dataplane_wire::offload::{SEGMENTS_MAX, VnetHeader};
use dataplane_wire::{DropReason, Span};

/// Bytes of `struct virtio_net_hdr` (virtio 1.2 §5.1.6), which stands before every packet in either direction.
pub const VNET_HEADER_LEN: usize = VnetHeader::LEN;
/// Most ranges behind the head of one gather write: the segments of the largest coalesced run.
pub const PARTS_MAX: usize = SEGMENTS_MAX;

/// What a packet's vnet header makes of it: its `gso_type` without the ECN flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// Segments of TCP over IPv4.
    Tcp4,
    /// Segments of TCP over IPv6.
    Tcp6,
    /// Datagrams of UDP over either.
    Udp,
}

impl GsoKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp4, Self::Tcp6, Self::Udp];

    /// The kind of a super-packet by its vnet header; `None` for a plain packet and for what is not known.
    pub const fn of(head: &[u8]) -> Option<Self> {
        if head.len() < VNET_HEADER_LEN {
            return None;
        }
        match head[1] & !VnetHeader::GSO_ECN {
            VnetHeader::GSO_TCPV4 => Some(Self::Tcp4),
            VnetHeader::GSO_TCPV6 => Some(Self::Tcp6),
            VnetHeader::GSO_UDP_L4 => Some(Self::Udp),
            _ => None,
        }
    }

    /// The name in `status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp4 => "tso4",
            Self::Tcp6 => "tso6",
            Self::Udp => "uso",
        }
    }
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum RecvError {
    /// The interface was removed, or the other end closed. Nothing will come any more.
    #[error("the interface is gone")]
    Gone,
    /// Anything else. Reading again may succeed; count it.
    #[error("reading from the interface: {0}")]
    Io(std::io::Error),
}

/// Why a packet was not written. It is lost unless the caller does otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The inner side takes no more at the moment.
    #[error("the interface takes no more packets at the moment")]
    Full,
    /// The interface is set down; packets are refused until it is up.
    #[error("the interface is down")]
    Down,
    /// The interface was removed, or the other end closed.
    #[error("the interface is gone")]
    Gone,
    /// A super-packet was refused. The packets that it was made of may be written one by one;
    /// [`Inner::takes`] says whether the next super-packet of its kind is worth trying.
    #[error("the interface refused a super-packet")]
    GsoRefused,
    /// The packet was refused, by this errno.
    #[error("the interface refused a packet (errno {0})")]
    Refused(i32),
    /// A defect of the caller: a head without a vnet header, more than [`PARTS_MAX`] parts, or a part outside of the arena.
    #[error("a gather write names bytes that are not there")]
    OutOfBounds,
}

impl SendError {
    /// Under which reason the packet is counted if nothing else is done about it.
    pub const fn drop_reason(self) -> DropReason {
        match self {
            Self::Full => DropReason::InnerFull,
            Self::Gone => DropReason::InterfaceGone,
            Self::Down | Self::GsoRefused | Self::Refused(_) | Self::OutOfBounds => DropReason::InnerError,
        }
    }
}

/// One queue of an inner side, owned by one worker.
pub trait Inner {
    /// Reads a packet or super-packet, its vnet header first, and returns the bytes of both together. `None`: nothing waits.
    ///
    /// What does not fit `buffer` is cut off; [`RECV_MIN`] bytes hold everything.
    ///
    /// # Errors
    /// [`RecvError::Gone`]: leave. [`RecvError::Io`]: count, and go on.
    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, RecvError>;

    /// Writes a packet or super-packet: `head` (the vnet header, and what of the packet is said anew), then `parts` of `arena`
    /// in this order. All or nothing.
    ///
    /// Cost: one system call, no copy in user space.
    ///
    /// # Errors
    /// See [`SendError`]; none of them ends the worker.
    fn send_gather(&mut self, head: &[u8], arena: &[u8], parts: &[Span]) -> Result<(), SendError>;

    /// The packets of one batch were written: whoever reads the other end may be told of them all at once.
    ///
    /// Called by the worker behind the last write of a batch. An inner side that hands over each packet when it is written, as
    /// the kernel does, has nothing to do here.
    fn flush(&mut self) {}

    /// Whether super-packets of this kind may be written. Turns false, and stays so, when the kernel refuses them.
    fn takes(&self, kind: GsoKind) -> bool;

    /// Readable while a packet waits, or the interface is gone.
    fn fd(&self) -> BorrowedFd<'_>;
}

/// A buffer of this size holds whatever [`Inner::recv`] may yield: the header, 64 KiB, and what IPv6 jumbograms or a raised
/// `gso_max_size` never reach here because the driver's own limit is 64 KiB.
pub const RECV_MIN: usize = VNET_HEADER_LEN + 65_536;

/// Checks the bounds of a gather write. On return every part lies in the arena.
pub(crate) fn check_gather(head: &[u8], arena: &[u8], parts: &[Span]) -> Result<(), SendError> {
    let inside = |part: &Span| part.offset as u64 + u64::from(part.len) <= arena.len() as u64;
    if head.len() >= VNET_HEADER_LEN && parts.len() <= PARTS_MAX && parts.iter().all(inside) {
        Ok(())
    } else {
        Err(SendError::OutOfBounds)
    }
}

#[cfg(test)]
mod conformance;
