//! A network in memory: sockets that reach each other without a kernel.
//!
//! Enters: trains. Leaves: the same trains at the socket that has their destination, in the order sent; or a count. For tests,
//! simulations of whole gateways, and measurements without a kernel. Bounded and without chance: same calls, same outcome.
//! Buffers are made when a socket is bound; a train is copied on the way in and on the way out.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dataplane_wire::{DropReason, Ecn, FourTuple, RxMeta, SocketId, addr};

use crate::packet_io::{OffReason, Offload, Offloads, PacketIo, ReadyToken, RecvReport, SendReport};
use crate::poll::eventfd;
use crate::rx::{DATAGRAM_LEN_MAX, RxRing};
use crate::tx::{TrainView, TxBatch};

/// How the network behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Trains or datagrams that wait at a socket; what comes beyond is dropped and counted by its sender.
    pub depth: usize,
    /// The largest datagram that fits.
    pub datagram_len_max: usize,
    /// Whether trains leave whole.
    pub gso: bool,
    /// Whether trains arrive whole.
    pub gro: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { depth: 64, datagram_len_max: DATAGRAM_LEN_MAX, gso: true, gro: true }
    }
}

/// A train or datagram on its way.
struct Parcel {
    bytes: Vec<u8>,
    stride: usize,
    from: SocketAddr,
    to: IpAddr,
    ecn: Ecn,
}

/// What waits at one socket.
struct Waiting {
    /// Parcels from `first` on, `count` of them, in a circle.
    parcels: Vec<Parcel>,
    first: usize,
    count: usize,
}

impl Waiting {
    fn push(&mut self) -> Option<&mut Parcel> {
        if self.count == self.parcels.len() {
            return None;
        }
        let at = (self.first + self.count) % self.parcels.len();
        self.count += 1;
        let parcel = &mut self.parcels[at];
        parcel.bytes.clear();
        Some(parcel)
    }

    fn front(&self) -> Option<&Parcel> {
        if self.count == 0 { None } else { self.parcels.get(self.first) }
    }

    fn pop(&mut self) {
        self.first = (self.first + 1) % self.parcels.len();
        self.count -= 1;
    }
}

struct Mailbox {
    waiting: Mutex<Waiting>,
    /// An eventfd, readable while something waits.
    ready: std::fs::File,
}

impl Mailbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Directory = BTreeMap<SocketAddr, Arc<Mailbox>>;

/// A network in memory. Cloning shares it.
#[derive(Clone)]
pub struct Network {
    behaviour: Behaviour,
    directory: Arc<Mutex<Directory>>,
}

impl Network {
    /// A network without sockets.
    pub fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, directory: Arc::default() }
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds a socket of one port to one or more addresses; it sends from the first of a family unless told otherwise.
    ///
    /// # Errors
    /// `AddrInUse`; or no descriptor is left for the eventfd.
    pub fn bind(&self, addresses: &[IpAddr], port: u16) -> io::Result<MemSocket> {
        let addresses: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
        let empty = || Parcel {
            bytes: Vec::with_capacity(DATAGRAM_LEN_MAX),
            stride: 0,
            from: SocketAddr::new(IpAddr::V4(0.into()), 0),
            to: IpAddr::V4(0.into()),
            ecn: Ecn::NotEct,
        };
        let parcels = (0..self.behaviour.depth.max(1)).map(|_| empty()).collect();
        let waiting = Mutex::new(Waiting { parcels, first: 0, count: 0 });
        let mailbox = Arc::new(Mailbox { waiting, ready: eventfd()?.into() });
        let mut directory = self.directory();
        if addresses.iter().any(|&ip| directory.contains_key(&SocketAddr::new(ip, port))) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        for &ip in &addresses {
            directory.insert(SocketAddr::new(ip, port), Arc::clone(&mailbox));
        }
        drop(directory);
        Ok(MemSocket { network: self.clone(), addresses, port, mailbox })
    }
}

/// A socket of a [`Network`]. Unbound when dropped.
pub struct MemSocket {
    network: Network,
    addresses: Vec<IpAddr>,
    port: u16,
    mailbox: Arc<Mailbox>,
}

impl MemSocket {
    /// Where a train leaves from, and whether that is the address asked for.
    fn source(&self, tuple: &FourTuple) -> Option<(SocketAddr, bool)> {
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == tuple.remote.is_ipv4();
        let default = self.addresses.iter().find(of_family)?;
        let (ip, as_asked) = match &tuple.local_ip {
            Some(asked) if self.addresses.contains(asked) => (asked, true),
            Some(_) => (default, false),
            None => (default, true),
        };
        Some((SocketAddr::new(*ip, self.port), as_asked))
    }

