//! Any list of changes against a naive model: what peers there are, what they own, and what shards were told.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Interfaces, their peers in order, and the owners of prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    interfaces: BTreeMap<u16, Vec<(u8, u64)>>,
    own: BTreeMap<u16, u8>,
    owners: BTreeMap<(u16, u8), u8>,
}

const PEERS_MAX: usize = 6;

fn prefix(number: u8) -> crate::IpPrefix {
    crate::IpPrefix::new([10, number, 0, 0].into(), 16).unwrap()
}

fn key(number: u8) -> PublicKey {
    Secret::new([number + 1; 32]).public()
}

fn secret(number: u8) -> Secret {
    Secret::new([number + 1; 32])
}

impl Model {
    fn peers(&self) -> usize {
        self.interfaces.values().map(Vec::len).sum()
    }

    fn forget(&mut self, interface: u16, peer: u8) {
        if let Some(peers) = self.interfaces.get_mut(&interface) {
            peers.retain(|(key, _)| *key != peer);
        }
        self.owners.retain(|(of, _), owner| *of != interface || *owner != peer);
    }

    /// Applies a change; `None` where it is impossible.
    fn apply(&mut self, change: &Said) -> Option<()> {
        match change {
            Said::Add(interface) => {
                let fresh = self.interfaces.insert(*interface, Vec::new()).is_none();
                fresh.then_some(())
            }
            Said::Remove(interface) => {
                self.own.remove(interface);
                self.owners.retain(|(of, _), _| of != interface);
                self.interfaces.remove(interface).map(drop)
            }
            Said::Clear(interface) => {
                self.owners.retain(|(of, _), _| of != interface);
                self.interfaces.get_mut(interface).map(Vec::clear)
            }
            Said::Key(interface, own) => {
                self.interfaces.get(interface)?;
                self.own.insert(*interface, *own);
                self.forget(*interface, *own);
                Some(())
            }
            Said::Peer { interface, peer, remove, update_only, keepalive, replace, ips } => {
                let peers = self.interfaces.get_mut(interface)?;
                if self.own.get(interface) == Some(peer) {
                    return Some(());
                }
                if *remove {
                    self.forget(*interface, *peer);
                    return Some(());
                }
                match peers.iter_mut().find(|(key, _)| key == peer) {
                    Some((_, interval)) => *interval = *keepalive,
                    None if *update_only => return Some(()),
                    None => peers.push((*peer, *keepalive)),
                }
                if *replace {
                    self.owners.retain(|(of, _), owner| of != interface || owner != peer);
                }
                for (give, ip) in ips {
                    let owner = self.owners.get(&(*interface, *ip));
                    if *give {
                        self.owners.insert((*interface, *ip), *peer);
                    } else if owner == Some(peer) {
                        self.owners.remove(&(*interface, *ip));
                    }
                }
                (self.peers() <= PEERS_MAX).then_some(())
            }
        }
    }
}

/// A change in small numbers.
#[derive(Clone, Debug)]
enum Said {
    Add(u16),
    Remove(u16),
    Clear(u16),
    Key(u16, u8),
    Peer {
        interface: u16,
        peer: u8,
        remove: bool,
        update_only: bool,
        keepalive: u64,
        replace: bool,
        ips: Vec<(bool, u8)>,
    },
}

impl Said {
    fn change(&self) -> Change {
        match self {
            Self::Add(id) => Change::AddInterface {
                interface: InterfaceId(*id),
                mtu: 1420,
                policy: HandshakePolicy::default(),
            },
            Self::Remove(id) => Change::RemoveInterface { interface: InterfaceId(*id) },
            Self::Clear(id) => Change::RemovePeers { interface: InterfaceId(*id) },
            Self::Key(id, own) => Change::SetPrivateKey { interface: InterfaceId(*id), key: secret(*own) },
            Self::Peer { interface, peer, remove, update_only, keepalive, replace, ips } => {
                let allowed = |(give, ip): &(bool, u8)| match give {
                    true => AllowedIp::Give(prefix(*ip)),
                    false => AllowedIp::Take(prefix(*ip)),
                };
                Change::Peer(PeerChange {
                    remove: *remove,
                    update_only: *update_only,
                    keepalive: Some(Duration::from_secs(*keepalive)),
                    replace_allowed_ips: *replace,
                    allowed_ips: ips.iter().map(allowed).collect(),
                    ..PeerChange::new(InterfaceId(*interface), key(*peer))
                })
            }
        }
    }
}

