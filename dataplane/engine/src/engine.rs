//! The engine: asked, drained, shut down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::applied::{self, Applied};
use crate::builder::Builder;
use crate::config::BackendInUse;
use crate::control::Request;
use crate::counters::WorkerStats;
use crate::error::{InterfaceError, Stopped};
use crate::handle::InterfaceHandle;
use crate::interface::Interface;
use crate::link::WorkerLink;
use crate::outer::OuterOffloads;

/// A running data plane. Dropping it stops it: threads are joined and ports are free when the drop returns.
pub struct Engine {
    links: Arc<[WorkerLink]>,
    requests: SyncSender<Request>,
    control: Option<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    cipher: &'static str,
    backend: BackendInUse,
    shared: Arc<Shared>,
}

/// What the control thread tells without being asked.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) controllers_stalled: AtomicBool,
    pub(crate) ended: OnceLock<EndReason>,
}

/// How an engine is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The control layers have not taken in anything for seconds: data goes on by the last paths.
    pub controllers_stalled: bool,
    /// How often each worker was made anew after a panic.
    pub worker_panics: Vec<u64>,
    /// Why the engine has ended by itself, if it has.
    pub ended: Option<EndReason>,
}

/// Why an engine ended although nobody asked it to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// A worker panicked again and again within a minute.
    #[error("worker {worker} panicked {panics} times, the last time with: {message}")]
    WorkerPanics {
        /// Which.
        worker: usize,
        /// How often, since the start.
        panics: u64,
        /// What the last panic said.
        message: String,
    },
    /// A worker could not wait for its descriptors any more.
    #[error("worker {worker} cannot poll its descriptors")]
    Poller {
        /// Which.
        worker: usize,
    },
}

impl Engine {
    /// An engine with defaults, to be changed before it starts.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(
        links: Arc<[WorkerLink]>,
        requests: SyncSender<Request>,
        control: JoinHandle<()>,
        (cipher, backend): (&'static str, BackendInUse),
        shared: Arc<Shared>,
    ) -> Self {
        let workers = Vec::with_capacity(links.len());
        Self { links, requests, control: Some(control), workers, cipher, backend, shared }
    }

    pub(crate) fn add_worker(&mut self, worker: JoinHandle<()>) {
        self.workers.push(worker);
    }

    /// How many workers it has: as many queues an own inner side needs.
    pub fn workers(&self) -> usize {
        self.links.len()
    }

    /// The provider of the cipher.
    pub fn cipher(&self) -> &'static str {
        self.cipher
    }

    /// What moves outer datagrams, and why that.
    pub fn backend(&self) -> BackendInUse {
        self.backend
    }

    /// Adds an interface: opens its inner side and, unless it starts down, its sockets.
    ///
    /// # Errors
    /// [`InterfaceError`]: nothing of it stays behind.
    pub fn add_interface(&self, interface: Interface) -> Result<InterfaceHandle, InterfaceError> {
        let (reply, added) = applied::pair();
        self.ask(Request::AddInterface { interface: Box::new(interface), reply })?;
        let (id, device_name) = added.wait()??;
        Ok(InterfaceHandle::new(id, device_name, self.requests.clone(), self.control_thread()))
    }

    /// Counters as they are now; takes no lock on a worker. They are published every 20 ms, and before a worker sleeps.
    pub fn stats(&self) -> Stats {
        let read = |link: &WorkerLink| WorkerStats {
            rx_kernel_drops: link.kernel_drops.load(Ordering::Relaxed),
            ..link.counters.read()
        };
        Stats {
            workers: self.links.iter().map(read).collect(),
            cpus: self.links.iter().map(WorkerLink::cpu).collect(),
            offloads: self.links.iter().map(WorkerLink::offloads).collect(),
        }
    }

    /// How it is; takes no lock on a worker that runs.
    pub fn health(&self) -> Health {
        Health {
            controllers_stalled: self.shared.controllers_stalled.load(Ordering::Relaxed),
            worker_panics: self.links.iter().map(WorkerLink::panics).collect(),
            ended: self.shared.ended.get().cloned(),
        }
    }

    /// Lets everything leave that was given to it before: what waits in inner sides is read, sealed and sent, what waits for a
    /// session waits for it, for at most `timeout`. Nothing is stopped by it; [`Engine::shutdown`] does that.
    ///
    /// # Errors
    /// [`Stopped`]; the answer says whether the time was enough.
    pub fn drain(&self, timeout: Duration) -> Result<Applied<Drained>, Stopped> {
        let (reply, drained) = applied::pair();
        self.ask(Request::Drain { timeout, reply })?;
        Ok(drained)
    }

    /// Erases the keys of all sessions and makes new ones, as after a suspend (WG-37). The engine does so by itself when it finds
    /// that the machine has slept; this is for whoever is told before it sleeps.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn erase_sessions(&self) -> Result<Applied<()>, Stopped> {
        let (reply, erased) = applied::pair();
        self.ask(Request::EraseSessions { reply })?;
        Ok(erased)
    }

    /// Packets that hooks have dropped for a reason of their own, all workers together.
    pub fn policy_drops(&self, reason: crate::hook::PolicyReason) -> u64 {
        self.links.iter().map(|link| link.policy.read(reason.0)).sum()
    }

    /// Stops all threads and frees all ports; both are done when it returns. Dropping does the same.
    pub fn shutdown(self) {}

    pub(crate) fn control_thread(&self) -> std::thread::Thread {
        self.control.as_ref().map_or_else(std::thread::current, |control| control.thread().clone())
    }

    fn ask(&self, request: Request) -> Result<(), Stopped> {
        self.requests.send(request).map_err(|_| Stopped)?;
        self.control_thread().unpark();
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The control thread goes first: it gives no command any more, and drops what it holds of sockets and devices.
        let _ = self.ask(Request::Stop);
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
        for link in self.links.iter() {
            link.stop();
        }
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// Counters of all workers at one moment.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    workers: Vec<WorkerStats>,
    cpus: Vec<Option<usize>>,
    offloads: Vec<OuterOffloads>,
}

/// Whether a drain was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Nothing waits any more.
    All,
    /// The time was over before.
    TimedOut,
}

impl Stats {
    /// One worker's; zeros for one that does not exist.
    pub fn worker(&self, number: usize) -> WorkerStats {
        self.workers.get(number).copied().unwrap_or_default()
    }

    /// Each worker's.
    pub fn workers(&self) -> &[WorkerStats] {
        &self.workers
    }

    /// The CPU on which a worker was last seen: by default wherever the kernel puts it (see
    /// [`Builder::pin`](crate::Builder::pin)). `None` before its first turn, and for one that does not exist.
    pub fn cpu(&self, worker: usize) -> Option<usize> {
        self.cpus.get(worker).copied().flatten()
    }

    /// Which offloads the outer side of a worker uses, and why not where it does not; `None` for one that does not exist.
    pub fn offloads(&self, worker: usize) -> Option<OuterOffloads> {
        self.offloads.get(worker).copied()
    }

    /// The sum of all.
    pub fn total(&self) -> WorkerStats {
        self.workers.iter().fold(WorkerStats::default(), |sum, worker| sum.plus(worker))
    }
}

#[cfg(all(test, not(loom)))]
#[path = "suspend_tests.rs"]
mod tests;
