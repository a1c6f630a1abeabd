//! What happens to peers and interfaces, for whoever drives the engine: bounded, newest state per peer.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant as StdInstant, SystemTime};

use dataplane_proto::messages::Path;
use dataplane_wire::{InterfaceId, PeerId};

use crate::engine::EndReason;
use crate::sync::Event as Bell;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A handshake with a peer is complete.
    Handshake {
        /// With whom.
        peer: PeerId,
        /// When.
        at: SystemTime,
    },
    /// Handshakes with a peer were given up after 90 s; a new packet to it starts them again.
    HandshakeGivenUp {
        /// With whom.
        peer: PeerId,
    },
    /// A peer is reached by another path than before.
    Path {
        /// Which.
        peer: PeerId,
        /// The path from now on; `None` for unreachable.
        path: Option<Path>,
    },
    /// An interface went away: its TUN device was deleted.
    InterfaceGone(InterfaceId),
    /// A worker panicked and was made anew from the configuration; the others went on. Its peers' sessions are made again.
    WorkerRestarted(usize),
    /// Something does not work as it should, while data goes on.
    Degraded(Degradation),
    /// What was degraded works again.
    Recovered(Degradation),
    /// The engine has ended by itself. It is the last event.
    Ended(EndReason),
    /// This many events were lost because nobody fetched them: look at the whole state once.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// What does not work as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Degradation {
    /// A controller of this interface panicked and is gone. Its peers keep their last paths, until there is another
    /// ([`InterfaceHandle::set_controller`](crate::InterfaceHandle::set_controller)).
    ControllerPanicked(InterfaceId),
    /// The control layers have not taken in anything for two seconds: one of them does not return from a call. Data goes on by
    /// the last paths, requests are answered without them.
    ControllersStalled,
}

impl std::fmt::Display for Degradation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ControllerPanicked(interface) => {
                write!(
                    f,
                    "the control layer of interface {} has panicked: its peers keep their paths",
                    interface.0
                )
            }
            Self::ControllersStalled => {
                f.write_str("the control layers take nothing in: peers keep their paths")
            }
        }
    }
}

/// Events of one kind about one thing: a newer one takes the place of an older one that nobody has fetched.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Topic {
    Handshake(PeerId),
    GivenUp(PeerId),
    Path(PeerId),
    Interface(InterfaceId),
    Worker(usize),
    Degradation(Degradation),
    Ended,
}

impl Event {
    fn topic(&self) -> Option<Topic> {
        Some(match self {
            Self::Handshake { peer, .. } => Topic::Handshake(*peer),
            Self::HandshakeGivenUp { peer } => Topic::GivenUp(*peer),
            Self::Path { peer, .. } => Topic::Path(*peer),
            Self::InterfaceGone(interface) => Topic::Interface(*interface),
            Self::WorkerRestarted(worker) => Topic::Worker(*worker),
            Self::Degraded(what) | Self::Recovered(what) => Topic::Degradation(*what),
            Self::Ended(_) => Topic::Ended,
            Self::Lagged { .. } => return None,
        })
    }
}

#[derive(Default)]
struct Queue {
    order: VecDeque<Topic>,
    latest: HashMap<Topic, Event>,
    missed: u64,
    closed: bool,
    waker: Option<Waker>,
    /// Whether the descriptor is readable.
    rung: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    bell: Bell,
    capacity: usize,
}

/// The engine's end. The stream ends with it, be it by a panic.
pub(crate) struct EventSender(Arc<Shared>);

impl Drop for EventSender {
    fn drop(&mut self) {
        self.close();
    }
}

/// The stream of events of an engine. It ends when the engine has shut down.
pub struct Events(Arc<Shared>);

pub(crate) fn channel(capacity: usize) -> io::Result<(EventSender, Events)> {
    let (queue, changed, bell) = (Mutex::default(), Condvar::new(), Bell::new()?);
    let shared = Arc::new(Shared { queue, changed, bell, capacity: capacity.max(1) });
    Ok((EventSender(Arc::clone(&shared)), Events(shared)))
}

impl EventSender {
    pub(crate) fn send(&self, event: Event) {
        let Some(topic) = event.topic() else { return };
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.latest.insert(topic, event).is_none() {
            if queue.order.len() == self.0.capacity
                && let Some(oldest) = queue.order.pop_front()
            {
                queue.latest.remove(&oldest);
                queue.missed += 1;
            }
            queue.order.push_back(topic);
        }
        self.wake(queue);
    }

