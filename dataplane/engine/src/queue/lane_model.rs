//! Every interleaving of one lane, explored by loom. Run with `RUSTFLAGS="--cfg loom" cargo test -p dataplane --lib model`.
//!
//! Real: lane and bell. In the place of crossbeam's rings one that makes the same promise, in the place of the eventfd a flag.

use loom::thread;

use super::*;

/// A reader that sleeps on the descriptor and reads all that there is whenever it wakes. A batch of which it is not told is a
/// deadlock, which loom reports.
fn reader_gets_all(batches: usize, preemptions_max: usize) {
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = Some(preemptions_max);
    explorer.check(move || {
        let lane = loom::sync::Arc::new(Lane::new(batches).unwrap());
        let there = loom::sync::Arc::clone(&lane);
        let writer = thread::spawn(move || {
            for _ in 0..batches {
                let batch = there.take_free().unwrap();
                there.publish(batch);
                there.bell.ring();
            }
        });
        let (closed, mut count) = (AtomicBool::new(false), 0);
        while count < batches {
            lane.bell.event().wait();
            while lane.next(&closed).is_some() {
                count += 1;
            }
        }
        writer.join().unwrap();
        // Nothing is left, so the reader comes to rest.
        for _ in 0..2 {
            assert!(lane.next(&closed).is_none());
        }
        assert!(!lane.bell.event().is_set(), "a reader that would never sleep");
    });
}

#[test]
fn a_reader_is_told_of_every_batch_and_then_sleeps() {
    reader_gets_all(1, 4);
    reader_gets_all(2, 3);
}
