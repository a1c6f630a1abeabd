//! The way of a packet out.
//!
//! Hot:
//! 1. Plan: one packet, or the segments of a super-packet.
//! 2. Peer by its slot, then its path and its current session. Without a session: wait, and ask for one.
//! 3. Cut the segments into trains of one length, of at most 64 segments and 65,507 bytes, and reserve each.
//! 4. Long trains: rebuild the headers aside, and seal from where the payload lies straight into the send arena.
//! 5. Short ones: copy each packet to its place behind its header; [`Shard::flush`] seals in place, whole batches over many
//!    peers.
//! 6. Once per call: counters, timers, whether the session is old.
//!
//! Cost per packet: no allocation, no system call; a copy only at step 5.

use core::net::IpAddr;

use dataplane_aead::{Aead, BATCH_MAX, SealDesc, SealInPlaceDesc, Span};
use dataplane_wire::ip::{Fragment, Packet, protocol};
use dataplane_wire::offload::{HEADER_LEN_MAX, Segmentation, VnetHeader};
use dataplane_wire::wireguard::{DATA_HEADER_LEN, DATA_OVERHEAD, Data, TYPE_DATA};
use dataplane_wire::{
    DropReason, FourTuple, Instant, InterfaceId, PeerId, TrafficClass, TxFull, TxMeta, TxSink,
};

use super::peer::touch;
use super::table::{LocalId, NONE};
use super::{Outcome, Shard};
use crate::messages::{HandshakeCause, PeerCounters};

/// Most segments of one train (`UDP_MAX_SEGMENTS` of Linux before 6.10).
const TRAIN_SEGMENTS_MAX: usize = 64;
/// Most bytes of one train: what fits an IPv4 datagram with its headers.
const TRAIN_BYTES_MAX: usize = 65_507;
/// From so many segments on a train is sealed at once, from where it lies: below, a copy costs less than a batch so small.
const SEAL_NOW_MIN: usize = 8;
/// Plaintext is padded to a multiple of this (the WireGuard paper §5.4.6; WG-47).
const PADDING: usize = 16;

/// Room for the headers of one train.
pub(super) const GATHER_LEN: usize = TRAIN_SEGMENTS_MAX * HEADER_LEN_MAX;

const _: () = assert!(TRAIN_SEGMENTS_MAX <= BATCH_MAX);

/// Bytes of a packet when it is padded: to 16, but not past the MTU, so that the outer datagram keeps its bound (WG-47).
#[inline]
const fn padded(len: usize, mtu: usize) -> usize {
    let rounded = len.next_multiple_of(PADDING);
    if rounded <= mtu {
        rounded
    } else if len <= mtu {
        mtu
    } else {
        len
    }
}

/// Whether a packet is a datagram of the very session that it would be sent under, routed into the tunnel instead of out of
/// the host. It would come back longer each time, then as several fragments, and so fill the machine. Another gateway behind
/// this one may well have a tunnel to the same peer inside of ours: the receiver index tells the two apart.
///
/// Cost: a comparison of the destination, for all packets but those.
#[inline]
fn goes_round(packet: &[u8], path: &FourTuple, remote_index: u32) -> bool {
    let same = match path.remote.ip() {
        IpAddr::V4(ip) => packet.get(16..20) == Some(&ip.octets()),
        IpAddr::V6(ip) => packet.get(24..40) == Some(&ip.octets()),
    };
    same && is_data_of(packet, path, remote_index)
}

/// Whether a packet is a transport message to this address that names this index. Of fragments the first is enough: what
/// carries a later one into the tunnel is whole when it comes round.
#[cold]
fn is_data_of(packet: &[u8], path: &FourTuple, remote_index: u32) -> bool {
    let Ok(packet) = Packet::parse(packet) else { return false };
    let Ok(payload) = packet.payload() else { return false };
    if packet.destination() != path.remote.ip()
        || payload.protocol != protocol::UDP
        || payload.fragment == Fragment::Later
    {
        return false;
    }
    let Some((udp, message)) = payload.bytes().split_first_chunk::<8>() else { return false };
    let Some((head, _)) = message.split_first_chunk::<8>() else { return false };
    udp[2..4] == path.remote.port().to_be_bytes()
        && head[..4] == TYPE_DATA.to_le_bytes()
        && head[4..] == remote_index.to_le_bytes()
}

