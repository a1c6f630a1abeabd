//! A data plane for gateways: encrypted peers at the speed of the machine.
//!
//! An [`Engine`] runs one worker thread per core. It carries any number of interfaces, each with a private key, a port, an
//! inner side (a TUN device, or queues of the embedder's own) and a control layer that decides by which path each peer is
//! reached. A [`Hook`] per worker sees whole batches of packets with their peer.
//!
//! Nothing here needs an async runtime: what may take time is an [`Applied`], which a thread waits for and a task awaits.

#![forbid(unsafe_code)]

mod applied;
mod clock;
mod config;
mod control;
mod controllers;
mod counters;
mod engine;
mod error;
mod events;
mod handle;
mod hook;
mod interface;
mod link;
mod opened;
mod park;
mod peer;
mod queue;
mod reconcile;
mod sync;
mod worker;

pub use applied::Applied;
pub use config::{Limits, Offloads, SocketHook, WORKERS_MAX, Workers};
pub use counters::{Drops, WorkerStats};
pub use engine::{Builder, Engine, Stats};
pub use error::{InterfaceError, StartError, Stopped};
pub use events::{Event, Events};
pub use handle::{Change, InterfaceHandle, InterfaceSnapshot};
pub use hook::{HOOK_BATCH_MAX, Hook, PacketBatch, PolicyReason};
pub use interface::{InnerSide, Interface};
pub use peer::{Desired, Peer};
pub use queue::{
    BATCH_PACKETS_MAX, Closed, Depth, PacketReceiver, PacketSender, Packets, PushError, PushProblem,
    ReceivedBatch, Slots,
};
pub use reconcile::Reconciled;

pub use dataplane_io::inner;
pub use dataplane_proto::IpPrefix;
pub use dataplane_proto::controller::{self, Controller};
pub use dataplane_proto::keys::{PublicKey, Secret};
pub use dataplane_proto::messages::Path;
pub use dataplane_proto::node::{AllowedIp, PeerChange, PeerSnapshot};
pub use dataplane_wire::{DropReason, InterfaceId, PeerId};
