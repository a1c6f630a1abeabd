//! The control thread: the node, requests of the embedder, opening and closing of sockets and devices.
//!
//! Nothing here is on the way of a packet. When this thread stalls or dies, workers go on with the last they were told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use dataplane_proto::Controller;
use dataplane_proto::node::{Node, NodeConfig, Notice};
use dataplane_wire::{CoreId, Instant, InterfaceId, PeerId};

use crate::applied::{AnswerOnDrop, Reply};
use crate::clock::{self, SuspendWatch};
use crate::config::{Limits, Offloads, SocketHook};
use crate::controllers::{Controllers, Fence, FromControllers, Pass, ToControllers};
use crate::engine::{Drained, EndReason, Shared};

use crate::error::InterfaceError;
use crate::events::{Degradation, Event, EventSender};
use crate::handle::{Change, InterfaceSnapshot};
use crate::interface::{InnerSide, Interface};
use crate::link::{Drain, DropSignal, Told, WorkerCommand, WorkerLink};
use crate::opened::Opened;
use crate::outer::AnyOuter;
use crate::peer::{Desired, Peer};
use crate::reconcile::Reconciled;

/// The longest nap: wall clock and liveness are looked at that often.
const NAP_MAX: Duration = Duration::from_secs(1);
/// Commands given before requests and events are looked at again.
const COMMANDS_PER_TURN: usize = 4096;
/// Between two looks at a worker's full queue.
const FULL_QUEUE_NAP: Duration = Duration::from_micros(200);
/// How often the kernel is asked for the datagrams that it lost.
const LOOK_AT_SOCKETS: Duration = Duration::from_secs(1);
/// The longest drain: nobody waits for longer, and it can be added to any time.
const DRAIN_MAX: Duration = Duration::from_secs(3600);
/// How long after the deadline of a drain a worker that has not let go counts as hanging.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// What the control thread is asked.
pub(crate) enum Request {
    AddInterface {
        interface: Box<Interface>,
        reply: Reply<Result<(InterfaceId, Option<String>), InterfaceError>>,
    },
    RemoveInterface {
        interface: InterfaceId,
        reply: Reply<Result<(), InterfaceError>>,
    },
    Apply {
        interface: InterfaceId,
        change: Change,
        reply: Reply<Result<(), InterfaceError>>,
    },
    Upsert {
        interface: InterfaceId,
        peer: Box<Peer>,
        reply: Reply<Result<PeerId, InterfaceError>>,
    },
    RemovePeer {
        interface: InterfaceId,
        peer: PeerId,
        reply: Reply<Result<(), InterfaceError>>,
    },
    Reconcile {
        interface: InterfaceId,
        desired: Desired,
        reply: Reply<Result<Reconciled, InterfaceError>>,
    },
    Snapshot {
        interface: InterfaceId,
        reply: Reply<Result<InterfaceSnapshot, InterfaceError>>,
    },
    SetUp {
        interface: InterfaceId,
        up: bool,
        reply: Reply<Result<(), InterfaceError>>,
    },
    SetMtu {
        interface: InterfaceId,
        mtu: u16,
        reply: Reply<Result<(), InterfaceError>>,
    },
    SetController {
        interface: InterfaceId,
        /// One peer, or all that have no controller of their own.
        peer: Option<PeerId>,
        controller: Box<dyn Controller>,
        reply: Reply<Result<(), InterfaceError>>,
    },
    SetInner {
        interface: InterfaceId,
        inner: InnerSide,
        reply: Reply<Result<Option<String>, InterfaceError>>,
    },
    NetworkChanged {
        interface: InterfaceId,
        reply: Reply<()>,
    },
    EraseSessions {
        reply: Reply<()>,
    },
    Drain {
        timeout: Duration,
        reply: Reply<Drained>,
    },
    Stop,
}

