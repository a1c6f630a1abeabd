//! The backend of ordinary UDP sockets, on Linux: recvmmsg with GRO, sendmmsg with GSO over many destinations.
//!
//! Enters: bound sockets ([`crate::socket`]), a ring to fill, a batch to send. Leaves: trains with their metadata, and a count
//! for every datagram that did not leave. Never: a wait of more than a millisecond, a protocol.

mod addr;
mod control;
mod gso;
mod recv;
mod send;
mod sys;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use arrayvec::ArrayVec;
use dataplane_wire::{DropReason, FourTuple, SocketId};

use self::gso::Gso;
use self::recv::{BatchSize, Drained, recv_once};
use self::send::{Budget, ChainSend};
use self::sys::{Calls, Incoming, Kernel, Outgoing};
use crate::packet_io::{Offload, Offloads, PacketIo, ReadyToken, RecvReport, SendReport};
use crate::rx::RxRing;
use crate::screen::{SHUNNED_MAX, Screen, Shunned};
use crate::socket;
use crate::tx::{NONE, TxBatch};

/// One socket of a worker.
struct Member {
    id: SocketId,
    socket: UdpSocket,
    gso: Gso,
    gro: Offload,
    size: BatchSize,
    ready: bool,
    /// It came with a filter of somebody else's, which stays.
    filtered: bool,
    v4: bool,
    screen: Screen,
    /// First and last train of the batch that leave by it; only used within a send.
    head: u32,
    tail: u32,
}

impl Member {
    /// Changes its filter, if that is another one. Where the kernel refuses one, all comes, as it did.
    fn screen(&mut self, most: Option<u32>, shunned: &[Shunned]) {
        let is_mine = |source: &&Shunned| source.socket == self.id && source.remote.is_ipv4() == self.v4;
        let shunned = shunned.iter().filter(is_mine).copied().take(SHUNNED_MAX).collect();
        let screen = Screen { most, shunned };
        if self.filtered || screen == self.screen {
            return;
        }
        if screen.is_open() {
            Screen::detach(&self.socket);
        } else {
            let _ = screen.attach(&self.socket);
        }
        self.screen = screen;
    }
}

/// Sockets of one id, by family: indices of members.
#[derive(Clone, Copy, Default)]
struct Families {
    v4: Option<u16>,
    v6: Option<u16>,
}

impl Families {
    fn of(&mut self, addr: &SocketAddr) -> &mut Option<u16> {
        if addr.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

/// The UDP sockets of one worker.
pub struct UdpIo {
    calls: Box<dyn Calls>,
    config: socket::OffloadConfig,
    members: Vec<Option<Member>>,
    /// By number of the socket id.
    by_id: Vec<Families>,
    /// Members that the batch in hand uses.
    touched: Vec<u16>,
    outgoing: Outgoing,
    incoming: Incoming,
    /// Which member the next receive begins with, so that none starves.
    turn: usize,
    /// What sockets keep out, for those that are added.
    screened: (Option<u32>, ArrayVec<Shunned, SHUNNED_MAX>),
}

impl UdpIo {
    /// A backend without sockets.
    pub fn new(config: socket::OffloadConfig) -> Self {
        Self::with_calls(config, Box::new(Kernel))
    }

    fn with_calls(config: socket::OffloadConfig, calls: Box<dyn Calls>) -> Self {
        Self {
            calls,
            config,
            members: Vec::new(),
            by_id: Vec::new(),
            touched: Vec::new(),
            outgoing: Outgoing::new(),
            incoming: Incoming::new(),
            turn: 0,
            screened: Default::default(),
        }
    }

    /// Changes the firewall mark of an id's sockets; 0 for none.
    ///
    /// # Errors
    /// As `setsockopt(SO_MARK)`: without CAP_NET_ADMIN, `PermissionDenied`.
    pub fn set_mark(&self, id: SocketId, mark: u32) -> io::Result<()> {
        self.members
            .iter()
            .flatten()
            .filter(|m| m.id == id)
            .try_for_each(|m| socket::set_mark(&m.socket, mark))
    }

    fn member_of(&self, tuple: &FourTuple) -> Result<u16, DropReason> {
        let Some(families) = self.by_id.get(usize::from(tuple.socket.0)) else {
            return Err(DropReason::InterfaceGone);
        };
        let found = if tuple.remote.is_ipv4() { families.v4 } else { families.v6 };
        match found {
            Some(index) => Ok(index),
            None if families.v4.or(families.v6).is_none() => Err(DropReason::InterfaceGone),
            // A destination of a family for which there is no socket.
            None => Err(DropReason::TxUnreachable),
        }
    }

    /// Chains the trains by member, in order.
    fn chain(&mut self, tx: &mut TxBatch, report: &mut SendReport) {
        self.touched.clear();
        for index in 0..tx.entries().len() {
            let entry = &mut tx.entries_mut()[index];
            entry.next_of_socket = NONE;
            let (tuple, segments) = (entry.meta.tuple, u64::from(entry.segments));
            let number = match self.member_of(&tuple) {
                Ok(number) => number,
                Err(reason) => {
                    report.add_drops(reason, segments);
                    continue;
                }
            };
            let Some(member) = &mut self.members[usize::from(number)] else { continue };
            if member.tail == NONE {
                member.head = index as u32;
                self.touched.push(number);
            } else {
                tx.entries_mut()[member.tail as usize].next_of_socket = index as u32;
            }
            member.tail = index as u32;
        }
    }
}

impl PacketIo for UdpIo {
    type Socket = UdpSocket;

    fn name(&self) -> &'static str {
        "udp"
    }

    fn add_socket(&mut self, id: SocketId, socket: UdpSocket) -> io::Result<()> {
        let addr = socket.local_addr()?;
        let number = usize::from(id.0);
        if self.by_id.len() <= number {
            self.by_id.resize(number + 1, Families::default());
        }
        let place = self.by_id[number].of(&addr);
        if place.is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the id has a socket of this family"));
        }
        let offloads = socket::prepare(&socket, self.config)?;
        let index = self.members.iter().position(Option::is_none).unwrap_or(self.members.len());
        *place = Some(u16::try_from(index).map_err(io::Error::other)?);
        let mut member = Member {
            id,
            gso: Gso::new(offloads.gso),
            gro: offloads.gro,
            size: BatchSize::new(),
            ready: true,
            filtered: Screen::is_screened(&socket),
            v4: addr.is_ipv4(),
            screen: Screen::default(),
            head: NONE,
            tail: NONE,
            socket,
        };
        member.screen(self.screened.0, &self.screened.1);
        if index == self.members.len() {
            self.members.push(Some(member));
            self.touched.reserve(self.members.len());
        } else {
            self.members[index] = Some(member);
        }
        Ok(())
    }

