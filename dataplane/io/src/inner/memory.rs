//! An inner side in memory: two ends, each of which reads what the other writes.
//!
//! For tests, and for programs without a TUN. Bounded: a full direction refuses with [`SendError::Full`]. Buffers are made at
//! creation and go round; a packet is copied once, on the way in.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::ArrayQueue;
use dataplane_wire::Span;

use super::{GsoKind, Inner, RECV_MIN, RecvError, SendError, check_gather};
use crate::poll::eventfd;

/// One direction.
#[derive(Debug)]
struct Lane {
    filled: ArrayQueue<Vec<u8>>,
    free: ArrayQueue<Vec<u8>>,
    /// An eventfd, readable while `filled` may hold something or the writer is gone.
    ready: std::fs::File,
    closed: AtomicBool,
}

impl Lane {
    fn new(depth: usize) -> io::Result<Arc<Self>> {
        let free = ArrayQueue::new(depth);
        for _ in 0..depth {
            // Cannot fail: the queue was made for as many.
            let _ = free.push(Vec::with_capacity(RECV_MIN));
        }
        let ready = eventfd()?.into();
        Ok(Arc::new(Self { filled: ArrayQueue::new(depth), free, ready, closed: AtomicBool::new(false) }))
    }

    /// After the descriptor was made unreadable: what came between, and whether the writer is gone. Either makes it readable
    /// again, since more may have come.
    fn look_again(&self) -> (Option<Vec<u8>>, bool) {
        let closed = self.closed.load(Ordering::Acquire);
        let packet = self.filled.pop();
        if packet.is_some() || closed {
            self.signal();
        }
        (packet, closed)
    }

    fn signal(&self) {
        // Refused only when the counter is full, that is when it is readable already.
        let _ = (&self.ready).write(&1u64.to_ne_bytes());
    }
}

/// One end of an inner side in memory.
#[derive(Debug)]
pub struct MemoryInner {
    rx: Arc<Lane>,
    tx: Arc<Lane>,
    refused: [bool; GsoKind::ALL.len()],
}

/// Two ends with room for `depth` packets (at least one) in either direction.
///
/// # Errors
/// No descriptors are left for the two eventfds.
pub fn pair(depth: usize) -> io::Result<(MemoryInner, MemoryInner)> {
    let (one, other) = (Lane::new(depth.max(1))?, Lane::new(depth.max(1))?);
    let end =
        |rx: &Arc<Lane>, tx: &Arc<Lane>| MemoryInner { rx: rx.clone(), tx: tx.clone(), refused: [false; 3] };
    Ok((end(&one, &other), end(&other, &one)))
}

impl MemoryInner {
    /// Makes this end refuse super-packets of a kind from now on, as an old kernel would.
    pub fn refuse(&mut self, kind: GsoKind) {
        self.refused[kind as usize] = true;
    }
}

impl Inner for MemoryInner {
    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, RecvError> {
        // Acquire pairs with the release in `drop`. Asked before the queue is: what was written before the end is still read.
        let mut closed = self.rx.closed.load(Ordering::Acquire);
        let mut packet = self.rx.filled.pop();
        if packet.is_none() && !closed {
            // The descriptor is made unreadable; refused where it is so already.
            let _ = (&self.rx.ready).read(&mut [0; 8]);
            (packet, closed) = self.rx.look_again();
        }
        let Some(mut packet) = packet else {
            return if closed { Err(RecvError::Gone) } else { Ok(None) };
        };
        let len = packet.len().min(buffer.len());
        buffer[..len].copy_from_slice(&packet[..len]);
        packet.clear();
        // Cannot fail: there are never more buffers than places.
        let _ = self.rx.free.push(packet);
        Ok(Some(len))
    }

    fn send_gather(&mut self, head: &[u8], arena: &[u8], parts: &[Span]) -> Result<(), SendError> {
        check_gather(head, arena, parts)?;
        if GsoKind::of(head).is_some_and(|kind| !self.takes(kind)) {
            return Err(SendError::GsoRefused);
        }
        if self.tx.closed.load(Ordering::Acquire) {
            return Err(SendError::Gone);
        }
        let len = head.len() + parts.iter().map(|part| part.len as usize).sum::<usize>();
        if len > RECV_MIN {
            return Err(SendError::Refused(libc::EINVAL));
        }
        let mut packet = self.tx.free.pop().ok_or(SendError::Full)?;
        packet.extend_from_slice(head);
        for part in parts {
            packet.extend_from_slice(&arena[part.range()]);
        }
        // Cannot fail: there are never more buffers than places.
        let _ = self.tx.filled.push(packet);
        self.tx.signal();
        Ok(())
    }