pub(crate) struct ControlParts {
    pub(crate) links: Arc<[WorkerLink]>,
    pub(crate) inbox: Receiver<Request>,
    pub(crate) events: EventSender,
    pub(crate) limits: Limits,
    pub(crate) offloads: Offloads,
    pub(crate) core_bits: u8,
    pub(crate) seed: [u8; 32],
    pub(crate) socket_hook: Option<SocketHook>,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Control {
    pub(crate) links: Arc<[WorkerLink]>,
    inbox: Receiver<Request>,
    events: EventSender,
    pub(crate) limits: Limits,
    pub(crate) offloads: Offloads,
    pub(crate) core_bits: u8,
    pub(crate) node: Node,
    pub(crate) interfaces: BTreeMap<InterfaceId, Opened>,
    /// A command that its worker's full queue did not take: nothing overtakes it.
    held: Option<(CoreId, WorkerCommand)>,
    /// Answers that wait until what they speak of has taken effect.
    fences: VecDeque<Fence>,
    pub(crate) outer: Box<dyn AnyOuter>,
    pub(crate) socket_hook: Option<SocketHook>,
    shared: Arc<Shared>,
    suspend: SuspendWatch,
    /// Panics of each worker that were answered.
    panics: Vec<u64>,
    /// When the kernel is asked next for the datagrams that it lost.
    look_at_sockets: Instant,
    drains: Vec<Draining>,
}

/// A drain on its way.
struct Draining {
    deadline: Instant,
    timed_out: Arc<AtomicBool>,
    done: Weak<DropSignal>,
    reply: Reply<Drained>,
}

impl Control {
    pub(crate) fn new(parts: ControlParts, outer: Box<dyn AnyOuter>) -> Self {
        let cores = parts.links.len() as u8;
        let config =
            NodeConfig { cores, core_bits: parts.core_bits, seed: parts.seed, limits: parts.limits.node() };
        Self {
            links: parts.links,
            inbox: parts.inbox,
            events: parts.events,
            limits: parts.limits,
            offloads: parts.offloads,
            core_bits: parts.core_bits,
            node: Node::new(config, clock::now()),
            interfaces: BTreeMap::new(),
            held: None,
            fences: VecDeque::new(),
            outer,
            socket_hook: parts.socket_hook,
            shared: parts.shared,
            suspend: SuspendWatch::new(clock::now(), clock::awake()),
            panics: vec![0; usize::from(cores)],
            look_at_sockets: Instant::ZERO,
            drains: Vec::new(),
        }
    }

    /// Runs until it is told to stop or the engine is gone.
    pub(crate) fn run(mut self, mut controllers: Controllers) {
        loop {
            let now = clock::now();
            self.node.set_wall_clock(now, clock::unix_now());
            if self.suspend.has_slept(now, clock::awake()) {
                // What was secret when the machine slept may have been read meanwhile (WG-37, FT-6).
                self.node.handle_suspend();
            }
            loop {
                match self.inbox.try_recv() {
                    Ok(Request::Stop) | Err(TryRecvError::Disconnected) => return self.stop(),
                    Ok(request) => self.serve(request, &mut controllers),
                    Err(TryRecvError::Empty) => break,
                }
            }
            let busy = self.turn(now, &mut controllers);
            self.look_after(now, &mut controllers);
            if self.shared.ended.get().is_some() {
                return self.stop();
            }
            if !busy {
                let due = self.node.poll_timeout().into_iter().chain(controllers.stalls_at());
                let due = due.chain(self.drains.iter().map(|drain| drain.deadline + DRAIN_GRACE)).min();
                let wait = due.map_or(NAP_MAX, |due| due.since(clock::now()));
                // Neither a worker nor the controllers call when their full queue has room again: they are looked at again soon.
                let full = self.held.is_some() || !self.fences.is_empty();
                let nap = if full { Duration::from_millis(1) } else { NAP_MAX };
                std::thread::park_timeout(wait.min(nap));
            }
        }
    }