    fn remove_socket(&mut self, id: SocketId) -> Vec<UdpSocket> {
        if let Some(families) = self.by_id.get_mut(usize::from(id.0)) {
            *families = Families::default();
        }
        let members = self.members.iter_mut().filter(|slot| slot.as_ref().is_some_and(|m| m.id == id));
        let mut members: Vec<_> = members.filter_map(Option::take).collect();
        members.iter_mut().for_each(|member| member.screen(None, &[]));
        members.into_iter().map(|member| member.socket).collect()
    }

    fn poll_fds(&self, each: &mut dyn FnMut(ReadyToken, BorrowedFd<'_>)) {
        for (index, member) in self.members.iter().enumerate() {
            if let Some(member) = member {
                each(ReadyToken(index as u32), member.socket.as_fd());
            }
        }
    }

    fn set_ready(&mut self, token: ReadyToken) {
        if let Some(Some(member)) = self.members.get_mut(token.0 as usize) {
            member.ready = true;
        }
    }

    fn set_all_ready(&mut self) {
        self.members.iter_mut().flatten().for_each(|member| member.ready = true);
    }

    fn recv(&mut self, rx: &mut RxRing) -> RecvReport {
        rx.clear();
        let mut report = RecvReport::default();
        let count = self.members.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let Some(member) = &mut self.members[at] else { continue };
            if !member.ready {
                continue;
            }
            if rx.slots_left() == 0 {
                report.more = true;
                self.turn = at;
                return report;
            }
            let socket = (member.id, member.socket.as_fd());
            let (calls, incoming) = (&mut *self.calls, &mut self.incoming);
            match recv_once(calls, socket, &mut member.size, incoming, rx, &mut report) {
                Drained::Empty => member.ready = false,
                Drained::More => report.more = true,
            }
        }
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
        report
    }

    fn send(&mut self, tx: &mut TxBatch) -> SendReport {
        let (mut report, mut budget) = (SendReport::default(), Budget::new());
        self.chain(tx, &mut report);
        for &number in &self.touched {
            let Some(member) = &mut self.members[usize::from(number)] else { continue };
            let head = std::mem::replace(&mut member.head, NONE);
            member.tail = NONE;
            let chain = ChainSend {
                calls: &mut *self.calls,
                fd: member.socket.as_fd(),
                gso: &mut member.gso,
                out: &mut self.outgoing,
                batch: tx,
                report: &mut report,
                budget: &mut budget,
            };
            chain.run(head);
        }
        tx.clear();
        report
    }

    fn screen(&mut self, most: Option<u32>, shunned: &[Shunned]) {
        self.screened = (most, shunned.iter().copied().take(SHUNNED_MAX).collect());
        self.members.iter_mut().flatten().for_each(|member| member.screen(most, shunned));
    }

    fn offloads(&self) -> Offloads {
        let all = self.config.offloads();
        self.members.iter().flatten().fold(all, |all, member| Offloads {
            gso: if all.gso.is_on() { member.gso.offload() } else { all.gso },
            gro: if all.gro.is_on() { member.gro } else { all.gro },
        })
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod recv_tests;
#[cfg(test)]
mod send_tests;
