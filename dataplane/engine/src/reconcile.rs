//! From what is to what shall be: the smallest change, or why there is none.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use dataplane_proto::IpPrefix;
use dataplane_proto::keys::PublicKey;
use dataplane_proto::node::{AllowedIp, Change as NodeChange, InterfaceSnapshot, PeerChange, PeerSnapshot};
use dataplane_wire::InterfaceId;

use crate::error::InterfaceError;
use crate::handle::Change;
use crate::peer::{Desired, Peer};

/// The endpoint that each peer was last configured with, as opposed to where it was heard from since.
pub(crate) type Configured = BTreeMap<PublicKey, SocketAddr>;

/// Follows changes that were applied.
pub(crate) fn note_configured(configured: &mut Configured, changes: &[NodeChange]) {
    for change in changes {
        match change {
            NodeChange::RemovePeers { .. } => configured.clear(),
            NodeChange::Peer(peer) if peer.remove => {
                configured.remove(&peer.public_key);
            }
            NodeChange::Peer(peer) => {
                if let Some(endpoint) = peer.endpoint {
                    configured.insert(peer.public_key, endpoint);
                }
            }
            _ => {}
        }
    }
}

/// What a reconciliation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Peers that are new.
    pub added: usize,
    /// Peers that were there and differ in something now. Their sessions live on, unless the pre-shared key is another: that
    /// takes effect with the next handshake.
    pub changed: usize,
    /// Peers that were there as desired. Nothing was done about them.
    pub unchanged: usize,
    /// Peers that are no more.
    pub removed: usize,
}

/// The change that makes an interface what is desired.
///
/// An endpoint counts as changed when it is configured otherwise than before, not when the peer has moved since: the same
/// configuration twice changes nothing (FT-12).
pub(crate) fn plan(
    current: &InterfaceSnapshot,
    configured: &Configured,
    desired: Desired,
) -> Result<(Change, Reconciled), InterfaceError> {
    check(&desired.peers)?;
    let Desired { private_key, listen_port, mark, mut peers } = desired;
    // Nobody is one's own peer (WG-15): one list may serve all members of a network.
    let own = private_key.as_ref().map_or(current.public_key, |key| Some(key.public()));
    peers.retain(|peer| Some(peer.public_key) != own);
    let wanted: HashSet<PublicKey> = peers.iter().map(Peer::public_key).collect();
    let known: HashMap<PublicKey, &PeerSnapshot> =
        current.peers.iter().map(|peer| (peer.public_key, peer)).collect();
    let mut counts = Reconciled::default();
    let mut changes = Vec::new();
    // First, so that limits count what will be, and prefixes are free.
    for peer in current.peers.iter().filter(|peer| !wanted.contains(&peer.public_key)) {
        changes.push(PeerChange { remove: true, ..PeerChange::new(InterfaceId::default(), peer.public_key) });
        counts.removed += 1;
    }
    for mut peer in peers {
        let key = peer.public_key;
        let known = known.get(&key);
        // One that roams no more goes home. Who is not there has none, whatever was said of him once: a peer also goes when the
        // interface gets its key.
        let stays = known.is_some_and(|known| known.path_policy == peer.path_policy);
        let again = |endpoint: &SocketAddr| stays && configured.get(&key) == Some(endpoint);
        peer.endpoint = peer.endpoint.filter(|endpoint| !again(endpoint));
        match known {
            None => {
                counts.added += 1;
                changes.push(peer.into_change());
            }
            Some(known) if is_as_desired(known, &peer) => counts.unchanged += 1,
            Some(_) => {
                counts.changed += 1;
                changes.push(peer.into_change());
            }
        }
    }
    let change = Change { private_key, listen_port, mark, replace_peers: false, peers: changes };
    Ok((change, counts))
}

/// The same changes in an order in which no prefix is nobody's between two owners: what is given comes before what is taken, and
/// peers go last. Meanwhile there are more peers and prefixes than before and after, which limits may refuse.
pub(crate) fn without_gaps(current: &InterfaceSnapshot, changes: &[PeerChange]) -> Vec<PeerChange> {
    let known: HashMap<PublicKey, &PeerSnapshot> =
        current.peers.iter().map(|peer| (peer.public_key, peer)).collect();
    let (mut given, mut taken, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        let known = match known.get(&change.public_key) {
            _ if change.remove => {
                removed.push(change.clone());
                continue;
            }
            None => {
                given.push(change.clone());
                continue;
            }
            Some(known) => known,
        };
        let has: HashSet<IpPrefix> = known.allowed_ips.iter().copied().collect();
        let wants: HashSet<IpPrefix> = change.allowed_ips.iter().map(prefix_of).collect();
        let news = change.allowed_ips.iter().filter(|ip| !has.contains(&prefix_of(ip))).copied();
        let allowed_ips = news.collect();
        given.push(PeerChange { replace_allowed_ips: false, allowed_ips, ..change.clone() });
        let stale = known.allowed_ips.iter().filter(|prefix| !wants.contains(prefix));
        let allowed_ips: Vec<_> = stale.copied().map(AllowedIp::Take).collect();
        if !allowed_ips.is_empty() {
            let unchanged = PeerChange::new(change.interface, change.public_key);
            taken.push(PeerChange { update_only: true, allowed_ips, ..unchanged });
        }
    }
    given.into_iter().chain(taken).chain(removed).collect()
}

fn prefix_of(allowed_ip: &AllowedIp) -> IpPrefix {
    match *allowed_ip {
        AllowedIp::Give(prefix) | AllowedIp::Take(prefix) => prefix,
    }
}

