//! Whether a subject is well: asked with a bound on the time that an answer may take.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use dataplane::{Applied, InterfaceError, InterfaceSnapshot, Stopped};

use super::Subject;

/// How long the engine's control layer may take to answer. It does in milliseconds, with a hundred thousand peers too.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// What the watchers of an interface have seen, written by them and read by whoever asks.
#[derive(Debug, Default)]
pub struct Health {
    sockets_open: AtomicBool,
    workers_stopped: AtomicUsize,
}

impl Health {
    /// The sockets were opened, or closed.
    pub fn set_sockets_open(&self, open: bool) {
        // Release pairs with the acquire below: who sees open sockets sees a link that is up.
        self.sockets_open.store(open, Ordering::Release);
    }

    /// Whether the sockets are open.
    pub fn has_sockets(&self) -> bool {
        self.sockets_open.load(Ordering::Acquire)
    }

    /// A worker has ended for good.
    pub fn count_stopped_worker(&self) {
        // A counter that publishes nothing but itself.
        self.workers_stopped.fetch_add(1, Ordering::Relaxed);
    }

    /// Workers that have ended for good.
    pub fn stopped_workers(&self) -> usize {
        self.workers_stopped.load(Ordering::Relaxed)
    }
}

/// How something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Not so, for this reason.
    Bad(String),
}

type Answer = Result<InterfaceSnapshot, InterfaceError>;

/// One who asks about a subject, again and again, with one question under way at most: a control layer that does not answer
/// is not asked more and more.
pub(super) struct Inquiry {
    subject: Subject,
    pending: Option<Applied<Answer>>,
}

impl Inquiry {
    pub(super) fn new(subject: Subject) -> Self {
        Self { subject, pending: None }
    }

    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Everything about the interface; an error that says why there is nothing.
    pub(super) fn snapshot(&mut self) -> Result<InterfaceSnapshot, String> {
        let asked = match self.pending.take() {
            Some(asked) => Ok(asked),
            None => self.subject.handle.snapshot(),
        };
        let answer = asked.and_then(|asked| match wait(asked, ANSWER_TIME_MAX) {
            Ok(answer) => answer,
            Err(late) => {
                self.pending = Some(late);
                Ok(Err(InterfaceError::Io(std::io::ErrorKind::TimedOut.into())))
            }
        });
        match answer {
            _ if self.pending.is_some() => Err(format!(
                "the engine's control layer has not answered for {} s",
                ANSWER_TIME_MAX.as_secs()
            )),
            Ok(Ok(snapshot)) => Ok(snapshot),
            Ok(Err(error)) => Err(error.to_string()),
            Err(stopped) => Err(stopped.to_string()),
        }
    }

    /// Whether the process does its work: else it should be started anew.
    pub(super) fn health(&mut self) -> Verdict {
        let stopped = self.subject.health.stopped_workers();
        if stopped > 0 {
            return Verdict::Bad(format!("{stopped} workers have ended: their peers are not served"));
        }
        match self.snapshot() {
            Ok(_) => Verdict::Good,
            Err(why) => Verdict::Bad(why),
        }
    }

    /// Whether packets can be carried now.
    pub(super) fn readiness(&mut self) -> Verdict {
        let snapshot = match self.snapshot() {
            Ok(snapshot) => snapshot,
            Err(why) => return Verdict::Bad(why),
        };
        let name = &self.subject.name;
        if snapshot.device.private_key.is_none() {
            return Verdict::Bad(format!("interface {name} has no private key"));
        }
        if !self.subject.health.has_sockets() {
            return Verdict::Bad(format!("the link of interface {name} is down"));
        }
        Verdict::Good
    }
}

/// Waits for an answer, or gives the question back after `time`.
fn wait<T>(mut asked: Applied<T>, time: Duration) -> Result<Result<T, Stopped>, Applied<T>> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let deadline = Instant::now() + time;
    loop {
        if let Poll::Ready(answer) = pin!(&mut asked).poll(&mut Context::from_waker(&waker)) {
            return Ok(answer);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(asked);
        }
        std::thread::park_timeout(left);
    }
}
