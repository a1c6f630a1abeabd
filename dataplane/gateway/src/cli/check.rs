//! `check`: what would be refused, without touching anything.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Failure, say};
use crate::config::{Config, KeySource, load, locate};
use crate::text::Counted;

/// Most notes of one kind: whoever has more knows by then.
const NOTES_MAX: usize = 10;

/// Reads a file and says what is wrong with it, or what is in it.
pub(super) fn check(argument: &str) -> Result<(), Failure> {
    let located = locate(argument).map_err(|error| Failure::input(error.to_string()))?;
    let path = located.path.as_path();
    let config = load(path).map_err(|error| Failure::input(error.to_string()))?;
    config.private_key(path).map_err(Failure::input)?;
    for key in config.peers.iter().filter_map(|peer| peer.preshared_key.as_ref()) {
        key.read(path).map_err(Failure::input)?;
    }
    for note in notes(&config, path) {
        eprintln!("{}: note: {note}", path.display());
    }
    let prefixes: usize = config.peers.iter().map(|peer| peer.allowed_ips.len()).sum();
    say(&format!(
        "{}: interface {}, {}, {}: nothing is wrong",
        path.display(),
        located.interface,
        Counted(config.peers.len(), "peer"),
        Counted(prefixes, "allowed IP")
    ))
}

/// What is allowed, and yet often not meant.
fn notes(config: &Config, path: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    match &config.interface.private_key {
        None => notes.push("there is no PrivateKey: nobody will be reached before one is set".to_owned()),
        Some(KeySource::Inline(_)) if mode & 0o077 != 0 => {
            notes.push("others may read this file and the private key in it: chmod 600".to_owned());
        }
        Some(_) => {}
    }
    if config.interface.addresses.is_empty() {
        notes.push("there is no Address: the interface will have none".to_owned());
    }
    let nested = config.nested_allowed_ips();
    for (prefix, line, outer, outer_line) in nested.iter().take(NOTES_MAX) {
        notes.push(format!(
            "{prefix} of the peer at line {line} lies within {outer} of the peer at line {outer_line}: the longer wins"
        ));
    }
    if nested.len() > NOTES_MAX {
        notes.push(format!("and {} more that lie within others", nested.len() - NOTES_MAX));
    }
    notes
}
