//! What waits to be fetched from the node: commands for shards, facts for controllers, notices for the operator.

use std::collections::{BTreeMap, VecDeque};

use dataplane_wire::{CoreId, FourTuple, InterfaceId, PeerId};

use crate::controller::Input;
use crate::keys::PublicKey;
use crate::messages::{Command, Path, Role};
use crate::prefix::IpPrefix;

/// A command for every shard, in the few bytes that a hundred thousand of them shall cost.
#[derive(Clone, Copy)]
pub(super) enum Broadcast {
    AddInterface { interface: InterfaceId, mtu: u16, mac1_key: [u8; 32], cookie_key: [u8; 32] },
    RemoveInterface { interface: InterfaceId },
    SetRoute { interface: InterfaceId, peer: PeerId, core: CoreId, prefix: IpPrefix },
    RemoveRoute { interface: InterfaceId, prefix: IpPrefix },
}

impl Broadcast {
    fn command(self) -> Command {
        match self {
            Self::AddInterface { interface, mtu, mac1_key, cookie_key } => {
                Command::AddInterface { interface, mtu, mac1_key, cookie_key }
            }
            Self::RemoveInterface { interface } => Command::RemoveInterface { interface },
            Self::SetRoute { interface, peer, core, prefix } => {
                Command::SetRoute { interface, peer, core, prefix }
            }
            Self::RemoveRoute { interface, prefix } => Command::RemoveRoute { interface, prefix },
        }
    }
}

enum Queued {
    One(CoreId, Box<Command>),
    All(Box<Broadcast>),
}

/// Places of the queue of commands that stay allocated when it is empty.
const CAPACITY_KEPT: usize = 1024;

/// Commands in the order in which they were caused, which is the order in which each shard gets its own.
pub(super) struct Commands {
    cores: u8,
    queue: VecDeque<Queued>,
    /// How many shards the broadcast at the head has reached.
    reached: u8,
}

impl Commands {
    pub(super) fn new(cores: u8) -> Self {
        Self { cores, queue: VecDeque::new(), reached: 0 }
    }

    pub(super) fn push(&mut self, core: CoreId, command: Command) {
        self.queue.push_back(Queued::One(core, Box::new(command)));
    }

    pub(super) fn push_all(&mut self, broadcast: Broadcast) {
        self.queue.push_back(Queued::All(Box::new(broadcast)));
    }

    pub(super) fn pop(&mut self) -> Option<(CoreId, Command)> {
        let next = self.take();
        // What one large configuration needed is not kept for ever.
        if self.queue.is_empty() {
            self.queue.shrink_to(CAPACITY_KEPT);
        }
        next
    }

    fn take(&mut self) -> Option<(CoreId, Command)> {
        if let Some(Queued::All(broadcast)) = self.queue.front() {
            let (core, command) = (CoreId(self.reached), broadcast.command());
            self.reached += 1;
            if self.reached == self.cores {
                self.reached = 0;
                self.queue.pop_front();
            }
            return Some((core, command));
        }
        match self.queue.pop_front()? {
            Queued::One(core, command) => Some((core, *command)),
            Queued::All(_) => None,
        }
    }
}

/// What the controller of one peer has not been told yet.
#[derive(Clone, Copy, Default)]
struct Untold {
    removed: bool,
    upserted: Option<Option<FourTuple>>,
    roamed: Option<Path>,
    complete: bool,
    given_up: bool,
}

/// Facts for controllers: the latest of each kind per peer, so that a controller that stalls costs no more memory than
/// there are peers.
#[derive(Default)]
pub(super) struct Facts {
    order: VecDeque<PeerId>,
    untold: BTreeMap<PeerId, (InterfaceId, Untold)>,
}

impl Facts {
    pub(super) fn push(&mut self, interface: InterfaceId, input: Input) {
        let peer = match input {
            Input::PeerUpserted { peer, .. }
            | Input::PeerRemoved { peer }
            | Input::Roamed { peer, .. }
            | Input::HandshakeComplete { peer }
            | Input::HandshakeGivenUp { peer } => peer,
        };
        let (_, untold) = self.untold.entry(peer).or_insert_with(|| {
            self.order.push_back(peer);
            (interface, Untold::default())
        });
        match input {
            Input::PeerUpserted { endpoint, .. } => untold.upserted = Some(endpoint),
            Input::PeerRemoved { .. } => *untold = Untold { removed: true, ..Untold::default() },
            Input::Roamed { path, .. } => untold.roamed = Some(path),
            Input::HandshakeComplete { .. } => (untold.complete, untold.given_up) = (true, false),
            Input::HandshakeGivenUp { .. } => (untold.complete, untold.given_up) = (false, true),
        }
    }

    pub(super) fn pop(&mut self) -> Option<(InterfaceId, Input)> {
        loop {
            let peer = *self.order.front()?;
            let Some((interface, untold)) = self.untold.get_mut(&peer) else {
                self.order.pop_front();
                continue;
            };
            let input = if core::mem::take(&mut untold.removed) {
                Input::PeerRemoved { peer }
            } else if let Some(endpoint) = untold.upserted.take() {
                Input::PeerUpserted { peer, endpoint }
            } else if let Some(path) = untold.roamed.take() {
                Input::Roamed { peer, path }
            } else if core::mem::take(&mut untold.complete) {
                Input::HandshakeComplete { peer }
            } else if core::mem::take(&mut untold.given_up) {
                Input::HandshakeGivenUp { peer }
            } else {
                self.order.pop_front();
                self.untold.remove(&peer);
                continue;
            };
            return Some((*interface, input));
        }
    }
}

/// Something that an operator may want to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A session exists and both ends have proved it.
    HandshakeComplete {
        /// Whose interface.
        interface: InterfaceId,
        /// With whom.
        peer: PeerId,
        /// The peer's key.
        public_key: PublicKey,
        /// Which end we were.
        role: Role,
    },
    /// Handshakes were given up (WG-39).
    HandshakeGivenUp {
        /// Whose interface.
        interface: InterfaceId,
        /// With whom.
        peer: PeerId,
        /// The peer's key.
        public_key: PublicKey,
    },
    /// A peer is reached by another path than before, by its controller's word or because it was heard from there.
    PathChanged {
        /// Whose interface.
        interface: InterfaceId,
        /// Which.
        peer: PeerId,
        /// The path; `None` for unreachable.
        path: Option<Path>,
    },
    /// So many notices were not kept because nobody fetched them.
    Missed(u64),
}

/// Notices that nobody has fetched yet; a fixed number of them.
pub(super) struct Notices {
    queue: VecDeque<Notice>,
    max: usize,
    missed: u64,
}

impl Notices {
    pub(super) fn new(max: usize) -> Self {
        Self { queue: VecDeque::new(), max, missed: 0 }
    }

    pub(super) fn push(&mut self, notice: Notice) {
        if self.queue.len() < self.max { self.queue.push_back(notice) } else { self.missed += 1 }
    }

    pub(super) fn pop(&mut self) -> Option<Notice> {
        self.queue.pop_front().or_else(|| {
            let missed = core::mem::take(&mut self.missed);
            (missed > 0).then_some(Notice::Missed(missed))
        })
    }
}