    fn takes(&self, kind: GsoKind) -> bool {
        !self.refused[kind as usize]
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.rx.ready.as_fd()
    }
}

impl Drop for MemoryInner {
    fn drop(&mut self) {
        for lane in [&self.rx, &self.tx] {
            // Release pairs with the acquire of `recv`: who sees the end sees all that came before it.
            lane.closed.store(true, Ordering::Release);
            lane.signal();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::poll::{Interest, Poller, Token};

    #[test]
    fn a_full_direction_refuses_and_takes_again_after_a_read() {
        let (mut near, mut far) = pair(2).unwrap();
        let mut buffer = vec![0; RECV_MIN];
        let head = [0; 11];
        assert_eq!(near.send_gather(&head, &[], &[]), Ok(()));
        assert_eq!(near.send_gather(&head, &[], &[]), Ok(()));
        assert_eq!(near.send_gather(&head, &[], &[]), Err(SendError::Full));
        assert_eq!(far.recv(&mut buffer).unwrap(), Some(11));
        assert_eq!(near.send_gather(&head, &[], &[]), Ok(()));
    }

    #[test]
    fn a_reader_that_takes_one_packet_per_wake_up_gets_all_and_sees_the_end() {
        const ROUNDS: u32 = 2_000;
        let (mut near, mut far) = pair(4).unwrap();
        let round = Arc::new(AtomicU32::new(0));
        let asked = Arc::clone(&round);
        let writer = thread::spawn(move || {
            for number in 1..=ROUNDS {
                while asked.load(Ordering::Acquire) < number {
                    std::hint::spin_loop();
                }
                near.send_gather(&[0; 11], &[], &[]).unwrap();
                near.send_gather(&[0; 12], &[], &[]).unwrap();
            }
        });
        let mut poller = Poller::new(1).unwrap();
        poller.add(far.fd(), Token(0), Interest::Read).unwrap();
        let mut buffer = [0; 16];
        for number in 1..=ROUNDS {
            round.store(number, Ordering::Release);
            // The first look meets the writer in the middle of things.
            let mut received = u32::from(far.recv(&mut buffer).unwrap().is_some());
            while received < 2 {
                poller.wait(Some(Duration::from_secs(10))).unwrap();
                assert!(poller.ready().count() > 0, "round {number}: a packet was not told of");
                received += u32::from(far.recv(&mut buffer).unwrap().is_some());
            }
        }
        writer.join().unwrap();
        poller.wait(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(far.recv(&mut buffer), Err(RecvError::Gone)), "the end was not told of");
    }

    #[test]
    fn packets_that_come_while_the_descriptor_is_made_unreadable_are_told_of() {
        let (mut near, mut far) = pair(4).unwrap();
        let mut poller = Poller::new(1).unwrap();
        poller.add(far.fd(), Token(0), Interest::Read).unwrap();
        let mut readable = || {
            poller.wait(Some(Duration::ZERO)).unwrap();
            poller.ready().count() == 1
        };
        // The reader has seen nothing; two packets come; the reader drains the descriptor.
        near.send_gather(&[1; 11], &[], &[]).unwrap();
        near.send_gather(&[2; 11], &[], &[]).unwrap();
        assert_eq!((&far.rx.ready).read(&mut [0; 8]).unwrap(), 8);
        assert!(!readable());
        assert_eq!(far.rx.look_again(), (Some(vec![1; 11]), false));
        assert!(readable(), "the second packet is not told of");
        far.recv(&mut [0; 16]).unwrap();
        assert_eq!(far.recv(&mut [0; 16]).unwrap(), None);
        // The same, and the writer goes.
        drop(near);
        assert_eq!((&far.rx.ready).read(&mut [0; 8]).unwrap(), 8);
        assert_eq!(far.rx.look_again(), (None, true));
        assert!(readable(), "the end is not told of");
    }

    #[test]
    fn what_was_written_is_read_before_the_end_is_seen() {
        let (mut near, mut far) = pair(2).unwrap();
        near.send_gather(&[7; 11], &[], &[]).unwrap();
        drop(near);
        let mut buffer = [0; 64];
        assert_eq!(far.recv(&mut buffer).unwrap(), Some(11));
        assert!(matches!(far.recv(&mut buffer), Err(RecvError::Gone)));
        assert_eq!(far.send_gather(&[7; 11], &[], &[]), Err(SendError::Gone));
    }
}
