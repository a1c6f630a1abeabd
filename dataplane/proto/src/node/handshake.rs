//! Messages of handshakes: examined by a look that changes nothing, then committed if all is still as it was.
//!
//! [`Node::examine`] takes the node by shared reference and computes what a message says. A message that fails anywhere
//! has therefore changed nothing (WG-11). [`Node::commit`] looks again at what the examination relied on (WG-10), and only
//! then changes anything.

use dataplane_wire::wireguard::{CookieReply, Initiation, Message, Response};
use dataplane_wire::{CoreId, DropReason, Instant, InterfaceId, PeerId};

use super::crossing::Fresh;
use super::{Node, Notice};
use crate::controller::Input;
use crate::cookie::HeldCookie;
use crate::gate::InterfaceKeys;
use crate::index::{connection_of, session_of};
use crate::messages::{Command, HandshakeArrived, HandshakeBytes, Keypair, Path, PeerCounters, Role};
use crate::noise::{self, SessionKeys, Verified};
use crate::shard::REKEY_AFTER_TIME;
use crate::tai64n::Tai64n;

/// Least time between two accepted initiations of one peer (WG-14): 50 per second.
const ACCEPT_NS: u128 = 20_000_000;

/// What a message turned out to be.
pub(super) struct Examined {
    peer: PeerId,
    /// The private key under which it was examined.
    key_epoch: u64,
    what: What,
}

enum What {
    Initiation { verified: Verified, remote_index: u32 },
    Response { keys: SessionKeys, psk_epoch: u32, local_index: u32, remote_index: u32 },
    Cookie { cookie: HeldCookie, local_index: u32, answered_mac1: [u8; 16] },
}

impl Node {
    /// Takes in a handshake message that a gate let through.
    pub fn handle_handshake(&mut self, now: Instant, _core: CoreId, arrived: &HandshakeArrived) {
        let done = self.examine(now, arrived).and_then(|examined| self.commit(now, arrived, examined));
        if let Err(reason) = done {
            self.drop_one(reason);
        }
    }

    /// Finds out what a message is, and changes nothing.
    pub(super) fn examine(&self, now: Instant, arrived: &HandshakeArrived) -> Result<Examined, DropReason> {
        let interface = self.interfaces.get(&arrived.interface).filter(|interface| interface.up);
        let interface = interface.ok_or(DropReason::InterfaceGone)?;
        match Message::parse(arrived.message.as_slice())? {
            Message::Initiation(initiation) => self.examine_initiation(arrived.interface, &initiation),
            Message::Response(response) => self.examine_response(arrived.interface, &response),
            Message::CookieReply(reply) => self.examine_cookie(now, arrived.interface, &reply),
            Message::Data(_) => Err(DropReason::Unclassified),
        }
        .map(|(peer, what)| Examined { peer, key_epoch: interface.key_epoch, what })
    }

    fn examine_initiation(
        &self,
        interface: InterfaceId,
        initiation: &Initiation<'_>,
    ) -> Result<(PeerId, What), DropReason> {
        let invalid = |_| DropReason::HandshakeInvalid;
        let identity = self.interfaces.get(&interface).and_then(|interface| interface.identity.as_ref());
        let identity = identity.ok_or(DropReason::HandshakeInvalid)?;
        let claim = noise::claim(identity, initiation).map_err(invalid)?;
        let slot = self.by_key.get(&(interface, crate::keys::PublicKey(claim.peer)));
        let peer = slot.and_then(|slot| self.peers.slot(*slot)).ok_or(DropReason::HandshakeInvalid)?;
        let static_static = peer.static_static.get(identity, &peer.public).map_err(invalid)?;
        let verified = claim.verify(&static_static, initiation).map_err(invalid)?;
        Ok((peer.id, What::Initiation { verified, remote_index: initiation.sender() }))
    }

    fn examine_response(
        &self,
        interface: InterfaceId,
        response: &Response<'_>,
    ) -> Result<(PeerId, What), DropReason> {
        let local_index = response.receiver();
        let slot = self.connections.slot_of(local_index).ok_or(DropReason::HandshakeUnmatched)?;
        let peer = self.peers.slot(slot).filter(|peer| peer.interface == interface);
        let peer = peer.ok_or(DropReason::HandshakeUnmatched)?;
        let sent = peer.attempt.as_ref().and_then(|attempt| attempt.sent.as_ref());
        let sent =
            sent.filter(|sent| sent.local_index == local_index).ok_or(DropReason::HandshakeUnmatched)?;
        let identity = self.interfaces.get(&interface).and_then(|interface| interface.identity.as_ref());
        let identity = identity.ok_or(DropReason::HandshakeInvalid)?;
        let keys = sent
            .initiated
            .consume_response(identity, peer.psk.bytes(), response)
            .map_err(|_| DropReason::HandshakeInvalid)?;
        let (psk_epoch, remote_index) = (peer.psk_epoch, response.sender());
        Ok((peer.id, What::Response { keys, psk_epoch, local_index, remote_index }))
    }

