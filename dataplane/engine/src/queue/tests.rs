//! Both sides of a queue, without an engine.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;

use dataplane_io::inner::{Inner, RECV_MIN, RecvError, SendError, VNET_HEADER_LEN};
use dataplane_io::poll::{Interest, Poller, Token};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn queue(batches: usize) -> (QueueEnd, Packets) {
    let (side, packets) = open(Depth::batches(batches)).unwrap();
    (QueueEnd::new(side), packets)
}

fn send(end: &mut QueueEnd, packet: &[u8]) -> Result<(), SendError> {
    end.send_gather(&[&[0; VNET_HEADER_LEN][..], packet].concat(), &[], &[])
}

#[test]
fn packets_of_one_flush_are_one_batch_and_dropping_it_gives_the_credit_back() {
    let (mut end, mut packets) = queue(2);
    for _ in 0..3 {
        send(&mut end, b"one").unwrap();
        send(&mut end, b"three").unwrap();
        assert!(packets.try_recv().is_none(), "nothing is told before the flush");
        end.flush();
        let batch = packets.try_recv().unwrap();
        assert_eq!(batch.iter().collect::<Vec<_>>(), [&b"one"[..], b"three"]);
    }
}

#[test]
fn a_worker_out_of_credit_is_refused_and_never_waits() {
    let (mut end, mut packets) = queue(2);
    for _ in 0..2 {
        send(&mut end, b"x").unwrap();
        end.flush();
    }
    assert_eq!(send(&mut end, b"y"), Err(SendError::Full));
    drop(packets.try_recv().unwrap());
    assert_eq!(send(&mut end, b"y"), Ok(()));
}

#[test]
fn reserved_packets_leave_in_order_at_the_commit_and_a_dropped_reservation_leaves_nothing() {
    let (mut end, mut packets) = queue(2);
    let mut buffer = vec![0; RECV_MIN];
    packets.try_reserve(4).unwrap().push(b"never").unwrap();
    assert_eq!(end.recv(&mut buffer).unwrap(), None);
    let mut slots = packets.try_reserve(2).unwrap();
    slots.push(b"first").unwrap();
    slots.push_with(6, |bytes| bytes.copy_from_slice(b"second")).unwrap();
    assert_eq!(slots.push(b"third"), Err(PushError::Full));
    assert_eq!(slots.push(b""), Err(PushError::Length(0)));
    slots.commit();
    for packet in [&b"first"[..], b"second"] {
        let len = end.recv(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[VNET_HEADER_LEN..len], packet);
    }
    assert_eq!(end.recv(&mut buffer).unwrap(), None);
}

#[test]
fn a_reservation_waits_until_the_worker_has_read_a_batch() {
    let (mut end, mut packets) = queue(2);
    let fill = |packets: &mut Packets| {
        let mut slots = packets.try_reserve(1).unwrap();
        slots.push(b"x").unwrap();
        slots.commit();
    };
    fill(&mut packets);
    fill(&mut packets);
    assert!(packets.try_reserve(1).is_none());
    assert!(packets.reserve_timeout(1, Duration::from_millis(1)).is_none());
    // It comes back, since dropping it would end the queue.
    let waiting = thread::spawn(move || {
        let reserved = packets.reserve_timeout(1, PATIENCE).is_some();
        (reserved, packets)
    });
    let mut buffer = vec![0; RECV_MIN];
    while !waiting.is_finished() {
        let _ = end.recv(&mut buffer).unwrap();
        thread::yield_now();
    }
    assert!(waiting.join().unwrap().0);
}

#[test]
fn a_task_that_awaits_a_batch_is_woken_once_it_is_there() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (mut end, mut packets) = queue(2);
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = Context::from_waker(&waker);
    let (receiver, _sender) = (&mut packets.receiver, &packets.sender);
    assert!(receiver.poll_recv(&mut cx).is_pending());
    send(&mut end, b"x").unwrap();
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    end.flush();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(matches!(receiver.poll_recv(&mut cx), Poll::Ready(Some(batch)) if batch.len() == 1));
}

/// A reader that takes one batch for each time that the descriptor is readable gets all of them.
#[test]
fn the_descriptor_is_readable_whenever_a_batch_waits() {
    const BATCHES: usize = 5_000;
    let (mut end, mut packets) = queue(4);
    let writer = thread::spawn(move || {
        for number in 0..BATCHES {
            while send(&mut end, &number.to_be_bytes()) == Err(SendError::Full) {
                thread::yield_now();
            }
            end.flush();
        }
        end
    });
    let mut poller = Poller::new(1).unwrap();
    poller.add(packets.as_fd(), Token(0), Interest::Read).unwrap();
    let mut received = 0;
    while received < BATCHES {
        poller.wait(Some(PATIENCE)).unwrap();
        assert!(poller.ready().count() > 0, "batch {received} was not told of");
        if let Some(batch) = packets.try_recv() {
            assert_eq!(batch.packet(0), Some(&received.to_be_bytes()[..]));
            received += 1;
        }
    }
    drop(writer.join().unwrap());
    poller.wait(Some(PATIENCE)).unwrap();
    assert!(poller.ready().count() > 0, "the end was not told of");
    assert!(packets.is_closed());
}

#[test]
fn what_was_delivered_before_the_end_is_received_and_then_both_sides_say_that_it_is_over() {
    let (mut end, mut packets) = queue(2);
    send(&mut end, b"last").unwrap();
    drop(end);
    assert_eq!(packets.recv_timeout(PATIENCE).unwrap().packet(0), Some(&b"last"[..]));
    assert!(packets.recv_timeout(PATIENCE).is_none());
    assert!(packets.try_reserve(1).is_none() && packets.reserve_timeout(1, PATIENCE).is_none());

    let (mut end, mut packets) = queue(2);
    let mut slots = packets.try_reserve(1).unwrap();
    slots.push(b"last").unwrap();
    slots.commit();
    drop(packets);
    let mut buffer = vec![0; RECV_MIN];
    assert_eq!(end.recv(&mut buffer).unwrap(), Some(VNET_HEADER_LEN + 4));
    assert!(matches!(end.recv(&mut buffer), Err(RecvError::Gone)));
    assert_eq!(send(&mut end, b"x"), Err(SendError::Gone));
}
