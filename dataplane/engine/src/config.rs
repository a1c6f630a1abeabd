//! How an engine is built: workers, bounds, offloads.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use dataplane_aead::{Aead, Cipher};
use dataplane_io::memory::{Class, Plan, PoolSizes};
use dataplane_proto::node;
use dataplane_proto::shard::ShardLimits;

use crate::error::StartError;
use crate::hook::Hook;

/// Most workers of an engine: 6 of the 24 connection bits of a session index name the core.
pub const WORKERS_MAX: usize = 64;

/// How many workers to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workers {
    /// One for each CPU that the process may run on.
    #[default]
    Auto,
    /// This many.
    Count(usize),
}

impl Workers {
    /// The number that this means here.
    pub fn count(self) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Auto => std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX),
        }
    }
}

/// What is asked to move outer datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// The fastest that this build and this kernel have.
    #[default]
    Auto,
    /// The kernel's UDP sockets, whole batches with each system call.
    Udp,
}

/// What moves outer datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendInUse {
    /// Its name: `udp`, or as an own outer side calls itself.
    pub name: &'static str,
    /// Why it is this one.
    pub reason: &'static str,
}

impl Backend {
    /// What there is for it.
    pub(crate) const fn resolve(self) -> BackendInUse {
        let reason = match self {
            Self::Auto => "the only one of this build",
            Self::Udp => "asked for",
        };
        BackendInUse { name: "udp", reason }
    }
}

/// Bounds on everything that can grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Peers of all interfaces together.
    pub peers: usize,
    /// Allowed IPs of all peers together.
    pub allowed_ips: usize,
    /// Interfaces, 65,536 at most.
    pub interfaces: usize,
    /// Bytes of inner packets that wait for a session, per worker; 1 GiB at most.
    pub staging_bytes: usize,
    /// Events that wait for whoever reads them.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { peers: 1 << 20, allowed_ips: 1 << 22, interfaces: 64, staging_bytes: 8 << 20, events: 4096 }
    }
}

/// An interface has a number of 16 bits.
const INTERFACES_MAX: usize = 1 << 16;
/// Far more than what comes in while a handshake takes its time: a second of 8 Gbit/s.
const STAGING_BYTES_MAX: usize = 1 << 30;

impl Limits {
    /// Refuses what is set aside at the start and could not be.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let bounds = [
            ("interfaces", self.interfaces, INTERFACES_MAX),
            ("staging_bytes", self.staging_bytes, STAGING_BYTES_MAX),
        ];
        match bounds.into_iter().find(|(_, value, most)| value > most) {
            Some((limit, value, most)) => Err(StartError::Limit { limit, value, most }),
            None => Ok(()),
        }
    }

    /// What the node may use of it.
    pub(crate) fn node(&self) -> node::Limits {
        node::Limits {
            interfaces: self.interfaces,
            peers: self.peers,
            allowed_ips: self.allowed_ips,
            notices: self.events,
        }
    }

    /// What each shard may use of it.
    pub(crate) fn shard(&self) -> ShardLimits {
        /// Frames of the shard's store of waiting packets.
        const FRAME_LEN: usize = 2048;
        ShardLimits { staging_frames: self.staging_bytes.div_ceil(FRAME_LEN), ..ShardLimits::default() }
    }
}

/// Which offloads to use where the machine has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offloads {
    /// Trains on UDP send (UDP_SEGMENT).
    pub gso: bool,
    /// Trains on UDP receive (UDP_GRO).
    pub gro: bool,
    /// TCP super-packets of TUN devices.
    pub tso: bool,
    /// UDP super-packets of TUN devices (Linux 6.2).
    pub uso: bool,
}

impl Offloads {
    /// All that the machine has.
    pub const fn auto() -> Self {
        Self { gso: true, gro: true, tso: true, uso: true }
    }

    /// None.
    pub const fn none() -> Self {
        Self { gso: false, gro: false, tso: false, uso: false }
    }
}

impl Default for Offloads {
    fn default() -> Self {
        Self::auto()
    }
}

/// Called with each UDP socket before it is bound, to set options or a mark; an error fails the request that opens it.
pub type SocketHook = Arc<dyn Fn(BorrowedFd<'_>) -> std::io::Result<()> + Send + Sync>;

/// Makes the hook of a worker.
pub(crate) type HookMaker = Box<dyn FnMut(usize) -> Box<dyn Hook>>;

/// The names of the ciphers that this machine has, for messages.
pub(crate) fn cipher_names() -> String {
    Cipher::available().map(|cipher| cipher.name()).collect::<Vec<_>>().join(", ")
}

/// Buffers of one worker: what takes how many, with why.
pub(crate) mod buffers {
    use super::{Class, Plan, PoolSizes};

    /// Slots of the receive ring: 32 trains of 64 KiB are 27 ms of one worker at 600 MB/s; more only waits in our memory
    /// instead of the kernel's.
    pub(crate) const RX_SLOTS: usize = 32;
    /// Slabs of the send arena: room for a turn's 128 KiB of packets with their overhead, and one super-packet more.
    pub(crate) const TX_SLABS: usize = 6;
    /// Trains of one send: as many as one turn's single packets to different peers, answers and keepalives included.
    pub(crate) const TX_TRAINS: usize = 512;
    /// Slabs for inner packets: one that is read, and those that were handed to other cores, of which 2 for control only;
    /// and frames for datagrams and small packets that are handed to another core: a full hand-off ring, of which 16 for
    /// control only.
    pub(crate) const POOL: PoolSizes =
        PoolSizes { slabs: 64, slabs_reserve: 2, frames: 1024, frames_reserve: 16 };

    /// The region for `workers` workers.
    pub(crate) fn plan(workers: usize) -> Plan {
        Plan::new()
            .with("receive rings", Class::Slab, workers * RX_SLOTS)
            .with("send arenas", Class::Slab, workers * TX_SLABS)
            .with("inner packets", Class::Slab, workers * POOL.slabs)
            .with("handed-over datagrams and small packets", Class::Frame, workers * POOL.frames)
    }
}
