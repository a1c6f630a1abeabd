//! Lines to sections. Every line that is wrong is remembered, and reading goes on.

use std::collections::BTreeMap;

use super::problem::{Problem, ProblemKind};
use super::types::{Config, Hook, InterfaceConfig, KeySource, PeerConfig};
use super::values::{self, Dns, Value};
use crate::keys::PublicKey;
use crate::text::shown;

const INTERFACE: &str = "[Interface]";
const PEER: &str = "[Peer]";

const INTERFACE_KEYS: [&str; 13] = [
    "PrivateKey",
    "PrivateKeyFile",
    "ListenPort",
    "FwMark",
    "Address",
    "DNS",
    "MTU",
    "Table",
    "PreUp",
    "PostUp",
    "PreDown",
    "PostDown",
    "SaveConfig",
];
const PEER_KEYS: [&str; 6] =
    ["PublicKey", "PresharedKey", "PresharedKeyFile", "AllowedIPs", "Endpoint", "PersistentKeepalive"];
/// Keys that may be repeated: each line adds to what there is.
const REPEATED: [&str; 7] = ["Address", "DNS", "PreUp", "PostUp", "PreDown", "PostDown", "AllowedIPs"];

/// A `[Peer]` section while it is read.
struct OpenPeer {
    line: usize,
    public_key: Option<PublicKey>,
    rest: PeerConfig,
}

/// The section that lines belong to.
enum Section {
    None,
    /// An unknown one: its lines are not reported as well.
    Unknown,
    Interface,
    Peer(Box<OpenPeer>),
}

/// Reads a file line by line.
pub(super) struct Reader {
    section: Section,
    interface: InterfaceConfig,
    interface_line: Option<usize>,
    peers: Vec<PeerConfig>,
    /// Where each key of this section was given first.
    given: BTreeMap<&'static str, usize>,
    /// What `given` was for `[Interface]`.
    interface_lines: BTreeMap<&'static str, usize>,
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            section: Section::None,
            interface: InterfaceConfig::default(),
            interface_line: None,
            peers: Vec::new(),
            given: BTreeMap::new(),
            interface_lines: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Remembers a problem that somebody else has found.
    pub(super) fn problem(&mut self, line: usize, kind: ProblemKind) {
        self.problems.push(Problem { line, kind });
    }

    /// Reads a line, counted from 1.
    pub(super) fn line(&mut self, line: usize, text: &str) {
        let text = if line == 1 { text.trim_start_matches('\u{feff}') } else { text };
        // As wg-quick does, also behind commands.
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            return;
        }
        if text.starts_with('[') {
            return self.begin(line, text);
        }
        if let Err(kind) = self.fact(line, text) {
            self.problem(line, kind);
        }
    }

    /// What was read, and what is wrong with it.
    pub(super) fn finish(mut self) -> (Config, Vec<Problem>) {
        self.end_section();
        if self.interface_line.is_none() {
            self.problem(0, ProblemKind::NoInterface);
        }
        (Config { interface: self.interface, peers: self.peers, lines: self.interface_lines }, self.problems)
    }

    fn begin(&mut self, line: usize, text: &str) {
        self.end_section();
        self.section = if text.eq_ignore_ascii_case(PEER) {
            // Replaced when the section ends, or the section is a problem.
            let rest = PeerConfig {
                line,
                public_key: PublicKey([0; 32]),
                preshared_key: None,
                endpoint: None,
                allowed_ips: Vec::new(),
                keepalive_s: None,
            };
            Section::Peer(Box::new(OpenPeer { line, public_key: None, rest }))
        } else if text.eq_ignore_ascii_case(INTERFACE) {
            match self.interface_line {
                Some(first) => self.problem(line, ProblemKind::SecondInterface { first }),
                None => self.interface_line = Some(line),
            }
            Section::Interface
        } else {
            self.problem(line, ProblemKind::Section(shown(text)));
            Section::Unknown
        };
    }

    fn end_section(&mut self) {
        let given = std::mem::take(&mut self.given);
        match std::mem::replace(&mut self.section, Section::None) {
            Section::Interface => self.interface_lines.extend(given),
            Section::Peer(peer) => match peer.public_key {
                Some(public_key) => self.peers.push(PeerConfig { public_key, ..peer.rest }),
                // A key that is wrong is one problem, not two.
                None if given.contains_key("PublicKey") => {}
                None => self.problem(peer.line, ProblemKind::NoPublicKey),
            },
            Section::None | Section::Unknown => {}
        }
    }

    fn fact(&mut self, line: usize, text: &str) -> Value<()> {
        let (section, keys, others): (_, &[&'static str], &[&'static str]) = match &self.section {
            Section::None => return Err(ProblemKind::BeforeSection),
            Section::Unknown => return Ok(()),
            Section::Interface => (INTERFACE, &INTERFACE_KEYS, &PEER_KEYS),
            Section::Peer(_) => (PEER, &PEER_KEYS, &INTERFACE_KEYS),
        };
        let (name, value) = text.split_once('=').ok_or(ProblemKind::NoEquals)?;
        let (name, value) = (name.trim(), value.trim());
        let known = |keys: &[&'static str]| keys.iter().copied().find(|key| key.eq_ignore_ascii_case(name));
        let Some(key) = known(keys) else {
            return Err(match known(others) {
                Some(key) => {
                    let belongs = if section == PEER { INTERFACE } else { PEER };
                    ProblemKind::WrongSection { key, section, belongs }
                }
                // Whatever is no word may be a key of 44 characters that ends in an equals sign: it is not repeated.
                None if !is_word(name) => ProblemKind::NoEquals,
                None => unknown_key(name, section, keys),
            });
        };
        if let Some(first) = self.given.get(key).filter(|_| !REPEATED.contains(&key)) {
            return Err(ProblemKind::Twice { key, first: *first });
        }
        let other = match key {
            "PrivateKey" => "PrivateKeyFile",
            "PrivateKeyFile" => "PrivateKey",
            "PresharedKey" => "PresharedKeyFile",
            "PresharedKeyFile" => "PresharedKey",
            _ => "",
        };
        if let Some(first) = self.given.get(other) {
            return Err(ProblemKind::TwoKeys { key, other, first: *first });
        }
        self.given.entry(key).or_insert(line);
        match &mut self.section {
            Section::Peer(peer) => peer_fact(peer, line, key, value),
            _ => interface_fact(&mut self.interface, line, key, value),
        }
    }
}

