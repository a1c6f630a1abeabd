//! Where every byte of the data path lies: one region, cut into runs, pools and arenas.
//!
//! Enters: a [`Plan`], a sum with a line per consumer. Leaves: [`Run`]s (contiguous bytes with one owner) and [`Buf`]s
//! (slabs and frames that go home by themselves). Never: an allocation after start, memory that was not initialised.

mod large;
mod pages;
mod pool;
mod region;
mod sync;

pub use large::LargePages;
pub use pool::{Buf, Pool, PoolSizes};
pub use region::{Class, Line, Pages, Plan, Region, RegionError, Run};

/// Bytes of a slab: the largest UDP payload or GRO train (65,535), a TUN super-packet, and [`HEADROOM`] before either;
/// 17 pages of 4 KiB.
pub const SLAB_LEN: usize = 68 * 1024;

/// Bytes of a frame: what an AF_XDP UMEM chunk may be (2 or 4 KiB), and enough for a datagram over Ethernet.
pub const FRAME_LEN: usize = 2 * 1024;

/// virtio-net header with its count of buffers (virtio 1.2 §5.1.6): what may stand before a packet on the TUN side.
const HEADROOM_VIRTIO: usize = 12;
/// Ethernet, IPv6 and UDP: what AF_XDP must write before an outer datagram.
const HEADROOM_OUTER: usize = 14 + 40 + 8;
/// ChannelData (RFC 8656 §12.4).
const HEADROOM_CHANNEL: usize = 4;
/// The header of a WireGuard data message (the WireGuard paper §5.4.6).
const HEADROOM_WIREGUARD: usize = 16;

/// Bytes that a receiver leaves free in front of what it writes into a slab or frame: room for every header that can come
/// before, rounded up to two cache lines.
pub const HEADROOM: usize = 128;

const _: () = assert!(HEADROOM_VIRTIO + HEADROOM_OUTER + HEADROOM_CHANNEL + HEADROOM_WIREGUARD <= HEADROOM);
const _: () = assert!(HEADROOM + 65_535 <= SLAB_LEN);
const _: () = assert!(SLAB_LEN.is_multiple_of(4096) && 4096usize.is_multiple_of(FRAME_LEN));
