//! What a management socket manages: the seam between the protocol and the engine.

use std::io;

use super::status::DeviceStatus;
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

    /// What the program behind the interface counts.
    ///
    /// # Errors
    /// [`DeviceError::Gone`].
    fn status(&mut self) -> Result<DeviceStatus, DeviceError>;
}

/// Why an interface did not do what a request asked. The text says what to do instead.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The port is taken.
    #[error("{0}")]
    PortInUse(String),
    /// The system does not let this program do it.
    #[error("{0}")]
    NotPermitted(String),
    /// More peers, prefixes or other things than the interface was made for.
    #[error("{0}")]
    TooMany(String),
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
            Self::PortInUse(_) => libc::EADDRINUSE,
            Self::NotPermitted(_) => libc::EPERM,
            Self::TooMany(_) => libc::ENOSPC,
            Self::Invalid(_) => libc::EINVAL,
            Self::Gone => libc::ENODEV,
            Self::System { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}
