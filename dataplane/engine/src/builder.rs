//! How an engine is put together and started.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use dataplane_aead::Cipher;
use dataplane_io::memory::{Class, Pool, Region};
use dataplane_io::poll::Poller;
use dataplane_io::{RxRing, TxBatch};
use dataplane_proto::shard::ShardConfig;
use dataplane_wire::CoreId;

use crate::config::{
    Backend, BackendInUse, HookMaker, Limits, Offloads, SocketHook, WORKERS_MAX, Workers, buffers,
};
use crate::control::{Control, ControlParts};
use crate::controllers::Controllers;
use crate::engine::{Engine, Shared};
use crate::error::StartError;
use crate::events::{self, Events};
use crate::hook::Hook;
use crate::link::WorkerLink;
use crate::outer::{AnyOuter, Outer, UdpOuter};
use crate::worker::Parts;

/// Requests that wait for the control thread; one more waits in its caller.
const REQUESTS_MAX: usize = 64;

/// Builds an [`Engine`].
pub struct Builder {
    workers: Workers,
    backend: Backend,
    limits: Limits,
    offloads: Offloads,
    cipher: Option<String>,
    hook: Option<HookMaker>,
    outer: Option<Box<dyn AnyOuter>>,
    socket_hook: Option<SocketHook>,
    busy_poll: Duration,
    pin: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            workers: Workers::Auto,
            backend: Backend::Auto,
            limits: Limits::default(),
            offloads: Offloads::auto(),
            cipher: None,
            hook: None,
            outer: None,
            socket_hook: None,
            busy_poll: Duration::ZERO,
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

    /// What moves outer datagrams; by default the fastest that there is: [`Engine::backend`] says which. Of no effect beside an
    /// [outer side](Builder::outer) of the embedder's own.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
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

    /// An outer side of the embedder's own, instead of the kernel's UDP sockets ([`UdpOuter`]).
    #[must_use]
    pub fn outer(mut self, outer: impl Outer) -> Self {
        self.outer = Some(Box::new(outer));
        self
    }

    /// Called with each UDP socket of each interface before it is bound, unless the interface has a hook of its own: to mark it,
    /// or to keep it out of a VPN.
    #[must_use]
    pub fn on_socket(mut self, hook: SocketHook) -> Self {
        self.socket_hook = Some(hook);
        self
    }

    /// For how long after work a worker looks for more before it sleeps. Zero by default; anything else buys latency with a
    /// whole CPU, while there is traffic.
    #[must_use]
    pub fn busy_poll(mut self, budget: Duration) -> Self {
        self.busy_poll = budget;
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
        self.limits.check()?;
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
            pollers.push(Poller::new(capacity).map_err(StartError::resource("a poller"))?);
        }
        let links: Arc<[WorkerLink]> = pollers.iter().map(|poller| WorkerLink::new(poller.waker())).collect();
        let seed = random_seed()?;
        let core_bits = workers.next_power_of_two().trailing_zeros() as u8;
        let (mut outer, backend): (Box<dyn AnyOuter>, _) = match self.outer.take() {
            Some(outer) => {
                let name = outer.name();
                (outer, BackendInUse { name, reason: "given by the program that embeds the engine" })
            }
            None => (Box::new(UdpOuter::new(self.offloads)), self.backend.resolve()),
        };
        let (event_sender, events) =
            events::channel(self.limits.events).map_err(StartError::resource("an event descriptor"))?;
        let (requests, inbox) = sync_channel(REQUESTS_MAX);
        // The control thread begins when the workers are there: they need to know whom to call, and it needs the outer side and
        // the controllers.
        let (begin, begun) = sync_channel::<(Box<dyn AnyOuter>, Controllers)>(1);
        let shared = Arc::new(Shared::default());
        let parts = ControlParts {
            links: Arc::clone(&links),
            inbox,
            events: event_sender,
            limits: self.limits,
            offloads: self.offloads,
            core_bits,
            seed,
            socket_hook: self.socket_hook.take(),
            shared: Arc::clone(&shared),
        };
        let control = spawn("dp-control".to_owned(), move || {
            // An error says that the engine did not start.
            if let Ok((outer, controllers)) = begun.recv() {
                Control::new(parts, outer).run(controllers);
            }
        })?;
        let name = dataplane_aead::Aead::name(&cipher);
        let mut engine = Engine::new(Arc::clone(&links), requests, control, (name, backend), shared);
        // Declared behind the engine, so that a start that fails lets go of it first: the engine joins the thread that waits for it.
        let begin = begin;
        let cpus = if self.pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
        for (number, poller) in pollers.into_iter().enumerate() {
            let memory = |source| StartError::Memory { bytes: plan.bytes(), source };
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
                shard_config,
                cipher,
                rx: RxRing::new(&region, Class::Slab, buffers::RX_SLOTS).map_err(memory)?,
                tx: TxBatch::new(&region, buffers::TX_SLABS, buffers::TX_TRAINS).map_err(memory)?,
                pool: Pool::new(&region, buffers::POOL).map_err(memory)?,
                poller,
                links: Arc::clone(&links),
                control: engine.control_thread(),
                hook: self.hook.as_mut().map(|maker| maker(number)),
                busy_poll: self.busy_poll,
            };
            let mut worker = outer.worker(number, parts).map_err(StartError::resource("a backend"))?;
            let cpu = cpus.get(number % cpus.len().max(1)).copied();
            engine.add_worker(spawn(format!("dp-worker-{number}"), move || {
                if let Some(cpu) = cpu {
                    core_affinity::set_for_current(cpu);
                }
                worker.run();
            })?);
        }
        let controllers =
            Controllers::start(engine.control_thread()).map_err(StartError::resource("a thread"))?;
        let _ = begin.send((outer, controllers));
        Ok((engine, events))
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new().name(name).spawn(body).map_err(StartError::resource("a thread"))
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
