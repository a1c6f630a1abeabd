//! Sending: trains to messages, messages to the kernel, and what to do when it refuses.
//!
//! Hot:
//! 1. the trains of the batch are chained by socket, in order;
//! 2. of a chain, up to 64 messages are described: a train each, or a datagram each where GSO is off;
//! 3. sendmmsg takes the first `n` of them; the cursor moves behind these;
//! 4. an error concerns the message under the cursor: it is sent in another way, tried again, or dropped and counted;
//! 5. back to 2 until the chain is at its end.
//!
//! The cursor only moves behind what the kernel took or what was counted as dropped, so that nothing is sent twice and nothing
//! is lost silently. Every way around the loop moves it, uses up a bounded budget, or switches something off for good.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use dataplane_wire::{DropReason, TxMeta};

use super::addr::RawAddr;
use super::control::ControlOut;
use super::gso::Gso;
use super::sys::{Calls, Errno, MESSAGES_MAX, OutMessage, Outgoing, PIECES_MAX};
use crate::packet_io::{SendReport, drop_reason_of};
use crate::tx::{NONE, TrainEntry, TxBatch};

/// How often one send call waits for a full socket, and how long each time: a worker is held up for a millisecond at most.
const WAITS_MAX: u32 = 1;
const WAIT: Duration = Duration::from_millis(1);
/// How often one send call tries again after ENOBUFS.
const NO_BUFFERS_RETRIES_MAX: u32 = 8;

/// Where in a chain of trains the next message begins.
struct Cursor {
    train: u32,
    segment: u32,
    source: Source,
    /// Whether the message under the cursor was already told of an earlier one's refusal.
    refused: bool,
}

/// What became of the source address of the train under the cursor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Sent as asked.
    AsAsked,
    /// The kernel said EINVAL or the like: tried without, to see whether it was the source.
    LeftOut,
    /// It was not the source.
    Innocent,
}

/// What is left of the patience of one send call, over all its sockets.
pub(super) struct Budget {
    waits: u32,
    retries: u32,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { waits: WAITS_MAX, retries: NO_BUFFERS_RETRIES_MAX }
    }
}

/// What to do about an error.
enum Verdict {
    /// Try the message under the cursor again.
    Again,
    /// Drop the message under the cursor.
    Drop(DropReason),
    /// Drop all that is left of the chain.
    DropRest(DropReason),
}

/// One chain on its way out.
pub(super) struct ChainSend<'a> {
    pub(super) calls: &'a mut dyn Calls,
    pub(super) fd: BorrowedFd<'a>,
    pub(super) gso: &'a mut Gso,
    pub(super) out: &'a mut Outgoing,
    pub(super) batch: &'a TxBatch,
    pub(super) report: &'a mut SendReport,
    pub(super) budget: &'a mut Budget,
}