fn interface_fact(interface: &mut InterfaceConfig, line: usize, key: &'static str, value: &str) -> Value<()> {
    match key {
        "PrivateKey" => interface.private_key = Some(KeySource::Inline(values::key(key, value)?)),
        "PrivateKeyFile" => interface.private_key = Some(key_file(line, key, value)?),
        "ListenPort" => interface.listen_port = Some(values::port(key, value)?),
        "FwMark" => interface.fwmark = Some(values::fwmark(value)?),
        "Address" => each(value, |one| {
            interface.addresses.push(values::address(one)?);
            Ok(())
        })?,
        "DNS" => each(value, |one| {
            match values::dns(one)? {
                Dns::Server(server) => interface.dns_servers.push(server),
                Dns::Search(domain) => interface.dns_search.push(domain),
            }
            Ok(())
        })?,
        "MTU" => interface.mtu = Some(values::mtu(value)?),
        "Table" => interface.table = values::table(value)?,
        "PreUp" => interface.pre_up.push(hook(line, key, value)?),
        "PostUp" => interface.post_up.push(hook(line, key, value)?),
        "PreDown" => interface.pre_down.push(hook(line, key, value)?),
        "PostDown" => interface.post_down.push(hook(line, key, value)?),
        "SaveConfig" => interface.save_config = values::boolean(key, value)?,
        _ => {}
    }
    Ok(())
}

fn peer_fact(peer: &mut OpenPeer, line: usize, key: &'static str, value: &str) -> Value<()> {
    match key {
        "PublicKey" => peer.public_key = Some(PublicKey(*values::key(key, value)?.bytes())),
        "PresharedKey" => peer.rest.preshared_key = Some(KeySource::Inline(values::key(key, value)?)),
        "PresharedKeyFile" => peer.rest.preshared_key = Some(key_file(line, key, value)?),
        "Endpoint" => peer.rest.endpoint = Some(values::endpoint(value)?),
        "PersistentKeepalive" => peer.rest.keepalive_s = Some(values::keepalive(value)?),
        // Empty for a peer without any, as `wg showconf` writes it.
        "AllowedIPs" if value.is_empty() => {}
        "AllowedIPs" => each(value, |one| {
            peer.rest.allowed_ips.push(values::allowed_ip(one)?);
            Ok(())
        })?,
        _ => {}
    }
    Ok(())
}

/// Each element between commas.
fn each(value: &str, mut take: impl FnMut(&str) -> Value<()>) -> Value<()> {
    value.split(',').try_for_each(|one| take(one.trim()))
}

fn hook(line: usize, key: &'static str, value: &str) -> Value<Hook> {
    if value.is_empty() {
        return Err(ProblemKind::Value { key, found: "empty".into(), expected: "a command of the shell" });
    }
    Ok(Hook { line, command: value.to_owned() })
}

fn key_file(line: usize, key: &'static str, value: &str) -> Value<KeySource> {
    if value.is_empty() {
        return Err(ProblemKind::Value { key, found: "empty".into(), expected: "the path of a file" });
    }
    Ok(KeySource::File { key, path: value.into(), line })
}

fn is_word(name: &str) -> bool {
    (1..=24).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn unknown_key(name: &str, section: &'static str, keys: &[&'static str]) -> ProblemKind {
    let nearest = keys.iter().map(|key| (distance(name, key), *key)).min();
    // Two slips make another word of a short key.
    let hint = nearest.filter(|(slips, key)| *slips <= (key.len() / 3).min(2));
    let hint = hint.map_or_else(String::new, |(_, key)| format!(", perhaps `{key}`"));
    ProblemKind::UnknownKey { found: name.to_owned(), section, hint, known: keys.join(", ") }
}

/// How many letters must be added, removed or changed to make one word of the other, whatever their case.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<u8> = one.bytes().take(32).map(|byte| byte.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=one.len()).collect();
    for (at, letter) in other.bytes().map(|byte| byte.to_ascii_lowercase()).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, mine) in one.iter().enumerate() {
            let change = diagonal + usize::from(*mine != letter);
            diagonal = row[column + 1];
            row[column + 1] = change.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[one.len()]
}
