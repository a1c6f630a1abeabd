//! A data plane for gateways: encrypted peers at the speed of the machine.
//!
//! An [`Engine`] runs one worker thread per core. It carries any number of interfaces, each with a private key, a UDP port, an
//! inner side and a control layer. Packets of the inner side go to WireGuard peers and back; nothing on their way allocates or
//! takes a lock. The engine is a library: no async runtime, no global state, no logging of its own.
//!
//! # A tunnel in one process
//!
//! Two interfaces on one engine, each with a queue of packets as its inner side, are each other's peers:
//!
//! ```
//! use std::net::{Ipv4Addr, SocketAddr};
//! use std::time::Duration;
//!
//! use dataplane::{Depth, Engine, InnerSide, Interface, Peer, Secret, Workers};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (engine, _events) = Engine::builder().workers(Workers::Count(2)).start()?;
//! let keys = [Secret::new([1; 32]), Secret::new([2; 32])];
//!
//! let (side, mut near_packets) = InnerSide::queue(Depth::batches(64))?;
//! let near = engine.add_interface(Interface::new(side).private_key(*keys[0].bytes()))?;
//! let (side, mut far_packets) = InnerSide::queue(Depth::batches(64))?;
//! let far = engine.add_interface(Interface::new(side).private_key(*keys[1].bytes()))?;
//!
//! // Requests are answered when they have taken effect: wait() for it, or .await it on any runtime.
//! let port = far.snapshot()?.wait()??.listen_port;
//! let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
//! let peer = Peer::new(keys[1].public()).allowed_ips(["10.0.0.2/32".parse()?]).endpoint(endpoint);
//! let id = near.upsert(peer)?.wait()??;
//! far.upsert(Peer::new(keys[0].public()).allowed_ips(["10.0.0.1/32".parse()?]))?.wait()??;
//!
//! // An IPv4 packet without payload from 10.0.0.1 to 10.0.0.2, of a protocol that nobody uses.
//! let packet = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0x65, 0xea, 10, 0, 0, 1, 10, 0, 0, 2];
//! let mut slots = near_packets.reserve_timeout(1, Duration::from_secs(1)).ok_or("no credit")?;
//! slots.push(&packet)?;
//! slots.commit();
//!
//! let batch = far_packets.recv_timeout(Duration::from_secs(20)).ok_or("nothing came")?;
//! assert_eq!(batch.packet(0), Some(&packet[..]));
//! near.remove_peer(id)?.wait()??;
//! engine.shutdown();
//! # Ok(())
//! # }
//! ```
//!
//! # The parts
//!
//! | what | how |
//! |---|---|
//! | inner side | [`InnerSide::tun`], [`InnerSide::queue`] for an own stack, [`InnerSide::custom`] for an own device |
//! | outer side | the kernel's UDP sockets with GSO and GRO ([`Backend`]), or an [`outer::Outer`] |
//! | peers | [`InterfaceHandle::upsert`], [`remove_peer`](InterfaceHandle::remove_peer), or all of them at once: [`reconcile`](InterfaceHandle::reconcile) |
//! | policy | a [`Hook`] per worker sees whole batches of packets with their peer, and drops with a counted reason |
//! | paths | a [`Controller`] per interface or peer decides where datagrams go: by default to endpoints, from which peers may roam ([`PathPolicy`]) |
//! | what happens | [`Events`]: bounded, the newest per peer; [`Event::Lagged`] says how many were missed |
//! | what is counted | [`Engine::stats`]: per worker, every way in which a packet can vanish; [`Engine::health`] |
//! | the end | [`Engine::drain`] lets everything leave; [`Engine::shutdown`], or a drop, joins all threads and frees all ports |
//!
//! # Policy in a hook
//!
//! One hook per worker, so it needs no lock. What it drops is counted by its own reason:
//!
//! ```
//! use dataplane::{Engine, Hook, PacketBatch, PeerId, PolicyReason, Workers};
//!
//! const TOO_LONG: PolicyReason = PolicyReason(1);
//!
//! /// Peers may send packets of 1,280 bytes at most.
//! struct Short;
//!
//! impl Hook for Short {
//!     fn outbound(&mut self, _peer: PeerId, _batch: &mut PacketBatch<'_>) {}
//!
//!     fn inbound(&mut self, _peer: PeerId, batch: &mut PacketBatch<'_>) {
//!         for index in 0..batch.len() {
//!             if batch.packet(index).is_some_and(|packet| packet.len() > 1280) {
//!                 batch.drop(index, TOO_LONG);
//!             }
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (engine, _events) = Engine::builder().workers(Workers::Count(1)).hook(|_worker| Short).start()?;
//! assert_eq!(engine.policy_drops(TOO_LONG), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # When something goes wrong
//!
//! | what | what to do |
//! |---|---|
//! | [`StartError`], [`InterfaceError`] | nothing was done: the text names what was wrong and the remedy |
//! | [`Stopped`] | the engine is gone: [`Engine::health`] and the last [`Event`] say why; build another |
//! | [`Event::Lagged`] | read the whole state once, by [`InterfaceHandle::snapshot`] |
//! | [`Event::Degraded`] | data goes on; [`Event::Recovered`] follows, or a controller has to be replaced |
//! | [`Event::InterfaceGone`] | its device was deleted: remove the interface, and add another |
//! | packets are missing | [`WorkerStats::drops`] has a counter for every way in which one can vanish |
//!
//! # What holds
//!
//! * A request is answered when it has taken effect on every worker, and either all of it has, or nothing.
//! * Nothing grows without bound: [`Limits`] and the depth of queues say how far. What does not fit is dropped and counted.
//! * Nothing blocks a worker: not a full queue, not a stalled controller, not a slow reader of events. A [`Hook`] runs on the
//!   worker itself and must not block.
//! * A worker that panics, in a hook for instance, is made anew from the configuration while the others go on; five panics within
//!   a minute end the engine with an [`EndReason`].
//! * A thread that waits, a task that awaits and a loop that polls descriptors are served alike.
//!
//! # Examples
//!
//! In `examples/`: `tun`, `smoltcp` (TCP over a queue), `firewall` (a hook), `controller` (two endpoints for a peer),
//! `control_plane` (HTTP by axum), `bench` (what one worker and two carry in memory).

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod applied;
mod builder;
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
pub mod outer;
mod park;
mod peer;
mod queue;
mod reconcile;
mod sync;
mod worker;

