//! What may be configured, and whether it can be: a list of changes is judged as a whole before any is applied.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use dataplane_wire::{Instant, InterfaceId, PeerId, SocketId};

use super::Node;
use crate::keys::{PublicKey, Secret};
use crate::prefix::IpPrefix;

/// Least inner MTU: what IPv4 must be able to carry in one piece (RFC 791 §3.2).
const MTU_MIN: u16 = 576;
/// Longest persistent keepalive interval: 16 bits of seconds, as `wg` takes it.
const KEEPALIVE_MAX: Duration = Duration::from_secs(65_535);

/// How long the attempts to reach a peer go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakePolicy {
    /// After how long attempts are given up (WG-39).
    pub give_up: Duration,
    /// Whether a new inner packet restarts that clock: yes for plain WireGuard peers, no where a control layer wants to
    /// hear soon that keys do not work (CN-11).
    pub restarts: bool,
}

impl Default for HandshakePolicy {
    fn default() -> Self {
        Self { give_up: Duration::from_secs(90), restarts: true }
    }
}

/// One change of an allowed IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedIp {
    /// The prefix belongs to the peer from now on, and to no other of the interface (WG-60).
    Give(IpPrefix),
    /// The prefix belongs to the peer no more. Nothing happens if it did not.
    Take(IpPrefix),
}

/// Who decides where a peer's datagrams go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathPolicy {
    /// The peer is where an authenticated packet of it last came from, as in plain WireGuard (WG-54), unless its control layer
    /// wants that otherwise.
    #[default]
    Roaming,
    /// Packets that come from elsewhere are taken, but move nothing: datagrams go to the configured endpoint, or by what the
    /// control layer says. For a peer whose address is known, so that nobody who gets hold of its datagrams on their way and
    /// passes them on from elsewhere draws the answers there. An initiation is answered where it came from.
    Fixed,
}

/// A change of one peer, in the terms of `wg set`. What is not said stays as it is.
#[derive(Clone, Debug)]
pub struct PeerChange {
    /// The interface.
    pub interface: InterfaceId,
    /// Which peer.
    pub public_key: PublicKey,
    /// Remove the peer; the rest does not matter then. Nothing happens if there is none.
    pub remove: bool,
    /// Change the peer only if it exists already; otherwise nothing happens.
    pub update_only: bool,
    /// The pre-shared key; all zero for none.
    pub preshared_key: Option<Secret>,
    /// Where the peer is.
    pub endpoint: Option<SocketAddr>,
    /// The persistent keepalive interval; zero for none.
    pub keepalive: Option<Duration>,
    /// Whether the peer roams.
    pub path_policy: Option<PathPolicy>,
    /// Whether the peer loses all allowed IPs that are not given to it here.
    pub replace_allowed_ips: bool,
    /// Allowed IPs given and taken, in this order.
    pub allowed_ips: Vec<AllowedIp>,
}

impl PeerChange {
    /// A change that makes sure that the peer exists.
    pub const fn new(interface: InterfaceId, public_key: PublicKey) -> Self {
        Self {
            interface,
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            keepalive: None,
            path_policy: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}

/// One change of configuration.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new interface: no private key, no sockets, down.
    AddInterface {
        /// Its name among the crates.
        interface: InterfaceId,
        /// The MTU of its inner side in bytes.
        mtu: u16,
        /// How long it tries to reach peers.
        policy: HandshakePolicy,
    },
    /// An interface goes, and all its peers.
    RemoveInterface {
        /// Which.
        interface: InterfaceId,
    },
    /// Another inner MTU.
    SetMtu {
        /// Which interface.
        interface: InterfaceId,
        /// Bytes.
        mtu: u16,
    },
    /// The sockets by which configured endpoints are reached.
    SetSockets {
        /// Which interface.
        interface: InterfaceId,
        /// The socket for IPv4 endpoints.
        v4: Option<SocketId>,
        /// The socket for IPv6 endpoints.
        v6: Option<SocketId>,
    },
    /// Another private key, or none (WG-15).
    SetPrivateKey {
        /// Which interface.
        interface: InterfaceId,
        /// The key; all zero for none.
        key: Secret,
    },
    /// The interface is brought up (WG-61) or down (WG-37).
    SetUp {
        /// Which interface.
        interface: InterfaceId,
        /// Whether up.
        up: bool,
    },
    /// All peers of an interface go.
    RemovePeers {
        /// Which interface.
        interface: InterfaceId,
    },
    /// A peer is added, changed or removed.
    Peer(PeerChange),
}

/// Why a list of changes was refused. Nothing of it was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("change {change}: {problem}")]
pub struct ConfigError {
    /// Which change of the list, counted from 0.
    pub change: usize,
    /// What is wrong with it.
    pub problem: ConfigProblem,
}

/// What is wrong with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigProblem {
    /// No interface has this id.
    #[error("there is no interface {}: add it first", .0.0)]
    UnknownInterface(InterfaceId),
    /// An interface has this id already.
    #[error("interface {} exists already: remove it first, or choose another id", .0.0)]
    InterfaceExists(InterfaceId),
    /// Too many interfaces.
    #[error("more than {0} interfaces: raise the limit `interfaces`")]
    InterfacesMax(usize),
    /// Too many peers.
    #[error("more than {0} peers: raise the limit `peers`")]
    PeersMax(usize),
    /// Too many allowed IPs.
    #[error("more than {0} allowed IPs: raise the limit `allowed_ips`")]
    AllowedIpsMax(usize),
    /// An MTU that no interface can have.
    #[error("an MTU of {0} bytes: expected {MTU_MIN} or more")]
    Mtu(u16),
    /// A keepalive interval out of range.
    #[error("a persistent keepalive of {} s: expected 0 (off) to 65535 whole seconds", .0.as_secs_f64())]
    Keepalive(Duration),
    /// A peer that neither has an endpoint, when all changes are made, nor may be found by roaming.
    #[error(
        "a fixed path without an endpoint, by which nobody could be reached: give the peer an endpoint, or let it roam"
    )]
    FixedNowhere,
}

