//! Which datagrams the kernel drops before a socket's queue while strangers flood: a classic BPF program, and its twin in Rust.
//!
//! A datagram that is dropped in user space has been queued and copied, and has woken a worker. A filter on the socket takes no
//! right to attach, and costs tens of nanoseconds. It only knows a datagram's bytes, its headers and a random number, so it takes
//! from nobody what belongs to him: it thins what the gate would refuse in any case, and keeps sources out that somebody who knows
//! more has found to send nothing else.
//!
//! | datagram | comes through | of a shunned source |
//! |---|---|---|
//! | initiation: 148 bytes, type 1, mac2 all zero | a share, drawn at random | the same share, or none |
//! | response: 92 bytes, type 2, mac2 all zero | a share, drawn at random | the same share, or none |
//! | initiation, response that shows a cookie; cookie reply | always | always |
//! | train of data with an initiation or a response as its last | always | always |
//! | anything else: data, STUN, ChannelData, trains of handshakes | always | never |
//!
//! The kernel runs the program once per GRO train, on all of its bytes: the length is the train's, and where one datagram ends and
//! the next begins it does not know. What is thinned ends in sixteen zeros, so no train that ends in data is: those bytes would be
//! its tag. Handshakes of a source that is shunned may still be honest: a peer that had a session before this host restarted sends
//! under it until it has a new one, and what it sends is refused. The last of a train may be shorter than the others, so that is
//! where its handshake may be.
//!
//! What is dropped counts as lost by the socket ([`crate::socket::kernel_drops`]).
//!
//! Contains unsafe: `setsockopt` and `getsockopt`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use arrayvec::ArrayVec;
use dataplane_wire::SocketId;
use libc::sock_filter;

use crate::bpf::{self, op};

/// Sources that one filter can keep out.
pub const SHUNNED_MAX: usize = 8;

/// The program sees the UDP header in front of the datagram.
const UDP_HEADER: u32 = 8;
const INITIATION_LEN: u32 = 148;
const RESPONSE_LEN: u32 = 92;
const COOKIE_REPLY_LEN: u32 = 64;
/// The shortest train of data with a handshake behind it: two responses' lengths.
const TAILED_LEN: u32 = 2 * RESPONSE_LEN;
/// mac2: the last bytes of either message.
const MAC2_LEN: u32 = 16;
/// The first word of a message as the kernel's word load yields it: type and three zeros.
const INITIATION: u32 = 0x0100_0000;
const RESPONSE: u32 = 0x0200_0000;
const COOKIE_REPLY: u32 = 0x0300_0000;
const DATA: u32 = 0x0400_0000;
/// The share that is next to none: one in 2^32.
const NONE: u32 = 0;

/// A source of which little comes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shunned {
    /// The sockets that it is kept out of.
    pub socket: SocketId,
    /// The source.
    pub remote: SocketAddr,
    /// Whether handshakes without a cookie are kept out too.
    pub handshakes: bool,
}

/// What a socket keeps out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// Handshakes without a cookie are thinned to `most + 1` of 2^32: one comes through with a random number of 32 bits that is at
    /// most this. `None` for all.
    pub most: Option<u32>,
    /// Sources that are shunned, all of the socket and of its address family.
    pub shunned: ArrayVec<Shunned, SHUNNED_MAX>,
}

impl Screen {
    /// Thins only.
    pub fn thinning(most: u32) -> Self {
        Self { most: Some(most), ..Self::default() }
    }