/// A planned packet on its way to a peer.
struct Load<'a> {
    plan: &'a Segmentation,
    packet: &'a [u8],
    meta: TxMeta,
    mtu: usize,
    local: LocalId,
}

impl Load<'_> {
    /// Bytes of the datagram that carries an inner packet.
    #[inline]
    fn datagram_len(&self, inner: usize) -> usize {
        padded(inner, self.mtu) + DATA_OVERHEAD
    }

    /// Bytes of all datagrams.
    fn total_len(&self) -> usize {
        self.datagram_len(self.plan.segment_len()) * (self.plan.count() - 1)
            + self.datagram_len(self.plan.last_len())
    }

    /// Bytes of inner segment `index`.
    #[inline]
    fn inner_len(&self, index: usize) -> usize {
        if index + 1 == self.plan.count() { self.plan.last_len() } else { self.plan.segment_len() }
    }
}

impl<A: Aead> Shard<A> {
    /// Begins to load what [`Shard::handle_packet`] reads of a peer first. For callers that have several packets at hand: for
    /// each this, then for each [`Shard::prefetch_counters`], then the packets; so the misses of all are under way at once.
    #[inline]
    pub fn prefetch_peer(&self, peer: PeerId) {
        self.peers.prefetch_out(peer);
    }

    /// Loads what the peer's record leads to: its counters, and its timer where that will be armed.
    #[inline]
    pub fn prefetch_counters(&self, peer: PeerId) {
        if let Some(local) = self.peers.find(peer) {
            let peer = self.peers.hot(local);
            touch(&peer.sending.counters);
            if peer.unanswered_at == Instant::FAR {
                self.wheel.prefetch(local);
            }
        }
    }

