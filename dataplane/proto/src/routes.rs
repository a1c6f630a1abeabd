//! Longest-prefix match over the allowed IPs of an interface.
//!
//! Enters: prefixes and who owns them. Leaves: the owner of the longest prefix that an address lies in. Never: an allocation
//! in a look-up.
//!
//! A tree bitmap with path compression, one per family, over addresses aligned to the left in 128 bits. A node begins at a
//! depth that is a multiple of six bits and knows all bits above; it holds
//! - the prefixes that end in its six bits, of relative length 0 to 5: 63 of them, a bit each, so that the longest that
//!   matches is the highest bit of one AND, and
//! - its children, a bit for each value of the six bits.
//!
//! Values and children of a node lie side by side, in blocks of a power of two, and a bit's rank says where: one cache line
//! per level, and as many levels as the prefixes make necessary (100,000 hosts of a /8: four).
//! Nothing but its parent refers to a node, so blocks may move when they grow.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane_wire::{CoreId, PeerId};

use crate::prefix::IpPrefix;

/// Bits that one node decides.
const STRIDE: u32 = 6;
/// Deepest way: 128 bits in steps of six.
const LEVELS_MAX: usize = 22;
/// The set of all prefixes in a node that match six given bits: one for each relative length.
const MATCHES: [u64; 64] = matches();

const fn matches() -> [u64; 64] {
    let mut all = [0; 64];
    let mut bits = 0;
    while bits < 64 {
        let mut len = 0;
        while len < STRIDE {
            all[bits as usize] |= 1 << position(bits, len);
            len += 1;
        }
        bits += 1;
    }
    all
}

/// The bit of the prefix of relative length `len` that six bits begin with. Longer ones have higher bits.
const fn position(six: u32, len: u32) -> u32 {
    (1 << len) - 1 + (six >> (STRIDE - len))
}

/// Who owns a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The peer.
    pub peer: PeerId,
    /// The core that it lives on.
    pub core: CoreId,
}

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Node {
    /// The bits above `depth`, to the left; the rest is zero.
    prefix: u128,
    children: u64,
    values: u64,
    first_child: u32,
    first_value: u32,
    depth: u8,
}

impl Node {
    fn covers(&self, key: u128) -> bool {
        (self.prefix ^ key) & !(u128::MAX >> self.depth) == 0
    }

    /// Index of the child for these six bits.
    fn child(&self, six: u32) -> Option<u32> {
        let bit = 1_u64 << six;
        (self.children & bit != 0).then(|| self.first_child + rank(self.children, six))
    }
}

/// How many bits are set below a position.
fn rank(bits: u64, position: u32) -> u32 {
    (bits & ((1 << position) - 1)).count_ones()
}

/// Six bits of a key. At depth 126 the last four wrap round to the first bits of the key: no prefix there is longer than
/// two, and there are no children.
fn six_bits(key: u128, depth: u32) -> u32 {
    (key.rotate_left(depth + STRIDE) & 0x3f) as u32
}

fn masked(key: u128, bits: u32) -> u128 {
    key & !u128::MAX.checked_shr(bits).unwrap_or(0)
}

