//! The crate that negotiates.
