//! Whether a subject is well: asked with a bound on the time that an answer may take.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dataplane::{Applied, InterfaceError, InterfaceSnapshot};

use super::Subject;

/// How long the engine's control layer may take to answer. It does in milliseconds, with a hundred thousand peers too.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// Between two looks for room among the requests that wait: nobody tells.
const FULL_QUEUE_NAP: Duration = Duration::from_millis(5);

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

/// Everything about the interface, or why there is nothing.
pub(super) type Snapshot = Result<InterfaceSnapshot, String>;

/// One who asks about a subject, again and again, with one question under way at most: a control layer that does not answer
/// is not asked more and more.
pub(super) struct Inquiry {
    subject: Subject,
    pending: Option<Applied<Answer>>,
    /// Since when there is a question without an answer.
    unanswered: Option<Instant>,
}

impl Inquiry {
    pub(super) fn new(subject: Subject) -> Self {
        Self { subject, pending: None, unanswered: None }
    }

    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Asks, and waits for the answer until a question has been without one for [`ANSWER_TIME_MAX`]; from then on it only looks
    /// whether there is one by now.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let deadline = *self.unanswered.get_or_insert_with(Instant::now) + ANSWER_TIME_MAX;
        let asked = match self.pending.take() {
            Some(asked) => asked,
            None => self.ask(deadline)?,
        };
        match asked.wait_timeout(deadline.saturating_duration_since(Instant::now())) {
            Err(late) => {
                self.pending = Some(late);
                let seconds = ANSWER_TIME_MAX.as_secs();
                Err(format!(
                    "the engine's control layer has not answered for {seconds} s: see the log for what holds it up"
                ))
            }
            Ok(answer) => {
                self.unanswered = None;
                answer.map_err(|stopped| stopped.to_string())?.map_err(|error| error.to_string())
            }
        }
    }

    /// Hands the question in as soon as there is room for it.
    fn ask(&mut self, deadline: Instant) -> Result<Applied<Answer>, String> {
        loop {
            match self.subject.handle.try_snapshot() {
                Ok(Some(asked)) => return Ok(asked),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(FULL_QUEUE_NAP),
                Ok(None) => {
                    let seconds = ANSWER_TIME_MAX.as_secs();
                    return Err(format!(
                        "the engine's control layer has taken no request for {seconds} s, and as many wait as may: see the \
                         log for what holds it up"
                    ));
                }
                Err(stopped) => return Err(stopped.to_string()),
            }
        }
    }

    /// Whether the process does its work: else it should be started anew.
    pub(super) fn health(&self, snapshot: &Snapshot) -> Verdict {
        let stopped = self.subject.health.stopped_workers();
        if stopped > 0 {
            return Verdict::Bad(format!("{stopped} workers have ended: their peers are not served"));
        }
        match snapshot {
            Ok(_) => Verdict::Good,
            Err(why) => Verdict::Bad(why.clone()),
        }
    }

    /// Whether packets can be carried now.
    pub(super) fn readiness(&self, snapshot: &Snapshot) -> Verdict {
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(why) => return Verdict::Bad(why.clone()),
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
