//! `dataplane reload`: the file is read and checked as a whole, then what differs is changed, or nothing is.
//!
//! Sessions of peers whose keys stay the same go on. No command of the file is run. Without `MTU` in the file, the interface
//! keeps the one it has: by now the ways to its peers may lead through itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::plan::Plan;
use super::state::{Lock, State, Written};
use super::system::System;
use super::wanted::Wanted;
use super::{Target, UpError, names};
use crate::config::locate;
use crate::keys::Base64;
use crate::net::Netlink;
use crate::text::Counted;
use crate::uapi::{
    AllowedIp, Client, ClientError, DeviceError, DeviceSnapshot, PeerRequest, PeerSnapshot, ReplyError,
    SetRequest,
};

/// What a reload has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Peers that were not there before.
    pub peers_added: usize,
    /// Peers that are there no more.
    pub peers_removed: usize,
    /// Peers of which something is different.
    pub peers_changed: usize,
    /// Whether the key, the port or the mark is different.
    pub interface_changed: bool,
    /// Changes of addresses, routes, rules, resolvers, the MTU and the firewall.
    pub system_changes: usize,
}

impl std::fmt::Display for Reloaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::default() {
            return f.write_str("nothing has changed");
        }
        let Self { peers_added, peers_removed, peers_changed, system_changes, .. } = self;
        write!(
            f,
            "peers: {peers_added} added, {peers_removed} removed, {peers_changed} changed; addresses and routes: {}",
            Counted(*system_changes, "change")
        )?;
        if self.interface_changed { f.write_str("; key, port or mark changed") } else { Ok(()) }
    }
}

/// Brings an interface to what its file says now.
///
/// # Errors
/// [`UpError`]: the interface is as it was.
pub(super) fn reload(target: &Target) -> Result<Reloaded, UpError> {
    let located = locate(&target.file)?;
    let interface = located.interface.as_str();
    let run_dir = target.run_dir.run_dir.as_path();
    let not_up = || UpError::not_up(interface, run_dir);
    if !super::state::path(run_dir, interface).exists() {
        return Err(not_up());
    }
    let plan = Plan::read(&located)?;
    let _lock = Lock::take(run_dir, interface)?;
    let state = State::load(run_dir, interface)?.ok_or_else(not_up)?;
    state.must_be_here(interface)?;
    let refused = |source| UpError::Client { interface: interface.to_owned(), source };
    let mut client = Client::connect(&run_dir.join(format!("{interface}.sock"))).map_err(refused)?;
    let snapshot = client.snapshot().map_err(refused)?;

    let mut netlink = Netlink::open().map_err(UpError::system("cannot open a netlink socket"))?;
    let mark = plan.mark(&mut netlink, state.wanted.firewall.as_ref().map(|(mark, _)| *mark))?;
    let mtu = plan.config.interface.mtu.map_or(state.wanted.mtu, u32::from);
    let written = names::written(&plan.config);
    let names = names::names_of(&plan.config);
    let new_names =
        names.into_iter().filter(|name| !state.endpoints.values().any(|old| old.endpoint == *name));
    let found = plan.look_up(new_names.collect());
    let wanted = Wanted::of(&plan.config, mark, mtu);
    let steps = state.wanted.steps_to(&wanted);
    let peers = plan.peers(&found);
    let (request, mut reloaded) =
        changes(&snapshot, &plan.request_of_interface(mark), peers, &state.endpoints, &written);
    reloaded.system_changes = steps.len();

    let next = State {
        wanted,
        resolver: plan.resolver.or(state.resolver),
        pre_down: plan.config.interface.pre_down.clone(),
        post_down: plan.config.interface.post_down.clone(),
        save_config: plan.config.interface.save_config,
        endpoints: written,
        config: plan.path.clone(),
        namespace: state.namespace.clone(),
    };
    let mut system = System::open(interface, next.resolver)?;
    system.make(steps)?;
    // The interface comes last: it takes all or nothing, and what it has taken cannot be taken back for what would fail behind it.
    let stored = next.store(run_dir, interface);
    let is_stored = stored.is_ok();
    let mut set = || if request == SetRequest::default() { Ok(()) } else { client.set(&request) };
    if let Err(error) = stored.and_then(|()| set().map_err(|error| explain(&plan, error))) {
        let mut errors = vec![error];
        if is_stored {
            errors.extend(state.store(run_dir, interface).err());
        }
        errors.extend(system.undo());
        UpError::of(errors)?;
    }
    Ok(reloaded)
}