/// Whether nothing is left to change. An endpoint that is still named is a new one.
fn is_as_desired(known: &PeerSnapshot, peer: &Peer) -> bool {
    let sorted = |prefixes: &[IpPrefix]| {
        let mut prefixes = prefixes.to_vec();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    };
    peer.endpoint.is_none()
        && known.preshared_key == peer.preshared_key
        && known.keepalive == peer.keepalive
        && known.path_policy == peer.path_policy
        && sorted(&known.allowed_ips) == sorted(&peer.allowed_ips)
}

/// No key twice, and no prefix for two peers: which of them was meant cannot be known.
fn check(peers: &[Peer]) -> Result<(), InterfaceError> {
    let mut keys = HashSet::with_capacity(peers.len());
    let mut owners: HashMap<IpPrefix, PublicKey> = HashMap::new();
    for peer in peers {
        if !keys.insert(peer.public_key) {
            return Err(InterfaceError::PeerTwice(peer.public_key));
        }
        for &prefix in &peer.allowed_ips {
            let owner = *owners.entry(prefix).or_insert(peer.public_key);
            if owner != peer.public_key {
                return Err(InterfaceError::PrefixTwice { prefix, peers: [owner, peer.public_key] });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_proto::keys::Secret;
    use dataplane_proto::node::PathPolicy;
    use dataplane_wire::{CoreId, PeerId};
    use std::time::Duration;

    fn prefixes(texts: &[&str]) -> Vec<IpPrefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn there(byte: u8, ips: &[&str]) -> PeerSnapshot {
        PeerSnapshot {
            peer: PeerId::default(),
            core: CoreId(0),
            public_key: PublicKey([byte; 32]),
            preshared_key: Secret::default(),
            endpoint: None,
            keepalive: Duration::ZERO,
            path_policy: PathPolicy::Roaming,
            allowed_ips: prefixes(ips),
            last_handshake: Duration::ZERO,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    fn wanted(byte: u8, ips: &[&str]) -> Peer {
        Peer::new(PublicKey([byte; 32])).allowed_ips(prefixes(ips))
    }

    /// Who owns what when the changes are made one by one; with the prefixes that were nobody's at some moment.
    fn follow(
        current: &InterfaceSnapshot,
        changes: &[PeerChange],
    ) -> (BTreeMap<IpPrefix, u8>, Vec<IpPrefix>) {
        let owned = |peer: &PeerSnapshot| {
            peer.allowed_ips.clone().into_iter().zip(std::iter::repeat(peer.public_key.0[0]))
        };
        let mut owners: BTreeMap<IpPrefix, u8> = current.peers.iter().flat_map(owned).collect();
        let before = owners.clone();
        let mut gaps = Vec::new();
        for change in changes {
            let who = change.public_key.0[0];
            let given: Vec<IpPrefix> = change.allowed_ips.iter().map(prefix_of).collect();
            let loses =
                |prefix: &IpPrefix| change.remove || (change.replace_allowed_ips && !given.contains(prefix));
            owners.retain(|prefix, owner| *owner != who || !loses(prefix));
            for allowed_ip in &change.allowed_ips {
                match *allowed_ip {
                    AllowedIp::Give(prefix) => _ = owners.insert(prefix, who),
                    AllowedIp::Take(prefix) if owners.get(&prefix) == Some(&who) => {
                        _ = owners.remove(&prefix)
                    }
                    AllowedIp::Take(_) => {}
                }
            }
            gaps.extend(before.keys().filter(|prefix| !owners.contains_key(prefix)));
        }
        gaps.retain(|prefix| owners.contains_key(prefix));
        gaps.sort_unstable();
        gaps.dedup();
        (owners, gaps)
    }

    /// FT-12: two peers swap prefixes, one gets another key, one goes, one shrinks.
    #[test]
    fn no_prefix_is_nobodys_between_two_owners() {
        let peers = vec![
            there(1, &["10.1.0.0/16", "10.9.0.0/16"]),
            there(2, &["10.2.0.0/16"]),
            there(3, &["10.3.0.0/16"]),
            there(4, &["10.4.0.0/16", "10.5.0.0/16"]),
        ];
        let current = InterfaceSnapshot { private_key: None, public_key: None, mtu: 1420, up: true, peers };
        let desired = Desired::peers([
            wanted(1, &["10.2.0.0/16", "10.9.0.0/16"]),
            wanted(2, &["10.1.0.0/16"]),
            wanted(5, &["10.3.0.0/16"]),
            wanted(4, &["10.4.0.0/16"]),
        ]);
        let (change, counts) = plan(&current, &Configured::new(), desired).unwrap();
        assert_eq!(counts, Reconciled { added: 1, changed: 3, unchanged: 0, removed: 1 });
        let (planned, gaps) = follow(&current, &change.peers);
        assert_eq!(gaps.len(), 2, "as it is without the order: {gaps:?}");
        let (owners, gaps) = follow(&current, &without_gaps(&current, &change.peers));
        assert_eq!((&owners, gaps), (&planned, Vec::new()));
        let network = |owner: (&IpPrefix, &u8)| (owner.0.to_string(), *owner.1);
        let expected = [
            ("10.1.0.0/16", 2),
            ("10.2.0.0/16", 1),
            ("10.3.0.0/16", 5),
            ("10.4.0.0/16", 4),
            ("10.9.0.0/16", 1),
        ];
        let expected = expected.map(|(prefix, owner)| (prefix.to_owned(), owner));
        assert_eq!(owners.iter().map(network).collect::<Vec<_>>(), expected);
    }
}
