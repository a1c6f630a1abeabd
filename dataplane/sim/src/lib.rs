//! A network in one thread: real nodes and shards, in virtual time, from a seed.
//!
//! Enters: a seed, or bytes that a fuzzer wrote, and a scenario. Leaves: the same traffic every time, and the first rule
//! that did not hold. Never: a socket, a thread, a clock.
//!
//! | room | what |
//! |---|---|
//! | `network` | the world: links, routers, hosts, what goes wrong with them, and the agenda that moves them |
//! | `host` | the engine without threads and sockets: shards, node and controller as the engine wires them |
//! | `model` | what may happen, judged from outside |
//! | `link`, `nat` | what a link does to datagrams, what a router does to addresses (RFC 4787) |
//! | `packet` | inner packets that know who they are |
//! | `scenarios` | worlds with a name, and the whole-network scenario that a seed draws |
//! | `mutation` | defects on purpose, which show that the model can fail |
//!
//! ```
//! use core::time::Duration;
//! use dataplane_sim::{Conditions, Network};
//!
//! let mut net = Network::new("example", 1);
//! let (alice, bob) = (net.host("alice"), net.host("bob"));
//! net.peers(alice, bob);
//! net.conditions(bob, Conditions::delay(Duration::from_millis(40)));
//! net.send(alice, bob)?;
//! net.run_for(Duration::from_secs(1))?;
//! assert_eq!(net.delivered(alice, bob), 1);
//! # Ok::<(), Box<dataplane_sim::Failure>>(())
//! ```
#![forbid(unsafe_code)]

mod agenda;
mod host;
mod link;
mod model;
mod mutation;
mod nat;
mod network;
mod packet;
mod random;
pub mod scenarios;
mod trace;

pub use link::{Conditions, Loss};
pub use model::Violation;
pub use mutation::Mutation;
pub use nat::{Behaviour, Dependence};
pub use network::{Failure, HostId, Network, Packet, RouterId};
pub use random::{Ppm, Random};