    /// Moves messages between node, workers and controllers. Whether there were any.
    fn turn(&mut self, now: Instant, controllers: &mut Controllers) -> bool {
        let mut busy = self.hear_workers(now);
        while let Ok(message) = controllers.outputs.try_recv() {
            match message {
                FromControllers::Output(output) => self.node.handle_controller(now, output),
                FromControllers::Fence(fence) => {
                    controllers.returned(&fence);
                    self.fence_workers(&fence);
                }
                FromControllers::Panicked(interface) => {
                    self.events.send(Event::Degraded(Degradation::ControllerPanicked(interface)));
                }
            }
            busy = true;
        }
        if self.node.poll_timeout().is_some_and(|due| due <= now) {
            self.node.handle_timeout(now);
            busy = true;
        }
        while controllers.has_room() {
            let Some((interface, input)) = self.node.poll_controller_input() else { break };
            controllers.send(ToControllers::Input(interface, input));
            busy = true;
        }
        let stalled = self.shared.controllers_stalled.load(Ordering::Relaxed);
        while stalled || controllers.has_room() {
            // Facts come first: the fence is to come back behind what they lead to.
            let Some(fence) = self.fences.pop_front() else { break };
            if stalled {
                self.fence_workers(&fence);
            } else {
                controllers.send(ToControllers::Fence(fence));
            }
        }
        while let Some(notice) = self.node.poll_notice() {
            self.tell(notice);
            busy = true;
        }
        busy | self.give_commands()
    }

    /// What goes wrong beside the way of packets: stalled controllers, workers that panicked, datagrams that the kernel lost.
    fn look_after(&mut self, now: Instant, controllers: &mut Controllers) {
        let stalled = controllers.is_stalled(now);
        if stalled != self.shared.controllers_stalled.swap(stalled, Ordering::Relaxed) {
            let what = Degradation::ControllersStalled;
            self.events.send(if stalled { Event::Degraded(what) } else { Event::Recovered(what) });
        }
        if stalled {
            let stuck: Vec<Fence> = controllers.take_stuck().collect();
            for fence in stuck {
                // The thread that is stuck holds it as well: it is passed when the workers are done with it.
                self.fence_workers(&(Arc::new(PassOnDrop(fence)) as Fence));
            }
        }
        self.look_after_workers(now);
        if now >= self.look_at_sockets {
            self.look_at_sockets = now + LOOK_AT_SOCKETS;
            for (number, link) in self.links.iter().enumerate() {
                let lost = self.interfaces.values().map(|opened| opened.lost(number)).sum();
                // The only writer; it publishes nothing but itself.
                link.kernel_drops.store(lost, Ordering::Relaxed);
            }
        }
        let drains = std::mem::take(&mut self.drains);
        for drain in drains {
            let let_go = drain.done.strong_count() == 0;
            if let_go && !drain.timed_out.load(Ordering::Acquire) {
                drain.reply.send(Drained::All);
            } else if let_go || now >= drain.deadline + DRAIN_GRACE {
                // A worker lets go by itself when its time is over, unless it hangs.
                drain.reply.send(Drained::TimedOut);
            } else {
                self.drains.push(drain);
            }
        }
    }

    /// A worker that has panicked has an empty shard, and is told everything anew (FT-8). One that has ended ends the engine: the
    /// peers of its core would be lost.
    fn look_after_workers(&mut self, now: Instant) {
        let links = Arc::clone(&self.links);
        for (number, link) in links.iter().enumerate() {
            let panics = link.panics();
            if link.ended() && !link.stopping() {
                let message = link.panic_message();
                let reason = match panics == self.panics[number] {
                    true => EndReason::Poller { worker: number },
                    false => EndReason::WorkerPanics { worker: number, panics, message },
                };
                if self.shared.ended.set(reason.clone()).is_ok() {
                    self.events.send(Event::Ended(reason));
                }
            } else if panics != self.panics[number] {
                self.panics[number] = panics;
                let core = CoreId(number as u8);
                self.give_waiting(core, WorkerCommand::Adopt);
                self.node.republish(now, core);
                self.give_waiting(core, WorkerCommand::Adopted);
                self.events.send(Event::WorkerRestarted(number));
            }
        }
    }

