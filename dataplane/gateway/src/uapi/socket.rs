//! The socket of an interface in the file system: made, recognised when it is replaced, removed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Where `wg` looks for sockets.
pub const DIRECTORY: &str = "/var/run/wireguard";

/// Connections that the kernel holds until the server takes them.
const BACKLOG: i32 = 64;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("{path} is served by another process: the interface is managed already; stop that process first")]
    Served {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket stands there.
    #[error("{path} exists and is no socket: remove it")]
    Foreign {
        /// What stands there.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{what} {path}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A listening socket, readable and writable for its owner alone. Removed from the file system when dropped, if it is still there.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file that this listener is behind.
    identity: (u64, u64),
}

impl Socket {
    /// Makes `directory/interface.sock`, with the directory where it is missing. A socket that a dead process left is
    /// replaced.
    ///
    /// Two that start at once may both find a dead one: the later replaces the earlier, which sees by
    /// [`Socket::is_in_place`] that it is no longer meant.
    ///
    /// # Errors
    /// [`SocketError`]: nothing was changed then, but that the directory may exist.
    pub fn bind(directory: &Path, interface: &str) -> Result<Self, SocketError> {
        let path = directory.join(format!("{interface}.sock"));
        let failed = |what, source: io::Error| SocketError::System { what, path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(|source| {
            SocketError::System { what: "cannot make the directory", path: directory.into(), source }
        })?;
        let address = SocketAddrUnix::new(&path).map_err(|e| failed("the path is too long:", e.into()))?;
        clear(&path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|e| failed("cannot make a socket for", e.into()))?;
        // Before it has a name: the file is born with this mode, whatever the umask of this process allows.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)
            .map_err(|e| failed("cannot protect", e.into()))?;
        rustix::net::bind(&socket, &address).map_err(|e| failed("cannot bind", e.into()))?;
        rustix::net::listen(&socket, BACKLOG).map_err(|e| failed("cannot listen on", e.into()))?;
        let identity = identity(&path).map_err(|e| failed("cannot look at", e))?;
        Ok(Self { listener: UnixListener::from(socket), path, identity })
    }

    /// Takes over a socket that listens already at `directory/interface.sock` (`WG_UAPI_FD`).
    ///
    /// # Errors
    /// [`SocketError`]: the descriptor is no listening Unix socket, or it has no such name.
    pub fn adopt(fd: OwnedFd, directory: &Path, interface: &str) -> Result<Self, SocketError> {
        let path = directory.join(format!("{interface}.sock"));
        let failed = |what, source: io::Error| SocketError::System { what, path: path.clone(), source };
        let listens = rustix::net::sockopt::socket_acceptconn(&fd)
            .map_err(|e| failed("the descriptor that was handed over is no socket for", e.into()))?;
        let family = rustix::net::sockopt::socket_domain(&fd)
            .map_err(|e| failed("the descriptor that was handed over is no socket for", e.into()))?;
        if !listens || family != AddressFamily::UNIX {
            let why = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(failed("the descriptor that was handed over is no listening Unix socket for", why));
        }
        let identity = identity(&path).map_err(|e| failed("the socket that was handed over is not at", e))?;
        let listener = UnixListener::from(fd);
        listener.set_nonblocking(true).map_err(|e| failed("cannot set up", e))?;
        Ok(Self { listener, path, identity })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its file is still there and still this socket's.
    pub fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }

    /// The next connection that waits, non-blocking.
    ///
    /// # Errors
    /// `WouldBlock` where none does, or what the system says.
    pub fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_in_place() {
            // Nobody is left to be told; the next one to start takes the file for what it is.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes sure that nothing stands at `path`: removes a socket behind which nobody listens.
fn clear(path: &Path) -> Result<(), SocketError> {
    let failed = |what, source| SocketError::System { what, path: path.into(), source };
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("cannot look at", e)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::Foreign { path: path.into() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("cannot remove the dead socket", e)),
            _ => Ok(()),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            Err(failed("cannot tell whether anyone serves", e))
        }
        // Connected, or a backlog so full that this would have to wait: somebody is there.
        _ => Err(SocketError::Served { path: path.into() }),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
