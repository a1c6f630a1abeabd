//! Values of keys, read one by one. Each function says what it expects.

use std::net::{IpAddr, SocketAddr};

use dataplane::IpPrefix;

use super::problem::ProblemKind;
use super::types::{Endpoint, InterfaceAddress, Table};
use crate::keys::{Secret, parse_base64};
use crate::text::quoted;

pub(super) type Value<T> = Result<T, ProblemKind>;

/// Least MTU that the engine carries, and the largest that an interface can have.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 576..=65_535;

fn wrong<T>(key: &'static str, found: &str, expected: &'static str) -> Value<T> {
    Err(ProblemKind::Value { key, found: quoted(found), expected })
}

pub(super) fn key(key: &'static str, text: &str) -> Value<Secret> {
    parse_base64(text).map(Secret::new).ok_or_else(|| ProblemKind::Value {
        key,
        // Never the value: it may be most of a private key.
        found: format!("{} characters", text.chars().count()),
        expected: "a key of 44 characters of base64, as `dataplane genkey` and `wg genkey` print them",
    })
}

pub(super) fn number(key: &'static str, text: &str, max: u32, expected: &'static str) -> Value<u32> {
    // `str::parse` would take a plus sign.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten().filter(|number| *number <= max);
    number.map_or_else(|| wrong(key, text, expected), Ok)
}

pub(super) fn port(key: &'static str, text: &str) -> Value<u16> {
    number(key, text, 65_535, "a port from 0 to 65535; 0 lets the system choose").map(|port| port as u16)
}

/// `off`, decimal, or hexadecimal behind `0x`.
pub(super) fn fwmark(text: &str) -> Value<u32> {
    let expected = "off, or a mark from 1 to 4294967295, or one behind 0x in hexadecimal digits";
    match text.strip_prefix("0x") {
        _ if text == "off" => Ok(0),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).or_else(|_| wrong("FwMark", text, expected))
        }
        Some(_) => wrong("FwMark", text, expected),
        None => number("FwMark", text, u32::MAX, expected),
    }
}

pub(super) fn keepalive(text: &str) -> Value<u16> {
    if text == "off" {
        return Ok(0);
    }
    let expected = "off, or seconds from 0 to 65535";
    number("PersistentKeepalive", text, 65_535, expected).map(|seconds| seconds as u16)
}

pub(super) fn mtu(text: &str) -> Value<u16> {
    let expected = "bytes from 576 to 65535, and 1280 at least where IPv6 is used";
    let mtu = number("MTU", text, *MTU_RANGE.end(), expected)?;
    if MTU_RANGE.contains(&mtu) { Ok(mtu as u16) } else { wrong("MTU", text, expected) }
}

pub(super) fn table(text: &str) -> Value<Table> {
    let expected = "auto, off, main, or the number of a routing table from 1 to 4294967295";
    match text {
        "auto" => Ok(Table::Auto),
        "off" => Ok(Table::Off),
        // The number that the kernel has given it (RT_TABLE_MAIN).
        "main" => Ok(Table::Number(254)),
        _ => match number("Table", text, u32::MAX, expected)? {
            0 => wrong("Table", text, expected),
            table => Ok(Table::Number(table)),
        },
    }
}

pub(super) fn boolean(key: &'static str, text: &str) -> Value<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => wrong(key, text, "true or false"),
    }
}

/// An address with the length of its prefix, or alone for a single host.
pub(super) fn address(text: &str) -> Value<InterfaceAddress> {
    let expected = "an address with the length of its prefix, as 10.0.0.1/24 or fd00::1/64";
    let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let Ok(address) = address.parse::<IpAddr>() else { return wrong("Address", text, expected) };
    let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix_len = match len {
        None => longest,
        Some(len) => match number("Address", len, longest.into(), expected) {
            Ok(len) => len as u8,
            Err(_) => return wrong("Address", text, expected),
        },
    };
    Ok(InterfaceAddress { address, prefix_len })
}

/// One element of `DNS`: the address of a server, or a domain to search.
pub(super) enum Dns {
    Server(IpAddr),
    Search(String),
}

pub(super) fn dns(text: &str) -> Value<Dns> {
    if let Ok(server) = text.parse() {
        return Ok(Dns::Server(server));
    }
    // A wrong address must not pass for a domain: wg-quick takes for an address whatever has digits and dots or a colon.
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') || text.contains(':');
    if is_host_name(text) && !numeric {
        return Ok(Dns::Search(text.to_owned()));
    }
    wrong("DNS", text, "addresses of servers and domains to search, separated by commas")
}

pub(super) fn allowed_ip(text: &str) -> Value<IpPrefix> {
    let expected = "prefixes separated by commas, as 10.0.0.0/24, fd00::/64";
    text.parse().or_else(|_| wrong("AllowedIPs", text, expected))
}

/// `192.0.2.1:51820`, `[2001:db8::1]:51820` or `name:51820`.
pub(super) fn endpoint(text: &str) -> Value<Endpoint> {
    let expected = "HOST:PORT, as vpn.example.org:51820, 192.0.2.1:51820 or [2001:db8::1]:51820";
    if let Some(address) = crate::uapi::parse_endpoint(text, crate::netif::index_of) {
        return if address.port() == 0 {
            wrong("Endpoint", text, expected)
        } else {
            Ok(Endpoint::Address(address))
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else { return wrong("Endpoint", text, expected) };
    // What looks like an address and is none is a slip, not a name.
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number("Endpoint", port, 65_535, expected) {
        Ok(port) if port > 0 && is_host_name(host) && !numeric => {
            Ok(Endpoint::Name { host: host.to_owned(), port: port as u16 })
        }
        _ => wrong("Endpoint", text, expected),
    }
}

/// Labels of letters, digits, hyphens and underscores, 253 bytes at most (RFC 1035 §2.3.4).
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && text.split('.').all(label)
}

/// The endpoint as the address that it is, where it is one.
impl Endpoint {
    /// The address, if it is one already.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name { .. } => None,
        }
    }
}
