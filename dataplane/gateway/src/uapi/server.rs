//! Serves the protocol to several clients at once, on one thread that never waits for any of them.
//!
//! Each client has a buffer for what it sent, one for what it is sent, and a deadline for each request; it is read from
//! only while nothing waits to be written to it. Memory is bounded by [`CLIENTS_MAX`] times the largest request.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use zeroize::Zeroizing;

use super::device::{Device, DeviceError};
use super::emit::GetReply;
use super::parse::{Parser, ZoneIndex};
use super::socket::Socket;
use super::types::Request;

/// Clients served at once. When one more comes, the one that has been idle longest is let go.
pub const CLIENTS_MAX: usize = 32;

/// How long a client may take to send a request, and again to read the answer.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// How often the server makes sure that its socket is still in place.
const SOCKET_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Pause after a connection could not be taken, for want of descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Pause while every client is in the middle of something.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Bytes read from a client at a time, and bytes of an answer written ahead.
const CHUNK_LEN: usize = 16 * 1024;

/// Why the server came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The descriptor of this index became readable.
    Woken(usize),
    /// The socket's file is gone, or another's is in its place.
    SocketGone,
}

/// A server on one socket.
pub struct Server {
    socket: Socket,
    zone_index: ZoneIndex,
    clients: Vec<Client>,
    accept_after: Instant,
}

impl Server {
    /// A server that has no client yet.
    pub fn new(socket: Socket, zone_index: ZoneIndex) -> Self {
        Self { socket, zone_index, clients: Vec::new(), accept_after: Instant::now() }
    }

