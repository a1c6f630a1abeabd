//! Sockets of an interface: a reuse-port group per family, one member per worker.
//!
//! Enters: a port, families, how many workers. Leaves: bound sockets, or one error that says what to do. Never: a socket in a
//! group that another process made (EN-2).

mod options;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

pub(crate) use options::prepare;
pub use options::{OffloadConfig, kernel_drops, mark, set_mark};
use options::{family_exists, set_buffers};

/// What a socket is for; told to the hook before it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketRole {
    /// A member of an interface's listening group: hears anybody.
    Listener,
    /// Opened by a control layer for paths of its own.
    Controller,
    /// The relayed address of an allocation.
    Relayed,
}

/// Looks at a socket before it is bound: to mark it, bind it to a device, keep it out of a VPN.
pub type SocketHook<'a> = &'a dyn Fn(BorrowedFd<'_>, SocketRole) -> io::Result<()>;

/// What to bind.
#[derive(Clone, Copy)]
pub struct BindRequest<'a> {
    /// The port; 0 for one of the kernel's choice, the same for both families.
    pub port: u16,
    /// The IPv4 address to bind; `None` for no socket of this family.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address to bind; `None` for no socket of this family.
    pub v6: Option<Ipv6Addr>,
    /// Members of each group: one per worker.
    pub workers: usize,
    /// Firewall mark; 0 for none.
    pub mark: u32,
    /// Bytes of receive buffer of each socket; 0 for the system's default.
    pub recv_buffer: usize,
    /// Bytes of send buffer of each socket; 0 for the system's default.
    pub send_buffer: usize,
    /// What the sockets are for.
    pub role: SocketRole,
    /// Called for each socket before it is bound.
    pub hook: Option<SocketHook<'a>>,
}

impl Default for BindRequest<'_> {
    /// Any port on all addresses of both families, for one worker. Buffers of 7 MiB carry what arrives while a worker is away
    /// for 5 ms at 10 Gbit/s.
    fn default() -> Self {
        Self {
            port: 0,
            v4: Some(Ipv4Addr::UNSPECIFIED),
            v6: Some(Ipv6Addr::UNSPECIFIED),
            workers: 1,
            mark: 0,
            recv_buffer: 7 << 20,
            send_buffer: 7 << 20,
            role: SocketRole::Listener,
            hook: None,
        }
    }
}

/// Sockets of one port. Worker `n` takes the `n`-th of each family, which is also the `n`-th of the kernel's group, the number
/// that a steering filter returns. None may be closed while the others live: the kernel would renumber them.
#[derive(Debug)]
pub struct Group {
    /// The port, found by the kernel where 0 was asked for.
    pub port: u16,
    /// One per worker; empty where the family was not asked for or does not exist here.
    pub v4: Vec<UdpSocket>,
    /// One per worker; empty where the family was not asked for or does not exist here.
    pub v6: Vec<UdpSocket>,
    /// Receive and send buffer that the first socket got, in bytes.
    pub buffers: (usize, usize),
}

/// Why no group was bound. Nothing stays open.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody has the port, be it another group of the same user.
    #[error("UDP port {port} is in use on {address}: choose another, or stop what listens there")]
    PortInUse {
        /// Which.
        port: u16,
        /// On which address.
        address: IpAddr,
    },
    /// The address is not one of this machine's.
    #[error("cannot bind {address}: it is not an address of this machine")]
    AddressUnknown {
        /// Which.
        address: IpAddr,
    },
    /// A right is missing.
    #[error("not allowed to {what}: {remedy}")]
    Forbidden {
        /// What was refused.
        what: Refused,
        /// What would help.
        remedy: &'static str,
    },
    /// The hook refused a socket.
    #[error("the socket hook failed: {0}")]
    Hook(io::Error),
    /// No family is left: none asked for, or the machine has neither.
    #[error("no address family to bind: enable IPv4 or IPv6")]
    NoFamily,
    /// Anything else, such as too many open files.
    #[error("cannot {what}: {error}")]
    System {
        /// What failed.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// What the kernel did not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A privileged port.
    Bind {
        /// Which.
        port: u16,
    },
    /// A firewall mark.
    Mark,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { port } => write!(f, "bind UDP port {port}"),
            Self::Mark => f.write_str("set a firewall mark"),
        }
    }
}

/// How many ports of the kernel's choice are tried before one must be free in both families.
const EPHEMERAL_TRIES: usize = 32;

