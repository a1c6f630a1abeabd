//! Which datagrams the kernel drops before a socket's queue while strangers flood: a classic BPF program, and its twin in Rust.
//!
//! A datagram that is dropped in user space has been queued and copied, and has woken a worker. A filter on the socket takes no
//! right to attach, and costs tens of nanoseconds. It only knows a datagram's bytes and a random number, so this one takes from
//! nobody what belongs to him: it thins what the gate would refuse in any case.
//!
//! | datagram | comes through |
//! |---|---|
//! | initiation: 148 bytes, type 1, mac2 all zero | a share, drawn at random |
//! | response: 92 bytes, type 2, mac2 all zero | a share, drawn at random |
//! | anything else: data, cookie replies, STUN, ChannelData, handshakes that show a cookie | always |
//!
//! The kernel runs the program once per GRO train, on all of its bytes: the length is the train's. What is thinned ends in
//! sixteen zeros, so no train that ends in data is: those bytes would be its tag. Trains of handshakes come through whole.
//!
//! What is dropped counts as lost by the socket ([`crate::socket::kernel_drops`]).
//!
//! Contains unsafe: `setsockopt` and `getsockopt`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::bpf::{self, op};

/// The program sees the UDP header in front of the datagram.
const UDP_HEADER: u32 = 8;
const INITIATION_LEN: u32 = 148;
const RESPONSE_LEN: u32 = 92;
/// mac2: the last bytes of either message.
const MAC2_LEN: u32 = 16;
/// The first word of a message as the kernel's word load yields it: type and three zeros.
const INITIATION: u32 = 0x0100_0000;
const RESPONSE: u32 = 0x0200_0000;

/// A filter that lets a share of handshake messages without a cookie through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    most: u32,
}

impl Screen {
    /// Thins to `most + 1` of 2^32: a message comes through with a random number of 32 bits that is at most this.
    pub const fn new(most: u32) -> Self {
        Self { most }
    }

    /// What the filter decides for a datagram, or for the bytes of a train, and a random number. Total: never panics.
    pub fn passes(&self, datagram: &[u8], random: u32) -> bool {
        let thinned =
            match (datagram.len() as u32, datagram.first_chunk().map(|head| u32::from_be_bytes(*head))) {
                (INITIATION_LEN, Some(INITIATION)) | (RESPONSE_LEN, Some(RESPONSE)) => {
                    datagram.ends_with(&[0; MAC2_LEN as usize])
                }
                _ => false,
            };
        !thinned || random <= self.most
    }

    /// Gives the filter to a socket, in the place of one that was given before.
    ///
    /// # Errors
    /// `EPERM`: somebody has locked the socket's filter. `ENOMEM`: the limit `net.core.optmem_max` is too low for the program.
    pub fn attach(&self, socket: impl AsFd) -> io::Result<()> {
        bpf::attach(socket, libc::SO_ATTACH_FILTER, &mut self.program())
    }

    /// Takes the filter of a socket away; none is well too.
    pub fn detach(socket: impl AsFd) {
        let ignored: libc::c_int = 0;
        // SAFETY: the kernel reads an int that lives through the call, and does not look at it. It can only fail for there being
        // no filter, or a locked one, which is not ours.
        unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_DETACH_FILTER,
                (&raw const ignored).cast(),
                size_of_val(&ignored) as libc::socklen_t,
            );
        }
    }

    /// Whether a socket has a filter, such as one of an embedder's own.
    pub fn is_screened(socket: impl AsFd) -> bool {
        let mut len: libc::socklen_t = 0;
        // SAFETY: with a length of zero the kernel writes nothing but the length, which lives through the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_GET_FILTER,
                std::ptr::null_mut(),
                &mut len,
            )
        };
        // Refused for a filter that is no classic program: there is one.
        result < 0 || len > 0
    }

    /// The program. Every load lies within the length that was compared before.
    fn program(&self) -> [libc::sock_filter; PROGRAM_LEN] {
        use op::*;
        let mac2 = |len: u32, word: u32| plain(LOAD_WORD, UDP_HEADER + len - MAC2_LEN + 4 * word);
        let zero = branch(JUMP_EQ, 0, NEXT, PASS);
        let steps = [
            plain(LOAD_LEN, 0),
            branch(JUMP_EQ, UDP_HEADER + INITIATION_LEN, NEXT, SHORTER),
            plain(LOAD_WORD, UDP_HEADER),
            branch(JUMP_EQ, INITIATION, NEXT, PASS),
            mac2(INITIATION_LEN, 0),
            zero,
            mac2(INITIATION_LEN, 1),
            zero,
            mac2(INITIATION_LEN, 2),
            zero,
            mac2(INITIATION_LEN, 3),
            branch(JUMP_EQ, 0, DRAW, PASS),
            // SHORTER
            branch(JUMP_EQ, UDP_HEADER + RESPONSE_LEN, NEXT, PASS),
            plain(LOAD_WORD, UDP_HEADER),
            branch(JUMP_EQ, RESPONSE, NEXT, PASS),
            mac2(RESPONSE_LEN, 0),
            zero,
            mac2(RESPONSE_LEN, 1),
            zero,
            mac2(RESPONSE_LEN, 2),
            zero,
            mac2(RESPONSE_LEN, 3),
            zero,
            // DRAW
            plain(LOAD_WORD, RANDOM),
            branch(JUMP_GREATER, self.most, DROP, NEXT),
            // PASS: with all of its bytes.
            plain(RETURN, u32::MAX),
            // DROP
            plain(RETURN, 0),
        ];
        bpf::assemble(steps)
    }
}

// Places in the program that are jumped to.
const SHORTER: u8 = 12;
const DRAW: u8 = 23;
const PASS: u8 = 25;
const DROP: u8 = 26;
const PROGRAM_LEN: usize = DROP as usize + 1;

#[cfg(test)]
mod tests;