    /// Serves until the socket's file is gone or one of `wakers` becomes readable.
    ///
    /// # Errors
    /// Only where the system cannot wait for descriptors at all.
    pub fn run(&mut self, device: &mut impl Device, wakers: &[BorrowedFd<'_>]) -> io::Result<Stopped> {
        let mut checked = Instant::now();
        loop {
            if let Some(stopped) = self.turn(device, wakers)? {
                return Ok(stopped);
            }
            if checked.elapsed() >= SOCKET_CHECK_INTERVAL {
                checked = Instant::now();
                if !self.socket.is_in_place() {
                    return Ok(Stopped::SocketGone);
                }
            }
        }
    }

    /// Waits for anything to happen, for half a second at most, and deals with it.
    fn turn(&mut self, device: &mut impl Device, wakers: &[BorrowedFd<'_>]) -> io::Result<Option<Stopped>> {
        let now = Instant::now();
        let accepts = now >= self.accept_after;
        let mut fds: Vec<PollFd<'_>> =
            wakers.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let listen = if accepts { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::from_borrowed_fd(self.socket.as_fd(), listen));
        fds.extend(self.clients.iter().map(|c| PollFd::from_borrowed_fd(c.stream.as_fd(), c.interest())));
        let timeout = Timespec { tv_sec: 0, tv_nsec: SOCKET_CHECK_INTERVAL.as_nanos() as i64 };
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let (woken, rest) = ready.split_at(wakers.len());
        if let Some(index) = woken.iter().position(|ready| *ready) {
            return Ok(Some(Stopped::Woken(index)));
        }
        let now = Instant::now();
        let (listener, rest) = rest.split_first().map_or((false, rest), |(first, rest)| (*first, rest));
        for (client, ready) in self.clients.iter_mut().zip(rest) {
            if *ready {
                client.turn(device, now);
            }
        }
        self.clients.retain(|client| !client.is_over(now));
        if listener && accepts {
            self.accept(now);
        }
        Ok(None)
    }

    /// Takes the next connection.
    fn accept(&mut self, now: Instant) {
        if !self.make_room() {
            self.accept_after = now + ROOM_PAUSE;
            return;
        }
        match self.socket.accept() {
            Ok(stream) => self.clients.push(Client::new(stream, self.zone_index, now)),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(e) => {
                tracing::warn!("cannot take a connection on {}: {e}", self.socket.path().display());
                self.accept_after = now + ACCEPT_PAUSE;
            }
        }
    }

    /// Makes sure that one more client may come: lets the one go that has been idle longest, where the house is full.
    fn make_room(&mut self) -> bool {
        if self.clients.len() < CLIENTS_MAX {
            return true;
        }
        let idle = self.clients.iter().enumerate().filter(|(_, client)| client.is_idle());
        let longest = idle.min_by_key(|(_, client)| client.since).map(|(at, _)| at);
        if let Some(at) = longest {
            self.clients.swap_remove(at);
        }
        longest.is_some()
    }
}

/// One connection.
struct Client {
    stream: UnixStream,
    parser: Parser,
    /// What was read and not yet parsed.
    input: Zeroizing<Vec<u8>>,
    parsed: usize,
    /// What is to be written, from `written` on.
    output: Zeroizing<String>,
    written: usize,
    /// The rest of a long answer.
    reply: Option<GetReply>,
    /// When it became idle, or began to send, or began to be answered.
    since: Instant,
    /// No more requests come; over when everything is written.
    ended: bool,
    broken: bool,
}

impl Client {
    fn new(stream: UnixStream, zone_index: ZoneIndex, now: Instant) -> Self {
        Self {
            stream,
            parser: Parser::new(zone_index),
            input: Zeroizing::new(Vec::with_capacity(CHUNK_LEN)),
            parsed: 0,
            // Room for a chunk and one more step of an answer: text with keys in it is never moved by growing.
            output: Zeroizing::new(String::with_capacity(CHUNK_LEN + 1024)),
            written: 0,
            reply: None,
            since: now,
            ended: false,
            broken: false,
        }
    }

    fn owes_output(&self) -> bool {
        self.written < self.output.len() || self.reply.is_some()
    }

    fn is_idle(&self) -> bool {
        !self.owes_output() && self.parser.is_idle() && self.parsed == self.input.len()
    }

    fn is_over(&self, now: Instant) -> bool {
        let late = !self.is_idle() && now.duration_since(self.since) > REQUEST_TIME_MAX;
        if late {
            tracing::warn!("a client took longer than {} s and was let go", REQUEST_TIME_MAX.as_secs());
        }
        self.broken || late || (self.ended && !self.owes_output())
    }

    fn interest(&self) -> PollFlags {
        if self.owes_output() { PollFlags::OUT } else { PollFlags::IN }
    }

    /// Writes what is owed; once nothing is, reads and answers.
    fn turn(&mut self, device: &mut impl Device, now: Instant) {
        let was_idle = self.is_idle();
        match self.advance(device, now) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.broken = true,
        }
        if was_idle || self.is_idle() {
            self.since = now;
        }
    }

    fn advance(&mut self, device: &mut impl Device, now: Instant) -> io::Result<()> {
        self.write_out()?;
        if self.parsed == self.input.len() && !self.ended {
            self.read_in()?;
        }
        while self.parsed < self.input.len() && !self.owes_output() {
            let (used, outcome) = self.parser.feed(&self.input[self.parsed..]);
            self.parsed += used;
            match outcome {
                None => {}
                Some(Ok(request)) => {
                    self.answer(request, device);
                    self.since = now;
                }
                Some(Err(error)) => {
                    tracing::error!("refused a request, nothing was changed: {error}");
                    self.owe_errno(-error.errno());
                }
            }
            // Most answers fit into the socket's buffer, and then the next request is due.
            self.write_out()?;
        }
        Ok(())
    }

    fn read_in(&mut self) -> io::Result<()> {
        self.parsed = 0;
        // Everything of the last chunk is overwritten or cut off here.
        self.input.resize(CHUNK_LEN, 0);
        let read = self.stream.read(&mut self.input);
        self.input.truncate(*read.as_ref().unwrap_or(&0));
        if read? == 0 {
            self.ended = true;
            if let Some(error) = self.parser.finish() {
                tracing::error!("refused a request, nothing was changed: {error}");
                self.owe_errno(-error.errno());
                self.write_out()?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, request: Request, device: &mut impl Device) {
        match request {
            Request::Get => match device.snapshot() {
                Ok(snapshot) => self.reply = Some(GetReply::new(snapshot)),
                // `wg` reads errors of a get as positive numbers, and those of a set as negative ones.
                Err(error) => self.owe_error(&error, 1),
            },
            Request::Status => match device.status() {
                Ok(status) => self.output.push_str(&status.to_string()),
                Err(error) => self.owe_error(&error, 1),
            },
            Request::Set(request) => match device.set(request) {
                Ok(()) => self.owe_errno(0),
                Err(error) => self.owe_error(&error, -1),
            },
        }
    }

    fn owe_error(&mut self, error: &DeviceError, sign: i32) {
        tracing::error!("refused a request, nothing was changed: {error}");
        self.owe_errno(sign * error.errno());
    }

    fn owe_errno(&mut self, errno: i32) {
        self.output.push_str(&format!("errno={errno}\n\n"));
    }

    /// Writes until nothing is owed; `WouldBlock` where the client has to read first.
    fn write_out(&mut self) -> io::Result<()> {
        loop {
            while let Some(rest) = self.output.as_bytes().get(self.written..).filter(|rest| !rest.is_empty())
            {
                match self.stream.write(rest)? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    count => self.written += count,
                }
            }
            self.written = 0;
            self.output.clear();
            let Some(reply) = &mut self.reply else { return Ok(()) };
            if !reply.fill(&mut self.output, CHUNK_LEN) {
                self.reply = None;
            }
        }
    }
}