/// The line of the file that the interface has refused, where its number tells which.
fn explain(plan: &Plan, error: ClientError) -> UpError {
    match error {
        ClientError::Reply(ReplyError::Refused(errno)) if errno == libc::EADDRINUSE => {
            let port = plan.config.interface.listen_port.unwrap_or_default();
            plan.device_error(DeviceError::PortInUse(format!(
                "port {port} is in use by another socket: choose another, or stop what has it (`ss -ulpn`)"
            )))
        }
        source => UpError::Client { interface: plan.interface.clone(), source },
    }
}

/// What makes the interface of a snapshot that of a file, and nothing else. Allowed IPs are given before they are taken, and peers
/// go last: those that go from peer to peer lead to one of them at any moment.
fn changes(
    snapshot: &DeviceSnapshot,
    file: &SetRequest,
    peers: Vec<PeerRequest>,
    old_endpoints: &BTreeMap<String, Written>,
    new_endpoints: &BTreeMap<String, Written>,
) -> (SetRequest, Reloaded) {
    let mut reloaded = Reloaded::default();
    let mut request = SetRequest {
        private_key: file.private_key.clone().filter(|key| snapshot.private_key.as_ref() != Some(key)),
        listen_port: file.listen_port.filter(|port| *port != 0 && *port != snapshot.listen_port),
        fwmark: file.fwmark.or(Some(0)).filter(|mark| *mark != snapshot.fwmark),
        ..SetRequest::default()
    };
    reloaded.interface_changed = request != SetRequest::default();
    let before: HashMap<_, &PeerSnapshot> =
        snapshot.peers.iter().map(|peer| (peer.public_key, peer)).collect();
    let after: std::collections::HashSet<_> = peers.iter().map(|peer| peer.public_key).collect();
    let mut taken = Vec::new();
    for peer in peers {
        let Some(old) = before.get(&peer.public_key) else {
            reloaded.peers_added += 1;
            request.peers.push(peer);
            continue;
        };
        let key = Base64(&peer.public_key.0).to_string();
        let of = |endpoints: &BTreeMap<String, Written>| endpoints.get(&key).map(|w| w.endpoint.clone());
        let moved = of(old_endpoints) != of(new_endpoints);
        let (given, stale) = peer_change(old, peer, moved);
        reloaded.peers_changed += usize::from(given.is_some() || stale.is_some());
        request.peers.extend(given);
        taken.extend(stale);
    }
    request.peers.extend(taken);
    for peer in snapshot.peers.iter().filter(|peer| !after.contains(&peer.public_key)) {
        request.peers.push(PeerRequest { remove: true, ..PeerRequest::new(peer.public_key) });
        reloaded.peers_removed += 1;
    }
    (request, reloaded)
}