    fn hear_workers(&mut self, now: Instant) -> bool {
        let links = Arc::clone(&self.links);
        let mut busy = false;
        for (number, link) in links.iter().enumerate() {
            let core = CoreId(number as u8);
            let heard = link.hear(|told| match told {
                Told::Event(event) => self.node.handle_event(now, core, event),
                Told::Handshake(arrived) => self.node.handle_handshake(now, core, &arrived),
            });
            busy |= heard.any;
            if heard.maybe_more {
                link.waker.wake();
            }
        }
        self.hear_of_gone();
        busy
    }

    /// Each worker that reads an inner side finds out by itself that it is gone: the first is news.
    pub(crate) fn hear_of_gone(&mut self) {
        for link in self.links.iter() {
            while let Some(interface) = link.gone.pop() {
                if self.interfaces.get_mut(&interface).is_some_and(Opened::note_gone) {
                    self.events.send(Event::InterfaceGone(interface));
                }
            }
        }
    }

    fn tell(&mut self, notice: Notice) {
        match notice {
            Notice::HandshakeComplete { peer, .. } => {
                self.events.send(Event::Handshake { peer, at: SystemTime::now() });
            }
            Notice::HandshakeGivenUp { peer, .. } => self.events.send(Event::HandshakeGivenUp { peer }),
            Notice::PathChanged { peer, path, .. } => self.events.send(Event::Path { peer, path }),
            Notice::Missed(missed) => self.events.missed(missed),
            _ => {}
        }
    }

    /// Gives the node's commands to the workers, in order. Whether any could be given.
    fn give_commands(&mut self) -> bool {
        let mut woken = 0u64;
        let mut given = 0;
        if let Some((core, command)) = self.held.take() {
            if !self.give(core, command) {
                self.links[usize::from(core.0)].waker.wake();
                return false;
            }
            woken |= 1 << core.0;
        }
        while given < COMMANDS_PER_TURN && self.held.is_none() {
            let Some((core, command)) = self.node.poll_command() else { break };
            woken |= 1 << core.0;
            given += usize::from(self.give(core, WorkerCommand::Proto(command)));
        }
        let any = woken != 0;
        while woken != 0 {
            self.links[woken.trailing_zeros() as usize].waker.wake();
            woken &= woken - 1;
        }
        any
    }

    /// Whether the worker's queue took it; else it is held.
    fn give(&mut self, core: CoreId, command: WorkerCommand) -> bool {
        match self.links[usize::from(core.0)].commands.push(command) {
            Ok(()) => true,
            Err(command) => {
                self.held = Some((core, command));
                false
            }
        }
    }

    /// Gives a command to a worker behind all that were given before, waiting for room.
    pub(crate) fn give_waiting(&mut self, core: CoreId, mut command: WorkerCommand) {
        self.settle();
        let links = Arc::clone(&self.links);
        let link = &links[usize::from(core.0)];
        while let Err(back) = link.commands.push(command) {
            if link.ended() {
                return;
            }
            command = back;
            link.waker.wake();
            std::thread::sleep(FULL_QUEUE_NAP);
        }
        link.waker.wake();
    }

    /// Waits until every command that the node has is in its worker's queue.
    pub(crate) fn settle(&mut self) {
        loop {
            let given = self.give_commands();
            match &self.held {
                None if !given => return,
                None => {}
                Some((core, _)) if self.links[usize::from(core.0)].ended() => self.held = None,
                Some(_) => std::thread::sleep(FULL_QUEUE_NAP),
            }
        }
    }

