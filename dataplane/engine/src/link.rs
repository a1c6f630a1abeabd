//! How threads reach a worker: bounded queues, a waker, counters.
//!
//! Commands are never lost: who cannot push one keeps it and tries again. What strangers or other cores send is dropped and
//! counted when its queue is full.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;

use dataplane_io::Buf;
use dataplane_io::inner::Inner;
use dataplane_io::poll::Waker;
use dataplane_proto::messages::{Command, Event, HandshakeArrived};
use dataplane_wire::{InterfaceId, PeerId, RxMeta, SocketId};

use crate::controllers::Fence;
use crate::counters::WorkerCounters;
use crate::hook::PolicyCounts;
use crate::sync::{ArrayQueue, AtomicBool};

/// Commands that wait for one worker. (Models explore a small ring: its edges come soon.)
const COMMANDS_MAX: usize = if cfg!(loom) { 2 } else { 1024 };
/// Datagrams and super-packets that wait for one worker: a few send trains' worth.
const HAND_OFFS_MAX: usize = if cfg!(loom) { 2 } else { 1024 };
/// Events that wait for the control thread. The shard keeps more, the newest per peer.
const EVENTS_MAX: usize = if cfg!(loom) { 2 } else { 1024 };
/// Handshakes in flight to the control thread. Few, so that a backlog shows in the shard's own queue, which is what tells
/// the gate that it is under load (WG-25).
const HANDSHAKES_MAX: usize = if cfg!(loom) { 2 } else { 16 };

/// Interfaces that can vanish at once and still be told of one by one.
const GONE_MAX: usize = if cfg!(loom) { 2 } else { 64 };

/// From the control thread to a worker.
#[expect(
    clippy::large_enum_variant,
    reason = "the queue is made once; a box for each command would cost more than its bytes"
)]
pub(crate) enum WorkerCommand {
    /// For the shard.
    Proto(Command),
    /// Dropped when all commands before it have taken effect.
    Fence { _done: Fence },
    /// The inner side of an interface. One that is not `readable` is only written: another worker reads the same queue.
    AddInner { interface: InterfaceId, inner: Box<dyn Inner + Send>, readable: bool },
    /// This worker's members of the reuse-port groups of an interface.
    AddSockets { socket: SocketId, sockets: Vec<UdpSocket> },
    /// Let go of the sockets of an interface. The control thread holds a duplicate of each, so that they close together when it
    /// drops those: members of a reuse-port group must not go one by one.
    RemoveSockets { socket: SocketId, _done: Arc<DropSignal> },
    /// Close the inner side of an interface.
    RemoveInner { interface: InterfaceId, _done: Arc<DropSignal> },
}

/// Calls the control thread when the last worker has dropped its `Arc`.
pub(crate) struct DropSignal(Thread);

impl DropSignal {
    pub(crate) fn new(control: Thread) -> Arc<Self> {
        Arc::new(Self(control))
    }
}

impl Drop for DropSignal {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

/// From one worker to another.
pub(crate) enum HandOff {
    /// A datagram of a session that lives on the receiving core.
    Datagram { buf: Buf, meta: RxMeta },
    /// A super-packet to a peer that lives on the receiving core: `len` bytes, vnet header first.
    Packet { interface: InterfaceId, peer: PeerId, buf: Buf, len: usize },
}

/// One worker as others see it.
pub(crate) struct WorkerLink {
    pub(crate) commands: ArrayQueue<WorkerCommand>,
    pub(crate) hand_offs: ArrayQueue<HandOff>,
    pub(crate) events: ArrayQueue<Event>,
    pub(crate) handshakes: ArrayQueue<HandshakeArrived>,
    pub(crate) counters: WorkerCounters,
    pub(crate) policy: PolicyCells,
    pub(crate) waker: Waker,
    /// Inner sides that went away by themselves.
    pub(crate) gone: ArrayQueue<InterfaceId>,
    stop: AtomicBool,
    ended: AtomicBool,
}

impl WorkerLink {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            commands: ArrayQueue::new(COMMANDS_MAX),
            hand_offs: ArrayQueue::new(HAND_OFFS_MAX),
            events: ArrayQueue::new(EVENTS_MAX),
            handshakes: ArrayQueue::new(HANDSHAKES_MAX),
            counters: WorkerCounters::default(),
            policy: PolicyCells::default(),
            waker,
            gone: ArrayQueue::new(GONE_MAX),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// Asks the worker to end. `Release` pairs with the `Acquire` of [`WorkerLink::stopping`].
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The worker takes nothing any more. `Release` pairs with the `Acquire` of [`WorkerLink::ended`].
    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Policy drops by reason, written by one worker.
pub(crate) struct PolicyCells([AtomicU64; 256]);

impl Default for PolicyCells {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; 256])
    }
}

impl PolicyCells {
    /// The caller is the only writer; `Relaxed`: a counter publishes nothing but itself.
    pub(crate) fn publish(&self, counts: &PolicyCounts) {
        for (cell, &count) in self.0.iter().zip(counts) {
            cell.store(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self, reason: u8) -> u64 {
        self.0[usize::from(reason)].load(Ordering::Relaxed)
    }
}

#[cfg(all(test, loom))]
#[path = "link_model.rs"]
mod model;
