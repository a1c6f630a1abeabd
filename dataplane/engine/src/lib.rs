//! The crate that drives.
#![forbid(unsafe_code)]
