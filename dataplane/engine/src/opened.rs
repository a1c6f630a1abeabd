//! Interfaces on the control thread: their devices and sockets, opened as a whole or not at all.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant as StdInstant};

use dataplane_io::inner::Inner;
use dataplane_io::socket::{OffloadConfig, SocketRole};
use dataplane_io::tun;
use dataplane_proto::keys::Secret;
use dataplane_proto::node::{Change as NodeChange, HandshakePolicy, PeerChange};
use dataplane_traversal::Fixed;
use dataplane_wire::{CoreId, InterfaceId, PeerId, SocketId};

use crate::clock;
use crate::config::{Offloads, SocketHook};
use crate::control::Control;
use crate::controllers::{Controllers, ToControllers};
use crate::error::InterfaceError;
use crate::handle::{Change, InterfaceSnapshot};
use crate::interface::{InnerSide, Interface, Kind};
use crate::link::{DropSignal, WorkerCommand};
use crate::outer::{AnySockets, OpenRequest, OuterGroup};
use crate::peer::{Desired, Peer};
use crate::queue::{EngineSide, QueueEnd};
use crate::reconcile::{self, Configured, Reconciled};

/// How long workers may take to let go of sockets and devices before the request that waits for it goes on.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// The MTU of a device that the engine makes, and of an own inner side: 1500 less IPv6, UDP and WireGuard's overhead.
const MTU_DEFAULT: u16 = 1420;

/// An interface that is there.
pub(crate) struct Opened {
    /// The configured port; 0 for one of the system's choice.
    port: u16,
    /// The port that is bound; `None` while down.
    bound: Option<u16>,
    /// What the outer side keeps of its sockets; `None` while down.
    group: Option<Box<dyn OuterGroup>>,
    /// Datagrams that sockets which are closed had lost, by worker.
    lost_before: Vec<u64>,
    mark: u32,
    device: Option<tun::Device>,
    /// Its inner side is gone, and that is known.
    gone: bool,
    socket_hook: Option<SocketHook>,
    configured: Configured,
}

impl Opened {
    /// Notes that its inner side is gone. Whether that is new.
    pub(crate) fn note_gone(&mut self) -> bool {
        !std::mem::replace(&mut self.gone, true)
    }

    /// Datagrams that a worker's sockets lost in the kernel.
    pub(crate) fn lost(&self, worker: usize) -> u64 {
        let now = self.group.as_ref().map_or(0, |group| group.lost(worker));
        self.lost_before.get(worker).copied().unwrap_or(0) + now
    }
}

/// One queue per worker, and whether it reads it.
type Queues = Vec<(Box<dyn Inner + Send>, bool)>;

impl Control {
    /// Opens everything that the interface needs, then tells node, workers and controllers of it.
    pub(crate) fn add_interface(
        &mut self,
        interface: Interface,
        controllers: &mut Controllers,
    ) -> Result<(InterfaceId, Option<String>), InterfaceError> {
        let free = (0..self.limits.interfaces).map(|number| InterfaceId(number as u16));
        let mut free = free.filter(|id| !self.interfaces.contains_key(id));
        let id = free.next().ok_or(InterfaceError::TooMany(self.limits.interfaces))?;
        if !controllers.takes_changes() {
            return Err(InterfaceError::ControllersStalled);
        }
        let Interface { private_key, port, mark, mtu, inner, controller, socket_hook, up } = interface;
        let (mut device, queues) = self.open_inner(id, inner.0)?;
        let mtu = match (&mut device, mtu) {
            (Some(device), Some(mtu)) => {
                device.set_mtu(u32::from(mtu))?;
                mtu
            }
            (Some(device), None) => device.mtu().map_or(MTU_DEFAULT, |mtu| mtu.min(65_535) as u16),
            (None, mtu) => mtu.unwrap_or(MTU_DEFAULT),
        };
        let configured = Configured::new();
        let lost_before = vec![0; self.links.len()];
        let (bound, group, gone) = (None, None, false);
        let opened = Opened { port, bound, group, lost_before, mark, device, gone, socket_hook, configured };
        let name = opened.device.as_ref().map(|device| device.name().to_owned());
        let group = if up { Some(self.bind(id, &opened.socket_hook, port, mark)?) } else { None };

        let now = clock::now();
        let socket = Some(SocketId(id.0));
        let mut changes = vec![
            NodeChange::AddInterface { interface: id, mtu, policy: HandshakePolicy::default() },
            NodeChange::SetSockets { interface: id, v4: socket, v6: socket },
        ];
        changes.extend(
            private_key.map(|key| NodeChange::SetPrivateKey { interface: id, key: Secret::new(key) }),
        );
        self.node.apply(now, &changes)?;
        self.interfaces.insert(id, opened);
        let controller = controller.unwrap_or_else(|| Box::new(Fixed::new()));
        controllers.send(ToControllers::Set(id, controller));
        let given =
            self.give_inner(id, queues).and_then(|()| group.map_or(Ok(()), |group| self.adopt(id, group)));
        if let Err(error) = given {
            self.remove_interface(id, controllers)?;
            return Err(error);
        }
        Ok((id, name))
    }