/// What makes one peer another: what it is given and what is taken from it; `None` for nothing. Where the file still has the endpoint
/// that it had, the peer is left where it is, since it may have roamed.
fn peer_change(
    old: &PeerSnapshot,
    new: PeerRequest,
    moved: bool,
) -> (Option<PeerRequest>, Option<PeerRequest>) {
    let unchanged = PeerRequest { update_only: true, ..PeerRequest::new(old.public_key) };
    let mut change = unchanged.clone();
    let key = new.preshared_key.clone().unwrap_or_default();
    if old.preshared_key.clone().unwrap_or_default() != key {
        change.preshared_key = Some(key);
    }
    change.endpoint = new.endpoint.filter(|endpoint| moved && old.endpoint != Some(*endpoint));
    let keepalive_s = new.keepalive_s.unwrap_or(0);
    change.keepalive_s = Some(keepalive_s).filter(|seconds| *seconds != old.keepalive_s);
    let has: BTreeSet<_> = old.allowed_ips.iter().copied().collect();
    let wants: BTreeSet<_> = new.allowed_ips.iter().map(|ip| ip.prefix).collect();
    let listed = |prefixes: std::collections::btree_set::Difference<'_, _>, remove| {
        prefixes.map(|prefix| AllowedIp { prefix: *prefix, remove }).collect()
    };
    change.allowed_ips = listed(wants.difference(&has), false);
    let stale = PeerRequest { allowed_ips: listed(has.difference(&wants), true), ..unchanged.clone() };
    let some = |request: PeerRequest| Some(request).filter(|request| *request != unchanged);
    (some(change), some(stale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{PublicKey, Secret};

    fn peer(byte: u8, ips: &[&str]) -> PeerRequest {
        let allowed_ips =
            ips.iter().map(|ip| AllowedIp { prefix: ip.parse().unwrap(), remove: false }).collect();
        PeerRequest { replace_allowed_ips: true, allowed_ips, ..PeerRequest::new(PublicKey([byte; 32])) }
    }

    fn there(byte: u8, ips: &[&str]) -> PeerSnapshot {
        PeerSnapshot {
            allowed_ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            endpoint: Some("192.0.2.1:7".parse().unwrap()),
            ..PeerSnapshot::new(PublicKey([byte; 32]))
        }
    }

    fn written(byte: u8, endpoint: &str) -> BTreeMap<String, Written> {
        [(Base64(&[byte; 32]).to_string(), Written { endpoint: endpoint.into(), line: 1 })].into()
    }

    /// FT-12: what says the same asks for nothing, in whatever order, and wherever the peer has roamed to.
    #[test]
    fn the_same_file_asks_for_no_change() {
        let snapshot = DeviceSnapshot {
            private_key: Some(Secret::new([9; 32])),
            listen_port: 7,
            fwmark: 3,
            peers: vec![there(1, &["10.0.0.0/8", "fd00::/8"]), there(2, &[])],
        };
        let file = SetRequest {
            private_key: Some(Secret::new([9; 32])),
            listen_port: Some(7),
            fwmark: Some(3),
            ..SetRequest::default()
        };
        let home = Some("198.51.100.1:7".parse().unwrap());
        let peers =
            vec![peer(2, &[]), PeerRequest { endpoint: home, ..peer(1, &["fd00::/8", "10.0.0.0/8"]) }];
        let endpoints = written(1, "198.51.100.1:7");
        let (request, reloaded) = changes(&snapshot, &file, peers, &endpoints, &endpoints);
        assert_eq!((request, reloaded), (SetRequest::default(), Reloaded::default()));
    }

    #[test]
    fn only_what_differs_is_asked_for() {
        let snapshot = DeviceSnapshot {
            listen_port: 7,
            peers: vec![there(1, &["10.0.0.0/8"]), there(2, &["10.2.0.0/16"]), there(3, &[])],
            ..DeviceSnapshot::default()
        };
        let file = SetRequest { listen_port: Some(8), ..SetRequest::default() };
        let moved = Some("203.0.113.1:7".parse().unwrap());
        let peers = vec![
            PeerRequest { keepalive_s: Some(25), ..peer(1, &["10.0.0.0/8"]) },
            PeerRequest { endpoint: moved, ..peer(2, &["10.3.0.0/16"]) },
            peer(4, &["10.4.0.0/16"]),
        ];
        let (request, reloaded) =
            changes(&snapshot, &file, peers.clone(), &written(2, "a:7"), &written(2, "203.0.113.1:7"));
        assert_eq!((request.listen_port, request.fwmark, request.private_key), (Some(8), None, None));
        assert!(!request.replace_peers);
        let one = PeerRequest { update_only: true, keepalive_s: Some(25), ..peer(1, &[]) };
        let two = PeerRequest { update_only: true, replace_allowed_ips: false, ..peers[1].clone() };
        let taken = AllowedIp { prefix: "10.2.0.0/16".parse().unwrap(), remove: true };
        let expected = vec![
            PeerRequest { replace_allowed_ips: false, ..one },
            two.clone(),
            peers[2].clone(),
            PeerRequest { endpoint: None, allowed_ips: vec![taken], ..two },
            PeerRequest { remove: true, ..PeerRequest::new(PublicKey([3; 32])) },
        ];
        assert_eq!(request.peers, expected);
        let counts = (reloaded.peers_added, reloaded.peers_removed, reloaded.peers_changed);
        assert_eq!((counts, reloaded.interface_changed), ((1, 1, 2), true));
    }
}