    fn serve(&mut self, request: Request, controllers: &mut Controllers) {
        match request {
            Request::AddInterface { interface, reply } => {
                let added = self.add_interface(*interface, controllers);
                self.answer(reply, added);
            }
            Request::RemoveInterface { interface, reply } => {
                reply.send(self.remove_interface(interface, controllers));
            }
            Request::Apply { interface, change, reply } => {
                let applied = self.apply(interface, change).map(drop);
                self.answer(reply, applied);
            }
            Request::Upsert { interface, peer, reply } => {
                let upserted = self.upsert(interface, *peer);
                self.answer(reply, upserted);
            }
            Request::RemovePeer { interface, peer, reply } => {
                let removed = self.remove_peer(interface, peer);
                self.answer(reply, removed);
            }
            Request::Reconcile { interface, desired, reply } => {
                let reconciled = self.reconcile(interface, desired);
                self.answer(reply, reconciled);
            }
            Request::Snapshot { interface, reply } => reply.send(self.snapshot(interface)),
            Request::SetUp { interface, up, reply } => {
                let set = self.set_up(interface, up);
                self.answer(reply, set);
            }
            Request::SetMtu { interface, mtu, reply } => reply.send(self.set_mtu(interface, mtu)),
            Request::SetController { interface, peer, controller, reply } => {
                let set = self.set_controller(interface, peer, controller, controllers);
                self.answer(reply, set);
            }
            Request::SetInner { interface, inner, reply } => {
                let set = self.set_inner(interface, inner);
                self.answer(reply, set);
            }
            Request::NetworkChanged { interface, reply } => {
                self.node.network_changed(clock::now(), interface);
                self.answer(reply, ());
            }
            Request::EraseSessions { reply } => {
                self.node.handle_suspend();
                self.answer(reply, ());
            }
            Request::Drain { timeout, reply } => {
                let deadline = clock::now() + timeout.min(DRAIN_MAX);
                let _done = DropSignal::new(std::thread::current());
                let drain = Drain { deadline, timed_out: Arc::default(), _done };
                for number in 0..self.links.len() {
                    self.give_waiting(CoreId(number as u8), WorkerCommand::Drain(drain.clone()));
                }
                let done = Arc::downgrade(&drain._done);
                self.drains.push(Draining { deadline, timed_out: drain.timed_out, done, reply });
            }
            Request::Stop => {}
        }
    }

    fn set_controller(
        &mut self,
        interface: InterfaceId,
        peer: Option<PeerId>,
        controller: Box<dyn Controller>,
        controllers: &mut Controllers,
    ) -> Result<(), InterfaceError> {
        if !self.interfaces.contains_key(&interface) {
            return Err(InterfaceError::Unknown);
        }
        if !controllers.takes_changes() {
            return Err(InterfaceError::ControllersStalled);
        }
        match peer {
            None => controllers.send(ToControllers::Set(interface, controller)),
            Some(peer) => {
                let found = self.node.public_key_of(peer).filter(|(owner, _)| *owner == interface);
                found.ok_or(InterfaceError::NoPeer)?;
                controllers.send(ToControllers::SetPeer(interface, peer, controller));
            }
        }
        // What there is already is new to it.
        self.node.tell_again(interface, peer);
        Ok(())
    }

    /// Answers when everything so far has taken effect: controllers have been heard, and workers have done what they were told.
    fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, answer: T) {
        self.fences.push_back(Arc::new(AnswerOnDrop::new(reply, answer)));
    }

    /// The second half of a fence, behind all commands that the node has for the workers.
    fn fence_workers(&mut self, fence: &Fence) {
        for number in 0..self.links.len() {
            self.give_waiting(CoreId(number as u8), WorkerCommand::Fence { _done: Arc::clone(fence) });
        }
    }

    fn stop(self) {
        if self.shared.ended.get().is_some() {
            self.links.iter().for_each(WorkerLink::stop);
        }
    }
}

/// Passes a fence when it is dropped: by the last worker.
struct PassOnDrop(Fence);

impl Pass for PassOnDrop {
    fn pass(&self) {
        self.0.pass();
    }
}

impl Drop for PassOnDrop {
    fn drop(&mut self) {
        self.0.pass();
    }
}
