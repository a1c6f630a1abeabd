//! Waiting and waking.
//!
//! Contains unsafe: a read of an eventfd by hand.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use super::*;

const LONG: Option<Duration> = Some(Duration::from_secs(20));

#[test]
fn a_readable_descriptor_is_reported_until_it_is_read() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let mut poller = Poller::new(4).unwrap();
    poller.add(&far, Token(7), Interest::Read).unwrap();
    assert!(!poller.wait(Some(Duration::ZERO)).unwrap());
    assert_eq!(poller.ready().count(), 0);
    near.write_all(b"x").unwrap();
    for _ in 0..2 {
        assert!(!poller.wait(LONG).unwrap());
        let ready: Vec<_> = poller.ready().collect();
        assert_eq!(ready, [Ready { token: Token(7), readable: true, writable: false, failed: false }]);
    }
    poller.modify(&far, Token(8), Interest::Both).unwrap();
    poller.wait(LONG).unwrap();
    let ready: Vec<_> = poller.ready().collect();
    assert_eq!(ready, [Ready { token: Token(8), readable: true, writable: true, failed: false }]);
    poller.remove(&far).unwrap();
    poller.wait(Some(Duration::ZERO)).unwrap();
    assert_eq!(poller.ready().count(), 0);
}

#[test]
fn a_closed_other_end_is_reported_as_failed() {
    let (near, far) = UnixStream::pair().unwrap();
    let mut poller = Poller::new(4).unwrap();
    poller.add(&far, Token(1), Interest::Nothing).unwrap();
    drop(near);
    poller.wait(LONG).unwrap();
    assert!(poller.ready().all(|ready| ready.failed && ready.readable));
    assert_eq!(poller.ready().count(), 1);
}

#[test]
fn more_ready_descriptors_than_the_capacity_all_get_their_turn() {
    let pairs: Vec<_> = (0..10).map(|_| UnixStream::pair().unwrap()).collect();
    let mut poller = Poller::new(3).unwrap();
    for (index, (near, far)) in pairs.iter().enumerate() {
        poller.add(far, Token(index as u64), Interest::Read).unwrap();
        (&*near).write_all(b"x").unwrap();
    }
    let mut seen = [false; 10];
    for _ in 0..10 {
        poller.wait(LONG).unwrap();
        assert!(poller.ready().count() <= 4);
        poller.ready().for_each(|ready| seen[ready.token.0 as usize] = true);
    }
    assert_eq!(seen, [true; 10]);
}

#[test]
fn timeouts_are_kept_in_both_resolutions() {
    let mut poller = Poller::new(1).unwrap();
    for precise in [true, false] {
        poller.precise = precise;
        for micros in [300, 2_500] {
            let start = Instant::now();
            poller.wait(Some(Duration::from_micros(micros))).unwrap();
            assert!(start.elapsed() >= Duration::from_micros(micros));
        }
    }
}

#[test]
fn the_reserved_token_is_refused() {
    let (near, _far) = UnixStream::pair().unwrap();
    let poller = Poller::new(1).unwrap();
    let error = poller.add(&near, Token(u64::MAX), Interest::Read).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_wake_before_the_wait_keeps_it_from_blocking_once() {
    let mut poller = Poller::new(1).unwrap();
    let waker = poller.waker();
    waker.wake();
    waker.wake();
    assert!(poller.wait(LONG).unwrap());
    assert!(!poller.wait(Some(Duration::from_millis(1))).unwrap());
    // A worker that is awake costs its wakers no system call: nothing was written to the eventfd.
    assert_eq!(eventfd_count(&poller), 0);
}

#[test]
fn many_wakes_of_a_sleeper_write_to_the_eventfd_once() {
    let mut poller = Poller::new(1).unwrap();
    assert!(poller.sleep.park());
    let waker = poller.waker();
    for _ in 0..100 {
        waker.wake();
    }
    assert_eq!(eventfd_count(&poller), 1);
    assert!(poller.wait(LONG).unwrap());
}

#[test]
fn a_sleeper_is_woken_from_another_thread_and_sees_what_was_queued() {
    let mut poller = Poller::new(1).unwrap();
    let queued = AtomicU64::new(0);
    let rounds = 20_000;
    thread::scope(|scope| {
        let waker = poller.waker();
        let queued = &queued;
        scope.spawn(move || {
            for round in 1..=rounds {
                queued.store(round, Ordering::Relaxed);
                waker.wake();
                if round % 16 == 0 {
                    thread::yield_now();
                }
            }
        });
        let start = Instant::now();
        while queued.load(Ordering::Relaxed) < rounds {
            // A lost wake-up would sleep for all of `LONG`.
            poller.wait(LONG).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(15), "a wake-up was lost");
    });
}

fn eventfd_count(poller: &Poller) -> u64 {
    let mut bytes = [0; 8];
    let mut event = std::fs::File::from(poller.sleep.fd().try_clone_to_owned().unwrap());
    match event.read(&mut bytes) {
        Ok(8) => u64::from_ne_bytes(bytes),
        _ => 0,
    }
}
