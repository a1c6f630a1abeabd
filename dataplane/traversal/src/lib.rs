//! The crate that negotiates.
#![forbid(unsafe_code)]
