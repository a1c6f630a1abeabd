//! Longest-prefix match over the allowed IPs of an interface.
//!
//! Enters: prefixes and who owns them. Leaves: the owner of the longest prefix that an address lies in. Never: an allocation
//! in a look-up.
//!
//! A tree bitmap with path compression, one per family, over addresses aligned to the left in 128 bits. A node decides six
//! bits, and knows all bits above. It holds
//! - the prefixes that end in its six bits, of relative length 1 to 6: 126 of them, a bit each, so that the longest that
//!   matches is the highest bit of one AND, and
//! - its children, a bit for each value of the six bits.
//!
//! Steps end at bit 2, 8, 14, … so that hosts of either family (32 and 128 bits) end where a node ends: 64 neighbours share
//! one node, and what a look-up loads for the last time is the value itself. Values and children of a node lie side by side,
//! in blocks of a power of two, and a bit's rank says where; an only value lies in the node. Nothing but its parent refers to
//! a node, so blocks may move when they grow. The prefix of length zero stands beside the tree.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane_aead::prefetch;
use dataplane_wire::{CoreId, PeerId};

use crate::prefix::IpPrefix;

/// Bits that one node decides.
const STRIDE: u32 = 6;
/// Steps are counted as if every address had four bits more in front: so they end where addresses end.
const LEAD: u32 = 4;
/// Deepest way: 4 + 128 bits in steps of six.
const LEVELS_MAX: usize = 22;
/// The set of all prefixes in a node that match six given bits: one for each relative length.
const MATCHES: [u128; 64] = matches();

const _: () = assert!((32 + LEAD).is_multiple_of(STRIDE) && (128 + LEAD).is_multiple_of(STRIDE));

const fn matches() -> [u128; 64] {
    let mut all = [0; 64];
    let mut bits = 0;
    while bits < 64 {
        let mut len = 1;
        while len <= STRIDE {
            all[bits as usize] |= 1 << position(bits, len);
            len += 1;
        }
        bits += 1;
    }
    all
}

/// The bit of the prefix of relative length `len` that six bits begin with. Longer ones have higher bits.
const fn position(six: u32, len: u32) -> u32 {
    (1 << len) - 2 + (six >> (STRIDE - len))
}

/// Who owns a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The peer.
    pub peer: PeerId,
    /// The core that it lives on.
    pub core: CoreId,
}

/// Where the owner of a prefix stands, before it is read: a look-up in two steps. Good until the next change of the table.
#[derive(Clone, Copy, Debug)]
pub struct Place(Stands);

#[derive(Clone, Copy, Debug)]
enum Stands {
    /// In the node, or beside the tree: it was loaded on the way.
    Here(Owner),
    /// Among the values, at this index.
    At(u32),
}

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Node {
    /// The bits above, to the left; the rest is zero.
    prefix: u128,
    values: u128,
    children: u64,
    first_child: u32,
    first_value: u32,
    /// The value, where there is only one.
    only: Owner,
    /// Steps above times six.
    at: u8,
}

const _: () = assert!(size_of::<Node>() == 64);

impl Node {
    fn new(key: u128, at: u32) -> Self {
        Self { prefix: masked(key, above(at)), at: at as u8, ..Self::default() }
    }

    #[inline]
    fn covers(&self, key: u128) -> bool {
        (self.prefix ^ key) & !(u128::MAX >> above(u32::from(self.at))) == 0
    }

    /// Index of the child for these six bits.
    #[inline]
    fn child(&self, six: u32) -> Option<u32> {
        let bit = 1_u64 << six;
        (self.children & bit != 0).then(|| self.first_child + (self.children & (bit - 1)).count_ones())
    }

    /// How many values lie below a position.
    #[inline]
    fn rank(&self, position: u32) -> u32 {
        (self.values & ((1 << position) - 1)).count_ones()
    }
}

/// Bits of an address above a step.
#[inline]
const fn above(at: u32) -> u32 {
    at.saturating_sub(LEAD)
}

