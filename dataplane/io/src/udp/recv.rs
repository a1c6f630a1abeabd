//! Receiving: slots to the kernel, messages to metadata.
//!
//! Hot:
//! 1. for each ready socket in turn, recvmmsg fills as many slots as the batch size allows;
//! 2. of each message, address and control messages become one [`RxMeta`]; what was cut off is dropped and counted;
//! 3. the batch size follows the traffic: few slots while trains are long, so that what is received still lies in the L2
//!    cache when it is opened; more when single datagrams come.

use std::os::fd::BorrowedFd;

use dataplane_wire::{FourTuple, RxMeta, SocketId};

use super::sys::{Calls, InMessage, Incoming, MESSAGES_MAX};
use crate::packet_io::RecvReport;
use crate::rx::RxRing;

/// Bytes that one receive should leave to be worked on: a quarter of the L2 cache of common server cores (1 to 2 MiB), since
/// what is sent out of it lies there too.
const BYTES_AIM: usize = 256 * 1024;
/// Fewest slots that one call offers.
const BATCH_MIN: usize = 4;
/// Errors in a row after which a socket is left alone until it is ready again.
const ERRORS_MAX: u32 = 8;

/// How many slots the next call offers.
pub(super) struct BatchSize(usize);

impl BatchSize {
    pub(super) fn new() -> Self {
        Self(2 * BATCH_MIN)
    }

    fn slots(&self, left: usize) -> usize {
        self.0.min(left).min(MESSAGES_MAX)
    }

    fn learn(&mut self, offered: usize, came: usize, bytes: usize) {
        if bytes > BYTES_AIM {
            self.0 = (self.0 / 2).max(BATCH_MIN);
        } else if came == offered && 2 * bytes <= BYTES_AIM {
            self.0 = (2 * self.0).min(MESSAGES_MAX);
        }
    }
}

/// What one socket had to give.
pub(super) enum Drained {
    /// Nothing more is there.
    Empty,
    /// There may be more.
    More,
}

/// Receives from one socket into what is left of the ring, once.
pub(super) fn recv_once(
    calls: &mut dyn Calls,
    (id, fd): (SocketId, BorrowedFd<'_>),
    size: &mut BatchSize,
    incoming: &mut Incoming,
    rx: &mut RxRing,
    report: &mut RecvReport,
) -> Drained {
    let first = rx.next_slot();
    let offered = size.slots(rx.slots_left());
    incoming.slots.clear();
    incoming.slots.extend((first..first + offered).map(|slot| rx.place(slot)));
    let mut errors = 0;
    let came = loop {
        report.calls += 1;
        match calls.recv(fd, rx.arena(), incoming) {
            Ok(came) => break came,
            Err(libc::EAGAIN) => return Drained::Empty,
            Err(libc::EINTR) => {}
            // Such as ECONNREFUSED: news of a datagram that we sent. It is told once, then the queue goes on.
            Err(_) => {
                report.errors += 1;
                errors += 1;
                if errors == ERRORS_MAX {
                    return Drained::Empty;
                }
            }
        }
    };
    rx.use_slots(came);
    let mut bytes = 0;
    for (at, message) in incoming.messages[..came].iter().enumerate() {
        let (offset, room) = incoming.slots[at];
        bytes += message.len as usize;
        if message.truncated || message.len as usize > room {
            report.truncated += datagrams_of(message);
        } else if let Some(meta) = meta_of(id, offset, message) {
            rx.push(meta);
        } else {
            report.errors += 1;
        }
    }
    size.learn(offered, came, bytes);
    // Fewer than asked for: the kernel had no more at that moment.
    if came < offered { Drained::Empty } else { Drained::More }
}

fn meta_of(id: SocketId, offset: usize, message: &InMessage) -> Option<RxMeta> {
    let facts = message.control.facts();
    let tuple = FourTuple { socket: id, remote: message.addr.to_addr()?, local_ip: facts.local_ip };
    let stride = facts.stride.unwrap_or(message.len).min(message.len);
    Some(RxMeta { tuple, ecn: facts.ecn, offset: offset as u32, len: message.len, stride })
}

/// How many datagrams a message is made of.
fn datagrams_of(message: &InMessage) -> u64 {
    let stride = message.control.facts().stride.unwrap_or(message.len).max(1);
    u64::from(message.len.div_ceil(stride).max(1))
}
