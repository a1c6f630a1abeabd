//! The crate that moves.
