//! The engine: built, asked, shut down.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use dataplane_aead::Cipher;
use dataplane_io::memory::{Pool, Region};
use dataplane_io::poll::Poller;
use dataplane_io::socket::OffloadConfig;
use dataplane_io::udp::UdpIo;
use dataplane_io::{RxRing, TxBatch, memory::Class};
use dataplane_proto::shard::{Shard, ShardConfig};
use dataplane_wire::CoreId;

use crate::applied;
use crate::config::{HookMaker, Limits, Offloads, WORKERS_MAX, Workers, buffers};
use crate::control::{Control, ControlParts, Request};
use crate::counters::WorkerStats;
use crate::error::{InterfaceError, StartError, Stopped};
use crate::events::{self, Events};
use crate::handle::InterfaceHandle;
use crate::hook::Hook;
use crate::interface::Interface;
use crate::link::WorkerLink;
use crate::worker::{Parts, Worker};

/// Requests that wait for the control thread; one more waits in its caller.
const REQUESTS_MAX: usize = 64;

/// Builds an [`Engine`].
pub struct Builder {
    workers: Workers,
    limits: Limits,
    offloads: Offloads,
    cipher: Option<String>,
    hook: Option<HookMaker>,
    pin: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            workers: Workers::Auto,
            limits: Limits::default(),
            offloads: Offloads::auto(),
            cipher: None,
            hook: None,
            pin: false,
        }
    }
}

impl Builder {
    /// How many workers to start; one per CPU by default.
    #[must_use]
    pub fn workers(mut self, workers: Workers) -> Self {
        self.workers = workers;
        self
    }

    /// Bounds on everything that can grow.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Which offloads to use; by default all that the machine has.
    #[must_use]
    pub fn offloads(mut self, offloads: Offloads) -> Self {
        self.offloads = offloads;
        self
    }

    /// Forces a provider of the cipher by its name; by default the fastest here.
    #[must_use]
    pub fn cipher(mut self, name: impl Into<String>) -> Self {
        self.cipher = Some(name.into());
        self
    }

    /// A hook for each worker: `maker` is called once per worker with its number.
    #[must_use]
    pub fn hook<H: Hook + 'static>(mut self, mut maker: impl FnMut(usize) -> H + 'static) -> Self {
        self.hook = Some(Box::new(move |worker| Box::new(maker(worker))));
        self
    }

    /// Pins each worker to a CPU of the process's affinity mask. Off by default.
    #[must_use]
    pub fn pin(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Maps the buffers, starts the threads.
    ///
    /// # Errors
    /// [`StartError`]: nothing stays behind.
    pub fn start(mut self) -> Result<(Engine, Events), StartError> {
        let workers = self.workers.count();
        if workers == 0 || workers > WORKERS_MAX {
            return Err(StartError::Workers(workers));
        }
        let cipher = match &self.cipher {
            None => Cipher::auto(),
            Some(name) => Cipher::named(name).ok_or_else(|| StartError::Cipher(name.clone()))?,
        };
        let plan = buffers::plan(workers);
        let region =
            Region::new(&plan).map_err(|error| StartError::Memory { bytes: plan.bytes(), source: error })?;
        let mut pollers = Vec::with_capacity(workers);
        for _ in 0..workers {
            let capacity = 4 * self.limits.interfaces.max(1);
            pollers.push(
                Poller::new(capacity).map_err(|source| StartError::Resource { what: "a poller", source })?,
            );
        }
        let links: Arc<[WorkerLink]> = pollers.iter().map(|poller| WorkerLink::new(poller.waker())).collect();
        let seed = random_seed()?;
        let core_bits = workers.next_power_of_two().trailing_zeros() as u8;
        let (event_sender, events) = events::channel(self.limits.events);
        let (requests, inbox) = sync_channel(REQUESTS_MAX);
        let control = Control::new(ControlParts {
            links: Arc::clone(&links),
            inbox,
            events: event_sender,
            limits: self.limits,
            offloads: self.offloads,
            core_bits,
            seed,
        });
        let control = spawn("dp-control".to_owned(), move || control.run())?;
        let mut engine = Engine {
            links: Arc::clone(&links),
            requests,
            control: Some(control),
            workers: Vec::with_capacity(workers),
            cipher: dataplane_aead::Aead::name(&cipher),
        };
        let cpus = if self.pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
        for (number, poller) in pollers.into_iter().enumerate() {
            let memory = |error: dataplane_io::memory::RegionError| StartError::Memory {
                bytes: plan.bytes(),
                source: error,
            };
            let core = CoreId(number as u8);
            let shard_config = ShardConfig {
                core,
                cores: workers as u8,
                core_bits,
                master_seed: seed,
                limits: self.limits.shard(),
            };
            let parts = Parts {
                core,
                shard: Shard::new(shard_config, cipher),
                io: UdpIo::new(OffloadConfig { gso: self.offloads.gso, gro: self.offloads.gro }),
                rx: RxRing::new(&region, Class::Slab, buffers::RX_SLOTS).map_err(memory)?,
                tx: TxBatch::new(&region, buffers::TX_SLABS, buffers::TX_TRAINS).map_err(memory)?,
                pool: Pool::new(&region, buffers::POOL).map_err(memory)?,
                poller,
                links: Arc::clone(&links),
                control: engine.control_thread(),
                hook: self.hook.as_mut().map(|maker| maker(number)),
            };
            let cpu = cpus.get(number % cpus.len().max(1)).copied();
            let worker = spawn(format!("dp-worker-{number}"), move || {
                if let Some(cpu) = cpu {
                    core_affinity::set_for_current(cpu);
                }
                Worker::new(parts).run();
            })?;
            engine.workers.push(worker);
        }
        Ok((engine, events))
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|source| StartError::Resource { what: "a thread", source })
}

/// The one place that seeds randomness.
fn random_seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    let mut filled = 0;
    while filled < seed.len() {
        match rustix::rand::getrandom(&mut seed[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(StartError::Resource { what: "randomness", source: error.into() }),
        }
    }
    Ok(seed)
}

/// A running data plane. Dropping it stops it: threads are joined and ports are free when the drop returns.
pub struct Engine {
    links: Arc<[WorkerLink]>,
    requests: SyncSender<Request>,
    control: Option<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    cipher: &'static str,
}

impl Engine {
    /// An engine with defaults, to be changed before it starts.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// How many workers it has: as many queues an own inner side needs.
    pub fn workers(&self) -> usize {
        self.links.len()
    }

    /// The provider of the cipher.
    pub fn cipher(&self) -> &'static str {
        self.cipher
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

    /// Counters as they are now; takes no lock on a worker.
    pub fn stats(&self) -> Stats {
        Stats { workers: self.links.iter().map(|link| link.counters.read()).collect() }
    }

    /// Packets that hooks have dropped for a reason of their own, all workers together.
    pub fn policy_drops(&self, reason: crate::hook::PolicyReason) -> u64 {
        self.links.iter().map(|link| link.policy.read(reason.0)).sum()
    }

    /// Stops all threads and frees all ports; both are done when it returns. Dropping does the same.
    pub fn shutdown(self) {}

    fn control_thread(&self) -> std::thread::Thread {
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

    /// The sum of all.
    pub fn total(&self) -> WorkerStats {
        self.workers.iter().fold(WorkerStats::default(), |sum, worker| sum.plus(worker))
    }
}
