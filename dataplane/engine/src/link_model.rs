//! Every interleaving of a worker and those who reach it, explored by loom. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p dataplane --lib model`.
//!
//! Real: the link with its rings' users, its flags, fences and their answers, the pool whose buffers are handed over, and the
//! gate of the poller, compiled a second time with loom's atomic. In the place of crossbeam's rings one that makes the same
//! promise (`dataplane_io::ring_model`), in the place of the eventfd a counter, in the place of a shard a number of commands
//! that took effect. That number is `Relaxed`: loom lets a reader see an old one wherever nothing orders it.

use dataplane_io::poll::Poller;
use dataplane_io::{Class, Plan, Pool, PoolSizes, Region};
use loom::sync::atomic::AtomicUsize;
use loom::sync::{Condvar, Mutex, atomic};
use loom::thread;

use super::*;
use crate::applied::{self, AnswerOnDrop};
use crate::controllers::Pass;

#[path = "../../io/src/poll/gate.rs"]
mod gate;

use gate::Gate;

/// A worker as others see it, with what stands for its poller and its shard.
struct Place {
    link: WorkerLink,
    gate: Gate,
    /// Times that the eventfd was written.
    rung: Mutex<usize>,
    changed: Condvar,
    /// Commands that have taken effect.
    effect: AtomicUsize,
}

impl Place {
    fn new() -> Self {
        let waker = Poller::new(1).unwrap().waker();
        let link = WorkerLink::new(waker);
        let effect = AtomicUsize::new(0);
        Self { link, gate: Gate::new(), rung: Mutex::new(0), changed: Condvar::new(), effect }
    }

    /// What `Waker::wake` does.
    fn wake(&self) {
        if self.gate.call() {
            *self.rung.lock().unwrap() += 1;
            self.changed.notify_all();
        }
    }

    /// What `Poller::wait` does without a timeout.
    fn wait(&self, heard: &mut usize) {
        if self.gate.park() {
            let mut rung = self.rung.lock().unwrap();
            while *rung == *heard {
                rung = self.changed.wait(rung).unwrap();
            }
            *heard = *rung;
        }
        self.gate.unpark();
    }

    /// A worker's turns until it is told to stop.
    fn run(&self) {
        let mut heard = 0;
        while !self.link.stopping() {
            self.wait(&mut heard);
            self.take_commands();
        }
        self.link.set_ended();
    }

