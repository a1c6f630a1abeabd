//! The last that happened, in lines like those of tcpdump.

use core::fmt;
use core::net::SocketAddr;
use std::collections::VecDeque;

use dataplane_wire::Instant;

use crate::link::Loss;

/// Lines that are remembered.
const LINES_MAX: usize = 400;

/// What a line tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Sent(u8),
    Arrived(u8),
    Lost(Loss),
    Injected(&'static str),
    Offered { host: u8, to: u8, id: u64 },
    Delivered { host: u8, from: u8, id: u64 },
    Note { host: u8, text: &'static str },
}

#[derive(Clone, Copy, Debug)]
struct Line {
    at: Instant,
    what: What,
    ends: Option<(SocketAddr, SocketAddr)>,
    len: u16,
    /// Number of the datagram: its copies have the same.
    number: u64,
    head: [u8; 16],
}

/// A ring of lines, written as text only when somebody reads it.
#[derive(Default)]
pub(crate) struct Trace {
    lines: VecDeque<Line>,
    /// Printed as they come.
    pub(crate) live: bool,
    names: Vec<String>,
}

impl Trace {
    pub(crate) fn name(&mut self, host: &str) {
        self.names.push(host.to_owned());
    }

    pub(crate) fn note(&mut self, at: Instant, what: What) {
        self.push(Line { at, what, ends: None, len: 0, number: 0, head: [0; 16] });
    }

    pub(crate) fn datagram(
        &mut self,
        at: Instant,
        what: What,
        ends: (SocketAddr, SocketAddr),
        number: u64,
        bytes: &[u8],
    ) {
        let mut head = [0; 16];
        let known = bytes.len().min(16);
        head[..known].copy_from_slice(&bytes[..known]);
        self.push(Line { at, what, ends: Some(ends), len: bytes.len() as u16, number, head });
    }

    fn push(&mut self, line: Line) {
        if self.live {
            println!("{}", self.shown(&line));
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The lines, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().map(|line| self.shown(line)).collect()
    }

    fn host(&self, host: u8) -> &str {
        self.names.get(usize::from(host)).map_or("nobody", String::as_str)
    }

    fn shown(&self, line: &Line) -> String {
        let nanos = line.at.as_nanos();
        let time = format!("{:>5}.{:06}", nanos / 1_000_000_000, nanos / 1000 % 1_000_000);
        let Some((from, to)) = line.ends else {
            return match line.what {
                What::Offered { host, to, id } => {
                    format!("{time} {}: packet {id} to {}", self.host(host), self.host(to))
                }
                What::Delivered { host, from, id } => {
                    format!("{time} {}: packet {id} of {} delivered", self.host(host), self.host(from))
                }
                What::Note { host, text } => format!("{time} {}: {text}", self.host(host)),
                _ => time,
            };
        };
        let (what, more) = match line.what {
            What::Sent(host) => (format!("{} sends", self.host(host)), String::new()),
            What::Arrived(host) => (format!("{} gets ", self.host(host)), String::new()),
            What::Lost(loss) => ("lost".to_owned(), format!(" ({})", loss.name())),
            What::Injected(how) => ("injected".to_owned(), format!(" ({how})")),
            _ => Default::default(),
        };
        let message = Message(&line.head, line.len);
        format!("{time} {what} #{} {from} > {to}: {message}{more}", line.number)
    }
}

/// The first bytes of a datagram, and its length.
struct Message<'a>(&'a [u8; 16], u16);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(head, len) = self;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        match word(0) {
            1 => write!(f, "initiation {:08x}", word(4)),
            2 => write!(f, "response {:08x} to {:08x}", word(4), word(8)),
            3 => write!(f, "cookie reply to {:08x}", word(4)),
            4 if *len == 32 => write!(f, "keepalive to {:08x}, counter {}", word(4), word(8)),
            4 => write!(f, "data to {:08x}, counter {}", word(4), word(8)),
            other => write!(f, "unknown {other:08x}"),
        }?;
        write!(f, ", length {len}")
    }
}
