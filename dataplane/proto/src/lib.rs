//! Encrypted peers without I/O: the WireGuard protocol as state machines.
//!
//! Enters: datagrams, inner packets, messages, the time. Leaves: datagrams and plaintext in the caller's arenas, messages,
//! the time of the next call. Never: a socket, a thread, a clock, a random number that a seed did not give.
#![forbid(unsafe_code)]

pub mod admission;
pub mod controller;
mod cookie;
pub mod gate;
pub mod index;
mod keyed;
pub mod keys;
mod limiter;
pub mod messages;
pub mod node;
mod noise;
pub mod prefix;
pub mod replay;
pub mod routes;
pub mod shard;
pub mod shun;
pub mod staging;
pub mod tai64n;
pub mod wheel;

pub use controller::Controller;
pub use prefix::IpPrefix;
