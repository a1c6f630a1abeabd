//! The seam for control layers: who decides by which path a peer is reached.

use dataplane_wire::{FourTuple, Instant, PeerId};

use crate::messages::Path;

/// What a controller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A peer was added, or its configured endpoint changed.
    PeerUpserted {
        /// Which.
        peer: PeerId,
        /// The configured endpoint and the socket that reaches its address family; `None` where none is configured.
        endpoint: Option<FourTuple>,
    },
    /// A peer is no more.
    PeerRemoved {
        /// Which.
        peer: PeerId,
    },
    /// An authenticated packet came by another path, and the shard has moved to it (where the peer roams).
    Roamed {
        /// Which.
        peer: PeerId,
        /// The path that it came by.
        path: Path,
    },
    /// A handshake with the peer is complete.
    HandshakeComplete {
        /// Which.
        peer: PeerId,
    },
    /// Handshakes with the peer were given up after 90 s (WG-39).
    HandshakeGivenUp {
        /// Which.
        peer: PeerId,
    },
}

/// What a controller wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// The path of a peer from now on.
    SetPath {
        /// Which.
        peer: PeerId,
        /// Counts up per peer: an older one that arrives late changes nothing.
        generation: u32,
        /// The path; `None` for unreachable.
        path: Option<Path>,
        /// Whether authenticated packets from elsewhere move it (WG-54).
        roams: bool,
    },
}

/// A control layer: a state machine without clock, socket or randomness of its own.
///
/// The same inputs at the same times give the same outputs. It runs on a thread of its own behind bounded queues; when it
/// stalls, data goes on by the last paths.
pub trait Controller: Send {
    /// Takes in one fact.
    fn handle_input(&mut self, now: Instant, input: Input);

    /// The next thing that it wants done; `None` when there is nothing more for now.
    fn poll_output(&mut self, now: Instant) -> Option<Output>;

    /// When it wants to be polled again if nothing happens before; the present or past while output is queued.
    fn poll_timeout(&self) -> Option<Instant>;
}
