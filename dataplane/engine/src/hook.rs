//! Hot: the embedder's view of whole batches, between cipher and inner side.
//!
//! 1. Packets of one peer that were opened together, or that one read of the inner side gave, form a batch.
//! 2. The hook sees each packet, may change its bytes in place (not its length), and may drop it with a reason.
//! 3. Dropped ones are counted as [`DropReason::Policy`](dataplane_wire::DropReason::Policy) and go no further.
//!
//! Cost: one dynamic call per batch; nothing where no hook is set.

use dataplane_wire::PeerId;

/// Most packets in one batch.
pub const HOOK_BATCH_MAX: usize = 64;

/// Code that runs on a worker, to completion, on every batch of decrypted or not yet encrypted packets.
///
/// It must not block and should not allocate: the worker moves nothing else meanwhile.
pub trait Hook: Send {
    /// Packets from the inner side to a peer, before they are encrypted. A super-packet (TSO, USO) is one packet here,
    /// with headers that each of its segments will carry.
    fn outbound(&mut self, peer: PeerId, batch: &mut PacketBatch<'_>);

    /// Packets that a peer sent, decrypted, with their source checked against its allowed IPs.
    fn inbound(&mut self, peer: PeerId, batch: &mut PacketBatch<'_>);
}

/// Where a packet of a batch lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

/// Packets of one peer.
pub struct PacketBatch<'a> {
    arena: &'a mut [u8],
    places: &'a [Place],
    dropped: u64,
    policy: &'a mut PolicyCounts,
}

/// Why a hook dropped a packet: a number of its own choice. The engine counts each per worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyReason(pub u8);

/// A count for each [`PolicyReason`].
pub(crate) type PolicyCounts = [u64; 256];

impl<'a> PacketBatch<'a> {
    /// A batch over `places` of `arena`, which holds at most [`HOOK_BATCH_MAX`] of them, each inside of the arena.
    pub(crate) fn new(arena: &'a mut [u8], places: &'a [Place], policy: &'a mut PolicyCounts) -> Self {
        debug_assert!(places.len() <= HOOK_BATCH_MAX);
        Self { arena, places, dropped: 0, policy }
    }

    /// How many packets there are; never 0.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The bytes of packet `index`, IP header first; `None` past the end.
    pub fn packet(&self, index: usize) -> Option<&[u8]> {
        let place = self.places.get(index)?;
        self.arena.get(place.offset..place.offset + place.len)
    }

    /// As [`PacketBatch::packet`], to be changed in place. Checksums are the caller's to keep right.
    pub fn packet_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let place = self.places.get(index)?;
        self.arena.get_mut(place.offset..place.offset + place.len)
    }

    /// Drops packet `index` and counts the reason; nothing happens past the end or the second time.
    pub fn drop(&mut self, index: usize, reason: PolicyReason) {
        if index < self.places.len() && !self.is_dropped(index) {
            self.dropped |= 1 << index;
            self.policy[usize::from(reason.0)] += 1;
        }
    }

    /// Whether packet `index` was dropped.
    pub fn is_dropped(&self, index: usize) -> bool {
        index < self.places.len() && self.dropped & (1 << index) != 0
    }

    /// One bit per dropped packet.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_shows_only_its_packets_and_remembers_which_were_dropped() {
        let mut arena = *b"..ab.cde";
        let places = [Place { offset: 2, len: 2 }, Place { offset: 5, len: 3 }];
        let mut policy = [0; 256];
        let mut batch = PacketBatch::new(&mut arena, &places, &mut policy);
        assert_eq!((batch.len(), batch.packet(0), batch.packet(2)), (2, Some(&b"ab"[..]), None));
        batch.packet_mut(1).unwrap()[0] = b'x';
        batch.drop(1, PolicyReason(7));
        batch.drop(1, PolicyReason(7));
        batch.drop(9, PolicyReason(7));
        assert_eq!((batch.dropped(), batch.is_dropped(1), batch.is_dropped(0)), (0b10, true, false));
        assert_eq!(policy[7], 1);
        assert_eq!(&arena, b"..ab.xde");
    }
}
