//! The crate that moves.

pub mod inner;
pub mod netlink;
pub mod poll;
pub mod steer;
pub mod tun;

#[cfg(test)]
mod testing;
