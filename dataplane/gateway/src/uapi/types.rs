//! What a request asks for and what an answer tells, as types.

use std::net::SocketAddr;
use std::time::Duration;

use dataplane_proto::IpPrefix;

use crate::keys::{PublicKey, Secret};

/// A whole request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `get=1`: everything about the interface.
    Get,
    /// `set=1`: changes, of which either all or none happen.
    Set(SetRequest),
    /// `status=1`: what the program behind the interface counts. An operation of our own, which `wg` never asks for.
    Status,
}

/// The changes of one `set=1`, in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetRequest {
    /// The interface's private key; [`Secret::default()`] takes it away.
    pub private_key: Option<Secret>,
    /// The UDP port to listen on; 0 lets the system choose.
    pub listen_port: Option<u16>,
    /// The mark on every outer packet; 0 for none.
    pub fwmark: Option<u32>,
    /// Peers that this request does not name go away.
    pub replace_peers: bool,
    /// One per `public_key` line. The same peer may come twice; the later one acts on what the earlier one left.
    pub peers: Vec<PeerRequest>,
}

/// The changes of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRequest {
    /// Who.
    pub public_key: PublicKey,
    /// The peer goes away; nothing else of this section counts.
    pub remove: bool,
    /// Nothing happens where the peer does not exist.
    pub update_only: bool,
    /// The pre-shared key; [`Secret::default()`] takes it away.
    pub preshared_key: Option<Secret>,
    /// Where to reach the peer.
    pub endpoint: Option<SocketAddr>,
    /// The persistent keepalive interval in seconds; 0 for none.
    pub keepalive_s: Option<u16>,
    /// Allowed IPs that this section does not name go away.
    pub replace_allowed_ips: bool,
    /// Allowed IPs to add and remove, in order.
    pub allowed_ips: Vec<AllowedIp>,
}

/// One `allowed_ip` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedIp {
    /// The prefix.
    pub prefix: IpPrefix,
    /// Written with a leading `-`: the prefix is taken away where the peer has it.
    pub remove: bool,
}

impl PeerRequest {
    /// A section that changes nothing but makes sure that the peer exists.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            keepalive_s: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}

/// Everything that `get=1` tells of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceSnapshot {
    /// The private key; `None` where none is set.
    pub private_key: Option<Secret>,
    /// The UDP port that it listens on; 0 while it does not.
    pub listen_port: u16,
    /// The mark on outer packets; 0 for none.
    pub fwmark: u32,
    /// Its peers.
    pub peers: Vec<PeerSnapshot>,
}

/// Everything that `get=1` tells of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSnapshot {
    /// Who.
    pub public_key: PublicKey,
    /// The pre-shared key; `None` where none is set.
    pub preshared_key: Option<Secret>,
    /// Where it is reached at present.
    pub endpoint: Option<SocketAddr>,
    /// The last completed handshake as time since 1970; zero for never.
    pub last_handshake: Duration,
    /// Bytes received from it, as `wg show` counts them.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// The persistent keepalive interval in seconds; 0 for none.
    pub keepalive_s: u16,
    /// The prefixes that are its own.
    pub allowed_ips: Vec<IpPrefix>,
}

impl PeerSnapshot {
    /// A peer of which nothing is known but its key.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            preshared_key: None,
            endpoint: None,
            last_handshake: Duration::ZERO,
            rx_bytes: 0,
            tx_bytes: 0,
            keepalive_s: 0,
            allowed_ips: Vec::new(),
        }
    }
}
