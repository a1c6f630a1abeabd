//! What a management socket manages: the seam between the protocol and the engine.

use std::io;

use super::types::{DeviceSnapshot, SetRequest};

/// An interface as its management sees it.
pub trait Device {
    /// Everything about it at this moment.
    ///
    /// # Errors
    /// [`DeviceError::Gone`] once the interface is no more.
    fn snapshot(&mut self) -> Result<DeviceSnapshot, DeviceError>;

    /// Makes all changes of a request, in order, or none.
    ///
    /// # Errors
    /// [`DeviceError`]; nothing has changed then.
    fn set(&mut self, request: SetRequest) -> Result<(), DeviceError>;
}

/// Why an interface did not do what a request asked.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The port is taken.
    #[error("listen_port {port} is in use by another program: choose another, or 0 for any")]
    PortInUse {
        /// Which.
        port: u16,
    },
    /// The system does not let this program do it.
    #[error("{what} is not permitted: this program needs CAP_NET_ADMIN")]
    NotPermitted {
        /// What was tried.
        what: String,
    },
    /// More peers, prefixes or other things than the interface was made for.
    #[error("{what}: more than this interface was made for")]
    TooMany {
        /// Of what.
        what: String,
    },
    /// The request contradicts itself or the interface.
    #[error("{0}")]
    Invalid(String),
    /// The interface is no more.
    #[error("the interface is gone")]
    Gone,
    /// Anything else that the system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl DeviceError {
    /// The positive number by which this error is answered.
    pub fn errno(&self) -> i32 {
        match self {
            Self::PortInUse { .. } => libc::EADDRINUSE,
            Self::NotPermitted { .. } => libc::EPERM,
            Self::TooMany { .. } => libc::ENOSPC,
            Self::Invalid(_) => libc::EINVAL,
            Self::Gone => libc::ENODEV,
            Self::System { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}
