//! Why the program ended otherwise than it should.

use std::io;

use dataplane::{InterfaceError, StartError};
use dataplane_io::tun::TunError;

use crate::background::BackgroundError;
use crate::http::HttpError;
use crate::uapi::SocketError;

/// Why there is no interface. Each is shown to whoever started the program, with a number of its own kind.
#[derive(Debug, thiserror::Error)]
pub enum WgError {
    /// A variable of the environment.
    #[error("{variable} is `{found}`: expected {expected}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// A descriptor that was named, but cannot be used.
    #[error("{variable} is {number}: {source}; expected the number of an open descriptor")]
    Descriptor {
        /// The variable that named it.
        variable: &'static str,
        /// The number.
        number: i32,
        /// What the system said.
        source: io::Error,
    },
    /// The engine.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The management socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The background process.
    #[error(transparent)]
    Background(#[from] BackgroundError),
    /// Metrics.
    #[error("--metrics: {0}")]
    Http(#[from] HttpError),
    /// Anything else that the system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl WgError {
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Variable { .. } | Self::Descriptor { .. } | Self::Start(StartError::Cipher(_)) => 2,
            Self::Interface(InterfaceError::Tun(error)) => match error {
                TunError::Name { .. } | TunError::Descriptor { .. } => 2,
                TunError::Exists { .. } | TunError::Busy { .. } | TunError::Kind { .. } => 3,
                TunError::Rights { .. } => 4,
                TunError::NoDriver => 5,
                _ => 1,
            },
            Self::Http(HttpError::Unknown(_)) => 2,
            Self::Http(HttpError::InUse(_)) => 3,
            Self::Http(HttpError::Forbidden(_)) => 4,
            Self::Socket(SocketError::Served { .. } | SocketError::Foreign { .. }) => 3,
            Self::Background(BackgroundError::Failed { exit_code, .. }) => *exit_code,
            Self::Socket(SocketError::System { source, .. })
            | Self::Background(BackgroundError::System { source, .. })
            | Self::System { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                4
            }
            _ => 1,
        }
    }
}
