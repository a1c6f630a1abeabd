//! Reads answers, as a client of the protocol does.

use std::time::Duration;

use super::parse::{self, Problem};
use super::types::{DeviceSnapshot, PeerSnapshot};
use crate::keys::{PublicKey, Secret};

/// Why an answer did not tell what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The other side answered with an error of the operating system's numbering, made positive.
    #[error("the interface answered with error {0}")]
    Refused(i32),
    /// A line that this protocol does not have.
    #[error("answer line {line}: {problem}")]
    Line {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The connection ended before `errno=`.
    #[error("the answer ends before `errno=`")]
    Truncated,
}

/// Reads a whole answer to `get=1`. Keys that it does not know are skipped, so that newer programs can be asked.
///
/// # Errors
/// [`ReplyError`]: the interface refused, or something else than this protocol is spoken there.
pub fn parse_get_reply(text: &str) -> Result<DeviceSnapshot, ReplyError> {
    let mut snapshot = DeviceSnapshot::default();
    read_facts(text, |key, value| take_fact(&mut snapshot, key, value))?;
    Ok(snapshot)
}

/// Reads a whole answer that tells nothing but how it went.
///
/// # Errors
/// [`ReplyError`].
pub(super) fn parse_set_reply(text: &str) -> Result<(), ReplyError> {
    read_facts(text, |_, _| Ok(()))
}

/// Hands on each line `key=value` before `errno`.
pub(super) fn read_facts(
    text: &str,
    mut take: impl FnMut(&str, &str) -> Result<(), Problem>,
) -> Result<(), ReplyError> {
    for (at, line) in text.lines().enumerate() {
        let wrong = |problem| ReplyError::Line { line: at + 1, problem };
        let (key, value) = line.split_once('=').ok_or_else(|| wrong(Problem::NoEquals))?;
        if key == "errno" {
            let number: i32 = number("errno", value).map_err(wrong)?;
            return if number == 0 { Ok(()) } else { Err(ReplyError::Refused(number.saturating_abs())) };
        }
        take(key, value).map_err(wrong)?;
    }
    Err(ReplyError::Truncated)
}

fn take_fact(snapshot: &mut DeviceSnapshot, key: &str, value: &str) -> Result<(), Problem> {
    if key == "public_key" {
        let key = parse::parse_key("public_key", value)?;
        snapshot.peers.push(PeerSnapshot::new(PublicKey(*key.bytes())));
        return Ok(());
    }
    let Some(peer) = snapshot.peers.last_mut() else {
        match key {
            "private_key" => snapshot.private_key = some_key(parse::parse_key("private_key", value)?),
            "listen_port" => snapshot.listen_port = number("listen_port", value)?,
            "fwmark" => snapshot.fwmark = number("fwmark", value)?,
            _ => {}
        }
        return Ok(());
    };
    match key {
        "preshared_key" => peer.preshared_key = some_key(parse::parse_key("preshared_key", value)?),
        "endpoint" => {
            let endpoint = parse::parse_endpoint(value, parse::zone_number);
            let wrong = || unexpected("endpoint", value, "an address and port");
            peer.endpoint = Some(endpoint.ok_or_else(wrong)?);
        }
        "last_handshake_time_sec" => {
            let seconds = number("last_handshake_time_sec", value)?;
            peer.last_handshake = Duration::new(seconds, peer.last_handshake.subsec_nanos());
        }
        "last_handshake_time_nsec" => {
            let nanos: u32 = number("last_handshake_time_nsec", value)?;
            // A whole second of nanoseconds would carry over, and overflow at the end of time.
            let nanos = nanos.min(999_999_999);
            peer.last_handshake = Duration::new(peer.last_handshake.as_secs(), nanos);
        }
        "rx_bytes" => peer.rx_bytes = number("rx_bytes", value)?,
        "tx_bytes" => peer.tx_bytes = number("tx_bytes", value)?,
        "persistent_keepalive_interval" => peer.keepalive_s = number("persistent_keepalive_interval", value)?,
        "allowed_ip" => {
            let prefix = value.parse().map_err(|_| unexpected("allowed_ip", value, "a prefix"))?;
            peer.allowed_ips.push(prefix);
        }
        _ => {}
    }
    Ok(())
}

fn some_key(key: Secret) -> Option<Secret> {
    (!key.is_zero()).then_some(key)
}

fn number<N: std::str::FromStr>(key: &'static str, value: &str) -> Result<N, Problem> {
    value.parse().map_err(|_| unexpected(key, value, "a number"))
}

pub(super) fn unexpected(key: &'static str, value: &str, expected: &'static str) -> Problem {
    Problem::Value { key, found: format!("`{}`", value.escape_debug()), expected }
}
