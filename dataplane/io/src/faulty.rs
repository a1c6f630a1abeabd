//! A wrapper of any backend that injects faults, each at a place in the traffic that the schedule names.
//!
//! Enters: a backend and a schedule. Leaves: what the backend would do, but for the scheduled faults; what the wrapper lost on
//! the way is counted apart, so that in = out + counted can still be checked. For tests: it copies what it sends.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;

use dataplane_wire::{RxMeta, SocketId, TxSink};

use crate::memory::{Region, RegionError};
use crate::packet_io::{Offloads, PacketIo, ReadyToken, RecvReport, SendReport, drop_reason_of};
use crate::rx::RxRing;
use crate::screen::Shunned;
use crate::tx::TxBatch;

/// What happens to a train on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFault {
    /// The kernel refuses it with this error number: dropped, and in the report.
    Fail(i32),
    /// It leaves, and is lost on the wire: in the report as sent, and in [`Faulty::lost`].
    Lose,
    /// It is on the wire twice: counted in [`Faulty::duplicated`].
    Duplicate,
    /// It does not leave as a train but as its datagrams one by one.
    Split,
    /// The call ends before it: it leaves, with those behind it, in a call of its own.
    ShortCall,
}

/// What happens to a train on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvFault {
    /// It was lost on the wire: in [`Faulty::lost`].
    Lose,
    /// It did not fit its slot: dropped, and in the report.
    Truncate,
    /// It came twice: counted in [`Faulty::duplicated`]. Not done where the ring has no slot left.
    Duplicate,
    /// The kernel reported an error in its place, and then gave it: in the report.
    Error,
}

/// Which train, counted from 0 over the life of the wrapper, suffers what.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    send: BTreeMap<u64, SendFault>,
    recv: BTreeMap<u64, RecvFault>,
}

impl Schedule {
    /// No fault.
    pub fn new() -> Self {
        Self::default()
    }

    /// The `train`-th that is sent suffers a fault.
    #[must_use]
    pub fn send(mut self, train: u64, fault: SendFault) -> Self {
        self.send.insert(train, fault);
        self
    }

    /// The `train`-th that is received suffers a fault.
    #[must_use]
    pub fn recv(mut self, train: u64, fault: RecvFault) -> Self {
        self.recv.insert(train, fault);
        self
    }
}

/// A backend with faults.
pub struct Faulty<P> {
    inner: P,
    schedule: Schedule,
    /// What goes on to the backend in one call.
    spare: TxBatch,
    trains_sent: u64,
    trains_received: u64,
    lost: u64,
    duplicated: u64,
}

impl<P: PacketIo> Faulty<P> {
    /// Wraps a backend. Takes a send arena of `slabs` slabs, at least as large as the batches that it will be given.
    ///
    /// # Errors
    /// [`RegionError::Exhausted`].
    pub fn new(inner: P, schedule: Schedule, region: &Region, slabs: usize) -> Result<Self, RegionError> {
        /// More trains than a batch of this size can hold, since splitting makes more.
        const TRAINS_MAX: usize = 16 * 1024;
        let spare = TxBatch::new(region, slabs, TRAINS_MAX)?;
        Ok(Self { inner, schedule, spare, trains_sent: 0, trains_received: 0, lost: 0, duplicated: 0 })
    }

    /// The backend inside.
    pub fn inner(&mut self) -> &mut P {
        &mut self.inner
    }

    /// Datagrams that were lost on the wire, either way.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Datagrams that were on the wire once more than they should.
    pub fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// Sends what was copied so far.
    fn flush(&mut self, report: &mut SendReport) {
        if !self.spare.is_empty() {
            report.merge(&self.inner.send(&mut self.spare));
        }
    }

    /// Copies datagrams of a train to what goes on; sends before where there is no room, or where they must not join the last.
    fn copy(&mut self, tx: &TxBatch, train: usize, split: bool, report: &mut SendReport) {
        let Some(view) = tx.trains().nth(train) else { return };
        let step = if split { 1 } else { view.segments() };
        let datagrams: Vec<&[u8]> = view.datagrams().collect();
        for group in datagrams.chunks(step) {
            let (first, last) = (group[0].len(), group[group.len() - 1].len());
            if split {
                self.flush(report);
            }
            if self.spare.reserve_train(view.meta(), first, group.len(), last).is_err() {
                self.flush(report);
            }
            // An empty arena takes every train; were it too small, the loss is counted.
            let Ok(mut place) = self.spare.reserve_train(view.meta(), first, group.len(), last) else {
                report.add_drops(dataplane_wire::DropReason::TxError, group.len() as u64);
                continue;
            };
            let mut rest = place.bytes();
            for datagram in group {
                let (head, tail) = rest.split_at_mut(datagram.len());
                head.copy_from_slice(datagram);
                rest = tail;
            }
            place.commit();
        }
    }

