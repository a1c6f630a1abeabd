//! What there is to show of an interface.

use core::net::SocketAddr;
use core::sync::atomic::Ordering;
use core::time::Duration;

use dataplane_wire::{CoreId, InterfaceId, PeerId};

use super::{Node, PathPolicy};
use crate::keys::{PublicKey, Secret};
use crate::prefix::IpPrefix;

/// An interface as `wg show` wants it, but for what the engine knows: port and firewall mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSnapshot {
    /// The private key, if there is one.
    pub private_key: Option<Secret>,
    /// The public key, if there is a private one.
    pub public_key: Option<PublicKey>,
    /// The inner MTU in bytes.
    pub mtu: u16,
    /// Whether it is up.
    pub up: bool,
    /// Its peers, in the order in which they were added.
    pub peers: Vec<PeerSnapshot>,
}

/// A peer as `wg show` wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSnapshot {
    /// Its id.
    pub peer: PeerId,
    /// The core on which it lives.
    pub core: CoreId,
    /// Its public key.
    pub public_key: PublicKey,
    /// The pre-shared key; all zero for none.
    pub preshared_key: Secret,
    /// Where it was last heard from, or as configured.
    pub endpoint: Option<SocketAddr>,
    /// The persistent keepalive interval; zero for none.
    pub keepalive: Duration,
    /// Whether it roams.
    pub path_policy: PathPolicy,
    /// Its allowed IPs.
    pub allowed_ips: Vec<IpPrefix>,
    /// When the last handshake was complete, since 1970; zero for never.
    pub last_handshake: Duration,
    /// Bytes received, of data and handshakes.
    pub rx_bytes: u64,
    /// Bytes sent, of data and handshakes.
    pub tx_bytes: u64,
}

impl Node {
    /// What there is to show of an interface; `None` if there is none with this id.
    pub fn snapshot(&self, interface: InterfaceId) -> Option<InterfaceSnapshot> {
        let known = self.interfaces.get(&interface)?;
        Some(InterfaceSnapshot {
            private_key: known.identity.as_ref().map(|identity| Secret::new(*identity.private())),
            public_key: known.identity.as_ref().map(|identity| PublicKey(*identity.public())),
            mtu: known.mtu,
            up: known.up,
            peers: known.peers.values().filter_map(|slot| self.snapshot_peer(*slot)).collect(),
        })
    }

    /// The interface and public key of a peer; `None` if it is no more.
    pub fn public_key_of(&self, peer: PeerId) -> Option<(InterfaceId, PublicKey)> {
        self.peers.get(peer).map(|peer| (peer.interface, peer.public))
    }

    fn snapshot_peer(&self, slot: u32) -> Option<PeerSnapshot> {
        let peer = self.peers.slot(slot)?;
        let counters = &peer.counters;
        // Each counter stands for itself: nothing is read by way of another.
        let read = |counter: &core::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Some(PeerSnapshot {
            peer: peer.id,
            core: peer.core,
            public_key: peer.public,
            preshared_key: peer.psk.clone(),
            endpoint: peer.endpoint,
            keepalive: peer.keepalive,
            path_policy: peer.path_policy,
            allowed_ips: self.allowed.of(slot).collect(),
            last_handshake: Duration::from_nanos(read(&counters.last_handshake_unix_ns)),
            rx_bytes: read(&counters.data_rx_bytes) + read(&counters.handshake_rx_bytes),
            tx_bytes: read(&counters.data_tx_bytes) + read(&counters.handshake_tx_bytes),
        })
    }
}
