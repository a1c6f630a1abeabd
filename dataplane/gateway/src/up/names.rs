//! Names of endpoints, looked up by the system's resolver, again where there is no answer and again where a peer does not
//! answer any more.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::state::{State, Written};
use crate::config::{Config, Endpoint};
use crate::keys::Base64;
use crate::uapi::{Client, PeerRequest, PeerSnapshot, SetRequest};

/// How long `up` and `reload` wait for names; those that are late are looked up again in the background.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(5);

/// Look-ups at a time: a resolver that does not answer holds each for some ten seconds.
const THREADS_MAX: usize = 16;

/// Between two looks at the peers.
const PERIOD: Duration = Duration::from_secs(5);

/// Longest pause between two attempts for a name that has no address.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// A session is replaced after 120 s and refused after 180 s: a peer to which we send and whose handshake is older does not
/// answer where we look for it.
const SILENT_AFTER: Duration = Duration::from_secs(180);

/// The endpoints of a file as it has them, by public key.
pub(super) fn written(config: &Config) -> BTreeMap<String, Written> {
    let endpoint = |peer: &crate::config::PeerConfig| {
        let endpoint = match peer.endpoint.as_ref()? {
            Endpoint::Address(address) => address.to_string(),
            Endpoint::Name { host, port } => format!("{host}:{port}"),
        };
        Some((Base64(&peer.public_key.0).to_string(), Written { endpoint, line: peer.line }))
    };
    config.peers.iter().filter_map(endpoint).collect()
}

/// What is known of a name.
pub(super) type Answer = Result<SocketAddr, String>;

/// Looks up `HOST:PORT`, and waits as long as the system does.
fn look_up(name: &str) -> Answer {
    // A file that names an address with a zone by its number is read by the same function.
    let first = name.to_socket_addrs().map(|mut found| found.next());
    match first {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err("the name has no address".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Looks all names up at once and returns what is known within `wait`.
pub(super) fn look_up_all(names: Vec<String>, wait: Duration) -> HashMap<String, Answer> {
    let mut found: HashMap<String, Answer> =
        names.iter().map(|name| (name.clone(), Err("no answer of the resolver yet".to_owned()))).collect();
    let threads = names.len().min(THREADS_MAX);
    let queue = Arc::new(Mutex::new(names));
    let answers: Receiver<(String, Answer)> = {
        let (sender, answers) = channel();
        for _ in 0..threads {
            let (queue, sender) = (Arc::clone(&queue), sender.clone());
            // A look-up cannot be called off: one that is late ends by itself, unheard.
            std::thread::spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(name) = next else { return };
                    let answer = look_up(&name);
                    if sender.send((name, answer)).is_err() {
                        return;
                    }
                }
            });
        }
        answers
    };
    let deadline = Instant::now() + wait;
    while let Ok((name, answer)) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        found.insert(name, answer);
    }
    found
}