impl ChainSend<'_> {
    /// Sends the trains from `head` on, each of which names the next.
    pub(super) fn run(mut self, head: u32) {
        let mut cursor = Cursor { train: head, segment: 0, source: Source::AsAsked, refused: false };
        while cursor.train != NONE {
            self.describe(&cursor);
            self.report.calls += 1;
            match self.calls.send(self.fd, self.batch.bytes_at(), self.out) {
                Ok(sent) if sent > 0 => {
                    self.count_sent(sent, &cursor);
                    self.advance(&mut cursor, sent);
                }
                // The kernel never takes none of several messages without an error; were it so, this must still end.
                Ok(_) => self.drop_one(&mut cursor, DropReason::TxError),
                Err(errno) => match self.judge(errno, &mut cursor) {
                    Verdict::Again => {}
                    Verdict::Drop(reason) => self.drop_one(&mut cursor, reason),
                    Verdict::DropRest(reason) => return self.drop_rest(&cursor, reason),
                },
            }
        }
    }

    fn entry(&self, train: u32) -> &TrainEntry {
        &self.batch.entries()[train as usize]
    }

    /// Describes the messages of the next call, from the cursor on.
    fn describe(&mut self, cursor: &Cursor) {
        self.out.clear();
        let (mut at, mut segment) = (cursor.train, cursor.segment);
        while at != NONE && self.out.messages.len() < MESSAGES_MAX {
            let train = self.entry(at);
            let in_doubt = at == cursor.train && cursor.source == Source::LeftOut;
            let with_source = !in_doubt && !self.report.rejected_sources.contains(&train.meta.tuple);
            let next = train.next_of_socket;
            let (single, remote) = (train.segments == 1, train.meta.tuple.remote);
            let full = if segment == 0 && (single || self.gso.takes_train(&remote)) {
                self.describe_train(at, with_source)
            } else {
                self.describe_datagrams(at, segment, with_source)
            };
            if full {
                return;
            }
            (at, segment) = (next, 0);
        }
    }

    /// One message for a whole train. Says whether there was no room for it.
    fn describe_train(&mut self, index: u32, with_source: bool) -> bool {
        let train = *self.entry(index);
        // The first message always has room: a train has at most 64 pieces.
        if self.out.pieces.len() + train.pieces as usize > PIECES_MAX {
            return true;
        }
        self.out.pieces.extend(self.batch.piece_ranges(&train));
        let (addr, mut control) = head_of(&train.meta, with_source);
        if train.segments > 1 {
            control.push_segment_len(train.segment_len as u16);
        }
        self.push(addr, control, index, 0, train.segments, train.len);
        false
    }

    /// A message for each datagram of a train, from one of them on. Says whether room ended before the train.
    fn describe_datagrams(&mut self, index: u32, from: u32, with_source: bool) -> bool {
        let train = *self.entry(index);
        let (addr, control) = head_of(&train.meta, with_source);
        let mut segment = 0;
        for (offset, len) in self.batch.piece_ranges(&train) {
            let end = offset + len;
            let mut at = offset;
            while at < end {
                let bytes = train.segment_len.min(end - at);
                if segment >= from {
                    if self.out.messages.len() == MESSAGES_MAX || self.out.pieces.len() == PIECES_MAX {
                        return true;
                    }
                    self.out.pieces.push((at, bytes));
                    self.push(addr, control, index, segment, 1, bytes);
                }
                segment += 1;
                at += bytes;
            }
        }
        false
    }

    fn push(
        &mut self,
        addr: RawAddr,
        control: ControlOut,
        train: u32,
        first_segment: u32,
        segments: u32,
        bytes: u32,
    ) {
        let pieces_end = self.out.pieces.len() as u32;
        self.out.messages.push(OutMessage {
            addr,
            control,
            pieces_end,
            train,
            first_segment,
            segments,
            bytes,
        });
    }

    fn count_sent(&mut self, sent: usize, cursor: &Cursor) {
        for message in self.out.messages.iter().take(sent) {
            self.report.datagrams += u64::from(message.segments);
            self.report.bytes += u64::from(message.bytes);
        }
        if cursor.source == Source::LeftOut {
            let tuple = self.entry(cursor.train).meta.tuple;
            self.report.reject_source(tuple);
        }
    }

    /// Moves the cursor behind the first `messages` of those described.
    fn advance(&self, cursor: &mut Cursor, messages: usize) {
        let Some(last) = self.out.messages.get(messages - 1) else { return };
        let segment = last.first_segment + last.segments;
        let train = self.entry(last.train);
        let at_end = segment >= train.segments;
        let next = if at_end { (train.next_of_socket, 0) } else { (last.train, segment) };
        if next.0 != cursor.train {
            cursor.source = Source::AsAsked;
        }
        cursor.refused = false;
        (cursor.train, cursor.segment) = next;
    }

    fn drop_one(&mut self, cursor: &mut Cursor, reason: DropReason) {
        if let Some(message) = self.out.messages.first() {
            self.report.add_drops(reason, u64::from(message.segments));
        }
        self.advance(cursor, 1);
    }

    fn drop_rest(&mut self, cursor: &Cursor, reason: DropReason) {
        let (mut at, mut before) = (cursor.train, cursor.segment);
        while at != NONE {
            let train = self.entry(at);
            let (segments, next) = (train.segments - before, train.next_of_socket);
            self.report.add_drops(reason, u64::from(segments));
            (at, before) = (next, 0);
        }
    }

    /// What an error about the message under the cursor means.
    #[cold]
    fn judge(&mut self, errno: Errno, cursor: &mut Cursor) -> Verdict {
        let Some(message) = self.out.messages.first() else { return Verdict::DropRest(DropReason::TxError) };
        let is_train = message.segments > 1;
        match errno {
            libc::EINTR => Verdict::Again,
            libc::EAGAIN if self.budget.waits > 0 => {
                self.budget.waits -= 1;
                self.calls.wait_writable(self.fd, WAIT);
                Verdict::Again
            }
            libc::EAGAIN => Verdict::DropRest(drop_reason_of(errno)),
            libc::ENOBUFS | libc::ENOMEM if self.budget.retries > 0 => {
                self.budget.retries -= 1;
                std::thread::yield_now();
                Verdict::Again
            }
            // How a source address that is not ours is refused depends on family and kernel: IPv4 on Linux 6.18 says ENETUNREACH.
            libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENODEV | libc::ENETUNREACH
                if self.doubt_source(cursor) =>
            {
                Verdict::Again
            }
            libc::EIO | libc::EINVAL | libc::EMSGSIZE if is_train => {
                // EN-5. The train is described anew from the cursor, which still stands before its first unsent datagram.
                let remote = self.entry(cursor.train).meta.tuple.remote;
                self.gso.refused(errno, remote);
                Verdict::Again
            }
            // An ICMP message about an earlier datagram, told once: this one was not looked at yet.
            libc::ECONNREFUSED if !cursor.refused => {
                cursor.refused = true;
                Verdict::Again
            }
            // FT-1: counted, and the socket stays.
            _ => Verdict::Drop(drop_reason_of(errno)),
        }
    }

    /// Whether the source address may be to blame and there is something left to find out: moves on to the next question.
    fn doubt_source(&self, cursor: &mut Cursor) -> bool {
        let tuple = &self.entry(cursor.train).meta.tuple;
        let had_source = tuple.local_ip.is_some() && !self.report.rejected_sources.contains(tuple);
        match cursor.source {
            Source::AsAsked if had_source => {
                cursor.source = Source::LeftOut;
                true
            }
            Source::LeftOut => {
                cursor.source = Source::Innocent;
                false
            }
            Source::AsAsked | Source::Innocent => false,
        }
    }
}

/// Destination, and the control messages that every message of a train has.
fn head_of(meta: &TxMeta, with_source: bool) -> (RawAddr, ControlOut) {
    let remote = &meta.tuple.remote;
    let mut control = ControlOut::EMPTY;
    if meta.class.0 != 0 {
        control.push_class(meta.class, remote);
    }
    if let Some(source) = meta.tuple.local_ip.filter(|_| with_source) {
        control.push_source(source, remote);
    }
    (RawAddr::from_addr(remote), control)
}
