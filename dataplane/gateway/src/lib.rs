//! The crate that operates.
#![forbid(unsafe_code)]