    /// Sends a packet or super-packet of an inner side to a peer that lives here.
    ///
    /// A super-packet that is dropped counts as the packets that it would have become.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        peer: PeerId,
        vnet: &VnetHeader,
        packet: &[u8],
        tx: &mut impl TxSink,
    ) -> Outcome {
        let plan = match Segmentation::plan(vnet, packet) {
            Ok(plan) => plan,
            Err(why) => return self.refuse(why, 1),
        };
        let packets = plan.count();
        let Some(local) = self.peers.find(peer) else { return self.refuse(DropReason::NoRoute, packets) };
        let Some(mtu) = self.interface(interface).map(|interface| interface.mtu) else {
            return self.refuse(DropReason::InterfaceGone, packets);
        };
        if self.peers.hot(local).path.is_none() {
            return self.refuse(DropReason::NoEndpoint, packets);
        }
        if self.peers.hot(local).sending.staged {
            // What waits goes first (WG-56).
            self.send_staged(now, local, tx);
            if self.peers.hot(local).sending.staged {
                return self.stage(now, local, vnet, packets, packet);
            }
        }
        match self.send_planned(now, local, mtu, &plan, packet, tx) {
            Some(outcome) => outcome,
            None => self.stage(now, local, vnet, packets, packet),
        }
    }

    fn refuse(&mut self, why: DropReason, packets: usize) -> Outcome {
        self.count_many(why, packets as u32);
        Outcome::Dropped(why)
    }

    /// Sends a planned packet, of which nothing waits; `None` where there is no session for it.
    fn send_planned(
        &mut self,
        now: Instant,
        local: LocalId,
        mtu: usize,
        plan: &Segmentation,
        packet: &[u8],
        tx: &mut impl TxSink,
    ) -> Option<Outcome> {
        let packets = plan.count();
        let Some(tuple) = self.peers.hot(local).path.tuple() else {
            return Some(self.refuse(DropReason::NoEndpoint, packets));
        };
        if !self.sendable(now, local, packets as u64) {
            return None;
        }
        if goes_round(packet, &tuple, self.peers.hot(local).sending.remote_index) {
            return Some(self.refuse(DropReason::RoutingLoop, packets));
        }
        // Outside stands the mark that stands inside, CE too; the rest of the class stays inside (RFC 6040 §4.1; WG-53).
        let ecn = Packet::parse(packet).map_or_else(|_| Default::default(), |packet| packet.class().ecn());
        let meta = TxMeta { tuple, class: TrafficClass::ecn_only(ecn) };
        let load = Load { plan, packet, meta, mtu, local };
        let full = load.datagram_len(plan.segment_len());
        if full > TRAIN_BYTES_MAX {
            return Some(self.refuse(DropReason::TxTooBig, packets));
        }
        let total = load.total_len();
        if tx.room() < total {
            return Some(Outcome::Blocked);
        }
        let per_train = TRAIN_SEGMENTS_MAX.min(TRAIN_BYTES_MAX / full);
        // All of a super-packet, or nothing: what finds no room behind its first train would be lost.
        if packets > per_train && tx.trains_room() < packets.div_ceil(per_train) {
            return Some(Outcome::Blocked);
        }
        let mut first = 0;
        while first < packets {
            let segments = per_train.min(packets - first);
            if self.send_train(&load, first, segments, tx).is_err() {
                break;
            }
            first += segments;
        }
        if first == 0 {
            return Some(Outcome::Blocked);
        }
        self.count_many(DropReason::TxFull, (packets - first) as u32);
        self.sent(now, local, total as u64);
        self.expect_answer(now, local);
        self.totals.tx_packets += first as u64;
        self.totals.tx_bytes += packet.len() as u64;
        Some(Outcome::Queued)
    }

    /// Whether a peer has a session under which so many messages may be sent.
    #[inline]
    fn sendable(&self, now: Instant, local: LocalId, messages: u64) -> bool {
        self.peers.hot(local).sending.allows(now, messages)
    }

    /// Step 6.
    #[inline]
    fn sent(&mut self, now: Instant, local: LocalId, bytes: u64) {
        let peer = self.peers.hot_mut(local);
        PeerCounters::add(&peer.sending.counters.data_tx_bytes, bytes);
        peer.note_sent(now);
        if peer.sending.is_old(now) {
            self.want(now, local, HandshakeCause::Rekey);
        }
    }

    fn send_train(
        &mut self,
        load: &Load<'_>,
        first: usize,
        segments: usize,
        tx: &mut impl TxSink,
    ) -> Result<(), TxFull> {
        if segments >= SEAL_NOW_MIN {
            self.seal_train(load, first, segments, tx)
        } else {
            self.copy_train(load, first, segments, tx)
        }
    }

    /// Step 4.
    fn seal_train(
        &mut self,
        load: &Load<'_>,
        first: usize,
        segments: usize,
        tx: &mut impl TxSink,
    ) -> Result<(), TxFull> {
        let full = load.datagram_len(load.plan.segment_len());
        let last = load.datagram_len(load.inner_len(first + segments - 1));
        let mut train = tx.reserve_train(&load.meta, full, segments, last)?;
        let (start, bytes) = (train.offset(), train.bytes());
        let sending = &mut self.peers.hot_mut(load.local).sending;
        self.train.clear();
        for (index, datagram) in bytes.chunks_mut(full).enumerate() {
            let counter = sending.counter + index as u64;
            let Some(header) = datagram.first_chunk_mut() else { return Err(TxFull) };
            Data::emit_header(header, sending.remote_index, counter);
            let place = index * HEADER_LEN_MAX;
            let emitted = load.plan.emit_header(
                first + index,
                load.packet,
                &mut self.gather[place..][..HEADER_LEN_MAX],
            );
            let Some((header_len, payload)) = emitted else { return Err(TxFull) };
            let inner = header_len + payload.len();
            self.train.push(SealDesc {
                key: 0,
                counter,
                aad: Span::default(),
                head: Span { offset: place as u32, len: header_len as u32 },
                body: Span { offset: payload.start as u32, len: payload.len() as u32 },
                pad: (datagram.len() - DATA_OVERHEAD - inner) as u32,
                dst: (start + index * full + DATA_HEADER_LEN) as u32,
            });
        }
        sending.counter += segments as u64;
        train.commit();
        let keys = core::slice::from_ref(sending.key());
        let sealed = self.aead.seal_batch(keys, &self.gather, load.packet, tx.arena(), &self.train);
        debug_assert_eq!(sealed, Ok(()));
        Ok(())
    }

    /// Step 5.
    fn copy_train(
        &mut self,
        load: &Load<'_>,
        first: usize,
        segments: usize,
        tx: &mut impl TxSink,
    ) -> Result<(), TxFull> {
        if self.sealing.len() + segments > BATCH_MAX {
            self.seal(tx);
        }
        let full = load.datagram_len(load.plan.segment_len());
        let last = load.datagram_len(load.inner_len(first + segments - 1));
        let mut train = tx.reserve_train(&load.meta, full, segments, last)?;
        let (start, bytes) = (train.offset(), train.bytes());
        let described = self.sealing.len();
        let key = self.sealing_key(load.local);
        let sending = &mut self.peers.hot_mut(load.local).sending;
        for (index, datagram) in bytes.chunks_mut(full).enumerate() {
            let counter = sending.counter + index as u64;
            let text_len = datagram.len() - DATA_OVERHEAD;
            let place = datagram.split_first_chunk_mut().and_then(|(header, rest)| {
                Data::emit_header(header, sending.remote_index, counter);
                let text = &mut rest[..text_len];
                let (header_len, payload) = load.plan.emit_header(first + index, load.packet, text)?;
                let (body, pad) = text.get_mut(header_len..)?.split_at_mut_checked(payload.len())?;
                body.copy_from_slice(load.packet.get(payload)?);
                pad.fill(0);
                Some(())
            });
            if place.is_none() {
                self.sealing.truncate(described);
                self.sealing_peer = NONE;
                return Err(TxFull);
            }
            self.sealing.push(SealInPlaceDesc {
                key,
                counter,
                aad: Span::default(),
                text: Span { offset: (start + index * full + DATA_HEADER_LEN) as u32, len: text_len as u32 },
            });
        }
        sending.counter += segments as u64;
        train.commit();
        Ok(())
    }

    /// Where among the keys of the batch a peer's is, for the next description.
    #[inline]
    fn sealing_key(&mut self, local: LocalId) -> u32 {
        match self.sealing.last() {
            // The cipher spreads a key once for packets that name it one behind the other.
            Some(last) if self.sealing_peer == local => last.key,
            _ => {
                self.sealing_peer = local;
                self.sealing_keys.set(self.sealing.len(), self.peers.hot(local).sending.key())
            }
        }
    }

    /// Seals what lies in the send arena and is not sealed yet.
    pub(super) fn seal(&mut self, tx: &mut impl TxSink) {
        if self.sealing.is_empty() {
            return;
        }
        let sealed = self.aead.seal_in_place(self.sealing_keys.all(), &[], tx.arena(), &self.sealing);
        debug_assert_eq!(sealed, Ok(()));
        if sealed.is_err() {
            // A defect of ours; but plaintext leaves under no circumstances.
            for desc in &self.sealing {
                let start = desc.text.offset as usize;
                if let Some(text) = tx.arena().get_mut(start..start + desc.text.len as usize) {
                    text.fill(0);
                }
            }
        }
        self.sealing.clear();
    }

    /// Sends an empty packet, or what waits; asks for a session where there is none.
    pub(super) fn send_keepalive(&mut self, now: Instant, local: LocalId, tx: &mut impl TxSink) {
        let Some(tuple) = self.peers.hot(local).path.tuple() else { return };
        if !self.sendable(now, local, 1) {
            return self.want(now, local, HandshakeCause::NoSession);
        }
        if self.peers.hot(local).sending.staged {
            return self.send_staged(now, local, tx);
        }
        if self.sealing.len() == BATCH_MAX {
            self.seal(tx);
        }
        let meta = TxMeta { tuple, class: TrafficClass::default() };
        let Ok(mut train) = tx.reserve_train(&meta, DATA_OVERHEAD, 1, DATA_OVERHEAD) else {
            return self.count(DropReason::TxFull);
        };
        let key = self.sealing_key(local);
        let sending = &mut self.peers.hot_mut(local).sending;
        if let Some(header) = train.bytes().first_chunk_mut() {
            Data::emit_header(header, sending.remote_index, sending.counter);
        }
        self.sealing.push(SealInPlaceDesc {
            key,
            counter: sending.counter,
            aad: Span::default(),
            text: Span { offset: (train.offset() + DATA_HEADER_LEN) as u32, len: 0 },
        });
        sending.counter += 1;
        train.commit();
        self.totals.tx_keepalives += 1;
        self.sent(now, local, DATA_OVERHEAD as u64);
    }

    /// Lets a packet wait (WG-40).
    fn stage(
        &mut self,
        now: Instant,
        local: LocalId,
        vnet: &VnetHeader,
        packets: usize,
        packet: &[u8],
    ) -> Outcome {
        let queue = &mut self.peers.cold_mut(local).queue;
        let pushed = self.staging.push(queue, *vnet, packets as u32, packet);
        let staged = !queue.is_empty();
        self.peers.hot_mut(local).sending.staged = staged;
        if !self.sendable(now, local, 1) {
            self.want(now, local, HandshakeCause::NoSession);
        }
        match pushed {
            Ok(gone) => {
                self.count_many(DropReason::StagedOverflow, gone);
                Outcome::Staged
            }
            Err((_, gone)) => {
                self.count_many(DropReason::StagedOverflow, gone);
                self.refuse(DropReason::StagingFull, packets)
            }
        }
    }

    /// Sends what waits for a peer, as far as session and send arena reach.
    pub(super) fn send_staged(&mut self, now: Instant, local: LocalId, tx: &mut impl TxSink) {
        let interface = self.peers.hot(local).interface;
        let Some(mtu) = self.interface(interface).map(|interface| interface.mtu) else { return };
        let mut scratch = core::mem::take(&mut self.scratch);
        while let Some((vnet, len)) = self.staging.peek(&self.peers.cold(local).queue, &mut scratch) {
            let packet = &scratch[..len];
            let outcome = match Segmentation::plan(&vnet, packet) {
                Ok(plan) => self.send_planned(now, local, mtu, &plan, packet, tx),
                Err(why) => Some(self.refuse(why, 1)),
            };
            match outcome {
                None => {
                    self.want(now, local, HandshakeCause::NoSession);
                    break;
                }
                Some(Outcome::Blocked) => {
                    self.remember_backlog(local);
                    break;
                }
                Some(_) => self.staging.drop_oldest(&mut self.peers.cold_mut(local).queue),
            };
        }
        self.scratch = scratch;
        self.peers.hot_mut(local).sending.staged = !self.peers.cold(local).queue.is_empty();
    }

    fn remember_backlog(&mut self, local: LocalId) {
        let cold = self.peers.cold_mut(local);
        if !core::mem::replace(&mut cold.in_backlog, true) {
            self.backlog.push_back(local);
        }
    }

    /// Goes on with peers whose waiting packets did not fit the send arena before.
    pub(super) fn send_backlog(&mut self, now: Instant, tx: &mut impl TxSink) {
        for _ in 0..self.backlog.len() {
            let Some(local) = self.backlog.pop_front() else { break };
            self.peers.cold_mut(local).in_backlog = false;
            if self.peers.hot(local).sending.staged {
                self.send_staged(now, local, tx);
            }
            if self.peers.cold(local).in_backlog {
                break;
            }
        }
    }

    /// Drops what waits for a peer.
    pub(super) fn purge_staged(&mut self, local: LocalId) {
        let gone = self.staging.purge(&mut self.peers.cold_mut(local).queue);
        self.peers.hot_mut(local).sending.staged = false;
        self.count_many(DropReason::StagedPurged, gone);
    }
}