/// Arrays of 1 to 64 items in one vector: blocks of a power of two, freed ones are used again.
#[derive(Default)]
struct Blocks<T> {
    items: Vec<T>,
    free: [Vec<u32>; 7],
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
    len: usize,
}

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
        Self { nodes, values: Blocks::default(), len: 0 }
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
        self.longest(ROOT_V4, u128::from(address.to_bits()) << 96)
    }

    /// As [`Routes::get`].
    #[inline]
    pub fn get_v6(&self, address: Ipv6Addr) -> Option<Owner> {
        self.longest(ROOT_V6, address.to_bits())
    }

    #[inline]
    fn longest(&self, root: u32, key: u128) -> Option<Owner> {
        let mut best = None;
        let mut node = &self.nodes.items[root as usize];
        loop {
            if !node.covers(key) {
                break;
            }
            let six = six_bits(key, u32::from(node.depth));
            let matching = node.values & MATCHES[six as usize];
            if matching != 0 {
                best = Some(node.first_value + rank(node.values, matching.ilog2()));
            }
            match node.child(six) {
                Some(child) => node = &self.nodes.items[child as usize],
                None => break,
            }
        }
        best.map(|value| self.values.items[value as usize])
    }

    /// Gives a prefix an owner, and returns the one it had.
    pub fn insert(&mut self, prefix: IpPrefix, owner: Owner) -> Option<Owner> {
        let (root, key, len) = parts(prefix);
        let target = len / STRIDE * STRIDE;
        let mut at = root as usize;
        loop {
            let node = self.nodes.items[at];
            let depth = u32::from(node.depth);
            if depth > target || !node.covers(key) {
                self.split(at, (node.prefix ^ key).leading_zeros().min(target) / STRIDE * STRIDE);
                continue;
            }
            if depth == target {
                return self.set(at, position(six_bits(key, depth), len - target), owner);
            }
            let six = six_bits(key, depth);
            at = node.child(six).unwrap_or_else(|| {
                let leaf = Node { prefix: masked(key, target), depth: target as u8, ..Node::default() };
                let Node { mut first_child, children, .. } = node;
                let rank = rank(children, six);
                self.nodes.insert(&mut first_child, children.count_ones(), rank, leaf);
                let node = &mut self.nodes.items[at];
                node.first_child = first_child;
                node.children |= 1 << six;
                first_child + rank
            }) as usize;
        }
    }

    /// Puts a node of less depth in the place of another, which becomes its only child.
    fn split(&mut self, at: usize, depth: u32) {
        let below = self.nodes.items[at];
        let mut above = Node { prefix: masked(below.prefix, depth), depth: depth as u8, ..Node::default() };
        above.children = 1 << six_bits(below.prefix, depth);
        self.nodes.insert(&mut above.first_child, 0, 0, below);
        self.nodes.items[at] = above;
    }

    fn set(&mut self, at: usize, position: u32, owner: Owner) -> Option<Owner> {
        let node = &mut self.nodes.items[at];
        let rank = rank(node.values, position);
        if node.values & 1 << position != 0 {
            let value = &mut self.values.items[(node.first_value + rank) as usize];
            return Some(core::mem::replace(value, owner));
        }
        self.values.insert(&mut node.first_value, node.values.count_ones(), rank, owner);
        node.values |= 1 << position;
        self.len += 1;
        None
    }

    /// Takes a prefix out of the table, and returns the owner that it had.
    pub fn remove(&mut self, prefix: IpPrefix) -> Option<Owner> {
        let (root, key, len) = parts(prefix);
        let target = len / STRIDE * STRIDE;
        let mut way = [0; LEVELS_MAX];
        let (mut steps, mut at) = (0, root);
        loop {
            let node = self.nodes.items[at as usize];
            if u32::from(node.depth) > target || !node.covers(key) {
                return None;
            }
            if u32::from(node.depth) == target {
                break;
            }
            way[steps] = at;
            steps += 1;
            at = node.child(six_bits(key, u32::from(node.depth)))?;
        }
        let node = &mut self.nodes.items[at as usize];
        let position = position(six_bits(key, target), len - target);
        if node.values & 1 << position == 0 {
            return None;
        }
        let rank = rank(node.values, position);
        let owner = self.values.remove(&mut node.first_value, node.values.count_ones(), rank);
        node.values &= !(1 << position);
        self.len -= 1;
        while let Some(&parent) = way[..steps].last() {
            if !self.prune(parent as usize, at as usize, key) {
                break;
            }
            (at, steps) = (parent, steps - 1);
        }
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
        let Node { mut first_child, children, depth, .. } = self.nodes.items[parent];
        let six = six_bits(key, u32::from(depth));
        self.nodes.remove(&mut first_child, children.count_ones(), rank(children, six));
        let parent = &mut self.nodes.items[parent];
        parent.first_child = first_child;
        parent.children &= !(1 << six);
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
