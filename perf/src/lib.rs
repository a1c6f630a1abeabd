//! What the traffic programs share: which packet comes next, when, and the socket that it leaves by.
#![forbid(unsafe_code)]

pub mod end;
pub mod latency;
pub mod orders;
pub mod pace;
pub mod pattern;
