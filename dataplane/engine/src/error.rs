//! What can go wrong at the edge, one enum per operation.

use std::io;

use dataplane_io::memory::RegionError;
use dataplane_io::socket::BindError;
use dataplane_io::tun::TunError;
use dataplane_proto::IpPrefix;
use dataplane_proto::keys::PublicKey;
use dataplane_proto::node::ConfigError;

/// The engine shut down before it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine has shut down")]
pub struct Stopped;

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// More workers than the session index has room for, or none.
    #[error("{0} workers: between 1 and {max} are possible", max = crate::config::WORKERS_MAX)]
    Workers(usize),
    /// A limit beyond what can be set aside for it.
    #[error("Limits::{limit} is {value}: at most {most} are possible")]
    Limit {
        /// Its name.
        limit: &'static str,
        /// What was asked for.
        value: usize,
        /// What there can be.
        most: usize,
    },
    /// The region of buffers could not be mapped.
    #[error(
        "cannot map {bytes} bytes of buffers: {source}; lower Limits, or raise the memory limit of the process"
    )]
    Memory {
        /// How many were asked for.
        bytes: usize,
        /// Why not.
        source: RegionError,
    },
    /// A thread, epoll instance or event descriptor could not be created.
    #[error("cannot set up {what}: {source}; check the limits on threads and open files (ulimit -u, -n)")]
    Resource {
        /// What it was.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The process may not open more files.
    #[error(
        "cannot set up {what}: the process may open {limit} files (RLIMIT_NOFILE): raise it by `ulimit -n`, or by \
         LimitNOFILE= of its systemd unit"
    )]
    Files {
        /// What it was.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A cipher that this machine or build does not have.
    #[error("no cipher {0:?} here; choose one of: {choices}", choices = crate::config::cipher_names())]
    Cipher(String),
}

impl StartError {
    pub(crate) fn resource(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match files_limit(&source) {
            Some(limit) => Self::Files { what, limit },
            None => Self::Resource { what, source },
        }
    }
}

/// The limit on open files, where it is what an operation failed for.
pub(crate) fn files_limit(error: &io::Error) -> Option<u64> {
    let is_it = error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error());
    is_it.then(|| rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX))
}

/// Why a request about an interface failed. Nothing of it was done, but for what [`InterfaceError::Io`] says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// The engine has shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// No such interface: it was removed.
    #[error("the interface was removed")]
    Unknown,
    /// As many as the limits allow.
    #[error("{0} interfaces exist already: raise Limits::interfaces")]
    TooMany(usize),
    /// An own inner side with the wrong number of queues.
    #[error(
        "{got} queues for {workers} workers: an own inner side needs one for each, one of packets at most that many"
    )]
    Queues {
        /// How many there were.
        got: usize,
        /// How many there must be.
        workers: usize,
    },
    /// The TUN device.
    #[error(transparent)]
    Tun(TunError),
    /// The sockets.
    #[error(transparent)]
    Bind(BindError),
    /// The process may not open more files. An interface takes four for each worker and two more.
    #[error(
        "the process may open {limit} files (RLIMIT_NOFILE), too few for another interface: raise it by `ulimit -n`, or by \
         LimitNOFILE= of its systemd unit"
    )]
    Files {
        /// The limit.
        limit: u64,
    },
    /// Control layers take nothing in, and as much waits for them as may.
    #[error("the control layers are stalled: one of them does not return from a call")]
    ControllersStalled,
    /// The firewall mark.
    #[error("cannot set the firewall mark: {0}; it needs CAP_NET_ADMIN")]
    Mark(io::Error),
    /// Keys, peers or allowed IPs.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Desired peers have one key twice.
    #[error("peer {0:?} is desired twice: give each key one peer")]
    PeerTwice(PublicKey),
    /// Two desired peers have the same allowed IP.
    #[error(
        "allowed IP {prefix} is desired for two peers, {a:?} and {b:?}: packets go to one of them only",
        a = peers[0],
        b = peers[1]
    )]
    PrefixTwice {
        /// The prefix.
        prefix: IpPrefix,
        /// Whose it would be.
        peers: [PublicKey; 2],
    },
    /// The peer has the interface's own key.
    #[error("a peer with the interface's own key: nobody is one's own peer")]
    OwnKey,
    /// No such peer: it was removed.
    #[error("the peer was removed")]
    NoPeer,
    /// Anything else that the kernel refused. Where a worker could not use another port's sockets or another inner side, the old
    /// ones are closed by then, and the interface is without either: it is down, or has no inner side.
    #[error("the kernel refused: {0}")]
    Io(io::Error),
}

impl From<BindError> for InterfaceError {
    fn from(error: BindError) -> Self {
        match &error {
            BindError::System { error: source, .. } => match files_limit(source) {
                Some(limit) => Self::Files { limit },
                None => Self::Bind(error),
            },
            _ => Self::Bind(error),
        }
    }
}

impl From<TunError> for InterfaceError {
    fn from(error: TunError) -> Self {
        match &error {
            TunError::Io { source, .. } => match files_limit(source) {
                Some(limit) => Self::Files { limit },
                None => Self::Tun(error),
            },
            _ => Self::Tun(error),
        }
    }
}
