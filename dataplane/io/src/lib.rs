//! Buffers, rings and backends: the crate that moves.
//!
//! Enters: sockets and devices. Leaves: datagrams and packets in memory that was made at start. Never: a protocol beyond the
//! lengths and headers that it must build.

mod bpf;
pub mod faulty;
pub mod inherit;
pub mod inner;
pub mod mem;
pub mod memory;
pub mod netlink;
pub mod packet_io;
pub mod poll;
pub mod probe;
#[cfg(loom)]
pub mod ring_model;
pub mod rx;
pub mod screen;
pub mod socket;
pub mod steer;
pub mod trains;
pub mod tun;
pub mod tx;
pub mod udp;
pub mod usdt;

pub use memory::{Buf, Class, Plan, Pool, PoolSizes, Region};
pub use packet_io::{Offload, Offloads, PacketIo, ReadyToken, RecvReport, SendReport};
pub use rx::RxRing;
pub use tx::TxBatch;

#[cfg(test)]
mod testing;
