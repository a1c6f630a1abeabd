//! Which socket of a reuse-port group gets a datagram: a classic BPF program, and its twin in Rust.
//!
//! Every worker has one socket of the group; the socket's number in the group, the order of binding, is the core's. A message
//! that carries a receiver index goes to the core whose number stands in the topmost bits of that index. The index is
//! little-endian, so its top byte is the last of the four on the wire.
//!
//! | message | where the core is read | else |
//! |---|---|---|
//! | data (4), cookie reply (3) | byte 7 | |
//! | response (2) | byte 11 | |
//! | the same inside of ChannelData (first byte 0x40–0x4F) | 4 bytes further | |
//! | STUN (magic cookie at bytes 4..8, not types 2–4) | the core named at construction | the kernel's hash |
//! | initiations, junk, a core that does not exist | | the kernel's hash over both addresses and ports |
//!
//! The kernel runs the program once per GRO train, on its first datagram, with the data starting behind the UDP header.
//! A wrongly steered datagram is no fault: the core that gets it hands it over. So the program looks at no more than it needs.

use std::io;
use std::os::fd::AsFd;

use crate::bpf::{self, op};

/// Most bits of an index that can name the core: the program reads one byte.
pub const CORE_BITS_MAX: u32 = 8;

/// The shortest message that carries a receiver index: data with an empty packet, header and tag.
const MESSAGE_MIN: u32 = 32;
/// ChannelData's own header (RFC 8656 §12.4).
const CHANNEL_HEADER: u32 = 4;
/// A STUN header (RFC 8489 §5).
const STUN_HEADER: u32 = 20;
/// RFC 8489 §5, as the kernel's word load yields it: network order.
const STUN_COOKIE: u32 = 0x2112_A442;
/// What makes the kernel fall back to its own hash: no group has this many sockets.
const BY_HASH: u32 = u32::MAX;

/// How a group of sockets is steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    core_bits: u32,
    stun_core: Option<u8>,
}

/// Where the twin of the filter sends a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the socket with this number in the group, if there is one; else as [`Target::Hash`].
    Core(u8),
    /// To whichever socket the kernel's hash over addresses and ports names: always the same for one 4-tuple.
    Hash,
}

impl Steering {
    /// Steering for indices whose top `core_bits` bits name the core: `core = index >> (32 - core_bits)`. With no bits, or
    /// with one socket, all indices belong to core 0.
    ///
    /// # Panics
    /// More than [`CORE_BITS_MAX`] bits: a mistake of the program, not of its input.
    pub const fn by_index(core_bits: u32) -> Self {
        assert!(core_bits <= CORE_BITS_MAX, "the core is read from one byte of the index");
        Self { core_bits, stun_core: None }
    }

    /// The same, but STUN goes to one core rather than being spread by the kernel's hash.
    #[must_use]
    pub const fn with_stun_core(self, core: u8) -> Self {
        Self { stun_core: Some(core), ..self }
    }

    /// What the filter decides for a datagram. Total: never panics, whatever the bytes.
    ///
    /// Cost: a few comparisons.
    pub fn decide(&self, datagram: &[u8]) -> Target {
        let min = MESSAGE_MIN as usize;
        let inner = match datagram.first() {
            Some(0x40..=0x4F) => datagram.get(CHANNEL_HEADER as usize..).unwrap_or_default(),
            _ => datagram,
        };
        let top = match inner.first() {
            Some(3 | 4) if inner.len() >= min => inner[7],
            Some(2) if inner.len() >= min => inner[11],
            Some(2..=4) => return Target::Hash,
            _ => return self.decide_stun(inner),
        };
        Target::Core(if self.core_bits == 0 { 0 } else { top >> (8 - self.core_bits) })
    }

    fn decide_stun(&self, inner: &[u8]) -> Target {
        match (self.stun_core, inner.get(4..8)) {
            (Some(core), Some(cookie))
                if inner.len() >= STUN_HEADER as usize
                    && inner[0] & 0xC0 == 0
                    && cookie == STUN_COOKIE.to_be_bytes() =>
            {
                Target::Core(core)
            }
            _ => Target::Hash,
        }
    }

    /// Gives the filter to the whole reuse-port group of `socket`.
    ///
    /// Once per group, when all of its members are bound (or on the first, before it is bound) and nobody is told of the port
    /// yet. The filter belongs to the group, not to the socket, and is never replaced while there is traffic: kernels have freed
    /// the old one under use.
    ///
    /// # Errors
    /// `EINVAL`: the socket is bound, and in no group. `ENOMEM`: the limit `net.core.optmem_max` is too low for the program.
    pub fn attach(&self, socket: impl AsFd) -> io::Result<()> {
        bpf::attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &mut self.program())
    }

    /// The program. Loads past the end of a datagram would end it with 0, so lengths are checked before every load.
    fn program(&self) -> [libc::sock_filter; PROGRAM_LEN] {
        use op::*;
        let cookie = if self.stun_core.is_some() { NEXT } else { HASH };
        let steps = [
            // X = where the message begins: 4 behind a ChannelData header, else 0.
            plain(LOAD_LEN, 0),
            branch(JUMP_GE, STUN_HEADER, NEXT, HASH),
            plain(LOAD_X, 0),
            plain(LOAD_BYTE, 0),
            plain(AND, 0xF0),
            branch(JUMP_EQ, 0x40, NEXT, TYPE),
            plain(LOAD_LEN, 0),
            branch(JUMP_GE, CHANNEL_HEADER + STUN_HEADER, NEXT, HASH),
            plain(LOAD_X, CHANNEL_HEADER),
            // TYPE
            plain(LOAD_BYTE_X, 0),
            branch(JUMP_EQ, 4, INDEX_AT_4, NEXT),
            branch(JUMP_EQ, 3, INDEX_AT_4, NEXT),
            branch(JUMP_EQ, 2, INDEX_AT_8, NEXT),
            // Anything else may be STUN: two zero bits, and the cookie.
            branch(JUMP_GE, 0x40, HASH, cookie),
            plain(LOAD_WORD_X, 4),
            branch(JUMP_EQ, STUN_COOKIE, NEXT, HASH),
            plain(RETURN, self.stun_core.unwrap_or_default() as u32),
            // INDEX_AT_4: the length once more, since the shortest message is longer than the shortest STUN.
            plain(LOAD_LEN, 0),
            plain(SUB_X, 0),
            branch(JUMP_GE, MESSAGE_MIN, NEXT, HASH),
            plain(LOAD_BYTE_X, 7),
            plain(SHIFT_RIGHT, 8 - self.core_bits),
            plain(RETURN_A, 0),
            // INDEX_AT_8
            plain(LOAD_LEN, 0),
            plain(SUB_X, 0),
            branch(JUMP_GE, MESSAGE_MIN, NEXT, HASH),
            plain(LOAD_BYTE_X, 11),
            plain(SHIFT_RIGHT, 8 - self.core_bits),
            plain(RETURN_A, 0),
            // HASH
            plain(RETURN, BY_HASH),
        ];
        bpf::assemble(steps)
    }
}

// Places in the program that are jumped to.
const TYPE: u8 = 9;
const INDEX_AT_4: u8 = 17;
const INDEX_AT_8: u8 = 23;
const HASH: u8 = 29;
const PROGRAM_LEN: usize = HASH as usize + 1;

#[cfg(test)]
mod tests;
