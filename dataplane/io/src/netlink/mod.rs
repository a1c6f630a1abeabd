//! What the kernel is told and asked about network interfaces: a small rtnetlink client.
//!
//! Enters: an interface's number, what to change. Leaves: its state, and events when it changes. Never: a runtime, a thread;
//! a route or a rule.
//!
//! A socket speaks for the network namespace in which it was opened, wherever its thread goes later.

mod message;
mod monitor;

use std::ffi::CString;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use message::{Reply, Request, attr};
pub use monitor::{LinkChange, LinkEvent, LinkMonitor};
use socket2::{Domain, Protocol, Socket, Type};

/// Longest wait for the kernel's answer. It answers within the call; this only keeps a defect from hanging a program.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Room for one answer. A link with all of its statistics takes less than 4 KiB.
const ANSWER_MAX: usize = 32 * 1024;

/// What is known of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Set up by the administrator (`IFF_UP`).
    pub up: bool,
    /// Largest packet.
    pub mtu: u32,
    /// Packets that wait for the reader before the kernel drops.
    pub tx_queue_len: u32,
    /// Largest super-packet that the kernel hands over (IPv6, and IPv4 where it has no limit of its own).
    pub gso_max_size: u32,
    /// Largest IPv4 super-packet (Linux 6.3; 0 before).
    pub gso_ipv4_max_size: u32,
    /// Most segments in a super-packet.
    pub gso_max_segments: u32,
    /// What the driver allows for `gso_max_size` (Linux 5.18; 0 before).
    pub tso_max_size: u32,
    /// What the driver allows for `gso_max_segments` (Linux 5.18; 0 before).
    pub tso_max_segments: u32,
    /// Of a TUN: whether it puts packet information before every packet (was opened without `IFF_NO_PI`).
    pub tun_packet_information: Option<bool>,
}

/// What to change of an interface; `None` leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Set up or down.
    pub up: Option<bool>,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// Packets that wait for the reader.
    pub tx_queue_len: Option<u32>,
    /// Largest super-packet, of either family.
    pub gso_max_size: Option<u32>,
    /// Most segments in a super-packet.
    pub gso_max_segments: Option<u32>,
}

/// Asks and changes, one request at a time.
pub struct Links {
    socket: Socket,
    sequence: u32,
    answer: Box<[u8]>,
}

impl Links {
    /// A socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Those of `socket`: no descriptors left, or a sandbox that forbids netlink.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW.cloexec(),
            Some(Protocol::from(libc::NETLINK_ROUTE)),
        )?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { socket, sequence: 0, answer: vec![0; ANSWER_MAX].into_boxed_slice() })
    }

    /// The state of the interface with this name.
    ///
    /// # Errors
    /// `ENODEV`: there is none in this namespace. `InvalidInput`: a name with a zero byte.
    pub fn find(&mut self, name: &str) -> io::Result<LinkState> {
        let name = CString::new(name)?;
        let mut request = Request::link(libc::RTM_GETLINK, 0, 0, 0);
        request.push(attr::IFNAME, name.as_bytes_with_nul());
        self.ask_link(request)
    }

    /// The state of the interface with this number.
    ///
    /// # Errors
    /// `ENODEV`: there is none in this namespace.
    pub fn state(&mut self, index: u32) -> io::Result<LinkState> {
        self.ask_link(Request::link(libc::RTM_GETLINK, index, 0, 0))
    }

    /// Changes an interface.
    ///
    /// # Errors
    /// `EPERM`: CAP_NET_ADMIN is missing in this namespace. `ENODEV`: it is gone. `EINVAL`: a value that the driver or the
    /// kernel does not take.
    pub fn set(&mut self, index: u32, settings: &LinkSettings) -> io::Result<()> {
        let up = libc::IFF_UP as u32;
        let (flags, mask) = settings.up.map_or((0, 0), |on| (if on { up } else { 0 }, up));
        let mut request = Request::link(libc::RTM_SETLINK, index, flags, mask);
        let mut put = |kind, value: Option<u32>| {
            if let Some(value) = value {
                request.push(kind, &value.to_ne_bytes());
            }
        };
        put(attr::MTU, settings.mtu);
        put(attr::TXQLEN, settings.tx_queue_len);
        // The kernel sets the IPv4 limit along with this one as long as it is 64 KiB or less.
        put(attr::GSO_MAX_SIZE, settings.gso_max_size);
        put(attr::GSO_MAX_SEGS, settings.gso_max_segments);
        self.acknowledged(request)
    }

    /// Removes an interface that can be removed, such as a persistent TUN or a veth.
    ///
    /// # Errors
    /// `EPERM`: CAP_NET_ADMIN is missing. `ENODEV`: it is gone already. `EOPNOTSUPP`: it is no such interface.
    pub fn remove(&mut self, index: u32) -> io::Result<()> {
        self.acknowledged(Request::link(libc::RTM_DELLINK, index, 0, 0))
    }

    /// Gives an interface an address, with the prefix that is reached by it. IPv6 addresses are not tried for collisions first
    /// (`IFA_F_NODAD`): there is nobody else on a TUN. They can be bound at once, and receive a moment after the link is up.
    ///
    /// # Errors
    /// `EPERM`: CAP_NET_ADMIN is missing. `EEXIST`: it has the address already. `EINVAL`: a prefix that is too long.
    pub fn add_address(&mut self, index: u32, address: IpAddr, prefix_len: u8) -> io::Result<()> {
        self.acknowledged(Request::address(libc::RTM_NEWADDR, index, address, prefix_len))
    }

    fn ask_link(&mut self, request: Request) -> io::Result<LinkState> {
        let mut found = None;
        self.exchange(request, |kind, body| {
            if kind == libc::RTM_NEWLINK {
                found = message::link_state(body);
            }
        })?;
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    fn acknowledged(&mut self, request: Request) -> io::Result<()> {
        self.exchange(request, |_, _| ())
    }

    /// Sends a request and hands on what comes before its acknowledgement.
    fn exchange(&mut self, request: Request, mut part: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request.finish(self.sequence))?;
        loop {
            let len = match io::Read::read(&mut &self.socket, &mut self.answer) {
                // A signal handler of the program has run: the answer is still to come.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            for reply in message::replies(&self.answer[..len]) {
                match reply {
                    // An answer to a request that timed out before.
                    Reply { sequence, .. } if sequence != self.sequence => {}
                    Reply { error: Some(0), .. } => return Ok(()),
                    Reply { error: Some(errno), .. } => return Err(io::Error::from_raw_os_error(errno)),
                    Reply { kind, body, .. } => part(kind, body),
                }
            }
        }
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
