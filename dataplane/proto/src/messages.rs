//! What [`Node`](crate::node::Node) and shards tell each other.
//!
//! Commands go from the node to one shard and are never lost: a full queue holds the node back. Events come from a shard
//! in two classes, so that a stranger's flood cannot push out what an authenticated peer caused.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

use dataplane_aead::Key;
use dataplane_wire::{FourTuple, Instant, InterfaceId, PeerId};

use crate::prefix::IpPrefix;

/// Most bytes of a handshake message: an initiation (the WireGuard paper §5.4.2).
pub const HANDSHAKE_LEN_MAX: usize = 148;

/// The bytes of an initiation, response or cookie reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeBytes {
    bytes: [u8; HANDSHAKE_LEN_MAX],
    len: u8,
}

impl HandshakeBytes {
    /// Copies a message; `None` if it is longer than any handshake message.
    pub fn copy_from(message: &[u8]) -> Option<Self> {
        let mut bytes = [0; HANDSHAKE_LEN_MAX];
        bytes.get_mut(..message.len())?.copy_from_slice(message);
        Some(Self { bytes, len: message.len() as u8 })
    }

    /// The message.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// How outer datagrams reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Straight to an address.
    Direct(FourTuple),
}

impl Path {
    /// Where the outer datagrams of this path go.
    pub const fn tuple(&self) -> &FourTuple {
        match self {
            Self::Direct(tuple) => tuple,
        }
    }
}

/// Which end of the handshake made a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We sent the initiation: we may send at once, and we are the one who rekeys.
    Initiator,
    /// We answered: we may send once the peer has sent data under the session (WG-28).
    Responder,
}

/// The keys and indices of a session, as the handshake left them.
#[derive(Clone)]
pub struct Keypair {
    /// What the peer puts into its messages to us: connection and session bits (DX-6).
    pub local_index: u32,
    /// What we put into our messages to the peer.
    pub remote_index: u32,
    /// Seals what we send.
    pub send: Key,
    /// Opens what we receive.
    pub recv: Key,
    /// Which end we were.
    pub role: Role,
    /// From when on the age counts of what we send: where we initiated, when the initiation was sent; where we answered, when
    /// we did. So the initiator, who has to renew the session, never takes it to be younger than the responder does, however
    /// late the response is taken in.
    pub begun: Instant,
    /// When the handshake ended here: the age of what we receive counts from then. It is never before `begun` of the other
    /// end, so what one end still sends the other still takes.
    pub created: Instant,
}

/// Counters of one peer, written by its shard and by the node, each its own, and read by anyone without a lock.
///
/// A writer is alone with its field, so it loads, adds and stores with `Relaxed` ordering: nothing else is published by it.
#[derive(Debug, Default)]
pub struct PeerCounters {
    /// Bytes of authenticated transport messages received, outer headers of WireGuard included (written by the shard).
    pub data_rx_bytes: AtomicU64,
    /// Bytes of transport messages sent (written by the shard).
    pub data_tx_bytes: AtomicU64,
    /// Bytes of handshake messages sent (written by the shard, which sends them).
    pub handshake_tx_bytes: AtomicU64,
    /// Bytes of valid handshake messages received (written by the node).
    pub handshake_rx_bytes: AtomicU64,
    /// Wall-clock nanoseconds since 1970 of the last completed handshake; 0 for never (written by the shard or the node:
    /// the shard for a responder, on the first data; the node for an initiator).
    pub last_handshake_unix_ns: AtomicU64,
}

