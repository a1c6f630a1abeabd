//! The outer side: the seam for sockets and backends of an embedder's own, and the ordinary one.
//!
//! Enters: a request for the sockets of an interface. Leaves: sockets, one set per worker, which that worker's backend
//! ([`PacketIo`]) takes. What moves packets is called statically; only opening and closing go through a trait object.

use std::any::Any;
use std::io;
use std::net::UdpSocket;
use std::os::fd::BorrowedFd;

pub use dataplane_io::packet_io::{Offload, Offloads as OuterOffloads, PacketIo};
pub use dataplane_io::socket::{BindError, SocketRole};
use dataplane_io::socket::{BindRequest, OffloadConfig, bind_group, kernel_drops, set_mark};
use dataplane_io::steer::Steering;
pub use dataplane_io::udp::UdpIo;
use dataplane_wire::InterfaceId;

use crate::config::Offloads;
use crate::worker::{Parts, Run, Worker};

/// The worker to which STUN messages are steered, for control layers.
const STUN_WORKER: u8 = 0;

/// What opens sockets and moves their datagrams. [`UdpOuter`] is the ordinary one.
///
/// `backend` is called once per worker when the engine starts; `open` on the control thread, each time that an interface comes
/// up or changes its port.
pub trait Outer: Send + 'static {
    /// Moves the datagrams of one worker.
    type Io: PacketIo<Socket: Send + 'static> + Send + 'static;

    /// What it calls itself, where an engine is asked for its backend.
    fn name(&self) -> &'static str {
        "own"
    }

    /// The backend of a worker.
    ///
    /// # Errors
    /// The engine does not start.
    fn backend(&mut self, worker: usize) -> io::Result<Self::Io>;

    /// Opens the sockets of an interface, on all workers.
    ///
    /// # Errors
    /// [`BindError`]: the interface stays as it was.
    fn open(
        &mut self,
        request: &OpenRequest<'_>,
    ) -> Result<OuterSockets<<Self::Io as PacketIo>::Socket>, BindError>;
}

/// What is done with a socket before it is bound, and may refuse it.
pub type BeforeBind<'a> = &'a dyn Fn(BorrowedFd<'_>, SocketRole) -> io::Result<()>;

/// What sockets an interface wants.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct OpenRequest<'a> {
    /// Which interface.
    pub interface: InterfaceId,
    /// The port; 0 for any.
    pub port: u16,
    /// The firewall mark; 0 for none.
    pub mark: u32,
    /// How many workers there are.
    pub workers: usize,
    /// How many of the topmost bits of a receiver index name the worker: what a socket that is shared by workers steers by.
    pub core_bits: u32,
    /// To be called with each socket before it is bound.
    pub hook: Option<BeforeBind<'a>>,
}

/// Open sockets.
pub struct OuterSockets<S> {
    /// Their port.
    pub port: u16,
    /// The sockets of each worker, in the workers' order: one per address family, or one for both.
    pub members: Vec<Vec<S>>,
    /// What the control thread keeps of them.
    pub group: Box<dyn OuterGroup>,
}

/// The sockets of one interface as the control thread sees them. Dropped when every worker has let go of its own, so that members
/// of a reuse-port group can close together.
pub trait OuterGroup: Send {
    /// Sets the firewall mark of all of them, or of none.
    ///
    /// # Errors
    /// What the kernel said.
    fn set_mark(&self, mark: u32) -> io::Result<()>;

    /// Datagrams that were lost before a worker could receive them, since the sockets were opened.
    fn lost(&self, worker: usize) -> u64;
}

/// Sockets of the kernel, with trains on send and receive where the machine has them: the outer side by default.
///
/// Steering by a filter on the reuse-port group brings each datagram to the worker that its receiver index names.
#[derive(Clone, Copy, Debug)]
pub struct UdpOuter {
    config: OffloadConfig,
}

impl UdpOuter {
    /// With these offloads: the two of UDP count.
    pub const fn new(offloads: Offloads) -> Self {
        Self { config: OffloadConfig { gso: offloads.gso, gro: offloads.gro } }
    }
}

