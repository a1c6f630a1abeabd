//! Reads requests from a stream of bytes, in pieces of any size.
//!
//! Memory is bounded by [`LINE_LEN_MAX`] for what is not yet a whole line and by [`REQUEST_LEN_MAX`] for what is. After an
//! error the rest of that request is skipped unread, so that the connection can go on with the next one.

use std::mem;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU32;

use zeroize::{Zeroize, Zeroizing};

use super::types::{AllowedIp, PeerRequest, Request, SetRequest};
use crate::keys::{self, PublicKey, Secret};
use crate::text::{quoted, shown};

/// Most bytes of a line without its end. The longest that means anything is an endpoint with a zone, below 100.
pub const LINE_LEN_MAX: usize = 512;

/// Most bytes of a request: a million peers with a few allowed IPs each.
pub const REQUEST_LEN_MAX: u64 = 256 << 20;

/// Turns the zone of a link-local address (`eth0`, or a number) into an interface index.
pub type ZoneIndex = fn(&str) -> Option<u32>;

/// Why a request was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// The line of the request, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line. The text never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The first line names no operation.
    #[error("expected `get=1`, `set=1` or `status=1`, found `{found}`")]
    Operation {
        /// The line, shortened.
        found: String,
    },
    /// `get=1` or `status=1` is followed by something.
    #[error("expected an empty line after `{operation}`")]
    TakesNothing {
        /// The operation.
        operation: &'static str,
    },
    /// There is no `=`.
    #[error("expected `key=value`")]
    NoEquals,
    /// The bytes are no text.
    #[error("expected text in UTF-8")]
    NotUtf8,
    /// Longer than [`LINE_LEN_MAX`].
    #[error("longer than {LINE_LEN_MAX} bytes")]
    LineTooLong,
    /// Longer than [`REQUEST_LEN_MAX`].
    #[error("the request is longer than {REQUEST_LEN_MAX} bytes: send it in several")]
    RequestTooLong,
    /// The client left before the empty line that ends a request.
    #[error("the request ends without an empty line")]
    Truncated,
    /// A key that does not exist, or not in this section.
    #[error("unknown {section} key `{found}`: expected one of {expected}")]
    UnknownKey {
        /// `interface` or `peer`.
        section: &'static str,
        /// The key, shortened.
        found: String,
        /// What there is.
        expected: &'static str,
    },
    /// The value of a known key.
    #[error("`{key}` is {found}: expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value, shortened, or its length where it is a secret.
        found: String,
        /// What would do.
        expected: &'static str,
    },
}

impl ParseError {
    /// The positive number by which this error is answered.
    pub fn errno(&self) -> i32 {
        match self.problem {
            Problem::NoEquals | Problem::Truncated => libc::EPROTO,
            Problem::LineTooLong => libc::EMSGSIZE,
            Problem::RequestTooLong => libc::EFBIG,
            _ => libc::EINVAL,
        }
    }
}

/// Reads requests of one connection.
pub struct Parser {
    zone_index: ZoneIndex,
    /// The beginning of a line whose end has not come yet. Never grows: it may hold a private key.
    partial: Zeroizing<Vec<u8>>,
    /// Lines and bytes of this request so far.
    lines: u64,
    len: u64,
    state: State,
}

enum State {
    /// Before the first line of a request.
    Operation,
    /// After `get=1` or `status=1`, which only an empty line may follow.
    Complete { operation: &'static str, request: Request },
    /// After `set=1`; the last peer is the section that lines belong to, where there is any.
    Set(Box<SetRequest>),
    /// After an error, until an empty line.
    Skip {
        /// Whether nothing has come of the present line yet.
        at_start: bool,
    },
}

impl Parser {
    /// A parser at the beginning of a connection.
    pub fn new(zone_index: ZoneIndex) -> Self {
        let partial = Zeroizing::new(Vec::with_capacity(LINE_LEN_MAX));
        Self { zone_index, partial, lines: 0, len: 0, state: State::Operation }
    }

