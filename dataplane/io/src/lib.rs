//! The crate that moves.

pub mod inherit;
pub mod inner;
pub mod netlink;
pub mod poll;
pub mod steer;
pub mod tun;

#[cfg(test)]
mod testing;
