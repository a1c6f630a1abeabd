//! The answer to a request, on its way: waited for by a thread, or awaited by a task of any runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::controllers::Pass;
use crate::error::Stopped;
use crate::park::wait_until;
use crate::sync::{Arc, Condvar, Mutex};

struct Slot<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

enum State<T> {
    Pending(Option<Waker>),
    Ready(Option<T>),
    Abandoned,
}

/// What a request to the engine will answer. Dropping it does not take the request back.
#[must_use = "a request may fail: wait() for it, or .await it"]
pub struct Applied<T> {
    slot: Arc<Slot<T>>,
}

/// The engine's end of an [`Applied`]. Dropping it without an answer answers [`Stopped`].
pub(crate) struct Reply<T> {
    slot: Arc<Slot<T>>,
}

pub(crate) fn pair<T>() -> (Reply<T>, Applied<T>) {
    let slot = Arc::new(Slot { state: Mutex::new(State::Pending(None)), changed: Condvar::new() });
    (Reply { slot: Arc::clone(&slot) }, Applied { slot })
}

impl<T> Reply<T> {
    pub(crate) fn send(self, answer: T) {
        self.put(State::Ready(Some(answer)));
    }

    fn put(&self, next: State<T>) {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Pending(waker) = &mut *state else { return };
        let waker = waker.take();
        *state = next;
        drop(state);
        self.slot.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.put(State::Abandoned);
    }
}

/// An answer that is sent when it is dropped: by the last of those who must have done their part before.
pub(crate) struct AnswerOnDrop<T>(Mutex<Option<(Reply<T>, T)>>);

impl<T> AnswerOnDrop<T> {
    pub(crate) fn new(reply: Reply<T>, answer: T) -> Self {
        Self(Mutex::new(Some((reply, answer))))
    }
}

impl<T: Send> Pass for AnswerOnDrop<T> {
    fn pass(&self) {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((reply, answer)) = held {
            reply.send(answer);
        }
    }
}

impl<T> Drop for AnswerOnDrop<T> {
    fn drop(&mut self) {
        let held = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((reply, answer)) = held {
            reply.send(answer);
        }
    }
}

impl<T> Applied<T> {
    /// Blocks until the answer is there.
    ///
    /// # Errors
    /// [`Stopped`] when the engine shut down before it answered.
    pub fn wait(self) -> Result<T, Stopped> {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &mut *state {
                State::Ready(answer) => return answer.take().ok_or(Stopped),
                State::Abandoned => return Err(Stopped),
                State::Pending(_) => {
                    state = self.slot.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Blocks until the answer is there, for at most `timeout`: `Err` gives back what to wait for then.
    ///
    /// # Errors
    /// Of the answer: [`Stopped`] when the engine shut down before it answered.
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Result<T, Stopped>, Self> {
        wait_until(timeout, |cx| Pin::new(&mut self).poll(cx)).ok_or(self)
    }
}

impl<T> Future for Applied<T> {
    type Output = Result<T, Stopped>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Ready(answer) => Poll::Ready(answer.take().ok_or(Stopped)),
            State::Abandoned => Poll::Ready(Err(Stopped)),
            State::Pending(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_a_waiting_thread_and_a_dropped_reply_says_stopped() {
        let (reply, applied) = pair();
        let waiter = std::thread::spawn(move || applied.wait());
        reply.send(7);
        assert_eq!(waiter.join().unwrap(), Ok(7));
        let (reply, applied) = pair::<()>();
        drop(reply);
        assert_eq!(applied.wait(), Err(Stopped));
    }

    #[test]
    fn who_waits_for_a_time_gets_the_answer_or_may_wait_on() {
        let (reply, applied) = pair();
        let Err(applied) = applied.wait_timeout(Duration::ZERO) else { panic!("there is no answer") };
        let waiter = std::thread::spawn(move || applied.wait_timeout(Duration::MAX));
        reply.send(7);
        assert!(matches!(waiter.join().unwrap(), Ok(Ok(7))));
        let (reply, applied) = pair::<()>();
        drop(reply);
        assert!(matches!(applied.wait_timeout(Duration::ZERO), Ok(Err(Stopped))));
    }
}

#[cfg(all(test, loom))]
#[path = "applied_model.rs"]
mod model;
