//! The process that carries the interface: brings it up, serves its management socket, takes it down.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use dataplane_io::netlink::Links;
use rustix::event::{PollFd, PollFlags};

use super::names::{self, Keeper};
use super::plan::Plan;
use super::state::{Lock, State, network_namespace};
use super::system::System;
use super::wanted::{Wanted, tunnel_mtu};
use super::{Options, UpError, hooks, takedown};
use crate::background::Readiness;
use crate::config::locate;
use crate::logging::LogLevel;
use crate::net::Netlink;
use crate::service::Service;
use crate::service::privileges::{self, CapabilitySet, Children};
use crate::signals::Termination;
use crate::uapi::{Device, Server, Socket, Stopped};
use crate::wg::tunnel::Tunnel;
use crate::wg::{Removal, WgError};

/// Runs the interface until something ends it.
pub(super) fn serve(options: &Options, readiness: &Readiness) -> Result<(), UpError> {
    let logs = options.logs.start(if readiness.is_awaited() { LogLevel::Warn } else { LogLevel::Info })?;
    let located = locate(&options.file)?;
    // Before the working directory changes.
    let plan = Plan::read(&located)?;
    let run_dir = std::path::absolute(&options.run_dir.run_dir)
        .map_err(UpError::system("cannot make the run directory's path absolute"))?;
    if plan.private_key.is_none() {
        tracing::warn!(
            "{}: there is neither PrivateKey nor a credential of a service: nobody can be reached before one is set (`wg set {} \
             private-key FILE`)",
            plan.path.display(),
            plan.interface
        );
    }
    readiness.detach()?;
    // Before there is a second thread. Commands of the file and programs of the system that run later get back what root has.
    let more = match plan.config.interface.save_config {
        // The file that is written may be somebody else's.
        true => CapabilitySet::DAC_OVERRIDE,
        false => CapabilitySet::empty(),
    };
    privileges::reduce(Children::Some, more).map_err(UpError::system("cannot give rights up"))?;
    let termination = Termination::catch().map_err(UpError::system("cannot catch signals"))?;
    let interface = plan.interface.as_str();

    std::fs::create_dir_all(&run_dir)
        .map_err(UpError::system(format!("cannot make {}", run_dir.display())))?;
    let lock = Lock::take(&run_dir, interface)?;
    refuse_existing(interface)?;
    let socket = run_dir.join(format!("{interface}.sock"));
    if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
        return Err(UpError::InUse(format!(
            "{} is served by another process: an interface {interface} is up in another network namespace; give this one \
             a run directory of its own by --run-dir",
            socket.display()
        )));
    }
    if let Some(left) = State::load(&run_dir, interface)? {
        tracing::warn!(
            "{interface}: the process that carried it has been killed; what it left is taken back first"
        );
        takedown::undo_leftovers(&run_dir, interface, &left)?;
    }
    let path = &plan.path;
    hooks::run("PreUp", &plan.config.interface.pre_up, interface, path, Some(&termination))?;
    let mut bringing = Bringing::open(&plan, options, &run_dir)?;
    let outcome = bringing.configure(&plan, &run_dir).and_then(|()| {
        bringing.serve()?;
        hooks::run("PostUp", &plan.config.interface.post_up, interface, path, Some(&termination))
    });
    if let Err(error) = outcome {
        return Err(bringing.abandon(error, &plan, &run_dir));
    }
    drop(lock);
    tracing::info!("{interface} is up");
    // What is logged goes on to standard error only where somebody asked for it.
    if !logs.is_asked_for {
        readiness.silence()?;
    }
    readiness.ready()?;
    if let Some(service) = &bringing.service {
        service.ready();
    }
    let why = bringing.wait(&termination)?;
    tracing::info!("{interface} ends: {why}");
    let errors = takedown::by_server(&run_dir, interface, || bringing.close());
    UpError::of(errors)
}

/// An interface of this name must not exist, whoever made it.
fn refuse_existing(interface: &str) -> Result<(), UpError> {
    let mut links = Links::open().map_err(UpError::system("cannot open a netlink socket"))?;
    match links.find(interface) {
        Ok(_) => Err(UpError::InUse(format!(
            "interface {interface} exists already: take it down first (`dataplane down {interface}`), or remove it \
             (`ip link delete {interface}`)"
        ))),
        Err(_) => Ok(()),
    }
}

/// An interface that is being brought up, and then carried.
struct Bringing {
    /// Both until they are served.
    idle: Option<(Tunnel, Server)>,
    /// Until it ends.
    service: Option<Service>,
    socket: std::path::PathBuf,
    system: System,
    server: Option<JoinHandle<io::Result<(Stopped, Tunnel)>>>,
    /// The server's end of it ends the server; when the server has ended, this one is readable.
    stop: UnixStream,
    stopped: Option<UnixStream>,
    gone: std::os::fd::OwnedFd,
    keeper: Option<Keeper>,
}

