//! An interface of a running engine, and what is asked of it.

use std::sync::mpsc::{SyncSender, TrySendError};

use dataplane_proto::Controller;
use dataplane_proto::keys::Secret;
use dataplane_proto::node::{Change as NodeChange, InterfaceSnapshot as NodeSnapshot, PeerChange};
use dataplane_wire::{InterfaceId, PeerId};

use crate::applied::{self, Applied};
use crate::config::Offloads;
use crate::control::Request;
use crate::error::{InterfaceError, Stopped};
use crate::interface::InnerSide;
use crate::peer::{Desired, Peer};
use crate::reconcile::Reconciled;

/// An interface of a running engine. Dropping the handle leaves the interface running.
#[derive(Clone)]
pub struct InterfaceHandle {
    id: InterfaceId,
    device_name: Option<String>,
    requests: SyncSender<Request>,
    control: std::thread::Thread,
}

impl InterfaceHandle {
    pub(crate) fn new(
        id: InterfaceId,
        device_name: Option<String>,
        requests: SyncSender<Request>,
        control: std::thread::Thread,
    ) -> Self {
        Self { id, device_name, requests, control }
    }

    /// Its number.
    pub fn id(&self) -> InterfaceId {
        self.id
    }

    /// The name of its TUN device, if it has one.
    pub fn device_name(&self) -> Option<&str> {
        self.device_name.as_deref()
    }

    /// Changes keys, peers, port and mark; all of it or nothing.
    ///
    /// # Errors
    /// [`Stopped`]; the answer says what was wrong with the change.
    pub fn apply(&self, change: Change) -> Result<Applied<Result<(), InterfaceError>>, Stopped> {
        self.ask(|interface, reply| Request::Apply { interface, change, reply })
    }

    /// Adds a peer, or makes the one with this key what is said here. A session that it has lives on.
    ///
    /// # Errors
    /// [`Stopped`]; the answer is the peer's id, or what was wrong with it: [`InterfaceError::Config`] (limits, keepalive),
    /// [`InterfaceError::OwnKey`].
    pub fn upsert(&self, peer: Peer) -> Result<Applied<Result<PeerId, InterfaceError>>, Stopped> {
        self.ask(|interface, reply| Request::Upsert { interface, peer: Box::new(peer), reply })
    }

    /// Removes a peer: its keys are erased, its allowed IPs lead nowhere.
    ///
    /// # Errors
    /// [`Stopped`]; the answer is [`InterfaceError::NoPeer`] where it is gone already.
    pub fn remove_peer(&self, peer: PeerId) -> Result<Applied<Result<(), InterfaceError>>, Stopped> {
        self.ask(|interface, reply| Request::RemovePeer { interface, peer, reply })
    }

    /// Makes the interface what is desired as a whole; all of it or nothing. Peers that are there as desired are not touched,
    /// and those that only differ in endpoint, keepalive or allowed IPs keep their sessions. A peer with the interface's own key is
    /// left out, so that one list may serve all members of a network.
    ///
    /// Costs what differs, and one look at every peer.
    ///
    /// # Errors
    /// [`Stopped`]; the answer says what was wrong: [`InterfaceError::PeerTwice`], [`InterfaceError::PrefixTwice`],
    /// [`InterfaceError::Config`], or that another port or mark was refused.
    pub fn reconcile(
        &self,
        desired: Desired,
    ) -> Result<Applied<Result<Reconciled, InterfaceError>>, Stopped> {
        self.ask(|interface, reply| Request::Reconcile { interface, desired, reply })
    }

    /// Another control layer for all peers that have none of their own. It is told of the peers that there are; until it has said
    /// otherwise, each keeps the path that it has.
    ///
    /// # Errors
    /// [`Stopped`]; the answer is [`InterfaceError::ControllersStalled`] where control layers do not take anything in.
    pub fn set_controller(
        &self,
        controller: Box<dyn Controller>,
    ) -> Result<Applied<Result<(), InterfaceError>>, Stopped> {
        self.ask(|interface, reply| Request::SetController { interface, peer: None, controller, reply })
    }

    /// A control layer of its own for one peer, until that is removed. The interface's own is told that the peer is gone.
    ///
    /// # Errors
    /// As [`InterfaceHandle::set_controller`], and [`InterfaceError::NoPeer`].
    pub fn set_peer_controller(
        &self,
        peer: PeerId,
        controller: Box<dyn Controller>,
    ) -> Result<Applied<Result<(), InterfaceError>>, Stopped> {
        self.ask(|interface, reply| Request::SetController { interface, peer: Some(peer), controller, reply })
    }

