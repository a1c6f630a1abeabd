//! The thread that serves: it waits for all of its clients at once, and for none of them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::request::{HEAD_LEN_MAX, Head, emit, parse};
use super::{Answer, Status};

/// Connections at once. When one more comes, the oldest is let go: whoever holds on to them keeps nobody else out.
pub const CLIENTS_MAX: usize = 16;

/// How long a connection may last, from its first moment to the last byte of the answer.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);

/// Pause after a connection could not be taken, for want of descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Most bytes behind a request that are read, so that a client that still sends sees its answer and no reset.
const REST_LEN_MAX: usize = 64 << 10;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Somebody has the address.
    #[error("{0} is in use: choose another address or port, or stop what listens there")]
    InUse(SocketAddr),
    /// The address is none of this machine's.
    #[error("cannot listen on {0}: {ip} is no address of this machine; 127.0.0.1 and [::1] are", ip = .0.ip())]
    Unknown(SocketAddr),
    /// A right is missing.
    #[error("not allowed to listen on {0}: ports below 1024 take CAP_NET_BIND_SERVICE; choose one above")]
    Forbidden(SocketAddr),
    /// Anything else that the system refused.
    #[error("cannot serve {address}: {source}")]
    System {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl HttpError {
    fn of(address: SocketAddr) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::AddrNotAvailable => Self::Unknown(address),
            io::ErrorKind::PermissionDenied => Self::Forbidden(address),
            _ => Self::System { address, source },
        }
    }
}

/// A server. Dropping it ends its thread and frees its address.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `address` and answers each request for a path with what `handler` says about it.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn start(
        address: SocketAddr,
        handler: impl FnMut(&str) -> Answer + Send + 'static,
    ) -> Result<Self, HttpError> {
        let failed = HttpError::of(address);
        let listener = TcpListener::bind(address).map_err(&failed)?;
        listener.set_nonblocking(true).map_err(&failed)?;
        let address = listener.local_addr().map_err(&failed)?;
        let (stop, stopped) = UnixStream::pair().map_err(&failed)?;
        let mut serving =
            Serving { listener, stopped, handler, clients: Vec::new(), accept_after: Instant::now() };
        let thread = std::thread::Builder::new().name("dp-http".to_owned()).spawn(move || {
            if let Err(error) = serving.run() {
                tracing::error!("nothing is served on {address} any longer: {error}");
            }
        });
        Ok(Self { address, stop: Some(stop), thread: Some(thread.map_err(&failed)?) })
    }

    /// Where it listens, with the port that the system chose where none was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread holds.
struct Serving<H> {
    listener: TcpListener,
    /// Ends when the server is dropped.
    stopped: UnixStream,
    handler: H,
    clients: Vec<Client>,
    accept_after: Instant,
}

impl<H: FnMut(&str) -> Answer> Serving<H> {
    fn run(&mut self) -> io::Result<()> {
        while self.turn()? {}
        Ok(())
    }

    /// Waits for anything to happen and deals with it. Whether there is a next turn.
    fn turn(&mut self) -> io::Result<bool> {
        let now = Instant::now();
        let accepts = now >= self.accept_after;
        let mut fds = vec![PollFd::from_borrowed_fd(self.stopped.as_fd(), PollFlags::IN)];
        let listen = if accepts { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::from_borrowed_fd(self.listener.as_fd(), listen));
        fds.extend(self.clients.iter().map(|c| PollFd::from_borrowed_fd(c.stream.as_fd(), c.interest())));
        match rustix::event::poll(&mut fds, self.patience(now).as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready[0] {
            return Ok(false);
        }
        let now = Instant::now();
        for (client, _) in self.clients.iter_mut().zip(&ready[2..]).filter(|(_, ready)| **ready) {
            client.turn(&mut self.handler);
        }
        self.clients.retain(|client| !client.over && now.duration_since(client.since) < REQUEST_TIME_MAX);
        if ready[1] && accepts {
            self.accept(now);
        }
        Ok(true)
    }

    /// How long nothing needs to be done unless something happens; without end where there is no client.
    fn patience(&self, now: Instant) -> Option<Timespec> {
        let deadlines = self.clients.iter().map(|client| client.since + REQUEST_TIME_MAX);
        let pause = Some(self.accept_after).filter(|after| *after > now);
        let left = deadlines.chain(pause).min()?.saturating_duration_since(now);
        // Not before: a turn that finds nothing over would be a busy wait.
        let left = left + Duration::from_millis(1);
        Some(Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) })
    }

    fn accept(&mut self, now: Instant) {
        match self.listener.accept().and_then(|(stream, _)| stream.set_nonblocking(true).map(|()| stream)) {
            Ok(stream) => {
                if self.clients.len() >= CLIENTS_MAX {
                    self.clients.remove(0);
                }
                self.clients.push(Client::new(stream, now));
            }
            Err(error) if is_for_now(&error) => {}
            Err(error) => {
                tracing::warn!("cannot take a connection: {error}");
                self.accept_after = now + ACCEPT_PAUSE;
            }
        }
    }
}

/// One connection.
struct Client {
    stream: TcpStream,
    /// What it has sent, until that is a request.
    input: Vec<u8>,
    /// The answer, from `written` on.
    output: Vec<u8>,
    written: usize,
    /// Bytes read behind the request.
    rest: usize,
    since: Instant,
    over: bool,
}

impl Client {
    fn new(stream: TcpStream, since: Instant) -> Self {
        Self { stream, input: Vec::new(), output: Vec::new(), written: 0, rest: 0, since, over: false }
    }

    fn is_answered(&self) -> bool {
        !self.output.is_empty() && self.written == self.output.len()
    }

    fn interest(&self) -> PollFlags {
        if self.written < self.output.len() { PollFlags::OUT } else { PollFlags::IN }
    }

    fn turn(&mut self, handler: &mut impl FnMut(&str) -> Answer) {
        match self.advance(handler) {
            Ok(()) => {}
            Err(error) if is_for_now(&error) => {}
            Err(_) => self.over = true,
        }
    }

    fn advance(&mut self, handler: &mut impl FnMut(&str) -> Answer) -> io::Result<()> {
        let mut piece = [0; 2048];
        while self.output.is_empty() {
            let room = piece.len().min(HEAD_LEN_MAX - self.input.len());
            let count = self.stream.read(&mut piece[..room])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.input.extend_from_slice(&piece[..count]);
            self.output = match parse(&self.input) {
                Head::Partial => continue,
                Head::Get { path, head_only } => emit(&handler(&path), head_only),
                Head::Refused(status) => emit(&Answer::text(status, format!("{}\n", status.line())), false),
            };
        }
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.written += count,
            }
            if self.is_answered() {
                self.stream.shutdown(Shutdown::Write)?;
            }
        }
        // Closing with bytes unread resets the connection, and the client may never see its answer.
        while self.rest < REST_LEN_MAX {
            match self.stream.read(&mut piece)? {
                0 => break,
                count => self.rest += count,
            }
        }
        self.over = true;
        Ok(())
    }
}

fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Status {
    /// Whether this is what was asked for.
    pub fn is_ok(self) -> bool {
        self == Self::Ok
    }
}
