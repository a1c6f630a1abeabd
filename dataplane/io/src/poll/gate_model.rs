//! Every interleaving of a worker that waits and threads that call it, explored by loom. Run with
//! `RUSTFLAGS="--cfg loom" cargo test --release -p dataplane-io gate`.
//!
//! Modelled: the gate itself, compiled a second time with loom's atomic, and an edge-triggered eventfd as a counter that a wait
//! compares with what it saw last. Not modelled: the kernel.

use loom::sync::atomic::AtomicUsize;
use loom::sync::{Arc, Condvar, Mutex, atomic};
use loom::thread;

#[path = "gate.rs"]
mod gate;

use atomic::Ordering;
use gate::Gate;

/// What stands for the eventfd.
#[derive(Default)]
struct Bell {
    rung: Mutex<usize>,
    changed: Condvar,
}

struct Worker {
    gate: Gate,
    bell: Bell,
    queued: AtomicUsize,
}

/// Callers that queue one item each and call; a worker that waits until it has seen all. A lost wake-up is a deadlock, which
/// loom reports; so is an item that is not seen after the wait that its call has ended.
fn worker_sees_all_calls(callers: usize, preemptions_max: Option<usize>) {
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = preemptions_max;
    explorer.check(move || {
        let worker =
            Arc::new(Worker { gate: Gate::new(), bell: Bell::default(), queued: AtomicUsize::new(0) });
        let threads: Vec<_> = (0..callers)
            .map(|_| {
                let worker = Arc::clone(&worker);
                thread::spawn(move || {
                    // Relaxed: that the item is seen is for the gate to order.
                    worker.queued.fetch_add(1, Ordering::Relaxed);
                    if worker.gate.call() {
                        *worker.bell.rung.lock().unwrap() += 1;
                        worker.bell.changed.notify_all();
                    }
                })
            })
            .collect();
        let mut heard = 0;
        while worker.queued.load(Ordering::Relaxed) < callers {
            if worker.gate.park() {
                let mut rung = worker.bell.rung.lock().unwrap();
                while *rung == heard {
                    rung = worker.bell.changed.wait(rung).unwrap();
                }
                heard = *rung;
            }
            worker.gate.unpark();
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(*worker.bell.rung.lock().unwrap() <= callers);
    });
}

#[test]
fn no_call_of_one_thread_is_lost() {
    worker_sees_all_calls(1, None);
}

#[test]
fn no_call_of_two_threads_is_lost() {
    // Without a bound this takes minutes, and finds the same.
    worker_sees_all_calls(2, Some(3));
}
