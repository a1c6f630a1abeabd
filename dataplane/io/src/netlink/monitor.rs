//! Events of links: up, down, gone, another MTU; and that the network may be another one elsewhere.
//!
//! Contains unsafe: one `bind`, to an address of a family that the standard library does not know.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::Socket;

use super::message::{self, attr};
use super::{LinkState, Links};

/// Room for one notification of a burst; the kernel packs several into a receive.
const NOTIFICATION_MAX: usize = 32 * 1024;

/// What happened to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Set up.
    Up,
    /// Set down.
    Down,
    /// Its MTU is another.
    Mtu(u32),
    /// Removed.
    Gone,
    /// Moved to another network namespace: it lives on, but can be neither watched nor changed from here.
    Moved,
    /// A link that is not watched came up or changed, or was given an address: what could not be reached may be
    /// reachable now.
    Elsewhere,
}

/// A link and what happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkChange {
    /// The number of the interface.
    pub index: u32,
    /// What happened.
    pub event: LinkEvent,
}

/// Watches links in the namespace in which it was opened. Readable while notifications wait.
pub struct LinkMonitor {
    links: Links,
    notifications: Socket,
    buffer: Box<[u8]>,
    watched: Vec<LinkState>,
    /// Changes that are not yet handed on, newest last.
    changes: std::collections::VecDeque<LinkChange>,
}

impl LinkMonitor {
    /// A monitor that watches no link yet, in the namespace of the calling thread.
    ///
    /// # Errors
    /// As [`Links::open`].
    pub fn open() -> io::Result<Self> {
        let links = Links::open()?;
        let notifications = Links::open()?.socket;
        notifications.set_nonblocking(true)?;
        bind_to_events(&notifications)?;
        let buffer = vec![0; NOTIFICATION_MAX].into_boxed_slice();
        Ok(Self { links, notifications, buffer, watched: Vec::new(), changes: Default::default() })
    }

    /// Watches a link from its present state on, which is returned.
    ///
    /// # Errors
    /// `ENODEV`: there is no such link here.
    pub fn watch(&mut self, index: u32) -> io::Result<LinkState> {
        let state = self.links.state(index)?;
        self.unwatch(index);
        self.watched.push(state.clone());
        Ok(state)
    }

    /// Watches a link no more.
    pub fn unwatch(&mut self, index: u32) {
        self.watched.retain(|state| state.index != index);
        self.changes.retain(|change| change.index != index || change.event == LinkEvent::Elsewhere);
    }

    /// The next change, or `None` when the socket must become readable first. A link that is gone or moved is watched no more.
    ///
    /// # Errors
    /// None that the kernel is known to give; lost notifications are made good by asking anew.
    pub fn poll_change(&mut self) -> io::Result<Option<LinkChange>> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(Some(change));
            }
            match io::Read::read(&mut &self.notifications, &mut self.buffer) {
                Ok(len) => self.handle(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel had more to say than the socket holds.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.resync()?,
                Err(error) => return Err(error),
            }
        }
    }

    fn handle(&mut self, len: usize) {
        let buffer = std::mem::take(&mut self.buffer);
        for reply in message::replies(&buffer[..len]) {
            if reply.kind == libc::RTM_NEWADDR {
                self.address_added(message::address_index(reply.body));
                continue;
            }
            let Some(state) = message::link_state(reply.body) else { continue };
            match reply.kind {
                libc::RTM_NEWLINK => self.update(state),
                libc::RTM_DELLINK => {
                    let moved =
                        message::link_attributes(reply.body).any(|(kind, _)| kind == attr::NEW_NETNSID);
                    self.end(state.index, if moved { LinkEvent::Moved } else { LinkEvent::Gone });
                }
                _ => {}
            }
        }
        self.buffer = buffer;
    }

    /// The addresses of what is watched are the business of whoever gives them.
    fn address_added(&mut self, index: Option<u32>) {
        if let Some(index) = index.filter(|index| self.watched.iter().all(|known| known.index != *index)) {
            self.elsewhere(index);
        }
    }

    /// Tells the difference between what was known of a link and what is true now.
    fn update(&mut self, now: LinkState) {
        let index = now.index;
        let Some(known) = self.watched.iter_mut().find(|known| known.index == index) else {
            self.elsewhere(index);
            return;
        };
        if known.mtu != now.mtu {
            self.changes.push_back(LinkChange { index, event: LinkEvent::Mtu(now.mtu) });
        }
        if known.up != now.up {
            let event = if now.up { LinkEvent::Up } else { LinkEvent::Down };
            self.changes.push_back(LinkChange { index, event });
        }
        *known = now;
    }

    fn end(&mut self, index: u32, event: LinkEvent) {
        let before = self.watched.len();
        self.watched.retain(|known| known.index != index);
        if self.watched.len() < before {
            self.changes.push_back(LinkChange { index, event });
        }
    }

    /// At most one of these waits, whatever happens to how many links.
    fn elsewhere(&mut self, index: u32) {
        let event = LinkEvent::Elsewhere;
        if self.changes.iter().all(|change| change.event != event) {
            self.changes.push_back(LinkChange { index, event });
        }
    }

    /// Asks for what was lost. What still waits is older than the answers, and would undo them: it is thrown away first.
    fn resync(&mut self) -> io::Result<()> {
        while self.discard()? {}
        let indices: Vec<u32> = self.watched.iter().map(|state| state.index).collect();
        for index in indices {
            match self.links.state(index) {
                Ok(state) => self.update(state),
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => self.end(index, LinkEvent::Gone),
                Err(error) => return Err(error),
            }
        }
        self.elsewhere(0);
        Ok(())
    }

    /// Throws one receive away; false when nothing waits.
    fn discard(&mut self) -> io::Result<bool> {
        match io::Read::read(&mut &self.notifications, &mut self.buffer) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl std::fmt::Debug for LinkMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkMonitor").field("watched", &self.watched).finish_non_exhaustive()
    }
}

impl AsFd for LinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notifications.as_fd()
    }
}

/// Bound, since the kernel sends notifications only to sockets with a port; the kernel chooses it.
fn bind_to_events(socket: &Socket) -> io::Result<()> {
    // SAFETY: `sockaddr_nl` is plain numbers; zero is a value of each.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is valid for reads of `len` bytes during the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