    fn open_inner(
        &self,
        id: InterfaceId,
        kind: Kind,
    ) -> Result<(Option<tun::Device>, Queues), InterfaceError> {
        let workers = self.links.len();
        let Offloads { tso, uso, .. } = self.offloads;
        let offloads = tun::Offloads { checksum: tso || uso, tso, uso };
        let (device, queues) = match kind {
            Kind::Custom(queues) if queues.len() == workers => {
                return Ok((None, queues.into_iter().map(|queue| (queue, true)).collect()));
            }
            Kind::Custom(queues) => return Err(InterfaceError::Queues { got: queues.len(), workers }),
            Kind::Packets(sides) if (1..=workers).contains(&sides.len()) => {
                return Ok((None, queue_ends(id, &sides, workers)));
            }
            Kind::Packets(sides) => return Err(InterfaceError::Queues { got: sides.len(), workers }),
            Kind::Tun { name, attach } => {
                let existing = if attach { tun::Existing::Attach } else { tun::Existing::Refuse };
                tun::open(&tun::Options { name: &name, queues: workers, existing, offloads })?
            }
            Kind::TunFd(fd) => tun::adopt(fd, workers, offloads)?,
        };
        let first = queues.first().map(tun::Queue::duplicate).transpose().map_err(InterfaceError::Io)?;
        let mut all: Queues = Vec::with_capacity(workers);
        all.extend(queues.into_iter().map(|queue| (Box::new(queue) as Box<dyn Inner + Send>, true)));
        while all.len() < workers {
            // One queue for several workers, as an adopted descriptor may have: the first reads it, all write to it.
            let Some(Ok(queue)) = first.as_ref().map(tun::Queue::duplicate) else { break };
            all.push((Box::new(queue), false));
        }
        Ok((Some(device), all))
    }

