//! How threads reach a worker: bounded queues, a waker, counters.
//!
//! Commands are never lost: who cannot push one keeps it and tries again. What strangers or other cores send is dropped and
//! counted when its queue is full.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::Thread;

use dataplane_io::Buf;
use dataplane_io::inner::Inner;
use dataplane_io::packet_io::{OffReason, Offload, Offloads};
use dataplane_io::poll::Waker;
use dataplane_proto::messages::{Command, Event, HandshakeArrived};
use dataplane_wire::{Instant, InterfaceId, PeerId, RxMeta, SocketId};

use crate::controllers::Fence;
use crate::counters::WorkerCounters;
use crate::hook::PolicyCounts;
use crate::outer::AnySocket;
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
    AddInner { interface: InterfaceId, inner: Box<dyn Inner + Send>, readable: bool, refusals: Refusals },
    /// This worker's members of the reuse-port groups of an interface.
    AddSockets { socket: SocketId, sockets: Vec<AnySocket>, refusals: Refusals },
    /// Let go of the sockets of an interface. The control thread holds a duplicate of each, so that they close together when it
    /// drops those: members of a reuse-port group must not go one by one.
    RemoveSockets { socket: SocketId, _done: Arc<DropSignal> },
    /// Close the inner side of an interface.
    RemoveInner { interface: InterfaceId, _done: Arc<DropSignal> },
    /// What follows is for the shard that was made after a panic.
    Adopt,
    /// It has been told everything.
    Adopted,
    /// Let go of this when nothing waits any more, or at the deadline.
    Drain(Drain),
}

/// Where a worker says why it has not added what it was given. That all of them are dropped says that there is no more to say.
pub(crate) type Refusals = mpsc::Sender<io::Error>;

/// A wish to be told when nothing waits any more.
#[derive(Clone)]
pub(crate) struct Drain {
    pub(crate) deadline: Instant,
    /// Whether a worker had something left at the deadline.
    pub(crate) timed_out: Arc<std::sync::atomic::AtomicBool>,
    pub(crate) _done: Arc<DropSignal>,
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
    /// Datagrams that its sockets lost in the kernel; written by the control thread.
    pub(crate) kernel_drops: AtomicU64,
    /// Panics that it had.
    panics: AtomicU64,
    /// What the last one said. Written on the way out of a panic, never on the way of a packet.
    panic: Mutex<String>,
    /// The CPU on which it last published its counters; `u32::MAX` before.
    cpu: AtomicU32,
    offloads: [AtomicU64; 2],
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
            kernel_drops: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            panic: Mutex::default(),
            cpu: AtomicU32::new(u32::MAX),
            offloads: [const { AtomicU64::new(0) }; 2],
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// Counts a panic. `Release` pairs with the `Acquire` of [`WorkerLink::panics`].
    pub(crate) fn note_panic(&self, message: String) {
        *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = message;
        self.panics.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Acquire)
    }

    /// What the last panic said.
    pub(crate) fn panic_message(&self) -> String {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the worker runs and what its backend uses; the caller is the only writer. `Relaxed`: neither publishes anything
    /// but itself.
    pub(crate) fn set_place(&self, cpu: usize, offloads: Offloads) {
        self.cpu.store(cpu as u32, Ordering::Relaxed);
        for (cell, offload) in self.offloads.iter().zip([offloads.gso, offloads.gro]) {
            cell.store(pack(offload), Ordering::Relaxed);
        }
    }

    /// The CPU on which it was last seen; `None` before its first turn.
    pub(crate) fn cpu(&self) -> Option<usize> {
        let cpu = self.cpu.load(Ordering::Relaxed);
        (cpu != u32::MAX).then_some(cpu as usize)
    }

    pub(crate) fn offloads(&self) -> Offloads {
        let [gso, gro] = [0, 1].map(|at: usize| unpack(self.offloads[at].load(Ordering::Relaxed)));
        Offloads { gso, gro }
    }

    /// Takes all that the worker has told.
    pub(crate) fn hear(&self, mut take: impl FnMut(Told)) -> Heard {
        let (mut events, mut handshakes) = (0, 0);
        while let Some(event) = self.events.pop() {
            take(Told::Event(event));
            events += 1;
        }
        while let Some(arrived) = self.handshakes.pop() {
            take(Told::Handshake(arrived));
            handshakes += 1;
        }
        let maybe_more = events >= self.events.capacity() || handshakes >= self.handshakes.capacity();
        Heard { any: events + handshakes > 0, maybe_more }
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

/// What a worker tells the control thread.
pub(crate) enum Told {
    /// What an authenticated peer has caused, or our own side.
    Event(Event),
    /// What a stranger has sent.
    Handshake(HandshakeArrived),
}

/// What was taken from a worker at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Anything at all.
    pub(crate) any: bool,
    /// The worker may have more to tell than a queue took, and sleeps on it until it is called: that queue was full at some
    /// moment, so what was taken since is what it holds, or more. (It need not have been full when the taking began.)
    pub(crate) maybe_more: bool,
}

/// An offload's state in one word: its kind, and above it the errno.
fn pack(offload: Offload) -> u64 {
    match offload {
        Offload::On => 0,
        Offload::Off(OffReason::Configured) => 1,
        Offload::Off(OffReason::Unsupported) => 2,
        Offload::Off(OffReason::MangledByKernel) => 3,
        Offload::Off(OffReason::Failed(errno)) => 4 | (u64::from(errno.unsigned_abs()) << 8),
    }
}

fn unpack(word: u64) -> Offload {
    match word & 0xff {
        0 => Offload::On,
        1 => Offload::Off(OffReason::Configured),
        2 => Offload::Off(OffReason::Unsupported),
        3 => Offload::Off(OffReason::MangledByKernel),
        _ => Offload::Off(OffReason::Failed((word >> 8) as i32)),
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_an_offload_survives_its_word() {
        let off = [
            OffReason::Configured,
            OffReason::Unsupported,
            OffReason::MangledByKernel,
            OffReason::Failed(90),
        ];
        for offload in off.map(Offload::Off).into_iter().chain([Offload::On]) {
            assert_eq!(unpack(pack(offload)), offload);
        }
    }
}
