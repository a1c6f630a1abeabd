//! The crate that drives.