impl ConfigProblem {
    /// Whether there would be too much of something.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::InterfacesMax(_) | Self::PeersMax(_) | Self::AllowedIpsMax(_))
    }
}

impl Node {
    /// Applies a list of changes in its order: all of them, or none.
    ///
    /// Returns for each change the peer that it left behind, if it was about one. Costs what the changes cost, however
    /// many peers there are; but a change of the private key, the sockets or the state of an interface is about each of
    /// its peers.
    ///
    /// # Errors
    /// [`ConfigError`]: the first change that cannot be applied. Correct it and hand the list in again.
    pub fn apply(&mut self, now: Instant, changes: &[Change]) -> Result<Vec<Option<PeerId>>, ConfigError> {
        let mut plan = Plan::new(self);
        for (change, what) in changes.iter().enumerate() {
            plan.check(change, what).map_err(|problem| ConfigError { change, problem })?;
        }
        if let Some(change) = plan.nowhere() {
            return Err(ConfigError { change, problem: ConfigProblem::FixedNowhere });
        }
        Ok(changes.iter().map(|change| self.apply_one(now, change)).collect())
    }
}

/// What an interface will be when the changes so far are applied.
#[derive(Clone, Copy)]
struct Planned {
    exists: bool,
    peers: usize,
    /// Counts how often all its peers were removed: what is said of a peer before that holds no more.
    cleared: u32,
}

/// What a peer that was named will be when the changes so far are applied.
#[derive(Clone, Copy)]
struct Named {
    /// [`Planned::cleared`] when it was named: all that is said here holds while that is so.
    cleared: u32,
    exists: bool,
    /// The prefixes that it has now are given back.
    freed: bool,
    has_endpoint: bool,
    fixed: bool,
    /// The change by which its path became fixed, while it has no endpoint.
    nowhere: Option<usize>,
}

/// How the node will look, in what can be refused.
struct Plan<'n> {
    node: &'n Node,
    interfaces: usize,
    peers: usize,
    /// Never less than what there will be: prefixes that are given twice count twice.
    allowed_ips: usize,
    planned: BTreeMap<InterfaceId, Planned>,
    named: BTreeMap<(InterfaceId, PublicKey), Named>,
}

impl<'n> Plan<'n> {
    fn new(node: &'n Node) -> Self {
        Self {
            node,
            interfaces: node.interfaces.len(),
            peers: node.peers.len(),
            allowed_ips: node.allowed.len(),
            planned: BTreeMap::new(),
            named: BTreeMap::new(),
        }
    }

    fn check(&mut self, number: usize, change: &Change) -> Result<(), ConfigProblem> {
        match change {
            Change::AddInterface { interface, mtu, policy: _ } => {
                check_mtu(*mtu)?;
                if self.interface(*interface).exists {
                    return Err(ConfigProblem::InterfaceExists(*interface));
                }
                self.interface(*interface).exists = true;
                self.interfaces += 1;
                within(self.interfaces, self.node.limits.interfaces, ConfigProblem::InterfacesMax)
            }
            Change::RemoveInterface { interface } => {
                self.existing(*interface)?;
                self.clear(*interface);
                self.interface(*interface).exists = false;
                self.interfaces -= 1;
                Ok(())
            }
            Change::SetMtu { interface, mtu } => {
                check_mtu(*mtu)?;
                self.existing(*interface).map(drop)
            }
            Change::SetSockets { interface, .. }
            | Change::SetPrivateKey { interface, .. }
            | Change::SetUp { interface, .. } => self.existing(*interface).map(drop),
            Change::RemovePeers { interface } => {
                self.existing(*interface)?;
                self.clear(*interface);
                Ok(())
            }
            Change::Peer(change) => self.check_peer(number, change),
        }
    }