    /// So many events were lost before they came here.
    pub(crate) fn missed(&self, events: u64) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.missed += events;
        self.wake(queue);
    }

    fn close(&self) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        self.wake(queue);
    }

    fn wake(&self, mut queue: std::sync::MutexGuard<'_, Queue>) {
        let waker = queue.waker.take();
        if !std::mem::replace(&mut queue.rung, true) {
            self.0.bell.set();
        }
        drop(queue);
        self.0.changed.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Event> {
        if self.missed > 0 {
            return Some(Event::Lagged { missed: std::mem::take(&mut self.missed) });
        }
        let topic = self.order.pop_front()?;
        self.latest.remove(&topic)
    }
}

impl Events {
    /// The next event, if one is there. `None` also when the engine has shut down: see [`Events::is_closed`].
    pub fn try_next(&mut self) -> Option<Event> {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let next = queue.pop();
        // The end stays readable.
        if next.is_none() && !queue.closed && std::mem::take(&mut queue.rung) {
            self.0.bell.clear();
        }
        next
    }

    /// Whether the engine has shut down. Events from before can still be fetched.
    pub fn is_closed(&self) -> bool {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    /// Waits for the next event, for at most `timeout`. `None` when none came or the engine has shut down.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Event> {
        // A time that the clock cannot name is as good as none.
        let deadline = StdInstant::now().checked_add(timeout);
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(event) = queue.pop() {
                return Some(event);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(StdInstant::now()));
            let left = left.unwrap_or(Duration::from_secs(3600));
            if queue.closed || left.is_zero() {
                return None;
            }
            queue = self.0.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next event; `None` when the engine has shut down.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Events::next`], for a task that polls by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match queue.pop() {
            Some(event) => Poll::Ready(Some(event)),
            None if queue.closed => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Readable while an event may wait or the engine has shut down, until [`Events::try_next`] has said `None`. Level-triggered polling
/// will do.
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_up(slot: u32) -> Event {
        Event::HandshakeGivenUp { peer: PeerId { slot, generation: 0 } }
    }

    #[test]
    fn a_full_queue_forgets_the_oldest_and_says_how_many() {
        let (sender, mut events) = channel(2).unwrap();
        for slot in 0..4 {
            sender.send(given_up(slot));
        }
        assert_eq!(events.try_next(), Some(Event::Lagged { missed: 2 }));
        assert_eq!(events.try_next(), Some(given_up(2)));
        assert_eq!(events.try_next(), Some(given_up(3)));
        assert_eq!(events.try_next(), None);
    }

    #[test]
    #[cfg(not(loom))]
    fn the_descriptor_is_readable_while_there_is_an_event_and_from_the_end_on() {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let is_readable = |events: &Events| {
            let mut fds = [PollFd::new(events, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
        };
        let (sender, mut events) = channel(8).unwrap();
        assert!(!is_readable(&events));
        for slot in 0..2 {
            sender.send(given_up(slot));
        }
        for _ in 0..2 {
            assert!(is_readable(&events));
            assert!(events.try_next().is_some());
        }
        assert_eq!((events.try_next(), is_readable(&events), events.is_closed()), (None, false, false));
        sender.missed(1);
        assert!(is_readable(&events));
        assert_eq!(events.try_next(), Some(Event::Lagged { missed: 1 }));
        drop(sender);
        assert_eq!((events.try_next(), is_readable(&events), events.is_closed()), (None, true, true));
    }

    #[test]
    fn the_newest_path_of_a_peer_takes_the_place_of_an_older_one() {
        let (sender, mut events) = channel(8).unwrap();
        let peer = PeerId::default();
        sender.send(Event::Path { peer, path: None });
        sender.send(given_up(1));
        let tuple = dataplane_wire::FourTuple {
            socket: dataplane_wire::SocketId(0),
            remote: ([192, 0, 2, 1], 9).into(),
            local_ip: None,
        };
        let newest = Event::Path { peer, path: Some(Path::Direct(tuple)) };
        sender.send(newest.clone());
        sender.close();
        assert_eq!(events.try_next(), Some(newest));
        assert_eq!(events.next_timeout(Duration::from_secs(60)), Some(given_up(1)));
        assert_eq!(events.next_timeout(Duration::from_secs(60)), None);
    }
}
