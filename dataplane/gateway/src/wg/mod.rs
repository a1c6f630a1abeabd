//! `dataplane-wg`: one interface, managed by `wg` and `wg-quick`, in the place of wireguard-go.
//!
//! The program starts itself a second time in the background, and the first one returns only once the second serves its
//! management socket, or tells why it cannot. The background process ends on a signal, when its socket is removed, and when
//! its interface is.

mod environment;
mod error;
pub(crate) mod tunnel;
mod watch;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use clap::{Args, Parser, ValueEnum};

pub use environment::Environment;
pub use error::WgError;

use crate::background::{self, Readiness};
use crate::logging;
use crate::service::privileges::{self, CapabilitySet, Children};
use crate::service::{Service, ServiceOptions};
use crate::signals::Termination;
use crate::uapi::{DIRECTORY, Server, Socket, Stopped};
use tunnel::Tunnel;
pub(crate) use watch::Removal;

/// The name by which the process is listed.
const NAME: &str = "dataplane-wg";

/// Userspace WireGuard for one interface, managed with wg(8) and wg-quick(8).
#[derive(Clone, Debug, Parser)]
#[command(name = "dataplane-wg", version, after_help = AFTER_HELP)]
pub struct Options {
    /// Stays in the foreground instead of going to the background once the interface is ready.
    #[arg(short, long)]
    pub foreground: bool,
    /// Where the management socket INTERFACE-NAME.sock is made; wg(8) looks for it in the default place only.
    #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
    pub socket_directory: PathBuf,
    /// Makes the interface anew when somebody removes it, with its keys and peers, instead of ending. It is down then, and has no
    /// addresses. One that was handed over by WG_TUN_FD cannot be made anew.
    #[arg(long)]
    pub recreate: bool,
    #[command(flatten)]
    pub(crate) engine: EngineOptions,
    /// The form of the lines that are logged.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "human")]
    pub log_format: logging::LogFormat,
    /// How it is watched.
    #[command(flatten)]
    pub service: ServiceOptions,
    /// The interface to create, 15 bytes at most.
    // The kernel would choose a name for one without.
    #[arg(value_name = "INTERFACE-NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub interface: String,
}

/// How the engine is made, for every program that makes one.
#[derive(Clone, Debug, Default, Args)]
pub struct EngineOptions {
    /// Workers, each with its own queue of the interface; by default one per CPU.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: Option<u16>,
    /// What moves datagrams; by default the fastest there is: `dataplane status` says which.
    #[arg(long, value_enum, value_name = "NAME", default_value = "auto")]
    pub backend: Backend,
    /// Which provider of the cipher seals and opens: avx512, avx2, ring or reference; by default the fastest of those that
    /// this processor has.
    #[arg(long, value_name = "NAME", env = "DATAPLANE_CIPHER", hide_env = true)]
    pub cipher: Option<String>,
}

/// What may be asked to move datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// The fastest of this build.
    #[default]
    Auto,
    /// UDP sockets of the kernel.
    Udp,
}

impl From<Backend> for dataplane::Backend {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Auto => Self::Auto,
            Backend::Udp => Self::Udp,
        }
    }
}

const AFTER_HELP: &str = "\
Environment:
  LOG_LEVEL=silent|error|warn|info|debug  what is logged to standard error; the background process logs only where
                                          this is set
  WG_TUN_FD=N                             descriptor of an open TUN interface to use instead of making one
  WG_UAPI_FD=N                            descriptor of a listening management socket to use instead of making one
  WG_PROCESS_FOREGROUND=1                 as --foreground
  DATAPLANE_CIPHER=NAME                   as --cipher

Exit codes: 0 done, 1 failed, 2 wrong command line or environment, 3 interface or socket in use, 4 missing rights,
5 no /dev/net/tun.";

/// Runs the program with the command line and environment of this process.
pub fn main() -> ExitCode {
    let options = Options::parse();
    let readiness = Readiness::inherited(NAME);
    let outcome = Environment::read(|name| std::env::var_os(name)).and_then(|environment| {
        if options.foreground || environment.foreground || readiness.is_awaited() {
            serve(&options, &environment, &readiness)
        } else {
            let stderr = if environment.logs_in_background { Stdio::inherit() } else { Stdio::null() };
            Ok(background::start(stderr, None)?)
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            readiness.failed(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs the interface until something ends it.
fn serve(options: &Options, environment: &Environment, readiness: &Readiness) -> Result<(), WgError> {
    let settings = logging::Settings {
        format: options.log_format,
        level: environment.log_level,
        ..logging::Settings::default()
    };
    logging::start(&settings);
    // Before the working directory changes.
    let directory = std::path::absolute(&options.socket_directory)
        .map_err(WgError::system("cannot make the socket directory's path absolute"))?;
    readiness.detach()?;
    // Before there is a second thread.
    privileges::reduce(Children::None, CapabilitySet::empty())
        .map_err(WgError::system("cannot give rights up"))?;
    let termination = Termination::catch().map_err(WgError::system("cannot catch signals"))?;
    let removal = if options.recreate { Removal::IsUndone } else { Removal::Ends };
    let mut tunnel = Tunnel::open(&options.interface, environment.tun_fd, &options.engine, removal)?;
    let name = tunnel.name().to_owned();
    let socket = match environment.uapi_fd {
        Some(number) => {
            let fd = dataplane_io::inherit::inherited(number).map_err(|source| WgError::Descriptor {
                variable: "WG_UAPI_FD",
                number,
                source,
            })?;
            Socket::adopt(fd, &directory, &name)?
        }
        None => Socket::bind(&directory, &name)?,
    };
    tracing::info!("interface {name} is managed by {}", socket.path().display());
    let mut server = Server::new(socket, crate::netif::index_of);
    let gone =
        tunnel.watch().as_fd().try_clone_to_owned().map_err(WgError::system("cannot watch the link"))?;
    let service = Service::start(&tunnel.subject(), &options.service)?;
    readiness.ready()?;
    service.ready();
    let stopped = server
        .run(&mut tunnel, &[termination.as_fd(), gone.as_fd()])
        .map_err(WgError::system("cannot wait for clients"))?;
    tracing::info!(
        "interface {name} ends: {}",
        match stopped {
            Stopped::Woken(0) => "a signal asked for it",
            Stopped::Woken(_) => "the interface was removed",
            Stopped::SocketGone => "its management socket was removed",
        }
    );
    Ok(())
}
