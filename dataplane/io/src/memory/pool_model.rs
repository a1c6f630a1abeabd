//! Every interleaving of the pool's protocol, explored by loom. Run with `RUSTFLAGS="--cfg loom" cargo test --release`.
//!
//! Modelled: the private list, the return queue (a stand-in with crossbeam's shape, see `ring_model.rs`), the count on `Home`, and who
//! may touch a buffer's bytes (a ghost cell per buffer, in which loom reports any access that is not ordered with the last).
//! Not modelled: the inside of crossbeam's ring.
//!
//! Contains unsafe: a cell whose access loom orders.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::memory::Plan;

fn region(frames: usize) -> Region {
    Region::new(&Plan::new().with("model", Class::Frame, frames)).unwrap()
}

/// The bytes of each buffer, as loom sees them.
struct Ghost(Vec<UnsafeCell<u32>>);

// SAFETY: that access is ordered is what loom checks.
unsafe impl Sync for Ghost {}
// SAFETY: as above.
unsafe impl Send for Ghost {}

impl Ghost {
    fn new(frames: usize) -> Arc<Self> {
        Arc::new(Self((0..frames).map(|_| UnsafeCell::new(0)).collect()))
    }

    /// The holder writes the buffer. Loom fails the run if another thread's access is not ordered before.
    fn write(&self, buf: &Buf) {
        // SAFETY: checked by loom.
        self.0[buf.number as usize].with_mut(|cell| unsafe { *cell += 1 });
    }
}

fn pool(frames: usize) -> Pool {
    Pool::new(&region(frames), PoolSizes { frames, ..PoolSizes::default() }).unwrap()
}

// EN-10
#[test]
fn buffers_dropped_on_two_other_cores_come_home_while_the_owner_takes() {
    loom::model(|| {
        let mut pool = pool(2);
        let ghost = Ghost::new(2);
        let away: Vec<_> = (0..2)
            .map(|_| {
                let buf = pool.take(Class::Frame).unwrap();
                ghost.write(&buf);
                let ghost = Arc::clone(&ghost);
                thread::spawn(move || {
                    ghost.write(&buf);
                    drop(buf);
                })
            })
            .collect();
        if let Some(buf) = pool.take(Class::Frame) {
            ghost.write(&buf);
            pool.put(buf);
        }
        away.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(pool.free(Class::Frame), 2, "a buffer was lost");
    });
}

// EN-10
#[test]
fn a_buffer_goes_around_between_owner_and_another_core() {
    loom::model(|| {
        let mut pool = pool(1);
        let ghost = Ghost::new(1);
        let first = pool.take(Class::Frame).unwrap();
        ghost.write(&first);
        let there = Arc::clone(&ghost);
        let other = thread::spawn(move || {
            there.write(&first);
            drop(first);
        });
        if let Some(again) = pool.take(Class::Frame) {
            ghost.write(&again);
            let there = Arc::clone(&ghost);
            let third = thread::spawn(move || {
                there.write(&again);
                drop(again);
            });
            third.join().unwrap();
        }
        other.join().unwrap();
        assert_eq!(pool.free(Class::Frame), 1);
    });
}

// EN-10
#[test]
fn the_memory_goes_back_exactly_once_whoever_is_last() {
    loom::model(|| {
        let region = region(2);
        let mut pool = Pool::new(&region, PoolSizes { frames: 2, ..PoolSizes::default() }).unwrap();
        let buf = pool.take(Class::Frame).unwrap();
        let other = thread::spawn(move || drop(buf));
        drop(pool);
        other.join().unwrap();
        assert!(region.run(Class::Frame, 2).is_ok(), "units are missing");
    });
}