/// Binds a group per family.
///
/// The first member is bound alone, without SO_REUSEPORT, so that a port that anybody has, another group of the same user
/// included, is refused instead of shared; only then it is opened for the others (EN-2).
///
/// # Errors
/// [`BindError`].
pub fn bind_group(request: &BindRequest<'_>) -> Result<Group, BindError> {
    let v4 = request.v4.map(IpAddr::V4).filter(|_| family_exists(Domain::IPV4));
    let v6 = request.v6.map(IpAddr::V6).filter(|_| family_exists(Domain::IPV6));
    let (Some(first), second) = (v4.or(v6), v6.filter(|_| v4.is_some())) else {
        return Err(BindError::NoFamily);
    };
    for attempt in 1.. {
        let one = bind_family(request, first, request.port)?;
        let port = one.port;
        let Some(other) = second else { return Ok(one.into_group(None)) };
        match bind_family(request, other, port) {
            Ok(two) => return Ok(one.into_group(Some(two))),
            // A machine on which IPv6 is switched off still has sockets of the family, but not even `::` to bind.
            Err(BindError::AddressUnknown { address }) if address.is_unspecified() => {
                return Ok(one.into_group(None));
            }
            Err(BindError::PortInUse { .. }) if request.port == 0 && attempt < EPHEMERAL_TRIES => {}
            Err(error) => return Err(error),
        }
    }
    Err(BindError::NoFamily)
}

/// The members of one family.
struct FamilyGroup {
    port: u16,
    v6: bool,
    members: Vec<UdpSocket>,
    buffers: (usize, usize),
}

impl FamilyGroup {
    fn into_group(self, other: Option<Self>) -> Group {
        let mut group = Group { port: self.port, v4: Vec::new(), v6: Vec::new(), buffers: self.buffers };
        for family in [Some(self), other].into_iter().flatten() {
            if family.v6 {
                group.v6 = family.members;
            } else {
                group.v4 = family.members;
            }
        }
        group
    }
}

fn bind_family(request: &BindRequest<'_>, address: IpAddr, port: u16) -> Result<FamilyGroup, BindError> {
    let (first, buffers) = open(request, address)?;
    bind(&first, address, port)?;
    let bound = first.local_addr().map_err(system("read the address of a socket"))?;
    let port = bound.as_socket().map_or(port, |addr| addr.port());
    let mut members = vec![UdpSocket::from(first)];
    if request.workers > 1 {
        let reuse = |socket: &Socket| socket.set_reuse_port(true).map_err(system("share a port"));
        reuse(&Socket::from(members[0].try_clone().map_err(system("duplicate a socket"))?))?;
        for _ in 1..request.workers {
            let (member, _) = open(request, address)?;
            reuse(&member)?;
            bind(&member, address, port)?;
            members.push(member.into());
        }
    }
    Ok(FamilyGroup { port, v6: address.is_ipv6(), members, buffers })
}

/// A socket with everything set but its address.
fn open(request: &BindRequest<'_>, address: IpAddr) -> Result<(Socket, (usize, usize)), BindError> {
    let socket =
        Socket::new(Domain::for_address(SocketAddr::new(address, 0)), Type::DGRAM, Some(Protocol::UDP))
            .map_err(system("open a UDP socket"))?;
    if address.is_ipv6() {
        socket.set_only_v6(true).map_err(system("keep a socket to IPv6"))?;
    }
    if request.mark != 0 {
        set_mark(&socket, request.mark).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                BindError::Forbidden { what: Refused::Mark, remedy: "it takes CAP_NET_ADMIN, or no mark" }
            }
            _ => system("set a firewall mark")(error),
        })?;
    }
    let buffers = set_buffers(&socket, request.recv_buffer, request.send_buffer)
        .map_err(system("size the buffers of a socket"))?;
    if let Some(hook) = request.hook {
        hook(socket.as_fd(), request.role).map_err(BindError::Hook)?;
    }
    Ok((socket, buffers))
}

fn bind(socket: &Socket, address: IpAddr, port: u16) -> Result<(), BindError> {
    socket.bind(&SocketAddr::new(address, port).into()).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::PortInUse { port, address },
        io::ErrorKind::AddrNotAvailable => BindError::AddressUnknown { address },
        io::ErrorKind::PermissionDenied => BindError::Forbidden {
            what: Refused::Bind { port },
            remedy: "ports below net.ipv4.ip_unprivileged_port_start take CAP_NET_BIND_SERVICE",
        },
        _ => system("bind a UDP socket")(error),
    })
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> BindError {
    move |error| BindError::System { what, error }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
