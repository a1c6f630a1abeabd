//! An interface: one private key, one port, one inner side.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use dataplane_io::inner::Inner;
use dataplane_proto::Controller;

use crate::config::SocketHook;
use crate::queue::{self, Depth, EngineSide, Packets};

/// How an interface is made.
pub struct Interface {
    pub(crate) private_key: Option<[u8; 32]>,
    pub(crate) port: u16,
    pub(crate) mark: u32,
    pub(crate) mtu: Option<u16>,
    pub(crate) inner: InnerSide,
    pub(crate) controller: Option<Box<dyn Controller>>,
    pub(crate) socket_hook: Option<SocketHook>,
    pub(crate) up: bool,
}

/// What stands on the inner side of an interface.
pub struct InnerSide(pub(crate) Kind);

pub(crate) enum Kind {
    /// A TUN device to be created.
    Tun { name: String, attach: bool },
    /// An open TUN descriptor.
    TunFd(OwnedFd),
    /// One queue per worker, made by the embedder.
    Custom(Vec<Box<dyn Inner + Send>>),
    /// Queues of packets that the engine made.
    Packets(Vec<Arc<EngineSide>>),
}

impl InnerSide {
    /// A new TUN device of this name (empty: the kernel chooses one), with a queue for each worker. It goes when the
    /// interface does.
    pub fn tun(name: impl Into<String>) -> Self {
        Self(Kind::Tun { name: name.into(), attach: false })
    }

    /// As [`InnerSide::tun`], but a persistent device of this name may exist already.
    pub fn tun_existing(name: impl Into<String>) -> Self {
        Self(Kind::Tun { name: name.into(), attach: true })
    }

    /// An open descriptor of a TUN device.
    pub fn tun_fd(fd: OwnedFd) -> Self {
        Self(Kind::TunFd(fd))
    }

    /// A queue of packets in memory, and the embedder's side of it. One worker reads it, every worker writes to it.
    ///
    /// # Errors
    /// No descriptors are left for two eventfds (raise `RLIMIT_NOFILE`).
    pub fn queue(depth: Depth) -> io::Result<(Self, Packets)> {
        let (side, packets) = queue::open(depth)?;
        Ok((Self(Kind::Packets(vec![side])), packets))
    }

    /// Several queues, at most one per worker, for several threads of the embedder: each is read by a worker of its own. Order
    /// holds within a queue: packets of one flow go into one. What a peer sent comes out of one queue, as long as the peer lives
    /// on one worker.
    ///
    /// # Errors
    /// As [`InnerSide::queue`].
    pub fn queues(count: usize, depth: Depth) -> io::Result<(Self, Vec<Packets>)> {
        let opened: Vec<_> = (0..count).map(|_| queue::open(depth)).collect::<Result<_, _>>()?;
        let (sides, packets) = opened.into_iter().unzip();
        Ok((Self(Kind::Packets(sides)), packets))
    }

    /// Queues of the embedder's own: one for each worker, in their order.
    pub fn custom(queues: Vec<Box<dyn Inner + Send>>) -> Self {
        Self(Kind::Custom(queues))
    }
}

impl Interface {
    /// An interface with this inner side, no key yet, a port of the system's choice, fixed endpoints.
    pub fn new(inner: InnerSide) -> Self {
        Self {
            private_key: None,
            port: 0,
            mark: 0,
            mtu: None,
            inner,
            controller: None,
            socket_hook: None,
            up: true,
        }
    }

    /// The private key: 32 bytes for X25519, clamped or not.
    #[must_use]
    pub fn private_key(mut self, key: [u8; 32]) -> Self {
        self.private_key = Some(key);
        self
    }

    /// The UDP port to listen on, for IPv4 and IPv6 alike; 0 for one of the system's choice.
    #[must_use]
    pub fn listen(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The firewall mark of every outer datagram; 0 for none.
    #[must_use]
    pub fn mark(mut self, mark: u32) -> Self {
        self.mark = mark;
        self
    }

    /// Bytes of the largest inner packet, which is also the bound of padding. By default that of a TUN device, or 1420 for
    /// one that the engine creates and for an own inner side.
    #[must_use]
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// The control layer that decides its peers' paths; fixed endpoints by default.
    #[must_use]
    pub fn controller(mut self, controller: impl Controller + 'static) -> Self {
        self.controller = Some(Box::new(controller));
        self
    }

    /// Called with each of its UDP sockets before it is bound.
    #[must_use]
    pub fn on_socket(mut self, hook: SocketHook) -> Self {
        self.socket_hook = Some(hook);
        self
    }

    /// Starts without sockets and without sessions, until it is set up.
    #[must_use]
    pub fn down(mut self) -> Self {
        self.up = false;
        self
    }
}