/// The six bits of a key at a step; at the first, four zeros and its first two bits.
#[inline]
fn six_bits(key: u128, at: u32) -> u32 {
    let mask = if at == 0 { 0x03 } else { 0x3f };
    key.rotate_left(at + STRIDE - LEAD) as u32 & mask
}

/// The step in which a prefix of one bit or more ends, and its relative length there.
const fn end(len: u32) -> (u32, u32) {
    let at = (len + LEAD - 1) / STRIDE * STRIDE;
    (at, len + LEAD - at)
}

fn masked(key: u128, bits: u32) -> u128 {
    key & !u128::MAX.checked_shr(bits).unwrap_or(0)
}

/// Arrays of 1 to 126 items in one vector: blocks of a power of two, freed ones are used again.
#[derive(Default)]
struct Blocks<T> {
    items: Vec<T>,
    free: [Vec<u32>; 8],
}

impl<T: Copy + Default> Blocks<T> {
    fn class(len: u32) -> usize {
        len.next_power_of_two().trailing_zeros() as usize
    }

    fn allocate(&mut self, class: usize) -> u32 {
        self.free[class].pop().unwrap_or_else(|| {
            let first = self.items.len();
            self.items.resize(first + (1 << class), T::default());
            u32::try_from(first).expect("fewer prefixes than 2^32 / 128 fit memory")
        })
    }

    /// Puts an item at a place of the array of `len` items at `first`, which may move.
    fn insert(&mut self, first: &mut u32, len: u32, at: u32, item: T) {
        let class = Self::class(len + 1);
        let (from, old) = (*first as usize, Self::class(len.max(1)));
        if len == 0 || class != old {
            *first = self.allocate(class);
            let to = *first as usize;
            self.items.copy_within(from..from + len as usize, to);
            if len != 0 {
                self.free[old].push(from as u32);
            }
        }
        let array = &mut self.items[*first as usize..][..len as usize + 1];
        array.copy_within(at as usize..len as usize, at as usize + 1);
        array[at as usize] = item;
    }

    /// Takes an item out of the array of `len` items at `first`, which may move.
    fn remove(&mut self, first: &mut u32, len: u32, at: u32) -> T {
        let (from, old) = (*first as usize, Self::class(len));
        let array = &mut self.items[from..][..len as usize];
        let item = array[at as usize];
        array.copy_within(at as usize + 1.., at as usize);
        let class = Self::class((len - 1).max(1));
        if len == 1 || class != old {
            if len != 1 {
                *first = self.allocate(class);
                let to = *first as usize;
                self.items.copy_within(from..from + len as usize - 1, to);
            }
            self.free[old].push(from as u32);
        }
        item
    }

    fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<T>()
            + self.free.iter().map(|list| list.capacity() * size_of::<u32>()).sum::<usize>()
    }
}

/// The allowed IPs of one interface.
pub struct Routes {
    nodes: Blocks<Node>,
    values: Blocks<Owner>,
    /// The owners of the prefixes of length zero, by family.
    all: [Option<Owner>; 2],
    len: usize,
}

