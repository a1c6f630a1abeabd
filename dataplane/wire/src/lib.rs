//! Bytes to types and back, for everything that crosses the data plane.
//!
//! Enters: byte slices as they came from a socket or a TUN device. Leaves: typed views, or bytes written into a caller's
//! buffer. Never: an allocation, a system call, a clock, a panic on any input.
//!
//! The small types that the other crates speak of together ([`Instant`], [`SocketId`], [`RxMeta`], [`TxMeta`], [`TxSink`])
//! live here once, so that the protocol crates and the I/O crates need not know each other.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod addr;
mod bytes;
pub mod checksum;
pub mod classify;
pub mod drops;
pub mod ids;
pub mod ip;
pub mod meta;
pub mod offload;
pub mod sink;
pub mod time;
pub mod wireguard;

pub use addr::{canonical, canonical_ip};
pub use classify::{Class, Stun, classify};
pub use drops::DropReason;
pub use ids::{CoreId, InterfaceId, PeerId, SocketId};
pub use meta::{Ecn, FourTuple, RxMeta, Span, TrafficClass, TxMeta};
pub use sink::{Train, TxFull, TxSink};
pub use time::Instant;
pub use wireguard::peek_data;