    /// Does to a received train what the schedule says. Whether to keep it, and whether to copy it.
    fn receive(&mut self, meta: &RxMeta, report: &mut RecvReport) -> (bool, bool) {
        let datagrams = meta.segments().count() as u64;
        let fault = self.schedule.recv.get(&self.trains_received).copied();
        self.trains_received += 1;
        match fault {
            None => return (true, false),
            Some(RecvFault::Lose) => self.lost += datagrams,
            Some(RecvFault::Truncate) => report.truncated += datagrams,
            Some(RecvFault::Duplicate) => return (true, true),
            Some(RecvFault::Error) => {
                report.errors += 1;
                return (true, false);
            }
        }
        (false, false)
    }

    /// Copies a received train into the next slot of the ring.
    fn duplicate(&mut self, meta: RxMeta, rx: &mut RxRing) {
        let (start, len) = (meta.offset as usize, meta.len as usize);
        if rx.slots_left() == 0 {
            return;
        }
        let (offset, room) = rx.place(rx.next_slot());
        if len <= room {
            rx.arena().copy_within(start..start + len, offset);
            rx.use_slots(1);
            rx.push(RxMeta { offset: offset as u32, ..meta });
            self.duplicated += meta.segments().count() as u64;
        }
    }
}

impl<P: PacketIo> PacketIo for Faulty<P> {
    type Socket = P::Socket;

    fn name(&self) -> &'static str {
        "faulty"
    }

    fn add_socket(&mut self, id: SocketId, socket: Self::Socket) -> io::Result<()> {
        self.inner.add_socket(id, socket)
    }

    fn remove_socket(&mut self, id: SocketId) -> Vec<Self::Socket> {
        self.inner.remove_socket(id)
    }

    fn poll_fds(&self, each: &mut dyn FnMut(ReadyToken, BorrowedFd<'_>)) {
        self.inner.poll_fds(each);
    }

    fn set_ready(&mut self, token: ReadyToken) {
        self.inner.set_ready(token);
    }

    fn set_all_ready(&mut self) {
        self.inner.set_all_ready();
    }

    fn recv(&mut self, rx: &mut RxRing) -> RecvReport {
        let mut report = self.inner.recv(rx);
        let mut twice = Vec::new();
        rx.retain(|meta| {
            let (keep, copy) = self.receive(meta, &mut report);
            if copy {
                twice.push(*meta);
            }
            keep
        });
        twice.into_iter().for_each(|meta| self.duplicate(meta, rx));
        report
    }

    fn send(&mut self, tx: &mut TxBatch) -> SendReport {
        let mut report = SendReport::default();
        for index in 0..tx.entries().len() {
            let (segments, bytes) = (u64::from(tx.entries()[index].segments), tx.entries()[index].len);
            let fault = self.schedule.send.get(&self.trains_sent).copied();
            self.trains_sent += 1;
            match fault {
                None => self.copy(tx, index, false, &mut report),
                Some(SendFault::Fail(errno)) => report.add_drops(drop_reason_of(errno), segments),
                Some(SendFault::Lose) => {
                    report.datagrams += segments;
                    report.bytes += u64::from(bytes);
                    self.lost += segments;
                }
                Some(SendFault::Duplicate) => {
                    self.copy(tx, index, false, &mut report);
                    self.flush(&mut report);
                    let mut again = SendReport::default();
                    self.copy(tx, index, false, &mut again);
                    self.flush(&mut again);
                    self.duplicated += again.datagrams;
                }
                Some(SendFault::Split) => self.copy(tx, index, true, &mut report),
                Some(SendFault::ShortCall) => {
                    self.flush(&mut report);
                    self.copy(tx, index, false, &mut report);
                }
            }
        }
        self.flush(&mut report);
        tx.clear();
        report
    }

    fn screen(&mut self, most: Option<u32>, shunned: &[Shunned]) {
        self.inner.screen(most, shunned);
    }

    fn offloads(&self) -> Offloads {
        self.inner.offloads()
    }
}