/// The roots are the first two nodes.
const ROOT_V4: u32 = 0;
const ROOT_V6: u32 = 1;

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// An empty table.
    pub fn new() -> Self {
        let nodes = Blocks { items: vec![Node::default(); 2], free: Default::default() };
        Self { nodes, values: Blocks::default(), all: [None; 2], len: 0 }
    }

    /// How many prefixes are in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.nodes.bytes() + self.values.bytes()
    }

    /// The owner of the longest prefix that an address lies in.
    #[inline]
    pub fn get(&self, address: IpAddr) -> Option<Owner> {
        match address {
            IpAddr::V4(address) => self.get_v4(address),
            IpAddr::V6(address) => self.get_v6(address),
        }
    }

    /// As [`Routes::get`].
    #[inline]
    pub fn get_v4(&self, address: Ipv4Addr) -> Option<Owner> {
        self.owner(self.longest_v4(address)?)
    }

    /// As [`Routes::get`].
    #[inline]
    pub fn get_v6(&self, address: Ipv6Addr) -> Option<Owner> {
        self.owner(self.longest_v6(address)?)
    }

    /// The first step of [`Routes::get`]: finds where the owner stands, and begins to load it. For callers that have several
    /// addresses at hand: nodes are few and stay in the cache, owners do not.
    #[inline]
    pub fn find(&self, address: IpAddr) -> Option<Place> {
        let place = match address {
            IpAddr::V4(address) => self.longest_v4(address),
            IpAddr::V6(address) => self.longest_v6(address),
        };
        if let Some(Place(Stands::At(index))) = place
            && let Some(owner) = self.values.items.get(index as usize)
        {
            prefetch(owner);
        }
        place
    }

    /// The second step of [`Routes::get`].
    #[inline]
    pub fn owner(&self, place: Place) -> Option<Owner> {
        match place.0 {
            Stands::Here(owner) => Some(owner),
            Stands::At(index) => self.values.items.get(index as usize).copied(),
        }
    }

    /// As [`Routes::longest_v6`], in half of the bits: no node of this family decides more than the first 32.
    #[inline]
    fn longest_v4(&self, address: Ipv4Addr) -> Option<Place> {
        let key = u64::from(address.to_bits()) << 32;
        let six = |node: &Node| (key >> (u64::BITS + LEAD - STRIDE - u32::from(node.at))) as u32 & 0x3f;
        let covers = |node: &Node| {
            let differs = (node.prefix >> 64) as u64 ^ key;
            differs & !(u64::MAX >> above(u32::from(node.at))) == 0
        };
        self.longest(ROOT_V4, six, covers)
    }

    #[inline]
    fn longest_v6(&self, address: Ipv6Addr) -> Option<Place> {
        let key = address.to_bits();
        self.longest(ROOT_V6, |node| six_bits(key, u32::from(node.at)), |node| node.covers(key))
    }

    #[inline]
    fn longest(
        &self,
        root: u32,
        six_bits: impl Fn(&Node) -> u32,
        covers: impl Fn(&Node) -> bool,
    ) -> Option<Place> {
        let mut node = &self.nodes.items[root as usize];
        let mut best = None;
        loop {
            let six = six_bits(node);
            let matching = node.values & MATCHES[six as usize];
            if matching != 0 {
                best = Some((node, matching));
            }
            let Some(child) = node.child(six) else { break };
            node = &self.nodes.items[child as usize];
            if !covers(node) {
                break;
            }
        }
        let Some((node, matching)) = best else {
            return self.all[root as usize].map(|owner| Place(Stands::Here(owner)));
        };
        if node.values.is_power_of_two() {
            return Some(Place(Stands::Here(node.only)));
        }
        Some(Place(Stands::At(node.first_value + node.rank(matching.ilog2()))))
    }

    /// Gives a prefix an owner, and returns the one it had.
    pub fn insert(&mut self, prefix: IpPrefix, owner: Owner) -> Option<Owner> {
        let (root, key, len) = parts(prefix);
        if len == 0 {
            let before = self.all[root as usize].replace(owner);
            self.len += usize::from(before.is_none());
            return before;
        }
        let (target, rest) = end(len);
        let mut at = root as usize;
        loop {
            let node = self.nodes.items[at];
            let step = u32::from(node.at);
            if step > target || !node.covers(key) {
                // Above the first bit that differs, and not below where the prefix ends.
                let same = (node.prefix ^ key).leading_zeros();
                self.split(at, ((same + LEAD) / STRIDE * STRIDE).min(target));
                continue;
            }
            let six = six_bits(key, step);
            if step == target {
                return self.set(at, position(six, rest), owner);
            }
            at = node.child(six).unwrap_or_else(|| {
                let Node { mut first_child, children, .. } = node;
                let rank = (children & ((1 << six) - 1)).count_ones();
                let leaf = Node::new(key, target);
                self.nodes.insert(&mut first_child, children.count_ones(), rank, leaf);
                let node = &mut self.nodes.items[at];
                node.first_child = first_child;
                node.children |= 1 << six;
                first_child + rank
            }) as usize;
        }
    }

    /// Puts a node of fewer steps in the place of another, which becomes its only child.
    fn split(&mut self, at: usize, step: u32) {
        let below = self.nodes.items[at];
        let mut node = Node::new(below.prefix, step);
        node.children = 1 << six_bits(below.prefix, step);
        self.nodes.insert(&mut node.first_child, 0, 0, below);
        self.nodes.items[at] = node;
    }

    fn set(&mut self, at: usize, position: u32, owner: Owner) -> Option<Owner> {
        let node = &mut self.nodes.items[at];
        let (bit, rank, count) = (1 << position, node.rank(position), node.values.count_ones());
        if node.values & bit != 0 {
            let value = match count {
                1 => &mut node.only,
                _ => &mut self.values.items[(node.first_value + rank) as usize],
            };
            return Some(core::mem::replace(value, owner));
        }
        match count {
            0 => node.only = owner,
            _ => {
                if count == 1 {
                    self.values.insert(&mut node.first_value, 0, 0, node.only);
                }
                self.values.insert(&mut node.first_value, count, rank, owner);
            }
        }
        node.values |= bit;
        self.len += 1;
        None
    }

    /// Takes a prefix out of the table, and returns the owner that it had.
    pub fn remove(&mut self, prefix: IpPrefix) -> Option<Owner> {
        let (root, key, len) = parts(prefix);
        if len == 0 {
            let before = self.all[root as usize].take();
            self.len -= usize::from(before.is_some());
            return before;
        }
        let (target, rest) = end(len);
        let mut way = [0; LEVELS_MAX];
        let (mut steps, mut at) = (0, root);
        loop {
            let node = self.nodes.items[at as usize];
            let step = u32::from(node.at);
            if step > target || !node.covers(key) {
                return None;
            }
            if step == target {
                break;
            }
            way[steps] = at;
            steps += 1;
            at = node.child(six_bits(key, step))?;
        }
        let owner = self.unset(at as usize, position(six_bits(key, target), rest))?;
        while let Some(&parent) = way[..steps].last() {
            if !self.prune(parent as usize, at as usize, key) {
                break;
            }
            (at, steps) = (parent, steps - 1);
        }
        Some(owner)
    }

    fn unset(&mut self, at: usize, position: u32) -> Option<Owner> {
        let node = &mut self.nodes.items[at];
        let (bit, rank, count) = (1 << position, node.rank(position), node.values.count_ones());
        if node.values & bit == 0 {
            return None;
        }
        let owner = match count {
            1 => node.only,
            _ => self.values.remove(&mut node.first_value, count, rank),
        };
        if count == 2 {
            node.only = self.values.remove(&mut node.first_value, 1, 0);
        }
        node.values &= !bit;
        self.len -= 1;
        Some(owner)
    }

    /// Drops a node that holds nothing, and tells so; puts an only child in the place of one that holds nothing else.
    fn prune(&mut self, parent: usize, at: usize, key: u128) -> bool {
        let mut node = self.nodes.items[at];
        if node.values != 0 || node.children.count_ones() > 1 {
            return false;
        }
        if node.children != 0 {
            self.nodes.items[at] = self.nodes.remove(&mut node.first_child, 1, 0);
            return false;
        }
        let Node { mut first_child, children, at, .. } = self.nodes.items[parent];
        let bit = 1 << six_bits(key, u32::from(at));
        self.nodes.remove(&mut first_child, children.count_ones(), (children & (bit - 1)).count_ones());
        let parent = &mut self.nodes.items[parent];
        parent.first_child = first_child;
        parent.children &= !bit;
        true
    }
}

/// The root, the address to the left, and the length of a prefix.
fn parts(prefix: IpPrefix) -> (u32, u128, u32) {
    match prefix.address() {
        IpAddr::V4(address) => (ROOT_V4, u128::from(address.to_bits()) << 96, u32::from(prefix.bits())),
        IpAddr::V6(address) => (ROOT_V6, address.to_bits(), u32::from(prefix.bits())),
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
