//! The crate that operates.
