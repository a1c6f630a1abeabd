//! What threads of the engine share, which a build with `--cfg loom` replaces by types whose interleavings are explored.
//!
//! What the model checker sees: answers, fences, the rings between threads and the flags of a worker's life, all as they are;
//! in the place of crossbeam's ring one that makes the same promise, in the place of a worker's eventfd a counter.

#[cfg(not(loom))]
pub(crate) use crossbeam_queue::ArrayQueue;
#[cfg(not(loom))]
pub(crate) use std::sync::{Arc, Condvar, Mutex, atomic::AtomicBool};

#[cfg(loom)]
pub(crate) use dataplane_io::ring_model::ArrayQueue;
#[cfg(loom)]
pub(crate) use loom::sync::{Arc, Condvar, Mutex, atomic::AtomicBool};
