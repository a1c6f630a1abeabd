//! Why an interface was not brought up, taken down or changed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use dataplane::InterfaceError;

use crate::background::BackgroundError;
use crate::config::{ConfigError, LocateError};
use crate::net::ProgramError;
use crate::uapi::{ClientError, DeviceError, ReplyError, SocketError};
use crate::wg::WgError;

/// Why an interface is not as it was asked to be. What was done until then has been undone, unless the text says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The argument.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// The file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file or line that asks for what cannot be had, with place and remedy.
    #[error("{0}")]
    Refused(String),
    /// The engine, the interface, or the management socket.
    #[error(transparent)]
    Wg(#[from] WgError),
    /// The interface refused what the file says.
    #[error("{place}: {source}")]
    Device {
        /// The file, with the line where it is known.
        place: String,
        /// Why.
        source: DeviceError,
    },
    /// The background process.
    #[error(transparent)]
    Background(#[from] BackgroundError),
    /// The kernel refused a change of addresses, routes or rules.
    #[error("{what}: {source}{hint}")]
    Kernel {
        /// The change.
        what: String,
        /// What the kernel said.
        source: io::Error,
        /// What to do, where it is known; begins with a semicolon.
        hint: &'static str,
    },
    /// A program of the system.
    #[error("{what}: {source}")]
    Program {
        /// What it was to do.
        what: &'static str,
        /// Why it did not.
        source: ProgramError,
    },
    /// A command of the file failed.
    #[error("{config}:{line}: {key} `{command}` failed: {status}", config = config.display())]
    Hook {
        /// The file.
        config: PathBuf,
        /// Its line.
        line: usize,
        /// `PreUp` or the like.
        key: &'static str,
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// Somebody asked for the end meanwhile.
    #[error("interrupted: everything that was done is undone")]
    Interrupted,
    /// There is something already.
    #[error("{0}")]
    InUse(String),
    /// The interface does not answer.
    #[error("{interface}: {source}")]
    Client {
        /// The interface.
        interface: String,
        /// Why.
        source: ClientError,
    },
    /// Several things went wrong, each on a line.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<UpError>),
    /// Anything else that the system refused.
    #[error("{what}: {source}{hint}", hint = missing_rights(source))]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl UpError {
    pub(super) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what: what.into(), source }
    }

    /// There is nothing of ours to change or to take down.
    pub(super) fn not_up(interface: &str, run_dir: &Path) -> Self {
        Self::Refused(format!(
            "{interface} was not brought up by `dataplane up` with the run directory {}: see `dataplane status`",
            run_dir.display()
        ))
    }

    /// One error of some, or none.
    pub(super) fn of(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locate(_) | Self::Config(_) | Self::Refused(_) => 2,
            Self::Wg(error) => error.exit_code(),
            Self::Background(error) => match error {
                BackgroundError::Failed { exit_code, .. } => *exit_code,
                _ => 1,
            },
            Self::Device { source, .. } => match source {
                DeviceError::PortInUse(_) => 3,
                DeviceError::NotPermitted(_) => 4,
                DeviceError::Invalid(_) | DeviceError::TooMany(_) => 2,
                _ => 1,
            },
            Self::InUse(_) => 3,
            Self::Interrupted => 130,
            Self::Kernel { source, .. } | Self::System { source, .. } => of_system(source),
            Self::Client { source, .. } => match source {
                ClientError::System(source) => of_system(source),
                ClientError::Reply(ReplyError::Refused(errno)) => {
                    of_system(&io::Error::from_raw_os_error(*errno))
                }
                ClientError::Reply(_) => 1,
            },
            Self::Several(errors) => errors.first().map_or(1, Self::exit_code),
            Self::Program { .. } | Self::Hook { .. } => 1,
        }
    }
}

/// What to do where rights are missing.
fn missing_rights(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run as root",
        _ => "",
    }
}

fn of_system(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::PermissionDenied => 4,
        io::ErrorKind::AddrInUse => 3,
        _ => 1,
    }
}

impl From<InterfaceError> for UpError {
    fn from(error: InterfaceError) -> Self {
        Self::Wg(error.into())
    }
}

impl From<SocketError> for UpError {
    fn from(error: SocketError) -> Self {
        Self::Wg(error.into())
    }
}
