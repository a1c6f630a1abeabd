//! A kernel of paper: takes messages as the real one would, refuses what it is told to refuse, and writes down what left.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dataplane_wire::SocketId;

use super::UdpIo;
use super::addr::RawAddr;
use super::control::{ControlIn, ControlOut, next_message};
use super::sys::{Calls, Errno, InMessage, Incoming, OutMessage, Outgoing};
use crate::packet_io::PacketIo;
use crate::socket::OffloadConfig;

/// What one call does, whatever is in it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// Fails.
    Refuse(Errno),
    /// Takes at most so many messages.
    Take(usize),
}

/// A datagram that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) to: SocketAddr,
    pub(super) source: Option<IpAddr>,
    pub(super) bytes: Vec<u8>,
    pub(super) in_train: bool,
}

/// A message to be received.
pub(super) struct Came {
    pub(super) from: RawAddr,
    pub(super) control: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    /// The real length, where it is more than what fits.
    pub(super) real_len: Option<usize>,
}

/// The state of the paper kernel.
#[derive(Default)]
pub(super) struct State {
    /// For the next calls, one each; then all is taken.
    pub(super) acts: VecDeque<Act>,
    /// Refuses every train.
    pub(super) no_trains: Option<Errno>,
    /// Refuses messages with this source.
    pub(super) no_source: Option<(IpAddr, Errno)>,
    /// Refuses datagrams, and trains of datagrams, that are longer.
    pub(super) len_max: Option<usize>,
    pub(super) left: Vec<Left>,
    pub(super) sends: usize,
    pub(super) waits: usize,
    pub(super) inbox: VecDeque<Result<Came, Errno>>,
    /// Slots offered by each receive.
    pub(super) offered: Vec<usize>,
}

/// Shared by the backend and the test.
#[derive(Clone, Default)]
pub(super) struct PaperKernel(Arc<Mutex<State>>);

impl PaperKernel {
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.0.lock().unwrap())
    }

    /// A backend over this kernel with one socket per family, of the id 0.
    pub(super) fn backend(&self) -> UdpIo {
        let mut io = UdpIo::with_calls(OffloadConfig::default(), Box::new(self.clone()));
        for host in ["127.0.0.1", "::1"] {
            io.add_socket(SocketId(0), UdpSocket::bind((host, 0)).unwrap()).unwrap();
        }
        assert!(io.offloads().gso.is_on());
        io
    }
}

fn segment_len(control: &ControlOut) -> Option<usize> {
    let mut rest = &control.bytes[..control.len];
    while let Some((level, kind, payload, behind)) = next_message(rest) {
        if (level, kind) == (libc::SOL_UDP, libc::UDP_SEGMENT) {
            return Some(usize::from(u16::from_ne_bytes(payload.try_into().unwrap())));
        }
        rest = behind;
    }
    None
}

fn source(control: &ControlOut) -> Option<IpAddr> {
    let mut rest = &control.bytes[..control.len];
    while let Some((level, kind, payload, behind)) = next_message(rest) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                return Some(<[u8; 4]>::try_from(&payload[4..8]).unwrap().into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                return Some(<[u8; 16]>::try_from(&payload[..16]).unwrap().into());
            }
            _ => rest = behind,
        }
    }
    None
}

impl State {
    fn take(&mut self, message: &OutMessage, bytes: &[u8]) -> Result<(), Errno> {
        let (train, source) = (segment_len(&message.control), source(&message.control));
        if let Some((refused, errno)) = self.no_source
            && source == Some(refused)
        {
            return Err(errno);
        }
        if let (Some(errno), Some(_)) = (self.no_trains, train) {
            return Err(errno);
        }
        let len = train.unwrap_or(bytes.len());
        if self.len_max.is_some_and(|max| len > max) {
            return Err(libc::EMSGSIZE);
        }
        if train.is_some_and(|len| bytes.len() <= len || bytes.len().div_ceil(len) > 64) {
            // What the real kernel says to a train of one, or of too many.
            return Err(libc::EINVAL);
        }
        let to = message.addr.to_addr().unwrap();
        for datagram in bytes.chunks(len) {
            let (bytes, in_train) = (datagram.to_vec(), train.is_some());
            self.left.push(Left { to, source, bytes, in_train });
        }
        Ok(())
    }
}

impl Calls for PaperKernel {
    fn send(&mut self, _: BorrowedFd<'_>, arena: &[u8], out: &mut Outgoing) -> Result<usize, Errno> {
        let mut state = self.0.lock().unwrap();
        state.sends += 1;
        let at_most = match state.acts.pop_front() {
            Some(Act::Refuse(errno)) => return Err(errno),
            Some(Act::Take(count)) => count,
            None => usize::MAX,
        };
        let mut first = 0;
        for (index, message) in out.messages.iter().enumerate() {
            let pieces = &out.pieces[first..message.pieces_end as usize];
            first = message.pieces_end as usize;
            if index == at_most {
                return Ok(index);
            }
            let bytes: Vec<u8> =
                pieces.iter().flat_map(|&(at, len)| &arena[at as usize..][..len as usize]).copied().collect();
            match state.take(message, &bytes) {
                Ok(()) => {}
                // As the real one: an error after the first message shows only in the count.
                Err(errno) if index == 0 => return Err(errno),
                Err(_) => return Ok(index),
            }
        }
        Ok(out.messages.len())
    }

    fn recv(&mut self, _: BorrowedFd<'_>, arena: &mut [u8], incoming: &mut Incoming) -> Result<usize, Errno> {
        let mut state = self.0.lock().unwrap();
        state.offered.push(incoming.slots.len());
        let mut count = 0;
        while count < incoming.slots.len() {
            match state.inbox.pop_front() {
                Some(Ok(came)) => {
                    let (offset, room) = incoming.slots[count];
                    let fits = came.bytes.len().min(room);
                    arena[offset..offset + fits].copy_from_slice(&came.bytes[..fits]);
                    let mut control = ControlIn::EMPTY;
                    control.bytes[..came.control.len()].copy_from_slice(&came.control);
                    control.len = came.control.len();
                    let len = came.real_len.unwrap_or(came.bytes.len());
                    let truncated = len > fits;
                    incoming.messages[count] =
                        InMessage { addr: came.from, control, len: len as u32, truncated };
                    count += 1;
                }
                Some(Err(errno)) if count == 0 => return Err(errno),
                Some(error) => {
                    state.inbox.push_front(error);
                    break;
                }
                None => break,
            }
        }
        if count == 0 { Err(libc::EAGAIN) } else { Ok(count) }
    }

    fn wait_writable(&mut self, _: BorrowedFd<'_>, _: Duration) {
        self.0.lock().unwrap().waits += 1;
    }
}
