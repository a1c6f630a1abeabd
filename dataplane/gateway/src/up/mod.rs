//! `dataplane up`, `down` and `reload`: what wg-quick(8) does, by the file that it reads, in one program.
//!
//! `up` becomes the process that carries the interface. What outlives that process (policy rules, resolvers, the firewall's
//! tables) is remembered in the run directory, so that `down` can take it back whatever became of the process. Every change
//! of the kernel is a [`wanted::Step`] with an inverse: bringing up, changing and taking down are the steps from one
//! [`wanted::Wanted`] to another, made in order and taken back in the reverse order when one is refused.

mod error;
mod hooks;
mod names;
mod plan;
mod reload;
mod save;
mod serve;
mod state;
mod system;
mod takedown;
mod wanted;

use std::path::PathBuf;
use std::process::Stdio;

use clap::Args;

pub use error::UpError;
pub use reload::Reloaded;

use crate::background::{self, Readiness};
use crate::config::locate;
use crate::logging::{self, LogFormat, LogLevel, Settings};
use crate::service::ServiceOptions;
use crate::signals::Termination;
use crate::uapi::DIRECTORY;
use crate::wg::EngineOptions;

/// The name by which the process is listed.
const NAME: &str = "dataplane";

/// Where sockets and states are.
#[derive(Clone, Debug, Args)]
pub struct RunDir {
    /// Where management sockets and states are; another for each network namespace keeps equal names apart. wg(8) looks in
    /// the default place only.
    #[arg(long, value_name = "DIR", env = "DATAPLANE_RUN_DIR", default_value = DIRECTORY)]
    pub run_dir: PathBuf,
}

/// How to log.
#[derive(Clone, Debug, Args)]
pub struct Logs {
    /// The form of the lines that are logged to standard error; how much is logged is said by RUST_LOG or LOG_LEVEL.
    #[arg(long, value_enum, value_name = "FORMAT", env = "DATAPLANE_LOG_FORMAT", default_value = "human")]
    pub log_format: LogFormat,
}

impl Logs {
    /// Starts to log; `level` counts where the environment says nothing.
    fn start(&self, level: LogLevel) -> Result<Settings, UpError> {
        let settings = Settings::read(self.log_format, level, |name| std::env::var_os(name));
        let settings = settings.map_err(UpError::Refused)?;
        logging::start(&settings);
        Ok(settings)
    }
}

/// What `dataplane up` takes.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Stays in the foreground instead of going to the background once everything stands.
    #[arg(short, long)]
    pub foreground: bool,
    #[command(flatten)]
    pub(crate) engine: EngineOptions,
    #[command(flatten)]
    pub(crate) run_dir: RunDir,
    #[command(flatten)]
    pub(crate) logs: Logs,
    #[command(flatten)]
    pub(crate) service: ServiceOptions,
    /// A file INTERFACE.conf, or the name of an interface for /etc/wireguard/INTERFACE.conf.
    #[arg(value_name = "INTERFACE|FILE")]
    pub file: String,
}

/// What `dataplane down` and `dataplane reload` take.
#[derive(Clone, Debug, Args)]
pub struct Target {
    #[command(flatten)]
    pub(crate) run_dir: RunDir,
    #[command(flatten)]
    pub(crate) logs: Logs,
    /// The file that the interface was brought up with, or the name of the interface.
    #[arg(value_name = "INTERFACE|FILE")]
    pub file: String,
}

/// Brings an interface up. Returns once it is, or, in the foreground, once it is down again.
///
/// # Errors
/// [`UpError`]; nothing of it is left. Whoever waits for a background process has been told already, and then it is in that
/// process's standard output instead of here.
pub fn up(options: &Options) -> Result<(), UpError> {
    let readiness = Readiness::inherited(NAME);
    let outcome = try_up(options, &readiness);
    if let Err(error) = &outcome
        && readiness.is_awaited()
    {
        readiness.failed(error);
        std::process::exit(error.exit_code().into());
    }
    outcome
}

fn try_up(options: &Options, readiness: &Readiness) -> Result<(), UpError> {
    if options.foreground || readiness.is_awaited() {
        return serve::serve(options, readiness);
    }
    // What is wrong with the file is found before anything is started.
    let located = locate(&options.file)?;
    plan::Plan::read(&located)?;
    let termination = Termination::catch().map_err(UpError::system("cannot catch signals"))?;
    Ok(background::start(Stdio::inherit(), Some(&termination))?)
}

/// Takes an interface down.
///
/// # Errors
/// [`UpError`]; what could be undone has been.
pub fn down(target: &Target) -> Result<(), UpError> {
    target.logs.start(LogLevel::Warn)?;
    takedown::down(target)
}

/// Brings an interface to what its file says now.
///
/// # Errors
/// [`UpError`]; the interface is as it was.
pub fn reload(target: &Target) -> Result<Reloaded, UpError> {
    target.logs.start(LogLevel::Warn)?;
    reload::reload(target)
}

/// The file that `dataplane up` was given for an interface, where it was brought up by that.
pub(crate) fn config_file(run_dir: &std::path::Path, interface: &str) -> Option<String> {
    let state = state::State::load(run_dir, interface).ok()??;
    Some(state.config.display().to_string())
}