    /// Takes in bytes up to the end of a request or the first error; says how many those were.
    ///
    /// Call it again with the rest until nothing is left.
    pub fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Result<Request, ParseError>>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'\n');
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after.get(1..).unwrap_or_default();
            if let Some(outcome) = self.take(piece, end.is_some()) {
                return (bytes.len() - rest.len(), Some(outcome));
            }
        }
        (bytes.len(), None)
    }

    /// Whether the next byte would begin a request.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Operation) && self.partial.is_empty()
    }

    /// Bytes that the parser keeps of a line whose end has not come.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Takes in the end of the connection: an error if it came within a request.
    pub fn finish(&mut self) -> Option<ParseError> {
        let within = !self.is_idle() && !matches!(self.state, State::Skip { .. });
        within.then(|| ParseError { line: self.lines + 1, problem: Problem::Truncated })
    }

    /// Takes in a piece of a line, which `ended` says is its last.
    fn take(&mut self, piece: &[u8], ended: bool) -> Option<Result<Request, ParseError>> {
        if let State::Skip { at_start } = &mut self.state {
            let empty = *at_start && piece.is_empty();
            *at_start = ended;
            if ended && empty {
                self.restart();
            }
            return None;
        }
        self.len = self.len.saturating_add(piece.len() as u64 + u64::from(ended));
        let line_empty = piece.is_empty() && self.partial.is_empty();
        let outcome = if self.len > REQUEST_LEN_MAX {
            Err(Problem::RequestTooLong)
        } else if self.partial.len() + piece.len() > LINE_LEN_MAX {
            Err(Problem::LineTooLong)
        } else if !ended {
            self.partial.extend_from_slice(piece);
            return None;
        } else if self.partial.is_empty() {
            self.take_line(piece)
        } else {
            self.partial.extend_from_slice(piece);
            let line = mem::take(&mut self.partial);
            let outcome = self.take_line(&line);
            self.partial = line;
            // Erases, empties, and keeps the room.
            self.partial.zeroize();
            outcome
        };
        self.lines += 1;
        match outcome {
            Ok(None) => None,
            Ok(Some(request)) => {
                self.restart();
                Some(Ok(request))
            }
            Err(problem) => {
                let line = self.lines;
                let nothing_follows = ended && line_empty;
                self.restart();
                if !nothing_follows {
                    self.state = State::Skip { at_start: ended };
                }
                Some(Err(ParseError { line, problem }))
            }
        }
    }

    fn restart(&mut self) {
        self.partial.zeroize();
        (self.lines, self.len, self.state) = (0, 0, State::Operation);
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<Request>, Problem> {
        let text = std::str::from_utf8(line).map_err(|_| Problem::NotUtf8)?;
        match &mut self.state {
            State::Operation => {
                self.state = match text {
                    "get=1" => State::Complete { operation: "get=1", request: Request::Get },
                    "status=1" => State::Complete { operation: "status=1", request: Request::Status },
                    "set=1" => State::Set(Box::default()),
                    _ => return Err(Problem::Operation { found: shown(text) }),
                };
                Ok(None)
            }
            State::Complete { request, .. } if text.is_empty() => Ok(Some(request.clone())),
            State::Complete { operation, .. } => Err(Problem::TakesNothing { operation }),
            State::Set(request) if text.is_empty() => Ok(Some(Request::Set(mem::take(&mut **request)))),
            State::Set(request) => {
                let (key, value) = text.split_once('=').ok_or(Problem::NoEquals)?;
                take_fact(request, key, value, self.zone_index)?;
                Ok(None)
            }
            State::Skip { .. } => Ok(None),
        }
    }
}

/// Takes in one line `key=value` of a `set=1`.
fn take_fact(request: &mut SetRequest, key: &str, value: &str, zone_index: ZoneIndex) -> Result<(), Problem> {
    if key == "public_key" {
        let key = parse_key("public_key", value)?;
        request.peers.push(PeerRequest::new(PublicKey(*key.bytes())));
        return Ok(());
    }
    match request.peers.last_mut() {
        None => take_interface_fact(request, key, value),
        Some(peer) => take_peer_fact(peer, key, value, zone_index),
    }
}

fn take_interface_fact(request: &mut SetRequest, key: &str, value: &str) -> Result<(), Problem> {
    const EXPECTED: &str = "private_key, listen_port, fwmark, replace_peers, public_key";
    match key {
        "private_key" => request.private_key = Some(parse_key("private_key", value)?),
        "listen_port" => {
            let port = parse_number("listen_port", value, 65_535, "a number from 0 to 65535")?;
            request.listen_port = Some(port as u16);
        }
        "fwmark" => {
            let expected = "a number from 0 to 4294967295";
            request.fwmark = Some(parse_number("fwmark", value, u32::MAX, expected)?);
        }
        "replace_peers" => {
            parse_true("replace_peers", value)?;
            request.replace_peers = true;
        }
        _ => {
            return Err(Problem::UnknownKey { section: "interface", found: shown(key), expected: EXPECTED });
        }
    }
    Ok(())
}

