//! Peers as an embedder says them, and what an interface shall be as a whole.

use std::net::SocketAddr;
use std::time::Duration;

use dataplane_proto::IpPrefix;
use dataplane_proto::keys::{PublicKey, Secret};
use dataplane_proto::node::{AllowedIp, PathPolicy, PeerChange};
use dataplane_wire::InterfaceId;

/// A peer as it shall be: everything that is not said is as by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub(crate) public_key: PublicKey,
    pub(crate) preshared_key: Secret,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) keepalive: Duration,
    pub(crate) path_policy: PathPolicy,
    pub(crate) allowed_ips: Vec<IpPrefix>,
}

impl Peer {
    /// A peer without endpoint, keepalive, pre-shared key and allowed IPs: it is heard, and nothing is sent to it.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            preshared_key: Secret::default(),
            endpoint: None,
            keepalive: Duration::ZERO,
            path_policy: PathPolicy::default(),
            allowed_ips: Vec::new(),
        }
    }

    /// The inner addresses that it may send from, and that are routed to it. Given twice, they add up.
    #[must_use]
    pub fn allowed_ips(mut self, prefixes: impl IntoIterator<Item = IpPrefix>) -> Self {
        self.allowed_ips.extend(prefixes);
        self
    }

    /// Where its datagrams go until it is heard from elsewhere.
    #[must_use]
    pub fn endpoint(mut self, endpoint: SocketAddr) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// The persistent keepalive interval: whole seconds up to 65,535; zero for none.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.keepalive = interval;
        self
    }

    /// Whether authenticated packets from elsewhere move it there, as they do by default. [`PathPolicy::Fixed`] needs an
    /// [`endpoint`](Peer::endpoint).
    #[must_use]
    pub fn path_policy(mut self, policy: PathPolicy) -> Self {
        self.path_policy = policy;
        self
    }

    /// The pre-shared key; all zero for none.
    #[must_use]
    pub fn preshared_key(mut self, key: [u8; 32]) -> Self {
        self.preshared_key = Secret::new(key);
        self
    }

    /// Its public key.
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// What makes an existing peer, or none, this one. The endpoint only where one is said: a peer keeps the one that it was
    /// heard from.
    pub(crate) fn into_change(self) -> PeerChange {
        PeerChange {
            preshared_key: Some(self.preshared_key),
            endpoint: self.endpoint,
            keepalive: Some(self.keepalive),
            path_policy: Some(self.path_policy),
            replace_allowed_ips: true,
            allowed_ips: self.allowed_ips.into_iter().map(AllowedIp::Give).collect(),
            // The engine fills the interface in.
            ..PeerChange::new(InterfaceId::default(), self.public_key)
        }
    }
}

/// What an interface shall be as a whole. Peers that are not named go; key, port and mark that are not said stay.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    pub(crate) private_key: Option<Secret>,
    pub(crate) listen_port: Option<u16>,
    pub(crate) mark: Option<u32>,
    pub(crate) peers: Vec<Peer>,
}

impl Desired {
    /// These peers and no others.
    pub fn peers(peers: impl IntoIterator<Item = Peer>) -> Self {
        Self { peers: peers.into_iter().collect(), ..Self::default() }
    }

    /// Another private key; all zero for none. Sessions with all peers begin anew if it differs.
    #[must_use]
    pub fn private_key(mut self, key: [u8; 32]) -> Self {
        self.private_key = Some(Secret::new(key));
        self
    }

    /// Another port to listen on; 0 for one of the system's choice.
    #[must_use]
    pub fn listen(mut self, port: u16) -> Self {
        self.listen_port = Some(port);
        self
    }

    /// Another firewall mark; 0 for none.
    #[must_use]
    pub fn mark(mut self, mark: u32) -> Self {
        self.mark = Some(mark);
        self
    }
}
