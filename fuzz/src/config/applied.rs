//! What a node makes of a configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use dataplane_gateway::config::{Config, KeySource};
use dataplane_gateway::uapi::SetRequest;
use dataplane_proto::IpPrefix;
use dataplane_proto::keys::{PublicKey, Secret};
use dataplane_proto::messages::Command;
use dataplane_proto::node::{
    AllowedIp, Change, HandshakePolicy, Limits, Node, NodeConfig, PeerChange, PeerSnapshot,
};
use dataplane_wire::{Instant, InterfaceId, PeerId, SocketId};

const WG0: InterfaceId = InterfaceId(0);

/// A configuration that says everything: what it does not name is not there afterwards.
#[derive(Clone)]
pub(super) struct Whole {
    key: Secret,
    peers: Vec<PeerChange>,
}

/// A request as `wg setconf` would send it: with all peers, and a private key, if only that there is none.
pub(super) fn of_request(request: &SetRequest) -> Whole {
    let peer = |peer: &dataplane_gateway::uapi::PeerRequest| PeerChange {
        remove: peer.remove,
        update_only: peer.update_only,
        preshared_key: peer.preshared_key.clone(),
        endpoint: peer.endpoint,
        keepalive: peer.keepalive_s.map(|seconds| Duration::from_secs(seconds.into())),
        replace_allowed_ips: peer.replace_allowed_ips,
        allowed_ips: peer
            .allowed_ips
            .iter()
            .map(|ip| if ip.remove { AllowedIp::Take(ip.prefix) } else { AllowedIp::Give(ip.prefix) })
            .collect(),
        ..PeerChange::new(WG0, peer.public_key)
    };
    Whole {
        key: request.private_key.clone().unwrap_or_default(),
        peers: request.peers.iter().map(peer).collect(),
    }
}

/// A file as it is when an interface comes up. Names and key files are left out: they need more than the file.
pub(super) fn of_config(config: &Config) -> Whole {
    let inline = |source: &Option<KeySource>| match source {
        Some(KeySource::Inline(key)) => Some(key.clone()),
        _ => None,
    };
    let key = inline(&config.interface.private_key).unwrap_or_default();
    let peer = |peer: &dataplane_gateway::config::PeerConfig| PeerChange {
        preshared_key: inline(&peer.preshared_key),
        endpoint: peer.endpoint.as_ref().and_then(|endpoint| endpoint.address()),
        keepalive: peer.keepalive_s.map(|seconds| Duration::from_secs(seconds.into())),
        replace_allowed_ips: true,
        allowed_ips: peer.allowed_ips.iter().copied().map(AllowedIp::Give).collect(),
        ..PeerChange::new(WG0, peer.public_key)
    };
    Whole { key, peers: config.peers.iter().map(peer).collect() }
}

/// A node, and what its shards have been told.
struct Told {
    node: Node,
    peers: BTreeMap<PeerId, PublicKey>,
    routes: BTreeMap<IpPrefix, PeerId>,
    keepalives: BTreeMap<PeerId, Duration>,
}

impl Told {
    fn new() -> Self {
        // Few may be: an input names a handful.
        let limits = Limits { peers: 64, allowed_ips: 256, ..Limits::default() };
        let node = Node::new(NodeConfig { cores: 2, core_bits: 1, limits, seed: [1; 32] }, Instant::ZERO);
        let mut told =
            Self { node, peers: BTreeMap::new(), routes: BTreeMap::new(), keepalives: BTreeMap::new() };
        let changes = [
            Change::AddInterface { interface: WG0, mtu: 1420, policy: HandshakePolicy::default() },
            Change::SetSockets { interface: WG0, v4: Some(SocketId(0)), v6: Some(SocketId(1)) },
            Change::SetUp { interface: WG0, up: true },
        ];
        assert!(told.node.apply(Instant::ZERO, &changes).is_ok());
        told
    }

    /// Whether the configuration could be taken. All of it is, or nothing.
    fn take(&mut self, whole: &Whole) -> bool {
        let key = Change::SetPrivateKey { interface: WG0, key: whole.key.clone() };
        let peers = whole.peers.iter().cloned().map(Change::Peer);
        let changes: Vec<Change> =
            [key, Change::RemovePeers { interface: WG0 }].into_iter().chain(peers).collect();
        let before = self.node.snapshot(WG0);
        let taken = self.node.apply(Instant::ZERO, &changes).is_ok();
        if !taken {
            assert_eq!(self.node.snapshot(WG0), before, "what is refused changes nothing");
        }
        self.hear();
        taken
    }

    /// Follows the commands, of both shards: routes go to every one, so each is heard twice.
    fn hear(&mut self) {
        while let Some((core, command)) = self.node.poll_command() {
            match command {
                Command::AddPeer { peer, .. } => _ = self.peers.insert(peer, PublicKey([0; 32])),
                Command::RemovePeer { peer } => {
                    assert!(self.peers.remove(&peer).is_some());
                    assert!(self.routes.values().all(|owner| *owner != peer), "routes go first");
                    self.keepalives.remove(&peer);
                }
                Command::SetRoute { peer, prefix, .. } if core.0 == 0 => _ = self.routes.insert(prefix, peer),
                Command::RemoveRoute { prefix, .. } if core.0 == 0 => _ = self.routes.remove(&prefix),
                Command::SetKeepalive { peer, interval } => _ = self.keepalives.insert(peer, interval),
                _ => {}
            }
        }
        for peer in self.shown() {
            *self.peers.get_mut(&peer.peer).expect("a peer that its shard was told of") = peer.public_key;
        }
    }

    fn shown(&self) -> Vec<PeerSnapshot> {
        self.node.snapshot(WG0).expect("the interface").peers
    }

    /// All that is configured, by names that do not depend on what was there before.
    fn configured(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let snapshot = self.node.snapshot(WG0).expect("the interface");
        let name = |id: &PeerId| self.peers[id];
        let peers: Vec<_> = (snapshot.peers.iter())
            .map(|peer| {
                assert_eq!(
                    self.keepalives.get(&peer.peer).copied().unwrap_or_default(),
                    peer.keepalive,
                    "what its shard was told"
                );
                let (key, psk) = (peer.public_key, *peer.preshared_key.bytes());
                (key, psk, peer.endpoint, peer.keepalive, peer.allowed_ips.clone())
            })
            .collect();
        let routes: Vec<_> = self.routes.iter().map(|(prefix, id)| (*prefix, name(id))).collect();
        let own = snapshot.private_key.map(|key| *key.bytes());
        assert_eq!(self.peers.len(), peers.len());
        (own, snapshot.public_key, snapshot.mtu, snapshot.up, peers, routes)
    }
}

/// An interface that had one configuration and gets another is as one that only ever had the other.
pub(super) fn reload(from: &Whole, to: &Whole) {
    let (mut reloaded, mut fresh) = (Told::new(), Told::new());
    reloaded.take(from);
    let taken = reloaded.take(to);
    if fresh.take(to) && taken {
        assert!(
            reloaded.configured() == fresh.configured(),
            "{:?}\n{:?}",
            reloaded.configured(),
            fresh.configured()
        );
        // Whoever removes all peers is left with nothing.
        let nothing = Whole { key: Secret::default(), peers: Vec::new() };
        assert!(reloaded.take(&nothing));
        assert!(reloaded.peers.is_empty() && reloaded.routes.is_empty(), "{:?}", reloaded.routes);
    }
}