impl Outer for UdpOuter {
    type Io = UdpIo;

    fn name(&self) -> &'static str {
        "udp"
    }

    fn backend(&mut self, _worker: usize) -> io::Result<UdpIo> {
        Ok(UdpIo::new(self.config))
    }

    fn open(&mut self, request: &OpenRequest<'_>) -> Result<OuterSockets<UdpSocket>, BindError> {
        let cannot = |what| move |error| BindError::System { what, error };
        let bind = BindRequest {
            port: request.port,
            mark: request.mark,
            workers: request.workers,
            hook: request.hook,
            ..BindRequest::default()
        };
        let group = bind_group(&bind)?;
        if request.workers > 1 {
            let steering = Steering::by_index(request.core_bits).with_stun_core(STUN_WORKER);
            for family in [&group.v4, &group.v6] {
                // The first was bound before there was a group; by the last, the kernel knows all.
                if let Some(last) = family.last() {
                    steering.attach(last).map_err(cannot("steer datagrams to workers"))?;
                }
            }
        }
        let duplicate = |family: &[UdpSocket]| {
            family
                .iter()
                .map(UdpSocket::try_clone)
                .collect::<io::Result<_>>()
                .map_err(cannot("duplicate a socket"))
        };
        let kept = UdpGroup { families: [duplicate(&group.v4)?, duplicate(&group.v6)?] };
        let (mut v4, mut v6) = (group.v4.into_iter(), group.v6.into_iter());
        let members =
            (0..request.workers).map(|_| v4.next().into_iter().chain(v6.next()).collect()).collect();
        Ok(OuterSockets { port: group.port, members, group: Box::new(kept) })
    }
}

/// Duplicates of all workers' sockets, by family.
struct UdpGroup {
    families: [Vec<UdpSocket>; 2],
}

impl OuterGroup for UdpGroup {
    fn set_mark(&self, mark: u32) -> io::Result<()> {
        let old: Vec<_> = self.families.iter().flatten().map(dataplane_io::socket::mark).collect();
        for (number, socket) in self.families.iter().flatten().enumerate() {
            if let Err(error) = set_mark(socket, mark) {
                for (marked, old) in self.families.iter().flatten().zip(&old).take(number) {
                    let _ = old.as_ref().map(|old| set_mark(marked, *old));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn lost(&self, worker: usize) -> u64 {
        let sockets = self.families.iter().filter_map(|family| family.get(worker));
        sockets.map(|socket| kernel_drops(socket).unwrap_or(0)).sum()
    }
}

/// A socket on its way to its worker, which knows its type.
pub(crate) type AnySocket = Box<dyn Any + Send>;

/// [`OuterSockets`] without their type.
pub(crate) struct AnySockets {
    pub(crate) port: u16,
    pub(crate) members: Vec<Vec<AnySocket>>,
    pub(crate) group: Box<dyn OuterGroup>,
}

/// [`Outer`] without its types.
pub(crate) trait AnyOuter: Send {
    fn name(&self) -> &'static str;
    fn worker(&mut self, number: usize, parts: Parts) -> io::Result<Box<dyn Run + Send>>;
    fn open(&mut self, request: &OpenRequest<'_>) -> Result<AnySockets, BindError>;
}

impl<O: Outer> AnyOuter for O {
    fn name(&self) -> &'static str {
        Outer::name(self)
    }

    fn worker(&mut self, number: usize, parts: Parts) -> io::Result<Box<dyn Run + Send>> {
        Ok(Box::new(Worker::new(parts, self.backend(number)?)))
    }

    fn open(&mut self, request: &OpenRequest<'_>) -> Result<AnySockets, BindError> {
        let OuterSockets { port, members, group } = Outer::open(self, request)?;
        let erase =
            |sockets: Vec<_>| sockets.into_iter().map(|socket| Box::new(socket) as AnySocket).collect();
        Ok(AnySockets { port, members: members.into_iter().map(erase).collect(), group })
    }
}
