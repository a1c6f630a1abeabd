//! The two shared types of the pool, which a build with `--cfg loom` replaces by ones whose interleavings are explored.
//!
//! What the model checker sees: the pool's own protocol, and a ring that makes the same promise as
//! [`crossbeam_queue::ArrayQueue`] (see `ring_model.rs`). It does not see the inside of crossbeam's ring, which does not use
//! loom's types.

#[cfg(not(loom))]
pub(super) use {crossbeam_queue::ArrayQueue, std::sync::Arc};

#[cfg(loom)]
pub(super) use {crate::ring_model::ArrayQueue, loom::sync::Arc};