fn take_peer_fact(peer: &mut PeerRequest, key: &str, value: &str, zones: ZoneIndex) -> Result<(), Problem> {
    const EXPECTED: &str = "public_key, remove, update_only, preshared_key, endpoint, \
        persistent_keepalive_interval, replace_allowed_ips, allowed_ip, protocol_version";
    match key {
        "remove" => {
            parse_true("remove", value)?;
            peer.remove = true;
        }
        "update_only" => {
            parse_true("update_only", value)?;
            peer.update_only = true;
        }
        "preshared_key" => peer.preshared_key = Some(parse_key("preshared_key", value)?),
        "endpoint" => {
            let endpoint = parse_endpoint(value, zones).ok_or_else(|| Problem::Value {
                key: "endpoint",
                found: quoted(value),
                expected: "an address and port, as 192.0.2.1:51820 or [2001:db8::1]:51820",
            })?;
            peer.endpoint = Some(endpoint);
        }
        "persistent_keepalive_interval" => {
            let expected = "seconds from 0 to 65535";
            let seconds = parse_number("persistent_keepalive_interval", value, 65_535, expected)?;
            peer.keepalive_s = Some(seconds as u16);
        }
        "replace_allowed_ips" => {
            parse_true("replace_allowed_ips", value)?;
            // What this section has named before this line is replaced as well.
            peer.allowed_ips.clear();
            peer.replace_allowed_ips = true;
        }
        "allowed_ip" => {
            let (remove, prefix) = value.strip_prefix('-').map_or((false, value), |prefix| (true, prefix));
            let prefix = prefix.parse().map_err(|_| Problem::Value {
                key: "allowed_ip",
                found: quoted(value),
                expected: "a prefix, as 192.0.2.0/24 or 2001:db8::/32, with - before it to remove it",
            })?;
            peer.allowed_ips.push(AllowedIp { prefix, remove });
        }
        "protocol_version" => {
            parse_number("protocol_version", value, 1, "1").and_then(|version| match version {
                1 => Ok(()),
                _ => Err(Problem::Value { key: "protocol_version", found: quoted(value), expected: "1" }),
            })?;
        }
        _ => return Err(Problem::UnknownKey { section: "peer", found: shown(key), expected: EXPECTED }),
    }
    Ok(())
}

pub(super) fn parse_key(key: &'static str, value: &str) -> Result<Secret, Problem> {
    keys::parse_hex(value).map(Secret::new).ok_or_else(|| Problem::Value {
        key,
        // Never the value: it may be most of a private key.
        found: format!("{} characters", value.chars().count()),
        expected: "64 hexadecimal digits",
    })
}

pub(super) fn parse_number(
    key: &'static str,
    value: &str,
    max: u32,
    expected: &'static str,
) -> Result<u32, Problem> {
    // `str::parse` would take a plus sign.
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| value.parse().ok()).flatten().filter(|number| *number <= max);
    number.ok_or_else(|| Problem::Value { key, found: quoted(value), expected })
}

fn parse_true(key: &'static str, value: &str) -> Result<(), Problem> {
    match value {
        "true" => Ok(()),
        _ => Err(Problem::Value { key, found: quoted(value), expected: "true" }),
    }
}

/// Reads `192.0.2.1:51820`, `[2001:db8::1]:51820` or `[fe80::1%eth0]:51820`; a mapped IPv4 address becomes plain IPv4
/// (DX-11).
pub(crate) fn parse_endpoint(text: &str, zone_index: ZoneIndex) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let port = parse_number("endpoint", port, 65_535, "").ok()? as u16;
    let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) else {
        let address: std::net::Ipv4Addr = host.parse().ok()?;
        return Some(SocketAddr::new(IpAddr::V4(address), port));
    };
    let (address, zone) = match inner.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (inner, None),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    if let Some(mapped) = address.to_ipv4_mapped() {
        return zone.is_none().then(|| SocketAddr::new(IpAddr::V4(mapped), port));
    }
    let scope = match zone {
        None => 0,
        Some(zone) => NonZeroU32::new(zone_index(zone)?)?.get(),
    };
    Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope)))
}

/// A zone that is a number already: enough where no interface can be asked for its index.
pub fn zone_number(zone: &str) -> Option<u32> {
    parse_number("zone", zone, u32::MAX, "").ok()
}