    /// A cookie reply is found by our own index, of a handshake or of a session that we answered (WG-21).
    fn examine_cookie(
        &self,
        now: Instant,
        interface: InterfaceId,
        reply: &CookieReply<'_>,
    ) -> Result<(PeerId, What), DropReason> {
        let local_index = reply.receiver();
        let slot = self.connections.slot_of(local_index).ok_or(DropReason::HandshakeUnmatched)?;
        let peer = self.peers.slot(slot).filter(|peer| peer.interface == interface);
        let peer = peer.ok_or(DropReason::HandshakeUnmatched)?;
        let answered_mac1 = peer.outstanding_mac1(local_index).ok_or(DropReason::HandshakeUnmatched)?;
        let keys = InterfaceKeys::of(&peer.public.0);
        let cookie =
            HeldCookie::open(now, &keys, &answered_mac1, reply).ok_or(DropReason::HandshakeInvalid)?;
        Ok((peer.id, What::Cookie { cookie, local_index, answered_mac1 }))
    }

    /// Makes an examined message true, unless what it was examined against is no more.
    pub(super) fn commit(
        &mut self,
        now: Instant,
        arrived: &HandshakeArrived,
        examined: Examined,
    ) -> Result<(), DropReason> {
        let Examined { peer, key_epoch, what } = examined;
        let interface = self.interfaces.get(&arrived.interface).filter(|interface| interface.up);
        if interface.is_none_or(|interface| interface.key_epoch != key_epoch) {
            return Err(DropReason::InterfaceGone);
        }
        match what {
            What::Initiation { verified, remote_index } => {
                self.commit_initiation(now, arrived, peer, &verified, remote_index)
            }
            What::Response { keys, psk_epoch, local_index, remote_index } => {
                if self.peers.get(peer).is_none_or(|peer| peer.psk_epoch != psk_epoch) {
                    return Err(DropReason::HandshakeUnmatched);
                }
                self.commit_response(now, arrived, peer, keys, local_index, remote_index)
            }
            What::Cookie { cookie, local_index, answered_mac1 } => {
                self.commit_cookie(peer, cookie, local_index, answered_mac1)
            }
        }
    }

    fn commit_initiation(
        &mut self,
        now: Instant,
        arrived: &HandshakeArrived,
        id: PeerId,
        verified: &Verified,
        remote_index: u32,
    ) -> Result<(), DropReason> {
        let unix_ns = self.wall.unix_ns(now);
        let peer = self.peers.get(id).ok_or(DropReason::HandshakeInvalid)?;
        let timestamp = Tai64n(verified.timestamp);
        let soon = peer.accepted.is_some_and(|accepted| now.since(accepted).as_nanos() < ACCEPT_NS);
        if timestamp <= peer.latest || soon {
            return Err(DropReason::HandshakeReplay);
        }
        let ephemeral = self.draw_secret();
        let peer = self.peers.get_mut(id).ok_or(DropReason::HandshakeInvalid)?;
        let local_index = peer.next_index();
        let (keys, mut message) = verified
            .create_response(ephemeral.bytes(), peer.psk.bytes(), local_index, remote_index)
            .map_err(|_| DropReason::HandshakeInvalid)?;
        let mac1 = peer.write_macs(now, &mut message);
        let response = HandshakeBytes::copy_from(&message).ok_or(DropReason::HandshakeInvalid)?;

        peer.latest = timestamp;
        peer.accepted = Some(now);
        peer.answered = Some((local_index, mac1));
        peer.sessions.install(session_of(local_index), Role::Responder, false);
        let keypair = Box::new(Keypair {
            local_index,
            remote_index,
            send: keys.send,
            recv: keys.recv,
            role: Role::Responder,
            begun: now,
            created: now,
        });
        peer.note_handshake(arrived);
        let (response, from) = (Some((arrived.tuple, response)), arrived.tuple);
        let command =
            Command::InstallKeypair { peer: id, keypair, response, keep_next: false, from, unix_ns };
        self.commands.push(peer.core, command);
        self.moved_to(id, Path::Direct(from));
        Ok(())
    }

