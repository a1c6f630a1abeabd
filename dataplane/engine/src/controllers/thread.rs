//! The thread on which control layers run, so that a slow one stops nothing but itself and its neighbours on this thread.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread::Thread;
use std::time::Duration;

use dataplane_proto::Controller;
use dataplane_proto::controller::{Input, Output};
use dataplane_wire::{Instant, InterfaceId, PeerId};

use super::{Fence, FromControllers, ToControllers};
use crate::clock;

/// Wishes taken from one controller before the next fact is handed in.
const OUTPUTS_PER_TURN: usize = 256;
/// Least time between two looks at a controller that says it is due and then wants nothing: its defect costs no CPU.
const IDLE_MIN: Duration = Duration::from_millis(1);

/// Whose word counts for a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Interface(InterfaceId),
    Peer(InterfaceId, PeerId),
}

impl Owner {
    fn interface(self) -> InterfaceId {
        match self {
            Self::Interface(interface) | Self::Peer(interface, _) => interface,
        }
    }
}

/// A peer as its controllers are told of it.
#[derive(Clone, Copy)]
struct Known {
    owner: Owner,
    /// Generations of paths count up per peer, also from one controller to the next: what is added to those of the present one.
    base: u32,
    last: u32,
}

impl Known {
    fn pass_to(&mut self, owner: Owner) {
        self.owner = owner;
        self.base = self.last.wrapping_add(1);
    }
}

/// A controller, and when it wants to be polled.
struct Layer {
    controller: Box<dyn Controller>,
    due: Option<Instant>,
}

#[derive(Default)]
struct Layers {
    layers: BTreeMap<Owner, Layer>,
    peers: BTreeMap<PeerId, Known>,
    /// To be polled now: something was said to them, or they have more to say.
    ready: BTreeSet<Owner>,
    timers: BTreeSet<(Instant, Owner)>,
    /// Panicked, and not told yet.
    panicked: Vec<InterfaceId>,
}

