//! Control layers: each decides, in its own way, by which path a peer is reached.
//!
//! Enters: facts about peers, paths and handshakes, and the time. Leaves: what shall be done. Never: a socket, a thread, a
//! clock. Every control layer is an implementation of [`Controller`](dataplane_proto::Controller).
#![forbid(unsafe_code)]

pub mod fixed;

pub use fixed::Fixed;
