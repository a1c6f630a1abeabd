//! The seam between a worker and the network: receive into a ring, send a batch.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use arrayvec::ArrayVec;
use dataplane_wire::{DropReason, FourTuple, SocketId};

use crate::rx::RxRing;
use crate::screen::Shunned;
use crate::tx::TxBatch;

/// Names a descriptor of a backend in the poller of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadyToken(pub u32);

/// A backend that moves datagrams for one worker. It never blocks for longer than a bounded millisecond.
///
/// The worker polls the descriptors of [`PacketIo::poll_fds`] for reading (level-triggered will do), calls
/// [`PacketIo::set_ready`] for each that is, and then [`PacketIo::recv`] until a report says that there is no more.
pub trait PacketIo {
    /// What [`PacketIo::add_socket`] takes.
    type Socket;

    /// A short name for logs and `status`.
    fn name(&self) -> &'static str;

    /// Adds a socket. An id may have one socket per address family; datagrams leave by the one of their destination's family.
    ///
    /// # Errors
    /// What the backend needs of the socket could not be had, or the id has one of this family already.
    fn add_socket(&mut self, id: SocketId, socket: Self::Socket) -> io::Result<()>;

    /// Takes the sockets of an id out again. Dropping them closes them; members of a reuse-port group must be kept until the
    /// whole group goes.
    fn remove_socket(&mut self, id: SocketId) -> Vec<Self::Socket>;

    /// Tells every descriptor that must be polled for reading, with the token to hand to [`PacketIo::set_ready`]. To be asked
    /// again after sockets were added or removed.
    fn poll_fds(&self, each: &mut dyn FnMut(ReadyToken, BorrowedFd<'_>));

    /// A descriptor became readable. Unknown tokens are ignored.
    fn set_ready(&mut self, token: ReadyToken);

    /// Every descriptor may be readable: for busy polling.
    fn set_all_ready(&mut self);

    /// Clears the ring and fills it from sockets that are ready, in turn.
    fn recv(&mut self, rx: &mut RxRing) -> RecvReport;

    /// Sends every train of the batch and clears it. What was not sent is in the report.
    fn send(&mut self, tx: &mut TxBatch) -> SendReport;

    /// Keeps datagrams out before they are queued, in the place of what was kept out before: all but a share of the handshakes that
    /// show no cookie ([`crate::screen::Screen::most`]), and nearly all of some sources. What a backend without such a filter does about it is
    /// nothing.
    fn screen(&mut self, most: Option<u32>, shunned: &[Shunned]) {
        let _ = (most, shunned);
    }

    /// Which offloads are in use, and why not where they are not.
    fn offloads(&self) -> Offloads;
}

/// What one receive call did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecvReport {
    /// System calls made.
    pub calls: u32,
    /// Datagrams larger than a slot: dropped ([`DropReason::RxTruncated`]).
    pub truncated: u64,
    /// Errors that the kernel reported in place of a datagram. Nothing of ours was lost by them.
    pub errors: u64,
    /// Whether there may be more at once, without waiting for readiness.
    pub more: bool,
}

/// As what a refusal of the kernel to send is counted.
pub fn drop_reason_of(errno: i32) -> DropReason {
    match errno {
        libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => DropReason::TxNoBuffers,
        libc::EMSGSIZE => DropReason::TxTooBig,
        // No way there, no device, a firewall's word, or news that nobody listens.
        libc::ENETUNREACH
        | libc::EHOSTUNREACH
        | libc::ENETDOWN
        | libc::EPERM
        | libc::EACCES
        | libc::ECONNREFUSED => DropReason::TxUnreachable,
        _ => DropReason::TxError,
    }
}

/// Reasons for which a backend drops what it should send.
const SEND_REASONS: [DropReason; 5] = [
    DropReason::TxNoBuffers,
    DropReason::TxUnreachable,
    DropReason::TxTooBig,
    DropReason::TxError,
    DropReason::InterfaceGone,
];

/// Source addresses that one report can name; more are named by the next sends.
pub const REJECTED_SOURCES_MAX: usize = 8;

/// What one send call did: every datagram of the batch is counted once, as sent or as dropped.
#[derive(Clone, Debug, Default)]
pub struct SendReport {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their bytes above UDP.
    pub bytes: u64,
    /// System calls made.
    pub calls: u32,
    /// Tuples whose source address the kernel refused; their datagrams left from another address, or were dropped. Whoever chose
    /// the source forgets it (WG-55).
    pub rejected_sources: ArrayVec<FourTuple, REJECTED_SOURCES_MAX>,
    dropped: [u64; SEND_REASONS.len()],
}

impl SendReport {
    /// Counts datagrams that were not sent.
    pub fn add_drops(&mut self, reason: DropReason, datagrams: u64) {
        let at = SEND_REASONS.iter().position(|&known| known == reason);
        debug_assert!(at.is_some(), "{reason:?} is no reason for a failed send");
        self.dropped[at.unwrap_or(3)] += datagrams;
    }

    /// Datagrams dropped, by reason; only reasons that occurred.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        SEND_REASONS.into_iter().zip(self.dropped).filter(|&(_, count)| count > 0)
    }

    /// Datagrams dropped for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Adds what another call did.
    pub fn merge(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.calls += other.calls;
        self.dropped.iter_mut().zip(other.dropped).for_each(|(sum, more)| *sum += more);
        other.rejected_sources.iter().for_each(|&tuple| self.reject_source(tuple));
    }

    /// Notes a source address that the kernel refused. Beyond the bound, later sends will.
    pub fn reject_source(&mut self, tuple: FourTuple) {
        if !self.rejected_sources.contains(&tuple) {
            let _ = self.rejected_sources.try_push(tuple);
        }
    }
}

/// Whether an offload is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// In use.
    On,
    /// Not in use.
    Off(OffReason),
}

impl Offload {
    /// Whether it is in use.
    pub const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

/// Why an offload is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffReason {
    /// Switched off by configuration.
    Configured,
    /// The kernel or the backend does not have it.
    Unsupported,
    /// This kernel is known to mangle trains (EN-19).
    MangledByKernel,
    /// A send failed with this error (EN-5).
    Failed(i32),
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On => f.write_str("on"),
            Self::Off(OffReason::Configured) => f.write_str("off: switched off by configuration"),
            Self::Off(OffReason::Unsupported) => f.write_str("off: not supported here"),
            Self::Off(OffReason::MangledByKernel) => {
                f.write_str("off: this kernel mangles trains of equal segments (Linux 7.0 to 7.1.4)")
            }
            Self::Off(OffReason::Failed(errno)) => {
                write!(f, "off: a send failed: {}", io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

/// The offloads of the outer side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Trains on send (UDP_SEGMENT).
    pub gso: Offload,
    /// Trains on receive (UDP_GRO).
    pub gro: Offload,
}
