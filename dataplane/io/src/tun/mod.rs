//! TUN interfaces of the Linux kernel: super-packets in both directions, one queue per worker.
//!
//! Enters: a name or an inherited descriptor, and the number of workers. Leaves: a [`Device`] to configure the interface, and
//! as many [`Queue`]s, which implement [`Inner`](crate::inner::Inner). Never: a protocol, a thread.
//!
//! The kernel remembers, for about three seconds, on which queue it last saw a flow written, and hands that flow's answers to
//! the same queue. So a worker that writes what it owns gets back what it owns.

mod device;
mod error;
mod gso;
mod ioctl;
mod queue;

pub use device::{Device, Existing, Options, adopt, open};
pub use error::TunError;
pub use gso::{Fit, SEGMENT_OVERHEAD, SuperPackets, TRAIN_BYTES_MAX, TRAIN_SEGMENTS_MAX, fit};
pub use ioctl::Offloads;
pub use queue::Queue;

#[cfg(test)]
mod joined;
#[cfg(test)]
mod tests;
