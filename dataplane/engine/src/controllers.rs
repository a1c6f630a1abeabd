//! The thread on which control layers run, so that a slow one stops nothing but itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use dataplane_proto::Controller;
use dataplane_proto::controller::{Input, Output};
use dataplane_wire::{Instant, InterfaceId};

use crate::clock;

/// Facts and wishes that wait in either direction. More facts wait in the node, the newest per peer; more wishes in the
/// controller.
const QUEUE_MAX: usize = 1024;
/// Wishes taken from one controller before the next fact is handed in.
const OUTPUTS_PER_TURN: usize = 256;

/// For the controllers' thread.
pub(crate) enum ToControllers {
    Add(InterfaceId, Box<dyn Controller>),
    Remove(InterfaceId),
    Input(InterfaceId, Input),
    /// Comes back behind everything that is wanted because of what was said before.
    Fence(Fence),
}

/// Something that is dropped when everything before it has taken effect.
pub(crate) type Fence = Arc<dyn Send + Sync>;

/// From the controllers' thread.
pub(crate) enum FromControllers {
    Output(Output),
    Fence(Fence),
}

/// The control thread's end.
pub(crate) struct Controllers {
    inputs: Option<SyncSender<ToControllers>>,
    pub(crate) outputs: Receiver<FromControllers>,
    held: Option<ToControllers>,
    thread: Option<JoinHandle<()>>,
}

impl Controllers {
    pub(crate) fn start(control: Thread) -> std::io::Result<Self> {
        let (inputs, inbox) = sync_channel(QUEUE_MAX);
        let (outbox, outputs) = sync_channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("dp-controllers".to_owned())
            .spawn(move || run(&inbox, &outbox, &control))?;
        Ok(Self { inputs: Some(inputs), outputs, held: None, thread: Some(thread) })
    }

    /// Whether another message can be taken: the one before has been.
    pub(crate) fn has_room(&mut self) -> bool {
        match self.held.take() {
            None => true,
            Some(message) => {
                self.send(message);
                self.held.is_none()
            }
        }
    }

    /// Hands a message over; where the queue is full it is held, and [`Controllers::has_room`] says no until it is gone.
    pub(crate) fn send(&mut self, message: ToControllers) {
        debug_assert!(self.held.is_none(), "asked has_room first");
        let Some(inputs) = &self.inputs else { return };
        match inputs.try_send(message) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(message)) => self.held = Some(message),
        }
    }

    /// Hands a message over that must not wait behind facts that the queue has no room for: blocks for as long as that.
    pub(crate) fn send_waiting(&mut self, message: ToControllers) {
        let Some(inputs) = &self.inputs else { return };
        for message in self.held.take().into_iter().chain([message]) {
            // An error says that the thread is dead; its controllers are, too.
            let _ = inputs.send(message);
        }
    }

    /// Whether its thread has ended, as it does when a controller panics.
    pub(crate) fn is_dead(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Controllers {
    fn drop(&mut self) {
        // Closing the channels ends the thread at its next look at them; one that hangs inside of a controller is left alone.
        self.inputs = None;
        if let Some(thread) = self.thread.take().filter(|thread| thread.is_finished()) {
            let _ = thread.join();
        }
    }
}

fn run(inbox: &Receiver<ToControllers>, outbox: &SyncSender<FromControllers>, control: &Thread) {
    let mut controllers: BTreeMap<InterfaceId, Box<dyn Controller>> = BTreeMap::new();
    let mut fences = Vec::new();
    loop {
        let mut now = clock::now();
        let mut quiet = true;
        for controller in controllers.values_mut() {
            for taken in 1..=OUTPUTS_PER_TURN {
                let Some(output) = controller.poll_output(now) else { break };
                quiet = taken < OUTPUTS_PER_TURN;
                if outbox.send(FromControllers::Output(output)).is_err() {
                    return;
                }
                control.unpark();
            }
        }
        if quiet {
            for fence in fences.drain(..) {
                if outbox.send(FromControllers::Fence(fence)).is_err() {
                    return;
                }
                control.unpark();
            }
        }
        let due = controllers.values().filter_map(|controller| controller.poll_timeout()).min();
        let wait = if fences.is_empty() { due.map(|due| due.since(now)) } else { Some(Duration::ZERO) };
        let message = match wait {
            Some(Duration::ZERO) => match inbox.try_recv() {
                Ok(message) => Some(message),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            },
            Some(wait) => match inbox.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            },
            None => match inbox.recv() {
                Ok(message) => Some(message),
                Err(_) => return,
            },
        };
        now = clock::now();
        if let Some(ToControllers::Fence(fence)) = message {
            fences.push(fence);
        } else {
            take(&mut controllers, now, message);
        }
    }
}

fn take(
    controllers: &mut BTreeMap<InterfaceId, Box<dyn Controller>>,
    now: Instant,
    message: Option<ToControllers>,
) {
    match message {
        Some(ToControllers::Add(interface, controller)) => {
            controllers.insert(interface, controller);
        }
        Some(ToControllers::Remove(interface)) => {
            controllers.remove(&interface);
        }
        Some(ToControllers::Input(interface, input)) => {
            if let Some(controller) = controllers.get_mut(&interface) {
                controller.handle_input(now, input);
            }
        }
        Some(ToControllers::Fence(_)) | None => {}
    }
}