impl Bringing {
    fn open(plan: &Plan, options: &Options, run_dir: &std::path::Path) -> Result<Self, UpError> {
        let tunnel = Tunnel::open(&plan.interface, None, &options.engine, Removal::Ends)?;
        let service = Service::start(&tunnel.subject(), &options.service).map_err(WgError::from)?;
        let socket = Socket::bind(run_dir, &plan.interface)?;
        let path = socket.path().to_owned();
        let server = Server::new(socket, crate::netif::index_of);
        let system = System::open(&plan.interface, plan.resolver)?;
        let (stop, stopped) = UnixStream::pair().map_err(UpError::system("cannot make a pipe"))?;
        let gone = tunnel.watch().as_fd().try_clone_to_owned();
        let gone = gone.map_err(UpError::system("cannot watch the link"))?;
        let keeper =
            Keeper { run_dir: run_dir.to_owned(), interface: plan.interface.clone(), socket: path.clone() };
        Ok(Self {
            idle: Some((tunnel, server)),
            service: Some(service),
            socket: path,
            system,
            server: None,
            stop,
            stopped: Some(stopped),
            gone,
            keeper: Some(keeper),
        })
    }

    /// Gives the interface its keys, peers, addresses, routes and the rest.
    fn configure(&mut self, plan: &Plan, run_dir: &std::path::Path) -> Result<(), UpError> {
        let Some((tunnel, _)) = &mut self.idle else { return Ok(()) };
        let mut netlink = Netlink::open().map_err(UpError::system("cannot open a netlink socket"))?;
        let mark = plan.mark(&mut netlink, None)?;
        let found = plan.look_up(names::names_of(&plan.config));
        let request = plan.request(mark, &found);
        let mtu = match plan.config.interface.mtu {
            Some(mtu) => mtu.into(),
            None => tunnel_mtu(netlink.path_mtus(&Plan::endpoints(&request.peers))),
        };
        tunnel.set(request).map_err(|error| plan.device_error(error))?;
        let state = State {
            config: plan.path.clone(),
            namespace: network_namespace(),
            wanted: Wanted::of(&plan.config, mark, mtu),
            resolver: plan.resolver,
            pre_down: plan.config.interface.pre_down.clone(),
            post_down: plan.config.interface.post_down.clone(),
            save_config: plan.config.interface.save_config,
            endpoints: names::written(&plan.config),
        };
        // Before anything is changed that outlives this process.
        state.store(run_dir, &plan.interface)?;
        let (link, rest): (Vec<_>, Vec<_>) =
            Wanted::default().steps_to(&state.wanted).into_iter().partition(|step| step.is_of_link());
        self.system.make(link)?;
        tunnel.listen()?;
        self.system.make(rest)
    }

    /// Begins to serve the management socket, which commands of the file may need.
    fn serve(&mut self) -> Result<(), UpError> {
        let (Some((mut tunnel, mut server)), Some(stopped)) = (self.idle.take(), self.stopped.take()) else {
            return Ok(());
        };
        let served = std::thread::Builder::new().name("uapi".to_owned()).spawn(move || {
            let why = server.run(&mut tunnel, &[stopped.as_fd()]);
            // The device goes with whoever joins this thread: not before what stands on it has been taken back.
            why.map(|why| (why, tunnel))
        });
        self.server = Some(served.map_err(UpError::system("cannot start a thread"))?);
        if let Some(keeper) = self.keeper.take() {
            let started = std::thread::Builder::new().name("names".to_owned()).spawn(move || keeper.run());
            started.map_err(UpError::system("cannot start a thread"))?;
        }
        Ok(())
    }

    /// Waits for the end, and says why it has come.
    fn wait(&self, termination: &Termination) -> Result<&'static str, UpError> {
        let ends = [
            (termination.as_fd(), "a signal asked for it"),
            (self.gone.as_fd(), "the interface was removed"),
            (self.stop.as_fd(), "its management socket was removed"),
        ];
        loop {
            let mut fds: Vec<PollFd<'_>> =
                ends.iter().map(|(fd, _)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(UpError::system("cannot wait")(error.into())),
            }
            if let Some(at) = fds.iter().position(|fd| !fd.revents().is_empty()) {
                return Ok(ends[at].1);
            }
        }
    }

    /// Takes back everything that was done, and returns why.
    fn abandon(mut self, error: UpError, plan: &Plan, run_dir: &std::path::Path) -> UpError {
        let mut errors = vec![error];
        errors.extend(self.system.undo());
        self.close();
        errors.extend(State::remove(run_dir, &plan.interface).err());
        UpError::of(errors).err().unwrap_or(UpError::Interrupted)
    }

    /// Ends the server and lets go of the device: the interface is gone when this returns.
    fn close(&mut self) {
        self.service = None;
        self.idle = None;
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        if let Some(server) = self.server.take() {
            match server.join() {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!("{}: {error}", self.socket.display()),
                Err(_) => tracing::error!("{}: the server has panicked", self.socket.display()),
            }
        }
    }
}
