//! The control thread's end of the control layers: what they are told never waits for them.
//!
//! A controller that does not return holds up the others of its thread, and nobody else: facts wait in the node, the newest per
//! peer; requests are answered without it; data goes on by the last paths (FT-9).

mod thread;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant as StdInstant};

use dataplane_proto::Controller;
use dataplane_proto::controller::{Input, Output};
use dataplane_wire::{Instant, InterfaceId, PeerId};

/// Facts and wishes that wait in either direction. More facts wait in the node, the newest per peer; more wishes in the
/// controller.
const QUEUE_MAX: usize = 1024;
/// Changes of controllers that wait when the queue is full.
const PENDING_MAX: usize = 64;
/// How long nothing may be taken in before the control layers count as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// For the controllers' thread.
pub(crate) enum ToControllers {
    /// Another controller for all peers of an interface that have none of their own.
    Set(InterfaceId, Box<dyn Controller>),
    /// A controller of its own for a peer.
    SetPeer(InterfaceId, PeerId, Box<dyn Controller>),
    Remove(InterfaceId),
    Input(InterfaceId, Input),
    /// Comes back behind everything that is wanted because of what was said before.
    Fence(Fence),
}

/// Something that is to be done when everything before it has taken effect: when the last who holds it lets go, or is past caring.
pub(crate) trait Pass: Send + Sync {
    /// Does it now, if it is not done yet.
    fn pass(&self);
}

/// What travels behind everything that it waits for.
pub(crate) type Fence = Arc<dyn Pass>;

/// From the controllers' thread.
pub(crate) enum FromControllers {
    Output(Output),
    Fence(Fence),
    /// A controller of this interface panicked, and is gone.
    Panicked(InterfaceId),
}

/// The control thread's end.
pub(crate) struct Controllers {
    inputs: Option<SyncSender<ToControllers>>,
    pub(crate) outputs: Receiver<FromControllers>,
    /// Waits for room in the queue.
    pending: VecDeque<ToControllers>,
    sent: u64,
    /// Messages that the thread is done with. Written by it alone; `Relaxed`: it publishes nothing but itself.
    done: Arc<AtomicU64>,
    /// The last count that was seen, and since when.
    seen: (u64, Instant),
    /// When that was looked at last.
    looked: Instant,
    /// What came of it.
    stalled: bool,
    /// Fences on their way through the thread.
    away: VecDeque<Weak<dyn Pass>>,
    thread: Option<JoinHandle<()>>,
}