    /// The first change that leaves a peer behind which nobody could reach.
    fn nowhere(&self) -> Option<usize> {
        let stands = |(interface, _): &(InterfaceId, PublicKey), named: &Named| {
            self.planned.get(interface).is_none_or(|planned| planned.cleared == named.cleared)
        };
        self.named
            .iter()
            .filter(|(name, named)| stands(name, named))
            .filter_map(|(_, named)| named.nowhere)
            .min()
    }

    fn check_peer(&mut self, number: usize, change: &PeerChange) -> Result<(), ConfigProblem> {
        let cleared = self.existing(change.interface)?.cleared;
        let out_of_range = |interval: &Duration| *interval > KEEPALIVE_MAX || interval.subsec_nanos() != 0;
        if let Some(interval) = change.keepalive.filter(out_of_range) {
            return Err(ConfigProblem::Keepalive(interval));
        }
        let name = (change.interface, change.public_key);
        let slot = self.node.by_key.get(&name).filter(|_| cleared == 0);
        let said = self.named.get(&name).filter(|named| named.cleared == cleared).copied();
        let mut named = said.unwrap_or_else(|| {
            let present = slot.and_then(|slot| self.node.peers.slot(*slot));
            Named {
                cleared,
                exists: present.is_some(),
                freed: false,
                has_endpoint: present.is_some_and(|peer| peer.endpoint.is_some()),
                fixed: present.is_some_and(|peer| peer.path_policy == PathPolicy::Fixed),
                nowhere: None,
            }
        });
        // What the peer has now is given back once, by the first change that takes it.
        let takes = change.remove || change.replace_allowed_ips;
        if let (Some(slot), false, true) = (slot, named.freed, takes) {
            self.allowed_ips -= self.node.allowed.of(*slot).count();
            named.freed = true;
        }
        let exists = named.exists;
        let stays = !change.remove && (exists || !change.update_only);
        if stays {
            named.has_endpoint |= change.endpoint.is_some();
            named.fixed = change.path_policy.map_or(named.fixed, |policy| policy == PathPolicy::Fixed);
        } else {
            (named.has_endpoint, named.fixed) = (false, false);
        }
        named.exists = stays;
        let nowhere = named.fixed && !named.has_endpoint;
        named.nowhere = nowhere.then(|| named.nowhere.unwrap_or(number));
        self.named.insert(name, named);
        let planned = self.interface(change.interface);
        planned.peers = planned.peers + usize::from(stays) - usize::from(exists);
        self.peers = self.peers + usize::from(stays) - usize::from(exists);
        if stays {
            self.allowed_ips +=
                change.allowed_ips.iter().filter(|ip| matches!(ip, AllowedIp::Give(_))).count();
        }
        within(self.peers, self.node.limits.peers, ConfigProblem::PeersMax)?;
        within(self.allowed_ips, self.node.limits.allowed_ips, ConfigProblem::AllowedIpsMax)
    }

    fn interface(&mut self, interface: InterfaceId) -> &mut Planned {
        let present = self.node.interfaces.get(&interface);
        self.planned.entry(interface).or_insert_with(|| Planned {
            exists: present.is_some(),
            peers: present.map_or(0, |interface| interface.peers.len()),
            cleared: 0,
        })
    }

    fn existing(&mut self, interface: InterfaceId) -> Result<&mut Planned, ConfigProblem> {
        let planned = self.interface(interface);
        if planned.exists { Ok(planned) } else { Err(ConfigProblem::UnknownInterface(interface)) }
    }

    /// All peers of an interface go.
    fn clear(&mut self, interface: InterfaceId) {
        let planned = self.interface(interface);
        let (peers, first) = (core::mem::take(&mut planned.peers), planned.cleared == 0);
        planned.cleared += 1;
        self.peers -= peers;
        let Some(present) = self.node.interfaces.get(&interface).filter(|_| first) else { return };
        for slot in present.peers.values() {
            let Some(peer) = self.node.peers.slot(*slot) else { continue };
            // One of which a change took them before has given its prefixes back already.
            if !self.named.get(&(interface, peer.public)).is_some_and(|named| named.freed) {
                self.allowed_ips -= self.node.allowed.of(*slot).count();
            }
        }
    }
}

fn check_mtu(mtu: u16) -> Result<(), ConfigProblem> {
    if mtu < MTU_MIN { Err(ConfigProblem::Mtu(mtu)) } else { Ok(()) }
}

fn within(
    count: usize,
    limit: usize,
    problem: impl FnOnce(usize) -> ConfigProblem,
) -> Result<(), ConfigProblem> {
    if count <= limit { Ok(()) } else { Err(problem(limit)) }
}
