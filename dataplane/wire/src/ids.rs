//! Small numbers that name things across crates.

/// A logical UDP socket of an interface: every worker holds its own member of the reuse-port group behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u16);

/// An interface: one private key, one port, one inner side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u16);

/// A worker, and the shard that it drives, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u8);

/// A peer: a slot, and the generation of what lives in that slot.
///
/// A slot is used again after its peer is removed, a generation is not: messages that still speak of the old peer are
/// told from those that mean the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// Index into the dense tables of peers.
    pub slot: u32,
    /// How many peers lived in this slot before.
    pub generation: u32,
}