    /// Everything that is configured and counted, peers in the order in which they were added.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn snapshot(&self) -> Result<Applied<Result<InterfaceSnapshot, InterfaceError>>, Stopped> {
        self.ask(|interface, reply| Request::Snapshot { interface, reply })
    }

    /// As [`InterfaceHandle::snapshot`], but `None` instead of a wait where as many requests wait as may: for whoever must not be
    /// held up when the engine is.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn try_snapshot(
        &self,
    ) -> Result<Option<Applied<Result<InterfaceSnapshot, InterfaceError>>>, Stopped> {
        let (reply, applied) = applied::pair();
        match self.requests.try_send(Request::Snapshot { interface: self.id, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Ok(None),
            Err(TrySendError::Disconnected(_)) => return Err(Stopped),
        }
        self.control.unpark();
        Ok(Some(applied))
    }

    /// Opens its sockets and lets its peers be reached, or closes them and erases its sessions (WG-37).
    ///
    /// # Errors
    /// [`Stopped`]; the answer says why sockets could not be opened.
    pub fn set_up(&self, up: bool) -> Result<Applied<Result<(), InterfaceError>>, Stopped> {
        self.ask(|interface, reply| Request::SetUp { interface, up, reply })
    }

    /// Tells it of another MTU of its inner side, in bytes. A TUN device is not changed by it.
    ///
    /// # Errors
    /// [`Stopped`]; the answer is [`InterfaceError::Config`] below 576 bytes.
    pub fn set_mtu(&self, mtu: u16) -> Result<Applied<Result<(), InterfaceError>>, Stopped> {
        self.ask(|interface, reply| Request::SetMtu { interface, mtu, reply })
    }

    /// Gives it another inner side in the place of the one that it has, or that is gone ([`Event::InterfaceGone`]); its peers and
    /// their sessions stay, as does its MTU. The answer is the name of the TUN device, if it is one: [`InterfaceHandle::device_name`]
    /// goes on telling the first.
    ///
    /// [`Event::InterfaceGone`]: crate::Event::InterfaceGone
    ///
    /// # Errors
    /// [`Stopped`]; the answer says why the inner side could not be opened, and the old one stays. Where it is
    /// [`InterfaceError::Io`] because a worker could not poll the new one, there is none.
    pub fn set_inner(
        &self,
        inner: InnerSide,
    ) -> Result<Applied<Result<Option<String>, InterfaceError>>, Stopped> {
        self.ask(|interface, reply| Request::SetInner { interface, inner, reply })
    }

    /// Tells it that the network of this machine has changed: a link came up, an address was added. Handshakes that wait are
    /// tried again as soon as they may be, and peers with a persistent keepalive are sent one at once. Sockets are not touched.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn network_changed(&self) -> Result<Applied<()>, Stopped> {
        self.ask(|interface, reply| Request::NetworkChanged { interface, reply })
    }

    /// Removes it: its peers, its sockets, its TUN device where the engine made it.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn remove(self) -> Result<Applied<Result<(), InterfaceError>>, Stopped> {
        self.ask(|interface, reply| Request::RemoveInterface { interface, reply })
    }

    fn ask<T>(
        &self,
        request: impl FnOnce(InterfaceId, applied::Reply<T>) -> Request,
    ) -> Result<Applied<T>, Stopped> {
        let (reply, applied) = applied::pair();
        self.requests.send(request(self.id, reply)).map_err(|_| Stopped)?;
        self.control.unpark();
        Ok(applied)
    }
}

/// A change of an interface: all of it happens, or none. What is not said stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Another private key; all zero for none.
    pub private_key: Option<Secret>,
    /// Another port to listen on; 0 for one of the system's choice.
    pub listen_port: Option<u16>,
    /// Another firewall mark; 0 for none.
    pub mark: Option<u32>,
    /// Whether peers that are not named go.
    pub replace_peers: bool,
    /// Peers added, changed and removed, in this order. [`PeerChange::interface`] is filled in by the engine.
    pub peers: Vec<PeerChange>,
}

impl Change {
    /// In the terms of the node.
    pub(crate) fn node_changes(self, interface: InterfaceId) -> Vec<NodeChange> {
        let key = self.private_key.map(|key| NodeChange::SetPrivateKey { interface, key });
        let clear = self.replace_peers.then_some(NodeChange::RemovePeers { interface });
        let peers = self.peers.into_iter().map(|peer| NodeChange::Peer(PeerChange { interface, ..peer }));
        key.into_iter().chain(clear).chain(peers).collect()
    }
}

/// What is configured and counted of an interface.
#[derive(Clone, Debug)]
pub struct InterfaceSnapshot {
    /// The port that it listens on; the configured one while it is down.
    pub listen_port: u16,
    /// The mark of its outer datagrams; 0 for none.
    pub mark: u32,
    /// Which offloads are in use: those of UDP on this kernel, and those of the TUN device where there is one.
    pub offloads: Offloads,
    /// Keys and peers.
    pub device: NodeSnapshot,
}