    fn commit_response(
        &mut self,
        now: Instant,
        arrived: &HandshakeArrived,
        id: PeerId,
        keys: SessionKeys,
        local_index: u32,
        remote_index: u32,
    ) -> Result<(), DropReason> {
        let unix_ns = self.wall.unix_ns(now);
        let own = self.interfaces.get(&arrived.interface).and_then(|interface| interface.identity.as_ref());
        let own = *own.ok_or(DropReason::HandshakeUnmatched)?.public();
        let peer = self.peers.get_mut(id).ok_or(DropReason::HandshakeUnmatched)?;
        let sent = peer.attempt.as_ref().and_then(|attempt| attempt.sent.as_ref());
        let Some(begun) = sent.filter(|sent| sent.local_index == local_index).map(|sent| sent.at) else {
            return Err(DropReason::HandshakeUnmatched);
        };
        // After a stall, or a sleep of the machine. A session that is due to be renewed is of no use: the attempt goes on.
        if now.since(begun) >= REKEY_AFTER_TIME {
            return Err(DropReason::HandshakeUnmatched);
        }
        peer.attempt = None;
        peer.note_handshake(arrived);
        let keypair = Box::new(Keypair {
            local_index,
            remote_index,
            send: keys.send,
            recv: keys.recv,
            role: Role::Initiator,
            begun,
            created: now,
        });
        self.set_timer(id.slot, None);
        self.begun_session(now, id, &own, Fresh { keypair, from: arrived.tuple, unix_ns });
        Ok(())
    }

    /// Keeps a cookie for the next message. Nothing is sent, and nothing moves (WG-22).
    fn commit_cookie(
        &mut self,
        id: PeerId,
        cookie: HeldCookie,
        local_index: u32,
        answered_mac1: [u8; 16],
    ) -> Result<(), DropReason> {
        let peer = self.peers.get_mut(id).ok_or(DropReason::HandshakeUnmatched)?;
        if peer.outstanding_mac1(local_index) != Some(answered_mac1) {
            return Err(DropReason::HandshakeUnmatched);
        }
        peer.answer_outstanding(local_index);
        peer.cookie = Some(cookie);
        Ok(())
    }

    /// A peer has proved a session that we answered.
    pub(super) fn confirmed(&mut self, now: Instant, id: PeerId, local_index: u32) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.connection != connection_of(local_index) {
            return;
        }
        peer.sessions.confirm(session_of(local_index));
        peer.completed = Some(now);
        peer.attempt = None;
        self.set_timer(id.slot, None);
        self.complete(id, Role::Responder);
        self.settle_crossing(now, id);
    }

    /// Tells controller and operator of a session that both ends have proved.
    pub(super) fn complete(&mut self, id: PeerId, role: Role) {
        let Some(peer) = self.peers.get(id) else { return };
        let (interface, public_key) = (peer.interface, peer.public);
        self.facts.push(interface, Input::HandshakeComplete { peer: id });
        self.notices.push(Notice::HandshakeComplete { interface, peer: id, public_key, role });
    }
}

impl super::peer::Peer {
    /// Counts a handshake message that was good (WG-64).
    fn note_handshake(&self, arrived: &HandshakeArrived) {
        let received = arrived.message.as_slice().len() as u64;
        PeerCounters::add(&self.counters.handshake_rx_bytes, received);
    }

    /// mac1 of the message that we sent under an index, if no cookie reply has answered it yet.
    fn outstanding_mac1(&self, local_index: u32) -> Option<[u8; 16]> {
        let sent = self.attempt.as_ref().and_then(|attempt| attempt.sent.as_ref());
        match (sent.filter(|sent| sent.local_index == local_index), self.answered) {
            (Some(sent), _) => sent.mac1,
            (None, Some((index, mac1))) if index == local_index => Some(mac1),
            _ => None,
        }
    }

    fn answer_outstanding(&mut self, local_index: u32) {
        let sent = self.attempt.as_mut().and_then(|attempt| attempt.sent.as_mut());
        match sent.filter(|sent| sent.local_index == local_index) {
            Some(sent) => sent.mac1 = None,
            None => self.answered = None,
        }
    }
}
