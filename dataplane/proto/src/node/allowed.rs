//! Which peer owns which inner prefix of an interface: the node's book, of which shards hold the copy they route by.

use std::collections::{BTreeMap, BTreeSet};

use dataplane_wire::InterfaceId;

use crate::prefix::IpPrefix;

/// The owners of all prefixes. Every change costs the logarithm of what there is.
#[derive(Default)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct AllowedIps {
    owners: BTreeMap<(InterfaceId, IpPrefix), u32>,
    by_slot: BTreeSet<(u32, IpPrefix)>,
}

impl AllowedIps {
    /// Gives a prefix to a peer, taking it from whoever had it (WG-60). Whether that changed anything.
    pub(super) fn give(&mut self, interface: InterfaceId, prefix: IpPrefix, slot: u32) -> bool {
        match self.owners.insert((interface, prefix), slot) {
            Some(owner) if owner == slot => return false,
            Some(owner) => _ = self.by_slot.remove(&(owner, prefix)),
            None => {}
        }
        self.by_slot.insert((slot, prefix))
    }

    /// Takes a prefix from a peer. Whether it had it.
    pub(super) fn take(&mut self, interface: InterfaceId, prefix: IpPrefix, slot: u32) -> bool {
        let had = self.by_slot.remove(&(slot, prefix));
        if had {
            self.owners.remove(&(interface, prefix));
        }
        had
    }

    /// The prefixes of a peer, in their order.
    pub(super) fn of(&self, slot: u32) -> impl Iterator<Item = IpPrefix> + '_ {
        self.by_slot
            .range((slot, IpPrefix::FIRST)..)
            .take_while(move |(owner, _)| *owner == slot)
            .map(|(_, p)| *p)
    }

    /// All prefixes with their interface and owner.
    pub(super) fn all(&self) -> impl Iterator<Item = (InterfaceId, IpPrefix, u32)> + '_ {
        self.owners.iter().map(|(&(interface, prefix), &slot)| (interface, prefix, slot))
    }

    /// How many prefixes have an owner.
    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }
}