    fn take_commands(&self) {
        while let Some(command) = self.link.commands.pop() {
            match command {
                WorkerCommand::Proto(_) => {
                    self.effect.store(self.effect.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                }
                fence => drop(fence),
            }
        }
    }

    /// What the control thread does with a command behind others, waiting for room.
    fn give(&self, mut command: WorkerCommand) {
        while let Err(back) = self.link.commands.push(command) {
            if self.link.ended() {
                return;
            }
            command = back;
            self.wake();
            thread::yield_now();
        }
        self.wake();
    }
}

fn route() -> WorkerCommand {
    let prefix = "10.0.0.0/8".parse().unwrap();
    WorkerCommand::Proto(Command::RemoveRoute { interface: InterfaceId(0), prefix })
}

/// Explores with at most so many preemptions: without a bound these take hours.
fn explore(preemptions_max: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = Some(preemptions_max);
    explorer.check(model);
}

/// A worker's hold of a fence. The count that all share is loom's, so that it sees what the last drop orders.
struct Part(#[expect(dead_code, reason = "held, and dropped")] loom::sync::Arc<AnswerOnDrop<()>>);

impl Pass for Part {
    fn pass(&self) {}
}

/// Workers that get `commands` routes each and a fence behind them: when the fence answers, every route is in effect.
fn publication(workers: usize, commands: usize, preemptions_max: usize) {
    explore(preemptions_max, move || {
        let places: Vec<_> = (0..workers).map(|_| loom::sync::Arc::new(Place::new())).collect();
        let threads: Vec<_> = places
            .iter()
            .map(|place| {
                let place = loom::sync::Arc::clone(place);
                thread::spawn(move || place.run())
            })
            .collect();
        let (reply, applied) = applied::pair();
        let fence = loom::sync::Arc::new(AnswerOnDrop::new(reply, ()));
        for place in &places {
            (0..commands).for_each(|_| place.give(route()));
            place.give(WorkerCommand::Fence { _done: Arc::new(Part(loom::sync::Arc::clone(&fence))) });
        }
        drop(fence);
        assert_eq!(applied.wait(), Ok(()));
        for place in &places {
            assert_eq!(place.effect.load(Ordering::Relaxed), commands, "answered before it took effect");
            place.link.stop();
            place.wake();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn routes_are_in_effect_on_every_worker_when_their_request_is_answered() {
    publication(2, 1, 2);
}

#[test]
fn more_commands_than_the_queue_has_places_take_effect_in_order_and_none_is_lost() {
    publication(1, 3, 3);
}

#[test]
fn a_worker_with_more_to_tell_than_its_queue_takes_is_called_when_there_is_room() {
    const EVENTS: u32 = 3;
    explore(3, || {
        let place = loom::sync::Arc::new(Place::new());
        let there = loom::sync::Arc::clone(&place);
        let worker = thread::spawn(move || {
            let (mut heard, mut told) = (0, 0);
            while told < EVENTS {
                if told > 0 {
                    there.wait(&mut heard);
                }
                while told < EVENTS && !there.link.events.is_full() {
                    let event = Event::Confirmed { peer: PeerId::default(), local_index: told };
                    told += u32::from(there.link.events.push(event).is_ok());
                }
            }
        });
        let mut next = 0;
        while next < EVENTS {
            let heard = place.link.hear(|told| match told {
                Told::Event(Event::Confirmed { local_index, .. }) => {
                    assert_eq!(local_index, next);
                    next += 1;
                }
                _ => panic!("something else"),
            });
            if heard.maybe_more {
                place.wake();
            }
            // In the place of the worker's call.
            thread::yield_now();
        }
        worker.join().unwrap();
    });
}

#[test]
fn a_worker_that_ended_holds_nobody_and_shows_all_it_did() {
    explore(3, || {
        let place = loom::sync::Arc::new(Place::new());
        let there = loom::sync::Arc::clone(&place);
        let worker = thread::spawn(move || {
            // It takes one command, and ends by itself as after a panic.
            there.take_commands();
            there.effect.store(9, Ordering::Relaxed);
            there.link.set_ended();
        });
        (0..3).for_each(|_| place.give(route()));
        while !place.link.ended() {
            thread::yield_now();
        }
        assert_eq!(place.effect.load(Ordering::Relaxed), 9, "what it did before its end");
        worker.join().unwrap();
    });
}

#[test]
fn a_worker_that_is_told_to_stop_stops_whether_it_sleeps_or_not() {
    explore(3, || {
        let place = loom::sync::Arc::new(Place::new());
        let there = loom::sync::Arc::clone(&place);
        let worker = thread::spawn(move || there.run());
        place.give(route());
        // Relaxed: that a worker which stops sees it is for the flag to order.
        place.link.stop();
        place.wake();
        worker.join().unwrap();
        assert!(place.link.ended());
    });
}

// EN-10
#[test]
fn what_is_handed_over_arrives_once_or_is_counted_and_its_buffer_comes_home() {
    explore(2, || {
        let plan = Plan::new().with("model", Class::Frame, 4);
        let sizes = PoolSizes { frames: 4, ..PoolSizes::default() };
        let mut pool = Pool::new(&Region::new(&plan).unwrap(), sizes).unwrap();
        let place = loom::sync::Arc::new(Place::new());
        let written = loom::sync::Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let (there, seen) = (loom::sync::Arc::clone(&place), loom::sync::Arc::clone(&written));
        let receiver = thread::spawn(move || {
            let (mut heard, mut count) = (0, 0);
            while !there.link.stopping() {
                there.wait(&mut heard);
                count += receive(&there, &seen);
            }
            count + receive(&there, &seen)
        });
        let mut dropped = 0;
        for number in 0..3 {
            let Some(buf) = pool.take(Class::Frame) else { continue };
            // Relaxed: that it is seen is for the ring to order.
            written[number % 2].store(7, Ordering::Relaxed);
            let (interface, peer) = (InterfaceId(0), PeerId::default());
            let packet = HandOff::Packet { interface, peer, buf, len: number % 2 };
            match place.link.hand_offs.push(packet) {
                Ok(()) => place.wake(),
                Err(_) => dropped += 1,
            }
        }
        place.link.stop();
        place.wake();
        let received = receiver.join().unwrap();
        assert_eq!(received + dropped, 3);
        assert_eq!(pool.free(Class::Frame), 4, "a buffer was lost");
    });
}

fn receive(place: &Place, written: &[AtomicUsize; 2]) -> usize {
    let mut count = 0;
    while let Some(hand_off) = place.link.hand_offs.pop() {
        let HandOff::Packet { buf, len, .. } = hand_off else { continue };
        assert_eq!(written[len].load(Ordering::Relaxed), 7, "a buffer before its bytes");
        drop(buf);
        count += 1;
    }
    count
}
