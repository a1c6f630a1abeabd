//! The crate that moves.

pub mod poll;
pub mod steer;