impl PeerCounters {
    /// Adds to a field of which the caller is the only writer: a load and a store, no read-modify-write.
    pub fn add(field: &AtomicU64, amount: u64) {
        field.store(field.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }
}

/// From the node to a shard.
// Commands are few and live in rings that are allocated once: a box per key would buy nothing.
#[allow(clippy::large_enum_variant)]
pub enum Command {
    /// An interface exists; packets up to `mtu` bytes leave its inner side. Told again for one that is there, it replaces
    /// what was told before: another MTU, other keys.
    AddInterface {
        /// Which.
        interface: InterfaceId,
        /// Its inner MTU in bytes, the bound of padding (WG-47).
        mtu: u16,
        /// Key of mac1 of messages to us: a hash of our public key (the WireGuard paper §5.4.4).
        mac1_key: [u8; 32],
        /// Key under which cookies of messages to us are sealed.
        cookie_key: [u8; 32],
    },
    /// An interface is no more. Its peers were removed before.
    RemoveInterface {
        /// Which.
        interface: InterfaceId,
    },
    /// A peer lives on this shard from now on.
    AddPeer {
        /// Which.
        peer: PeerId,
        /// The interface it belongs to.
        interface: InterfaceId,
        /// The 24 connection bits of all its session indices (DX-6).
        connection: u32,
        /// Where its traffic is counted.
        counters: Arc<PeerCounters>,
    },
    /// A peer is no more: its keys are erased, its waiting packets dropped, its index late for 5 s (DX-10).
    RemovePeer {
        /// Which.
        peer: PeerId,
    },
    /// The persistent keepalive interval of a peer; zero for none. Sends one at once when switched on (WG-61).
    SetKeepalive {
        /// Which.
        peer: PeerId,
        /// The interval.
        interval: Duration,
    },
    /// The path that a peer's datagrams take.
    SetPath {
        /// Which.
        peer: PeerId,
        /// Counts up per peer; an older one than the last is ignored.
        generation: u32,
        /// The path; `None` for unreachable.
        path: Option<Path>,
        /// Whether authenticated packets move it (WG-54): yes for plain WireGuard peers.
        roams: bool,
    },
    /// A handshake is complete. Where we answered, the response goes out with it, so that no data can overtake its key.
    InstallKeypair {
        /// Which peer.
        peer: PeerId,
        /// The new session. In a box, so that its keys stay in one place on their way and are erased there.
        keypair: Box<Keypair>,
        /// The response to send, and where to (where the initiation came from).
        response: Option<(FourTuple, HandshakeBytes)>,
        /// Where we are the initiator: whether a next session that waits for its confirmation stays in its slot, and the
        /// current one becomes the previous. Where not, the next one becomes the previous. Of two ends that initiate at
        /// once, exactly one is told to keep it, and so both end up on the other one's session (WG-31).
        keep_next: bool,
        /// The path that the authenticated handshake message came by: moves the endpoint as data would.
        from: FourTuple,
        /// Wall clock at the end of the handshake, for `last_handshake_unix_ns`.
        unix_ns: u64,
    },
    /// Erase all sessions of a peer (its interface went down or got another key, or a suspend: WG-37).
    ExpireSessions {
        /// Which peer.
        peer: PeerId,
        /// Whether the receiving keys go too.
        receiving: bool,
    },
    /// Drop what waits for a session: the node gave up (WG-39).
    PurgeStaged {
        /// Which peer.
        peer: PeerId,
    },
    /// An inner prefix belongs to a peer from now on, and to no other of the interface (WG-60).
    SetRoute {
        /// Which interface.
        interface: InterfaceId,
        /// Its owner. It may live on another shard: the packet is then handed over.
        peer: PeerId,
        /// The core on which the peer lives.
        core: dataplane_wire::CoreId,
        /// The allowed IP.
        prefix: IpPrefix,
    },
    /// An inner prefix belongs to nobody any more.
    RemoveRoute {
        /// Which interface.
        interface: InterfaceId,
        /// The allowed IP.
        prefix: IpPrefix,
    },
    /// Send an initiation over the peer's path, counted as its traffic.
    SendHandshake {
        /// Which peer.
        peer: PeerId,
        /// The message.
        message: HandshakeBytes,
        /// A retry: forget the local source address that replies have used so far (WG-55).
        retry: bool,
    },
}

/// Why a shard asks for a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeCause {
    /// An inner packet, or a due keepalive, found no session. Restarts the 90 s of WG-39.
    NoSession,
    /// The session is 120 s old or has sent 2^60 messages, and something was sent (WG-32, WG-34).
    Rekey,
    /// Something came in when the session was 165 s old (WG-33).
    RekeyOnReceive,
    /// Nothing came back for 15 s (WG-42).
    Unanswered,
}

/// From a shard to the node: caused by a peer that proved itself, or by our own side. Latest wins per peer and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session is wanted.
    WantHandshake {
        /// With whom.
        peer: PeerId,
        /// Why.
        cause: HandshakeCause,
    },
    /// The peer proved the session of which this is our index: the handshake is complete on both ends.
    Confirmed {
        /// Which peer.
        peer: PeerId,
        /// Our index of the session.
        local_index: u32,
    },
    /// An authenticated packet came from another address than the path led to.
    Roamed {
        /// Which peer.
        peer: PeerId,
        /// The path that it came by.
        path: Path,
    },
}

/// From a shard to the node: what a stranger sent and the gate let through. Droppable, and counted when dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeArrived {
    /// The interface whose socket received it.
    pub interface: InterfaceId,
    /// Where from.
    pub tuple: FourTuple,
    /// The message: an initiation, a response or a cookie reply of the right length; mac1 was right (cookie replies have
    /// none).
    pub message: HandshakeBytes,
}