impl Controllers {
    pub(crate) fn start(control: Thread) -> std::io::Result<Self> {
        let (inputs, inbox) = sync_channel(QUEUE_MAX);
        let (outbox, outputs) = sync_channel(QUEUE_MAX);
        let done = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&done);
        let thread = std::thread::Builder::new()
            .name("dp-controllers".to_owned())
            .spawn(move || thread::run(&inbox, &outbox, &counter, &control))?;
        let (pending, away) = (VecDeque::new(), VecDeque::new());
        let (inputs, thread, seen) = (Some(inputs), Some(thread), (0, Instant::ZERO));
        let looked = Instant::ZERO;
        Ok(Self { inputs, outputs, pending, sent: 0, done, seen, looked, stalled: false, away, thread })
    }

    /// Whether another message can be taken: those before have been.
    pub(crate) fn has_room(&mut self) -> bool {
        while let Some(message) = self.pending.pop_front() {
            if let Err(message) = self.try_send(message) {
                self.pending.push_front(message);
                return false;
            }
        }
        true
    }

    /// Hands a message over, or keeps it until there is room.
    pub(crate) fn send(&mut self, message: ToControllers) {
        if let ToControllers::Fence(fence) = &message {
            self.away.push_back(Arc::downgrade(fence));
        }
        self.pending.push_back(message);
        self.has_room();
    }

    fn try_send(&mut self, message: ToControllers) -> Result<(), ToControllers> {
        let Some(inputs) = &self.inputs else { return Ok(()) };
        match inputs.try_send(message) {
            Ok(()) => self.sent += 1,
            Err(TrySendError::Full(message)) => return Err(message),
            Err(TrySendError::Disconnected(_)) => {}
        }
        Ok(())
    }

    /// Whether a change of controllers can be kept.
    pub(crate) fn takes_changes(&self) -> bool {
        self.pending.len() < PENDING_MAX
    }

    /// A fence has come back.
    pub(crate) fn returned(&mut self, fence: &Fence) {
        self.away.retain(|away| !std::ptr::addr_eq(away.as_ptr(), Arc::as_ptr(fence)));
    }

    /// Whether something was said, and nothing taken in for too long. Whoever has not looked for as long, because it was just
    /// started, put aside or asleep with the machine, knows nothing of how long that was.
    pub(crate) fn is_stalled(&mut self, now: Instant) -> bool {
        let done = self.done.load(Ordering::Relaxed);
        let late = now.since(std::mem::replace(&mut self.looked, now)) >= STALLED_AFTER;
        if late || done != self.seen.0 || (done == self.sent && self.pending.is_empty()) {
            self.seen = (done, now);
        }
        self.stalled = now.since(self.seen.1) >= STALLED_AFTER;
        self.stalled
    }

    /// When it may turn out to be stalled; `None` while everything is taken in, and once it is: that it goes on again is seen
    /// whenever somebody looks.
    pub(crate) fn stalls_at(&self) -> Option<Instant> {
        let waits = !self.stalled && self.done.load(Ordering::Relaxed) != self.sent;
        waits.then(|| self.seen.1 + STALLED_AFTER)
    }

    /// The fences that are stuck in a stalled thread: they go on without it.
    pub(crate) fn take_stuck(&mut self) -> impl Iterator<Item = Fence> + '_ {
        self.away.drain(..).filter_map(|away| away.upgrade())
    }
}

impl Drop for Controllers {
    fn drop(&mut self) {
        // Closing the channel ends the thread when it looks there next, and it drops its controllers. Who waits for the engine's
        // end waits for that too; one that hangs inside of a controller is left alone.
        self.inputs = None;
        let deadline = StdInstant::now() + STALLED_AFTER;
        let ended = loop {
            let left = deadline.saturating_duration_since(StdInstant::now());
            match self.outputs.recv_timeout(left) {
                Ok(_) => {}
                Err(end) => break end == RecvTimeoutError::Disconnected,
            }
        };
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Does not return while the gate is held.
    struct Stopped(Arc<Mutex<()>>);

    impl Controller for Stopped {
        fn handle_input(&mut self, _: Instant, _: Input) {
            drop(self.0.lock());
        }

        fn poll_output(&mut self, _: Instant) -> Option<Output> {
            None
        }

        fn poll_timeout(&self) -> Option<Instant> {
            None
        }
    }

    #[test]
    fn a_control_layer_is_stalled_when_it_was_seen_to_be_not_when_nobody_looked() {
        let at = |seconds: u64| Instant::ZERO + Duration::from_secs(seconds);
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().unwrap();
        let mut controllers = Controllers::start(std::thread::current()).unwrap();
        let interface = InterfaceId(0);
        controllers.send(ToControllers::Set(interface, Box::new(Stopped(Arc::clone(&gate)))));
        let input = Input::PeerUpserted { peer: PeerId::default(), endpoint: None };
        controllers.send(ToControllers::Input(interface, input));
        while controllers.done.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        // The first message after the start of a machine that has been up for long.
        assert!(!controllers.is_stalled(at(1_000_000)));
        let stalled = |controllers: &mut Controllers, seconds: u64| {
            [0, 1, 2].map(|more| controllers.is_stalled(at(seconds + more)))
        };
        assert_eq!(stalled(&mut controllers, 1_000_000), [false, false, true]);
        assert_eq!(
            controllers.stalls_at(),
            None,
            "a control thread that would look again and again, and never sleep"
        );
        assert_eq!(stalled(&mut controllers, 1_000_100), [false, false, true], "nobody looked for a while");
        drop(held);
    }
}
