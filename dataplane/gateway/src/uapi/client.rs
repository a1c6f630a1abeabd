//! The other end of a management socket: what `wg` does, for our own programs.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::reply::{self, ReplyError};
use super::status::{DeviceStatus, parse_status_reply};
use super::types::{DeviceSnapshot, SetRequest};

/// How long a program may let us wait for the next piece of its answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Most bytes of an answer: twice the largest request.
const ANSWER_LEN_MAX: usize = 512 << 20;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there, or not any longer.
    #[error("the interface does not answer: {0}")]
    System(#[from] io::Error),
    /// The answer.
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

/// A connection to a management socket.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects to a socket.
    ///
    /// # Errors
    /// What the system says: nobody listens, or the rights are missing.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
        Ok(Self { stream })
    }

    /// Asks for everything about the interface.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn snapshot(&mut self) -> Result<DeviceSnapshot, ClientError> {
        Ok(reply::parse_get_reply(&self.ask("get=1\n\n")?)?)
    }

    /// Asks for what the program counts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&mut self) -> Result<DeviceStatus, ClientError> {
        Ok(parse_status_reply(&self.ask("status=1\n\n")?)?)
    }

    /// Makes changes.
    ///
    /// # Errors
    /// [`ClientError`]; nothing has changed where the interface refused.
    pub fn set(&mut self, request: &SetRequest) -> Result<(), ClientError> {
        let mut text = Zeroizing::new(String::new());
        // Writing to a string does not fail.
        request.emit(&mut *text).map_err(io::Error::other)?;
        Ok(reply::parse_set_reply(&self.ask(&text)?)?)
    }

    fn ask(&mut self, request: &str) -> Result<Zeroizing<String>, ClientError> {
        self.stream.write_all(request.as_bytes())?;
        let mut answer = Zeroizing::new(Vec::new());
        let mut piece = Zeroizing::new([0; 16 * 1024]);
        while !answer.ends_with(b"\n\n") {
            let count = self.stream.read(&mut piece[..])?;
            if count == 0 || answer.len() + count > ANSWER_LEN_MAX {
                return Err(ReplyError::Truncated.into());
            }
            answer.extend_from_slice(&piece[..count]);
        }
        let text = String::from_utf8(std::mem::take(&mut *answer));
        Ok(Zeroizing::new(text.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?))
    }
}