fn said() -> impl Strategy<Value = Said> {
    let peer = (
        0..2_u16,
        0..5_u8,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        0..3_u64,
        prop::bool::weighted(0.3),
        prop::collection::vec((prop::bool::weighted(0.8), 0..6_u8), 0..5),
    )
        .prop_map(|(interface, peer, remove, update_only, keepalive, replace, ips)| Said::Peer {
            interface,
            peer,
            remove,
            update_only,
            keepalive,
            replace,
            ips,
        });
    prop_oneof![
        1 => (0..2_u16).prop_map(Said::Add),
        1 => (0..2_u16).prop_map(Said::Remove),
        1 => (0..2_u16).prop_map(Said::Clear),
        1 => (0..2_u16, 0..5_u8).prop_map(|(id, own)| Said::Key(id, own)),
        16 => peer,
    ]
}

/// What a shard would hold after all commands: peers and routes.
#[derive(Default)]
struct Told {
    interfaces: BTreeSet<u16>,
    peers: BTreeMap<PeerId, u16>,
    routes: BTreeMap<(u16, crate::IpPrefix), PeerId>,
}

impl Told {
    fn hear(&mut self, command: Command) {
        match command {
            Command::AddInterface { interface, .. } => _ = self.interfaces.insert(interface.0),
            Command::RemoveInterface { interface } => {
                assert!(self.interfaces.remove(&interface.0));
                assert!(self.peers.values().all(|of| *of != interface.0), "peers go first");
                assert!(self.routes.keys().all(|(of, _)| *of != interface.0), "routes go first");
            }
            Command::AddPeer { peer, interface, .. } => {
                assert!(self.peers.insert(peer, interface.0).is_none());
            }
            Command::RemovePeer { peer } => {
                assert!(self.peers.remove(&peer).is_some());
                assert!(self.routes.values().all(|owner| *owner != peer), "routes go first");
            }
            Command::SetRoute { interface, peer, prefix, .. } => {
                assert_eq!(self.peers.get(&peer), Some(&interface.0));
                self.routes.insert((interface.0, prefix), peer);
            }
            Command::RemoveRoute { interface, prefix } => {
                assert!(self.routes.remove(&(interface.0, prefix)).is_some(), "{prefix}");
            }
            _ => {}
        }
    }
}

proptest! {
    // WG-58, WG-60, WG-15
    #[test]
    fn any_lists_of_changes_leave_what_a_naive_model_leaves_or_nothing_at_all(
        lists in prop::collection::vec(prop::collection::vec(said(), 1..8), 1..12),
    ) {
        let limits = Limits { peers: PEERS_MAX, ..Limits::default() };
        let mut node = Node::new(NodeConfig { cores: 1, core_bits: 0, limits, seed: [1; 32] }, Instant::ZERO);
        let (mut model, mut told) = (Model::default(), Told::default());
        for list in lists {
            let changes: Vec<Change> = list.iter().map(Said::change).collect();
            let mut after = model.clone();
            let possible = list.iter().try_for_each(|said| after.apply(said)).is_some();
            let applied = node.apply(Instant::ZERO, &changes).is_ok();
            // A peer that is oneself counts while the list is judged: so much earlier may a limit be reached.
            prop_assert!(possible || !applied, "{:?}", list);
            let own = list.iter().any(|said| matches!(said, Said::Key(..))) || !model.own.is_empty();
            prop_assert!(applied || !possible || own, "{:?}", list);
            if applied {
                model = after;
            }
            while let Some((_, command)) = node.poll_command() {
                told.hear(command);
            }
            for id in 0..2 {
                let snapshot = node.snapshot(InterfaceId(id));
                prop_assert_eq!(snapshot.is_some(), model.interfaces.contains_key(&id));
                prop_assert_eq!(told.interfaces.contains(&id), snapshot.is_some());
                let Some(snapshot) = snapshot else { continue };
                let expected: Vec<_> = model.interfaces[&id].iter().map(|(peer, keepalive)| {
                    let owned = model.owners.iter().filter(|((of, _), owner)| *of == id && *owner == peer);
                    (key(*peer), *keepalive, owned.map(|((_, ip), _)| prefix(*ip)).collect::<Vec<_>>())
                }).collect();
                let found: Vec<_> = snapshot.peers.iter().map(|peer| {
                    (peer.public_key, peer.keepalive.as_secs(), peer.allowed_ips.clone())
                }).collect();
                prop_assert_eq!(found, expected);
                for peer in &snapshot.peers {
                    prop_assert_eq!(told.peers.get(&peer.peer), Some(&id));
                    for prefix in &peer.allowed_ips {
                        prop_assert_eq!(told.routes.get(&(id, *prefix)), Some(&peer.peer));
                    }
                }
            }
            prop_assert_eq!(told.peers.len(), model.peers());
            prop_assert_eq!(told.routes.len(), model.owners.len());
            prop_assert_eq!(node.connections.taken(), model.peers());
        }
    }
}
