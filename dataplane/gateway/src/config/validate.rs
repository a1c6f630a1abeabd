//! What can only be seen of a file as a whole.

use std::collections::HashMap;

use dataplane::IpPrefix;

use super::problem::{Problem, ProblemKind};
use super::types::{Config, KeySource};

/// Contradictions between sections.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let own = match &config.interface.private_key {
        Some(KeySource::Inline(key)) if !key.is_zero() => Some(key.public()),
        _ => None,
    };
    let mut problems = Vec::new();
    let (mut peers, mut prefixes) = (HashMap::new(), HashMap::new());
    for peer in &config.peers {
        let mut problem = |kind| problems.push(Problem { line: peer.line, kind });
        if own == Some(peer.public_key) {
            problem(ProblemKind::OwnKey);
        }
        let first = *peers.entry(peer.public_key).or_insert(peer.line);
        if first != peer.line {
            problem(ProblemKind::SamePeer { first });
        }
        for prefix in &peer.allowed_ips {
            // Twice at one peer says the same thing twice.
            let first = *prefixes.entry(*prefix).or_insert(peer.line);
            if first != peer.line {
                problem(ProblemKind::SameAllowedIp { prefix: prefix.to_string(), first });
            }
        }
    }
    problems
}

/// What is allowed, and yet often not meant: prefixes of one peer within those of another, of which the longer wins.
pub(super) fn nested(config: &Config) -> Vec<(IpPrefix, usize, IpPrefix, usize)> {
    let mut all: Vec<(IpPrefix, usize)> = Vec::new();
    for peer in &config.peers {
        all.extend(peer.allowed_ips.iter().map(|prefix| (*prefix, peer.line)));
    }
    // By first address, the shorter prefix first: whatever contains a prefix stands before it, and is still open.
    all.sort_unstable_by_key(|(prefix, line)| (prefix.address(), prefix.bits(), *line));
    let (mut open, mut nested) = (Vec::<(IpPrefix, usize)>::new(), Vec::new());
    for (prefix, line) in all {
        while open.last().is_some_and(|(outer, _)| !outer.contains(prefix.address())) {
            open.pop();
        }
        if let Some((outer, outer_line)) = open.last().filter(|(_, outer_line)| *outer_line != line) {
            nested.push((prefix, line, *outer, *outer_line));
        }
        open.push((prefix, line));
    }
    nested
}
