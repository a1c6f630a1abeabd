//! From what is to what shall be: the smallest change, or why there is none.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use dataplane_proto::IpPrefix;
use dataplane_proto::keys::PublicKey;
use dataplane_proto::node::{Change as NodeChange, InterfaceSnapshot, PeerChange, PeerSnapshot};
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
        peer.endpoint = peer.endpoint.filter(|endpoint| configured.get(&key) != Some(endpoint));
        match known.get(&key) {
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