    /// Puts one train into the mailbox of its destination, whole or cut.
    fn post(&self, train: &TrainView<'_>, directory: &Directory, report: &mut SendReport) {
        let behaviour = self.network.behaviour;
        let (meta, datagrams) = (train.meta(), train.segments() as u64);
        let to = addr::canonical(meta.tuple.remote);
        let (Some((from, as_asked)), Some(mailbox)) = (self.source(&meta.tuple), directory.get(&to)) else {
            return report.add_drops(DropReason::TxUnreachable, datagrams);
        };
        if !as_asked {
            report.reject_source(meta.tuple);
        }
        if train.segment_len() > behaviour.datagram_len_max {
            return report.add_drops(DropReason::TxTooBig, datagrams);
        }
        let mut waiting = mailbox.waiting();
        let was_empty = waiting.count == 0;
        let mut deliver = |pieces: &mut dyn Iterator<Item = &[u8]>, datagrams: usize| {
            let Some(parcel) = waiting.push() else {
                return report.add_drops(DropReason::TxNoBuffers, datagrams as u64);
            };
            pieces.for_each(|piece| parcel.bytes.extend_from_slice(piece));
            parcel.stride = train.segment_len().min(parcel.bytes.len());
            (parcel.from, parcel.to, parcel.ecn) = (from, to.ip(), meta.class.ecn());
            report.datagrams += datagrams as u64;
            report.bytes += parcel.bytes.len() as u64;
        };
        if behaviour.gso && behaviour.gro {
            deliver(&mut train.pieces(), train.segments());
        } else {
            train.datagrams().for_each(|datagram| deliver(&mut std::iter::once(datagram), 1));
        }
        if was_empty && waiting.count > 0 {
            // Refused only when the counter is full, that is when it is readable already.
            let _ = (&mailbox.ready).write(&1u64.to_ne_bytes());
        }
    }

    /// Moves what waits into the ring. True when more waits.
    fn collect(&self, id: SocketId, rx: &mut RxRing, report: &mut RecvReport) -> bool {
        let mut waiting = self.mailbox.waiting();
        while let Some(parcel) = waiting.front() {
            if rx.slots_left() == 0 {
                return true;
            }
            let (offset, room) = rx.place(rx.next_slot());
            let len = parcel.bytes.len();
            if len > room {
                report.truncated += len.div_ceil(parcel.stride.max(1)) as u64;
            } else {
                rx.arena()[offset..offset + len].copy_from_slice(&parcel.bytes);
                rx.use_slots(1);
                let tuple = FourTuple { socket: id, remote: parcel.from, local_ip: Some(parcel.to) };
                let (offset, len, stride) = (offset as u32, len as u32, parcel.stride as u32);
                rx.push(RxMeta { tuple, ecn: parcel.ecn, offset, len, stride });
            }
            waiting.pop();
        }
        // Nothing waits any more: the descriptor says so, until the next train comes. An error means that it did already.
        let _ = (&self.mailbox.ready).read(&mut [0; 8]);
        false
    }
}

impl Drop for MemSocket {
    fn drop(&mut self) {
        let mut directory = self.network.directory();
        for &ip in &self.addresses {
            directory.remove(&SocketAddr::new(ip, self.port));
        }
    }
}

/// The backend over sockets of a [`Network`]. An id has one socket, for both families.
#[derive(Default)]
pub struct MemIo {
    sockets: Vec<Option<(SocketId, MemSocket)>>,
    /// Which socket the next receive begins with, so that none starves.
    turn: usize,
}

impl MemIo {
    /// A backend without sockets.
    pub fn new() -> Self {
        Self::default()
    }
}

impl PacketIo for MemIo {
    type Socket = MemSocket;

    fn name(&self) -> &'static str {
        "mem"
    }

    fn add_socket(&mut self, id: SocketId, socket: MemSocket) -> io::Result<()> {
        if self.sockets.iter().flatten().any(|(known, _)| *known == id) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the id has a socket"));
        }
        match self.sockets.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some((id, socket)),
            None => self.sockets.push(Some((id, socket))),
        }
        Ok(())
    }

    fn remove_socket(&mut self, id: SocketId) -> Vec<MemSocket> {
        let slots =
            self.sockets.iter_mut().filter(|slot| slot.as_ref().is_some_and(|(known, _)| *known == id));
        slots.filter_map(Option::take).map(|(_, socket)| socket).collect()
    }

    fn poll_fds(&self, each: &mut dyn FnMut(ReadyToken, BorrowedFd<'_>)) {
        for (index, slot) in self.sockets.iter().enumerate() {
            if let Some((_, socket)) = slot {
                each(ReadyToken(index as u32), socket.mailbox.ready.as_fd());
            }
        }
    }

    /// Nothing to note: looking into a mailbox costs no system call.
    fn set_ready(&mut self, _: ReadyToken) {}

    fn set_all_ready(&mut self) {}

    fn recv(&mut self, rx: &mut RxRing) -> RecvReport {
        rx.clear();
        let mut report = RecvReport::default();
        let count = self.sockets.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let Some((id, socket)) = &self.sockets[at] else { continue };
            if socket.collect(*id, rx, &mut report) {
                report.more = true;
                self.turn = (at + 1) % count;
                return report;
            }
        }
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
        report
    }

    fn send(&mut self, tx: &mut TxBatch) -> SendReport {
        let mut report = SendReport::default();
        for train in tx.trains() {
            let socket = self.sockets.iter().flatten().find(|(id, _)| *id == train.meta().tuple.socket);
            let Some((_, socket)) = socket else {
                report.add_drops(DropReason::InterfaceGone, train.segments() as u64);
                continue;
            };
            let directory = socket.network.directory();
            socket.post(&train, &directory, &mut report);
        }
        tx.clear();
        report
    }

    fn offloads(&self) -> Offloads {
        let state = |on: fn(&Behaviour) -> bool| {
            let all = self.sockets.iter().flatten().all(|(_, socket)| on(&socket.network.behaviour));
            if all { Offload::On } else { Offload::Off(OffReason::Configured) }
        };
        Offloads { gso: state(|b| b.gso), gro: state(|b| b.gro) }
    }
}