/// What control layers are told, what they may want, and in which terms.
pub mod controller {
    pub use dataplane_proto::controller::{Controller, Input, Output};
    pub use dataplane_proto::messages::Path;
    pub use dataplane_traversal::Fixed;
    pub use dataplane_wire::{FourTuple, Instant, PeerId, SocketId};
}

pub use applied::Applied;
pub use builder::Builder;
pub use config::{Backend, BackendInUse, Limits, Offloads, SocketHook, WORKERS_MAX, Workers};
pub use counters::{Drops, WorkerStats};
pub use engine::{Drained, EndReason, Engine, Health, Stats};
pub use error::{InterfaceError, StartError, Stopped};
pub use events::{Degradation, Event, Events};
pub use handle::{Change, InterfaceHandle, InterfaceSnapshot};
pub use hook::{HOOK_BATCH_MAX, Hook, PacketBatch, PolicyReason};
pub use interface::{InnerSide, Interface};
pub use peer::{Desired, Peer};
pub use queue::{
    BATCH_PACKETS_MAX, Closed, Depth, PacketReceiver, PacketSender, Packets, PushError, ReceivedBatch, Slots,
};
pub use reconcile::Reconciled;

pub use dataplane_io::inner;
pub use dataplane_proto::IpPrefix;
pub use dataplane_proto::controller::Controller;
pub use dataplane_proto::keys::{PublicKey, Secret};
pub use dataplane_proto::messages::Path;
pub use dataplane_proto::node::{AllowedIp, PathPolicy, PeerChange, PeerSnapshot};
pub use dataplane_wire::{DropReason, InterfaceId, PeerId};
