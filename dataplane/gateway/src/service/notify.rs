//! Word to a service manager that listens (sd_notify(3)); where none does, nothing happens.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sd_notify::NotifyState;

use super::Subject;
use super::health::{Inquiry, Verdict};

pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}

/// A thread that tells a service manager that the subject is well, as long as it is. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Where the service manager wants to be told. `None` elsewhere.
    pub(super) fn start(subject: Subject) -> Option<Self> {
        let interval = sd_notify::watchdog_enabled()? / 2;
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new().name("dp-watchdog".to_owned()).spawn(move || {
            let mut inquiry = Inquiry::new(subject);
            loop {
                tell_if_well(&mut inquiry);
                match stopped.recv_timeout(interval.max(Duration::from_millis(1))) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
            }
        });
        match thread {
            Ok(thread) => Some(Self { stop: Some(stop), thread: Some(thread) }),
            Err(error) => {
                tracing::error!("nobody keeps the watchdog quiet: cannot start a thread: {error}");
                None
            }
        }
    }
}

fn tell_if_well(inquiry: &mut Inquiry) {
    let snapshot = inquiry.snapshot();
    match inquiry.health(&snapshot) {
        Verdict::Good => tell(&[NotifyState::Watchdog]),
        Verdict::Bad(why) => {
            tracing::error!("not well: {why}");
            tell(&[NotifyState::Status(&why)]);
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