    fn bind(
        &mut self,
        interface: InterfaceId,
        hook: &Option<SocketHook>,
        port: u16,
        mark: u32,
    ) -> Result<AnySockets, InterfaceError> {
        let hook = hook.as_ref().or(self.socket_hook.as_ref());
        let call = hook.map(|hook| move |fd: BorrowedFd<'_>, _: SocketRole| hook(fd));
        let hook =
            call.as_ref().map(|call| call as &dyn Fn(BorrowedFd<'_>, SocketRole) -> std::io::Result<()>);
        let (workers, core_bits) = (self.links.len(), u32::from(self.core_bits));
        let request = OpenRequest { interface, port, mark, workers, core_bits, hook };
        let sockets = self.outer.open(&request)?;
        if sockets.members.len() > workers {
            return Err(InterfaceError::Queues { got: sockets.members.len(), workers });
        }
        Ok(sockets)
    }

    /// Gives the sockets of a group to the workers, and lets the peers be reached. Where a worker cannot use its own, all are
    /// closed again, and the interface is down.
    fn adopt(&mut self, id: InterfaceId, sockets: AnySockets) -> Result<(), InterfaceError> {
        let opened = self.interfaces.get_mut(&id).ok_or(InterfaceError::Unknown)?;
        opened.bound = Some(sockets.port);
        opened.group = Some(sockets.group);
        let (refusals, refused) = mpsc::channel();
        for (number, sockets) in sockets.members.into_iter().enumerate() {
            let refusals = refusals.clone();
            let command = WorkerCommand::AddSockets { socket: SocketId(id.0), sockets, refusals };
            self.give_waiting(CoreId(number as u8), command);
        }
        drop(refusals);
        let added = all_added(&refused);
        if added.is_err() {
            self.close_sockets(id);
        }
        // The interface is there: it is in the map.
        let _ = self.node.apply(clock::now(), &[NodeChange::SetUp { interface: id, up: added.is_ok() }]);
        added
    }

    /// Closes the sockets of an interface on all workers at once.
    fn close_sockets(&mut self, id: InterfaceId) {
        let Some(opened) = self.interfaces.get_mut(&id) else { return };
        if opened.bound.take().is_none() {
            return;
        }
        opened.lost_before = (0..self.links.len()).map(|worker| opened.lost(worker)).collect();
        let group = opened.group.take();
        let done = DropSignal::new(std::thread::current());
        for number in 0..self.links.len() {
            let command = WorkerCommand::RemoveSockets { socket: SocketId(id.0), _done: Arc::clone(&done) };
            self.give_waiting(CoreId(number as u8), command);
        }
        wait_for(done);
        drop(group);
    }

    /// Up or down. Sockets are open exactly while it is up.
    pub(crate) fn set_up(&mut self, id: InterfaceId, up: bool) -> Result<(), InterfaceError> {
        let opened = self.interfaces.get(&id).ok_or(InterfaceError::Unknown)?;
        match (up, opened.bound.is_some()) {
            (true, false) => {
                let (hook, port, mark) = (opened.socket_hook.clone(), opened.port, opened.mark);
                let group = self.bind(id, &hook, port, mark)?;
                self.adopt(id, group)?;
            }
            (false, true) => {
                self.node.apply(clock::now(), &[NodeChange::SetUp { interface: id, up: false }])?;
                self.close_sockets(id);
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives an interface another inner side, in the place of one that is gone or is not wanted any more. Its peers and their
    /// sessions stay. Returns the name of the device, where it is one.
    pub(crate) fn set_inner(
        &mut self,
        id: InterfaceId,
        inner: InnerSide,
    ) -> Result<Option<String>, InterfaceError> {
        let mtu = self.node.snapshot(id).ok_or(InterfaceError::Unknown)?.mtu;
        let (mut device, queues) = self.open_inner(id, inner.0)?;
        if let Some(device) = &mut device {
            device.set_mtu(u32::from(mtu))?;
        }
        let name = device.as_ref().map(|device| device.name().to_owned());
        self.remove_inner(id);
        if let Some(opened) = self.interfaces.get_mut(&id) {
            (opened.device, opened.gone) = (device, false);
        }
        self.give_inner(id, queues)?;
        Ok(name)
    }

    /// Has every worker let go of its queue of an inner side.
    fn remove_inner(&mut self, id: InterfaceId) {
        let done = DropSignal::new(std::thread::current());
        for number in 0..self.links.len() {
            let command = WorkerCommand::RemoveInner { interface: id, _done: Arc::clone(&done) };
            self.give_waiting(CoreId(number as u8), command);
        }
        wait_for(done);
        // That the old one is gone is no news of what takes its place, or its number.
        self.interfaces.get_mut(&id).map(Opened::note_gone);
        self.hear_of_gone();
    }

    /// Gives every worker its queue of an inner side, or none where one of them cannot use its own.
    fn give_inner(&mut self, id: InterfaceId, queues: Queues) -> Result<(), InterfaceError> {
        let (refusals, refused) = mpsc::channel();
        for (number, (inner, readable)) in queues.into_iter().enumerate() {
            let refusals = refusals.clone();
            let command = WorkerCommand::AddInner { interface: id, inner, readable, refusals };
            self.give_waiting(CoreId(number as u8), command);
        }
        drop(refusals);
        all_added(&refused).inspect_err(|_| self.remove_inner(id))
    }

    pub(crate) fn set_mtu(&mut self, id: InterfaceId, mtu: u16) -> Result<(), InterfaceError> {
        let opened = self.interfaces.get_mut(&id).ok_or(InterfaceError::Unknown)?;
        self.node.apply(clock::now(), &[NodeChange::SetMtu { interface: id, mtu }])?;
        if let Some(device) = &mut opened.device {
            // Where the right is missing, super-packets are as large as before: slower, not wrong.
            let _ = device.fit_gso(u32::from(mtu));
        }
        Ok(())
    }

    /// All of a change, or none. Returns what the node says of each of its parts.
    pub(crate) fn apply(
        &mut self,
        id: InterfaceId,
        change: Change,
    ) -> Result<Vec<Option<PeerId>>, InterfaceError> {
        let opened = self.interfaces.get(&id).ok_or(InterfaceError::Unknown)?;
        let port = change.listen_port.filter(|&port| port != opened.port || opened.bound.is_none());
        let mark = change.mark.filter(|&mark| mark != opened.mark);
        let group = match (port, opened.bound) {
            (Some(port), Some(bound)) if port != bound => {
                let (hook, mark) = (opened.socket_hook.clone(), mark.unwrap_or(opened.mark));
                Some(self.bind(id, &hook, port, mark)?)
            }
            _ => None,
        };
        let opened = self.interfaces.get(&id).ok_or(InterfaceError::Unknown)?;
        if let (Some(mark), None, Some(sockets)) = (mark, &group, &opened.group) {
            sockets.set_mark(mark).map_err(InterfaceError::Mark)?;
        }
        // What can be refused without a trace comes first; the marks are put back if this is what fails.
        let changes = change.node_changes(id);
        let peers = match self.node.apply(clock::now(), &changes) {
            Ok(peers) => peers,
            Err(error) => {
                let Some(opened) = self.interfaces.get(&id) else { return Err(error.into()) };
                let _ = opened.group.as_ref().map(|sockets| sockets.set_mark(opened.mark));
                return Err(error.into());
            }
        };
        let Some(opened) = self.interfaces.get_mut(&id) else { return Ok(peers) };
        reconcile::note_configured(&mut opened.configured, &changes);
        opened.port = port.unwrap_or(opened.port);
        opened.mark = mark.unwrap_or(opened.mark);
        if let Some(group) = group {
            self.close_sockets(id);
            self.adopt(id, group)?;
        }
        Ok(peers)
    }

    /// Adds a peer, or makes it what is said.
    pub(crate) fn upsert(&mut self, id: InterfaceId, peer: Peer) -> Result<PeerId, InterfaceError> {
        let change = Change { peers: vec![peer.into_change()], ..Change::default() };
        self.apply(id, change)?.pop().flatten().ok_or(InterfaceError::OwnKey)
    }

    pub(crate) fn remove_peer(&mut self, id: InterfaceId, peer: PeerId) -> Result<(), InterfaceError> {
        let found = self.node.public_key_of(peer).filter(|(interface, _)| *interface == id);
        let (_, public_key) = found.ok_or(InterfaceError::NoPeer)?;
        let removal = PeerChange { remove: true, ..PeerChange::new(id, public_key) };
        self.apply(id, Change { peers: vec![removal], ..Change::default() }).map(drop)
    }

    /// Makes the interface what is desired, or leaves it as it is.
    pub(crate) fn reconcile(
        &mut self,
        id: InterfaceId,
        desired: Desired,
    ) -> Result<Reconciled, InterfaceError> {
        let opened = self.interfaces.get(&id).ok_or(InterfaceError::Unknown)?;
        let current = self.node.snapshot(id).ok_or(InterfaceError::Unknown)?;
        let (change, counts) = reconcile::plan(&current, &opened.configured, desired)?;
        let peers = reconcile::without_gaps(&current, &change.peers);
        match self.apply(id, Change { peers, ..change.clone() }) {
            // It fits when what goes is gone first, if at all.
            Err(InterfaceError::Config(error)) if error.problem.is_limit() => self.apply(id, change)?,
            applied => applied?,
        };
        Ok(counts)
    }

    pub(crate) fn snapshot(&self, id: InterfaceId) -> Result<InterfaceSnapshot, InterfaceError> {
        let opened = self.interfaces.get(&id).ok_or(InterfaceError::Unknown)?;
        let device = self.node.snapshot(id).ok_or(InterfaceError::Unknown)?;
        let listen_port = opened.bound.unwrap_or(opened.port);
        let udp = OffloadConfig { gso: self.offloads.gso, gro: self.offloads.gro }.offloads();
        let tun = opened.device.as_ref().map_or(tun::Offloads::NONE, tun::Device::offloads);
        let offloads = Offloads { gso: udp.gso.is_on(), gro: udp.gro.is_on(), tso: tun.tso, uso: tun.uso };
        Ok(InterfaceSnapshot { listen_port, mark: opened.mark, offloads, device })
    }

    pub(crate) fn remove_interface(
        &mut self,
        id: InterfaceId,
        controllers: &mut Controllers,
    ) -> Result<(), InterfaceError> {
        if !self.interfaces.contains_key(&id) {
            return Err(InterfaceError::Unknown);
        }
        self.node.apply(clock::now(), &[NodeChange::RemoveInterface { interface: id }])?;
        self.close_sockets(id);
        self.remove_inner(id);
        controllers.send(ToControllers::Remove(id));
        self.interfaces.remove(&id);
        Ok(())
    }
}

/// Ends of queues for all workers. Each queue is read by one of them, another one for each interface, so that its packets stay
/// in order; a worker that reads none writes to one that others read.
fn queue_ends(id: InterfaceId, sides: &[Arc<EngineSide>], workers: usize) -> Queues {
    let end = |worker: usize| {
        let place = (worker + workers - usize::from(id.0) % workers) % workers;
        let end = QueueEnd::new(Arc::clone(&sides[place % sides.len()]));
        (Box::new(end) as Box<dyn Inner + Send>, place < sides.len())
    };
    (0..workers).map(end).collect()
}

/// Waits until every worker has added what it was given, or one says why it has not.
fn all_added(refused: &mpsc::Receiver<std::io::Error>) -> Result<(), InterfaceError> {
    // A worker that takes longer adds it when it comes to it.
    refused.recv_timeout(RELEASE_TIMEOUT).map_or(Ok(()), |error| Err(InterfaceError::Io(error)))
}

/// Waits until no worker holds it any more.
fn wait_for(done: Arc<DropSignal>) {
    let watch = Arc::downgrade(&done);
    drop(done);
    let deadline = StdInstant::now() + RELEASE_TIMEOUT;
    while watch.strong_count() > 0 {
        let left = deadline.saturating_duration_since(StdInstant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left.min(Duration::from_millis(10)));
    }
}
