use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::memory::{FRAME_LEN, Plan, SLAB_LEN};

const SIZES: PoolSizes = PoolSizes { slabs: 6, slabs_reserve: 2, frames: 4, frames_reserve: 0 };

fn region(pools: usize) -> Region {
    let plan = Plan::new().with("slabs", Class::Slab, pools * SIZES.slabs).with(
        "frames",
        Class::Frame,
        pools * SIZES.frames,
    );
    Region::new(&plan).unwrap()
}

fn pool() -> Pool {
    Pool::new(&region(1), SIZES).unwrap()
}

// EN-9
#[test]
fn ordinary_traffic_leaves_the_reserve_to_control() {
    let mut pool = pool();
    let taken: Vec<Buf> = std::iter::from_fn(|| pool.take(Class::Slab)).collect();
    assert_eq!(taken.len(), 4);
    let control: Vec<Buf> = std::iter::from_fn(|| pool.take_reserved(Class::Slab)).collect();
    assert_eq!(control.len(), 2);
    assert!(pool.take_reserved(Class::Slab).is_none());
    drop((taken, control));
    let again: Vec<Buf> = std::iter::from_fn(|| pool.take(Class::Slab)).collect();
    assert_eq!(again.len(), 4, "what came home is handed out again");
}

#[test]
fn the_two_classes_have_their_lengths_and_do_not_mix() {
    let mut pool = pool();
    let (slab, frame) = (pool.take(Class::Slab).unwrap(), pool.take(Class::Frame).unwrap());
    assert_eq!((slab.len(), frame.len()), (SLAB_LEN, FRAME_LEN));
    pool.put(frame);
    assert_eq!(pool.free(Class::Slab), 5);
    assert_eq!(pool.free(Class::Frame), 4);
}

#[test]
fn live_buffers_never_share_a_byte() {
    let mut pool = pool();
    let mut bufs: Vec<Buf> = std::iter::from_fn(|| pool.take_reserved(Class::Slab)).collect();
    bufs.extend(std::iter::from_fn(|| pool.take(Class::Frame)));
    for (mark, buf) in bufs.iter_mut().enumerate() {
        buf.fill(mark as u8);
    }
    for (mark, buf) in bufs.iter().enumerate() {
        assert!(buf.iter().all(|&byte| byte == mark as u8));
    }
}

#[test]
fn a_buffer_put_into_another_pool_goes_to_its_own() {
    let region = region(2);
    let (mut ours, mut theirs) = (Pool::new(&region, SIZES).unwrap(), Pool::new(&region, SIZES).unwrap());
    let buf = ours.take(Class::Slab).unwrap();
    theirs.put(buf);
    assert_eq!((ours.free(Class::Slab), theirs.free(Class::Slab)), (6, 6));
}

#[test]
fn a_buffer_outlives_its_pool_and_gives_the_memory_back_at_last() {
    let region = region(1);
    let mut pool = Pool::new(&region, SIZES).unwrap();
    let mut buf = pool.take(Class::Slab).unwrap();
    drop(pool);
    buf.fill(9);
    assert!(Pool::new(&region, SIZES).is_err(), "the memory is still in use");
    drop(buf);
    assert!(Pool::new(&region, SIZES).is_ok());
}

/// Who holds which buffer, kept apart from the pool: a flag per buffer, set by its holder.
struct Ghost([AtomicBool; SIZES.slabs]);

impl Ghost {
    fn take(&self, buf: &Buf) {
        let was = self.0[buf.number as usize].swap(true, Ordering::SeqCst);
        assert!(!was, "buffer {} was handed out twice", buf.number);
    }

    fn give(&self, buf: &Buf) {
        let was = self.0[buf.number as usize].swap(false, Ordering::SeqCst);
        assert!(was, "buffer {} was not held", buf.number);
    }
}

// EN-10
#[test]
fn under_threads_no_buffer_is_handed_out_twice_and_none_is_lost() {
    const ROUNDS: u32 = 20_000;
    let mut pool = pool();
    let ghost = Ghost(Default::default());
    thread::scope(|scope| {
        let workers: Vec<mpsc::SyncSender<Buf>> = (0..3u8)
            .map(|worker| {
                let (send, receive) = mpsc::sync_channel::<Buf>(2);
                let ghost = &ghost;
                scope.spawn(move || {
                    for mut buf in receive {
                        buf[..64].fill(worker);
                        assert!(buf[..64].iter().all(|&byte| byte == worker), "somebody else writes here");
                        ghost.give(&buf);
                    }
                });
                send
            })
            .collect();
        let mut handed = 0;
        while handed < ROUNDS {
            let Some(mut buf) = pool.take(Class::Slab) else {
                thread::yield_now();
                continue;
            };
            ghost.take(&buf);
            buf[..64].fill(0xee);
            handed += 1;
            if handed % 5 == 0 {
                assert!(buf[..64].iter().all(|&byte| byte == 0xee));
                ghost.give(&buf);
                pool.put(buf);
            } else {
                workers[handed as usize % 3].send(buf).unwrap();
            }
        }
    });
    assert_eq!(pool.free(Class::Slab), SIZES.slabs, "a buffer was lost");
    assert!(ghost.0.iter().all(|held| !held.load(Ordering::SeqCst)));
}