/// The names among the endpoints of a file.
pub(super) fn names_of(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = config
        .peers
        .iter()
        .filter_map(|peer| match &peer.endpoint {
            Some(Endpoint::Name { host, port }) => Some(format!("{host}:{port}")),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Keeps the endpoints of named peers right for as long as the process lives.
pub(super) struct Keeper {
    pub(super) run_dir: PathBuf,
    pub(super) interface: String,
    pub(super) socket: PathBuf,
}

/// What the keeper remembers of a peer.
#[derive(Clone, Debug)]
struct Tracked {
    name: String,
    last: Option<SocketAddr>,
    tx_bytes: u64,
    next: Instant,
    pause: Duration,
}

impl Keeper {
    /// Looks at the peers every few seconds, for ever.
    pub(super) fn run(self) {
        let mut tracked: HashMap<String, Tracked> = HashMap::new();
        loop {
            std::thread::sleep(PERIOD);
            let Ok(Some(state)) = State::load(&self.run_dir, &self.interface) else { continue };
            let named: BTreeMap<String, Written> = state
                .endpoints
                .into_iter()
                .filter(|(_, written)| written.endpoint.parse::<SocketAddr>().is_err())
                .collect();
            tracked.retain(|key, known| named.get(key).is_some_and(|written| written.endpoint == known.name));
            if !named.is_empty() {
                self.look(&named, &state.config, &mut tracked);
            }
        }
    }

    fn look(&self, named: &BTreeMap<String, Written>, config: &Path, tracked: &mut HashMap<String, Tracked>) {
        let Ok(mut client) = Client::connect(&self.socket) else { return };
        let Ok(snapshot) = client.snapshot() else { return };
        let now = Instant::now();
        for peer in &snapshot.peers {
            let key = Base64(&peer.public_key.0).to_string();
            let Some(written) = named.get(&key) else { continue };
            let known = tracked.entry(key).or_insert_with(|| Tracked {
                name: written.endpoint.clone(),
                last: peer.endpoint,
                tx_bytes: peer.tx_bytes,
                next: now,
                pause: PERIOD,
            });
            let due = known.is_due(peer, now);
            known.tx_bytes = peer.tx_bytes;
            if !due {
                continue;
            }
            let answer = look_up(&known.name);
            known.pause = (known.pause * 2).min(RETRY_MAX);
            known.next = Instant::now() + known.pause;
            match answer {
                Err(error) if peer.endpoint.is_none() => {
                    let (config, line) = (config.display(), written.line);
                    tracing::warn!("{config}:{line}: Endpoint {} has no address yet: {error}", known.name);
                }
                // Where the name leads has not changed: the peer may have roamed, and is left alone.
                Ok(address) if peer.endpoint.is_none() || known.last != Some(address) => {
                    known.last = Some(address);
                    let endpoint = Some(address);
                    let request =
                        PeerRequest { update_only: true, endpoint, ..PeerRequest::new(peer.public_key) };
                    tracing::info!("{} is at {address}", known.name);
                    let set = client.set(&SetRequest { peers: vec![request], ..SetRequest::default() });
                    if let Err(error) = set {
                        tracing::warn!("the endpoint {} could not be set: {error}", known.name);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Tracked {
    /// Whether the name should be looked up: the peer has no endpoint, or we send to it and it does not answer.
    fn is_due(&self, peer: &PeerSnapshot, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        if peer.endpoint.is_none() {
            return true;
        }
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let silent = since_1970.saturating_sub(peer.last_handshake) > SILENT_AFTER;
        silent && peer.tx_bytes > self.tx_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PublicKey;

    #[test]
    fn names_that_are_no_names_are_told_apart_from_those_that_are() {
        let found = look_up_all(vec!["localhost:7".into(), "no-such-name.invalid:7".into()], WAIT_MAX);
        assert!(found["localhost:7"].as_ref().is_ok_and(|address| address.ip().is_loopback()), "{found:?}");
        assert!(found["no-such-name.invalid:7"].is_err());
    }

    #[test]
    fn a_name_is_looked_up_again_where_there_is_no_answer_or_the_peer_is_silent_while_we_send() {
        let now = Instant::now();
        let tracked = Tracked { name: "x:1".into(), last: None, tx_bytes: 100, next: now, pause: PERIOD };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let peer = |endpoint: Option<&str>, age_s, tx_bytes| PeerSnapshot {
            endpoint: endpoint.map(|text| text.parse().unwrap()),
            last_handshake: since_1970 - Duration::from_secs(age_s),
            tx_bytes,
            ..PeerSnapshot::new(PublicKey([1; 32]))
        };
        assert!(tracked.is_due(&peer(None, 0, 100), now));
        assert!(tracked.is_due(&peer(Some("192.0.2.1:7"), 200, 101), now));
        assert!(!tracked.is_due(&peer(Some("192.0.2.1:7"), 200, 100), now), "nothing was sent");
        assert!(!tracked.is_due(&peer(Some("192.0.2.1:7"), 100, 101), now), "it has answered");
        let later = Tracked { next: now + PERIOD, ..tracked };
        assert!(!later.is_due(&peer(None, 0, 100), now), "not that soon");
    }
}
