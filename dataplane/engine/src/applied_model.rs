//! Every interleaving of an answer and who waits for it, explored by loom. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p dataplane --lib model`.
//!
//! All of it is the real code. A wake-up that is lost is a deadlock, which loom reports.

use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::*;

#[test]
fn an_answer_reaches_the_thread_that_waits_or_will_wait() {
    loom::model(|| {
        let (reply, applied) = pair();
        let done = Arc::new(AtomicUsize::new(0));
        let there = Arc::clone(&done);
        let engine = thread::spawn(move || {
            // Relaxed: that it is seen is for the answer to order.
            there.store(1, Ordering::Relaxed);
            reply.send(7);
        });
        assert_eq!(applied.wait(), Ok(7));
        assert_eq!(done.load(Ordering::Relaxed), 1, "what was done before the answer");
        engine.join().unwrap();
    });
}

#[test]
fn a_reply_that_is_dropped_says_stopped() {
    loom::model(|| {
        let (reply, applied) = pair::<()>();
        let engine = thread::spawn(move || drop(reply));
        assert_eq!(applied.wait(), Err(Stopped));
        engine.join().unwrap();
    });
}

/// Unparks a thread of the model.
struct Unpark(loom::thread::Thread);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn an_answer_wakes_the_task_that_polled_before_it() {
    loom::model(|| {
        let (reply, mut applied) = pair();
        let engine = thread::spawn(move || reply.send(7));
        let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
        let answer = loop {
            match Pin::new(&mut applied).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => break answer,
                Poll::Pending => thread::park(),
            }
        };
        assert_eq!(answer, Ok(7));
        engine.join().unwrap();
    });
}

#[test]
fn a_fence_answers_when_the_last_worker_has_let_go_of_it_and_shows_what_all_did() {
    loom::model(|| {
        let (reply, applied) = pair();
        let fence = Arc::new(AnswerOnDrop::new(reply, 7));
        let done = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let workers: Vec<_> = (0..2)
            .map(|number| {
                let (fence, done) = (Arc::clone(&fence), Arc::clone(&done));
                thread::spawn(move || {
                    // Relaxed: that it is seen is for the fence to order.
                    done[number].store(1, Ordering::Relaxed);
                    drop(fence);
                })
            })
            .collect();
        drop(fence);
        assert_eq!(applied.wait(), Ok(7));
        let seen: Vec<usize> = done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
        assert_eq!(seen, [1, 1], "an answer before its time");
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}
