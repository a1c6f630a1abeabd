//! Handshake messages: those that came go through the gate to the node, those of the node go out.

use dataplane_aead::Aead;
use dataplane_wire::wireguard::{COOKIE_REPLY_LEN, Message};
use dataplane_wire::{DropReason, FourTuple, Instant, InterfaceId, TrafficClass, TxMeta, TxSink};

use super::Shard;
use super::path::Packed;
use super::table::{Found, LocalId};
use crate::gate::Verdict;
use crate::index::connection_of;
use crate::messages::{HandshakeArrived, HandshakeBytes, PeerCounters};

impl<A: Aead> Shard<A> {
    /// Takes a handshake message in. `bytes` is the whole of `message`.
    ///
    /// # Errors
    /// Why it goes no further.
    pub(super) fn handle_handshake(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        tuple: &FourTuple,
        message: &Message<'_>,
        bytes: &[u8],
        tx: &mut impl TxSink,
    ) -> Result<(), DropReason> {
        if let Message::CookieReply(reply) = message {
            // A cookie reply carries no mac1, so it has to name one of our connections at least.
            match self.table.get(connection_of(reply.receiver())) {
                Found::Peer(_) => {}
                Found::Late => return Err(DropReason::LateIndex),
                Found::Unknown => return Err(DropReason::UnknownIndex),
            }
        }
        let Some(keys) = self.interface(interface).map(|interface| interface.keys) else {
            return Err(DropReason::InterfaceGone);
        };
        let (queued, capacity) = (self.handshakes.len(), self.config.limits.handshakes);
        match self.gate.check(now, &keys, tuple.remote, message, queued, capacity) {
            Verdict::Drop(why) => return Err(why),
            Verdict::CookieReply(reply) => {
                self.send_cookie_reply(tuple, &reply, tx);
                return Err(DropReason::NeedsCookie);
            }
            Verdict::Pass if queued >= capacity => return Err(DropReason::HandshakeQueueFull),
            Verdict::Pass => {
                let Some(message) = HandshakeBytes::copy_from(bytes) else {
                    return Err(DropReason::MalformedLength);
                };
                self.totals.rx_handshakes += 1;
                self.handshakes.push_back(HandshakeArrived { interface, tuple: *tuple, message });
            }
        }
        Ok(())
    }

    fn send_cookie_reply(&mut self, tuple: &FourTuple, reply: &[u8; COOKIE_REPLY_LEN], tx: &mut impl TxSink) {
        if self.emit(tuple, reply, tx) {
            self.totals.tx_handshakes += 1;
        }
    }

    /// Sends a handshake message of the node, counted as the peer's, and tells whether there was room.
    pub(super) fn send_handshake(
        &mut self,
        now: Instant,
        local: LocalId,
        tuple: &FourTuple,
        message: &HandshakeBytes,
        tx: &mut impl TxSink,
    ) {
        let bytes = message.as_slice();
        if self.emit(tuple, bytes, tx) {
            self.totals.tx_handshakes += 1;
            let peer = self.peers.hot_mut(local);
            PeerCounters::add(&peer.sending.counters.handshake_tx_bytes, bytes.len() as u64);
            peer.note_sent(now);
        }
    }

    /// Sends an initiation over the peer's path. A retry may be due to a source address that does not work any more, so it
    /// leaves the choice to the kernel again (WG-55).
    pub(super) fn send_initiation(
        &mut self,
        now: Instant,
        local: LocalId,
        message: &HandshakeBytes,
        retry: bool,
        tx: &mut impl TxSink,
    ) {
        if retry {
            self.forget_source(local);
        }
        match self.peers.hot(local).path.tuple() {
            Some(tuple) => self.send_handshake(now, local, &tuple, message, tx),
            None => self.count(DropReason::NoEndpoint),
        }
    }

    /// Forgets the local address that replies to a peer come from (WG-55).
    pub(super) fn forget_source(&mut self, local: LocalId) {
        self.peers.hot_mut(local).path.forget_local();
    }

    /// Forgets a local address from which the kernel refused to send: every peer that was last heard there is answered from
    /// whatever address the kernel chooses, until it is heard again (WG-55). Cold: walks all peers.
    pub fn source_refused(&mut self, tuple: &FourTuple) {
        if tuple.local_ip.is_some() {
            let refused = Packed::new(tuple);
            for peer in self.peers.all_mut() {
                if peer.path.comes_from_as(&refused) {
                    peer.path.forget_local();
                }
            }
        }
    }

    fn emit(&mut self, tuple: &FourTuple, bytes: &[u8], tx: &mut impl TxSink) -> bool {
        let meta = TxMeta { tuple: *tuple, class: TrafficClass::HANDSHAKE };
        match tx.reserve_train(&meta, bytes.len(), 1, bytes.len()) {
            Ok(mut train) => {
                train.bytes().copy_from_slice(bytes);
                train.commit();
                true
            }
            Err(_) => {
                self.count(DropReason::TxFull);
                false
            }
        }
    }
}