    /// Whether it keeps nothing out.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// What the filter decides for a datagram, or for the bytes of a train, and a random number. Total: never panics.
    pub fn passes(&self, remote: SocketAddr, datagram: &[u8], random: u32) -> bool {
        let shunned = self.shunned.iter().find(|shunned| shunned.remote == remote);
        if shunned.is_some() && !may_pass_shunned(datagram) {
            return false;
        }
        let most = if shunned.is_some_and(|shunned| shunned.handshakes) { Some(NONE) } else { self.most };
        let thinned = match (datagram.len() as u32, word(datagram, 0)) {
            (INITIATION_LEN, Some(INITIATION)) | (RESPONSE_LEN, Some(RESPONSE)) => {
                datagram.ends_with(&[0; MAC2_LEN as usize])
            }
            _ => false,
        };
        !thinned || most.is_none_or(|most| random <= most)
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

    /// The program. Each part's jumps lead within it or to the part behind it, but for those of the questions:
    /// 1. a question for each shunned source: which part is next;
    /// 2. what those may send whose handshakes are kept out too, and those handshakes;
    /// 3. what the others may send;
    /// 4. the share of everybody's handshakes.
    fn program(&self) -> ArrayVec<sock_filter, PROGRAM_MAX> {
        let mut program = ArrayVec::new();
        let questions: usize = self.shunned.iter().map(|shunned| question_len(&shunned.remote)).sum();
        // Behind the questions there is a jump over what shunned sources may send.
        let first = questions + 1;
        for Shunned { remote, handshakes, .. } in &self.shunned {
            let part = if *handshakes { first } else { first + SHUNNED_LEN + THIN_LEN };
            ask(remote, part, &mut program);
        }
        if questions > 0 {
            program.push(op::jump((2 * SHUNNED_LEN + THIN_LEN) as u32));
            program.extend(of_shunned());
            program.extend(thin(NONE));
            program.extend(of_shunned());
        }
        program.extend(thin(self.most.unwrap_or(u32::MAX)));
        program
    }
}

/// A word of a datagram as the kernel's word load yields it.
fn word(datagram: &[u8], at: usize) -> Option<u32> {
    datagram.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

/// Whether it may come of a shunned source: what the part [`of_shunned`] decides.
fn may_pass_shunned(datagram: &[u8]) -> bool {
    let len = datagram.len() as u32;
    let last = |tail: u32| len.checked_sub(tail).and_then(|at| word(datagram, at as usize));
    match word(datagram, 0) {
        Some(INITIATION) => len == INITIATION_LEN,
        Some(RESPONSE) => len == RESPONSE_LEN,
        Some(COOKIE_REPLY) => len == COOKIE_REPLY_LEN,
        Some(DATA) if len >= TAILED_LEN => {
            last(INITIATION_LEN) == Some(INITIATION) || last(RESPONSE_LEN) == Some(RESPONSE)
        }
        _ => false,
    }
}

/// The words of a source's address, and where the kernel finds them from the start of the IP header.
fn address_words(source: &SocketAddr) -> (ArrayVec<u32, 4>, u32) {
    match source {
        SocketAddr::V4(source) => ([source.ip().to_bits()].into_iter().collect(), 12),
        SocketAddr::V6(source) => {
            let bits = source.ip().to_bits();
            ((0..4).map(|word| (bits >> (96 - 32 * word)) as u32).collect(), 8)
        }
    }
}

/// Two steps for each word of the address, and two for the port.
fn question_len(source: &SocketAddr) -> usize {
    2 * (address_words(source).0.len() + 1)
}

/// Asks whether a datagram is of this source: if so, on to `part`, else to the next question.
fn ask(source: &SocketAddr, part: usize, program: &mut ArrayVec<sock_filter, PROGRAM_MAX>) {
    use op::*;
    let (words, offset) = address_words(source);
    let end = program.len() + question_len(source);
    for (number, word) in words.into_iter().enumerate() {
        program.push(step(LOAD_WORD, NETWORK_HEADER + offset + 4 * number as u32));
        let differs = (end - program.len() - 1) as u8;
        program.push(sock_filter { code: JUMP_EQ as u16, jt: 0, jf: differs, k: word });
    }
    program.push(step(LOAD_HALF, 0));
    let is = (part - program.len() - 1) as u8;
    program.push(sock_filter { code: JUMP_EQ as u16, jt: is, jf: 0, k: u32::from(source.port()) });
}

/// What a shunned source may send goes on behind this part. The first load drops what has no type, which is what it should.
fn of_shunned() -> [sock_filter; SHUNNED_LEN] {
    use op::*;
    const RESPONSES: u8 = 6;
    const COOKIE_REPLIES: u8 = 8;
    const TRAINS: u8 = 10;
    const REFUSED: u8 = 22;
    const BEHIND: u8 = SHUNNED_LEN as u8;
    bpf::assemble([
        plain(LOAD_WORD, UDP_HEADER),
        branch(JUMP_EQ, RESPONSE, RESPONSES, NEXT),
        branch(JUMP_EQ, COOKIE_REPLY, COOKIE_REPLIES, NEXT),
        branch(JUMP_EQ, INITIATION, NEXT, TRAINS),
        plain(LOAD_LEN, 0),
        branch(JUMP_EQ, UDP_HEADER + INITIATION_LEN, BEHIND, REFUSED),
        // RESPONSES
        plain(LOAD_LEN, 0),
        branch(JUMP_EQ, UDP_HEADER + RESPONSE_LEN, BEHIND, REFUSED),
        // COOKIE_REPLIES
        plain(LOAD_LEN, 0),
        branch(JUMP_EQ, UDP_HEADER + COOKIE_REPLY_LEN, BEHIND, REFUSED),
        // TRAINS: the last may be a handshake.
        branch(JUMP_EQ, DATA, NEXT, REFUSED),
        plain(LOAD_LEN, 0),
        branch(JUMP_GE, UDP_HEADER + TAILED_LEN, NEXT, REFUSED),
        plain(SUB, INITIATION_LEN),
        plain(TO_X, 0),
        plain(LOAD_WORD_X, 0),
        branch(JUMP_EQ, INITIATION, BEHIND, NEXT),
        plain(LOAD_LEN, 0),
        plain(SUB, RESPONSE_LEN),
        plain(TO_X, 0),
        plain(LOAD_WORD_X, 0),
        branch(JUMP_EQ, RESPONSE, BEHIND, NEXT),
        // REFUSED
        plain(RETURN, 0),
    ])
}

/// Drops all but a share of handshakes without a cookie. Every load lies within the length that was compared before.
fn thin(most: u32) -> [sock_filter; THIN_LEN] {
    use op::*;
    const SHORTER: u8 = 12;
    const DRAW: u8 = 23;
    const PASS: u8 = 25;
    const DROP: u8 = 26;
    let mac2 = |len: u32, word: u32| plain(LOAD_WORD, UDP_HEADER + len - MAC2_LEN + 4 * word);
    let zero = branch(JUMP_EQ, 0, NEXT, PASS);
    bpf::assemble([
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
        branch(JUMP_GREATER, most, DROP, NEXT),
        // PASS: with all of its bytes.
        plain(RETURN, u32::MAX),
        // DROP
        plain(RETURN, 0),
    ])
}

const SHUNNED_LEN: usize = 23;
const THIN_LEN: usize = 27;
/// Questions about sources of IPv6, the jump, and each part twice.
const PROGRAM_MAX: usize = SHUNNED_MAX * 10 + 1 + 2 * (SHUNNED_LEN + THIN_LEN);
/// Jumps reach 255 steps.
const _: () = assert!(PROGRAM_MAX < 255);

#[cfg(test)]
mod tests;