/// Runs until the control thread is gone.
pub(super) fn run(
    inbox: &Receiver<ToControllers>,
    outbox: &SyncSender<FromControllers>,
    done: &AtomicU64,
    control: &Thread,
) {
    let mut layers = Layers::default();
    let mut fences: Vec<Fence> = Vec::new();
    let tell = |message| {
        let told = outbox.send(message).is_ok();
        control.unpark();
        told
    };
    loop {
        let now = clock::now();
        if !layers.poll_ready(now, |output| tell(FromControllers::Output(output))) {
            return;
        }
        // A fence passes behind everything that is wanted because of what came before it.
        let passing = if layers.ready.is_empty() { fences.len() } else { 0 };
        let passed = fences.drain(..passing).map(FromControllers::Fence);
        if !layers.panicked.drain(..).map(FromControllers::Panicked).chain(passed).all(tell) {
            return;
        }
        match inbox.recv_timeout(layers.wait(now)) {
            Ok(ToControllers::Fence(fence)) => fences.push(fence),
            Ok(message) => layers.take(clock::now(), message),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // The only writer.
        done.store(done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

impl Layers {
    /// Takes wishes of those that are ready or due. Whether all of them could be told.
    fn poll_ready(&mut self, now: Instant, mut tell: impl FnMut(Output) -> bool) -> bool {
        while let Some(&(at, owner)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            self.ready.insert(owner);
        }
        for owner in std::mem::take(&mut self.ready) {
            let mut taken = 0;
            while taken < OUTPUTS_PER_TURN
                && let Some(output) = self.call(owner, |controller| controller.poll_output(now)).flatten()
            {
                taken += 1;
                if self.is_valid(owner, &output) && !tell(self.renumber(output)) {
                    return false;
                }
            }
            if taken == OUTPUTS_PER_TURN {
                self.ready.insert(owner);
            }
            let due = self.call(owner, |controller| controller.poll_timeout()).flatten();
            // Who is due, and wants nothing, is looked at again a moment later.
            self.set_timer(owner, due.map(|due| due.max(now + IDLE_MIN)));
        }
        true
    }

    /// How long nobody wants anything, if nothing is said.
    fn wait(&self, now: Instant) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        self.timers.first().map_or(Duration::MAX, |(at, _)| at.since(now))
    }

    fn set_timer(&mut self, owner: Owner, due: Option<Instant>) {
        let Some(layer) = self.layers.get_mut(&owner) else { return };
        if let Some(before) = std::mem::replace(&mut layer.due, due) {
            self.timers.remove(&(before, owner));
        }
        self.timers.extend(due.map(|due| (due, owner)));
    }

    fn insert(&mut self, owner: Owner, controller: Box<dyn Controller>) {
        self.remove(owner);
        self.layers.insert(owner, Layer { controller, due: None });
        self.ready.insert(owner);
    }

    /// Lets go of a controller, whose drop is its own code, too.
    fn remove(&mut self, owner: Owner) {
        let Some(layer) = self.layers.remove(&owner) else { return };
        if let Some(due) = layer.due {
            self.timers.remove(&(due, owner));
        }
        self.ready.remove(&owner);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(layer)));
    }

    fn take(&mut self, now: Instant, message: ToControllers) {
        match message {
            ToControllers::Set(interface, controller) => {
                let owner = Owner::Interface(interface);
                self.insert(owner, controller);
                self.peers
                    .values_mut()
                    .filter(|peer| peer.owner == owner)
                    .for_each(|peer| peer.pass_to(owner));
            }
            ToControllers::SetPeer(interface, peer, controller) => {
                let owner = Owner::Peer(interface, peer);
                self.insert(owner, controller);
                let Some(known) = self.peers.get_mut(&peer) else {
                    self.peers.insert(peer, Known { owner, base: 0, last: 0 });
                    return;
                };
                let before = known.owner;
                known.pass_to(owner);
                if before != owner {
                    self.tell(now, before, Input::PeerRemoved { peer });
                }
            }
            ToControllers::Remove(interface) => {
                let owners: Vec<Owner> = self.layers.keys().copied().collect();
                for owner in owners.into_iter().filter(|owner| owner.interface() == interface) {
                    self.remove(owner);
                }
                self.peers.retain(|_, peer| peer.owner.interface() != interface);
            }
            ToControllers::Input(interface, input) => self.hand_in(now, interface, input),
            ToControllers::Fence(_) => {}
        }
    }

    fn hand_in(&mut self, now: Instant, interface: InterfaceId, input: Input) {
        let Some(peer) = peer_of(&input) else { return };
        let gone = matches!(input, Input::PeerRemoved { .. });
        let new = || Known { owner: Owner::Interface(interface), base: 0, last: 0 };
        let known = match gone {
            true => self.peers.remove(&peer),
            false => Some(*self.peers.entry(peer).or_insert_with(new)),
        };
        // Removed before anybody was told of it, or with an interface whose number another one may have now.
        let Some(Known { owner, .. }) = known else { return };
        self.tell(now, owner, input);
        if let (true, Owner::Peer(..)) = (gone, owner) {
            self.remove(owner);
        }
    }

    fn tell(&mut self, now: Instant, owner: Owner, input: Input) {
        if self.call(owner, |controller| controller.handle_input(now, input)).is_some() {
            self.ready.insert(owner);
        }
    }

    /// Calls a controller. One that panics is gone: its peers keep their last paths.
    fn call<T>(&mut self, owner: Owner, call: impl FnOnce(&mut dyn Controller) -> T) -> Option<T> {
        let layer = self.layers.get_mut(&owner)?;
        let called = catch_unwind(AssertUnwindSafe(|| call(layer.controller.as_mut())));
        if called.is_err() {
            self.remove(owner);
            self.panicked.push(owner.interface());
        }
        called.ok()
    }

    /// Whether the peer is the controller's to speak of.
    fn is_valid(&self, owner: Owner, output: &Output) -> bool {
        let Output::SetPath { peer, .. } = output else { return true };
        self.peers.get(peer).is_some_and(|known| known.owner == owner)
    }

    fn renumber(&mut self, mut output: Output) -> Output {
        if let Output::SetPath { peer, generation, .. } = &mut output
            && let Some(known) = self.peers.get_mut(peer)
        {
            *generation = generation.wrapping_add(known.base);
            known.last = known.last.max(*generation);
        }
        output
    }
}

fn peer_of(input: &Input) -> Option<PeerId> {
    match input {
        Input::PeerUpserted { peer, .. }
        | Input::PeerRemoved { peer }
        | Input::Roamed { peer, .. }
        | Input::HandshakeComplete { peer }
        | Input::HandshakeGivenUp { peer } => Some(*peer),
        _ => None,
    }
}
