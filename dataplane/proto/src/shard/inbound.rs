//! The way of a datagram in.
//!
//! Hot:
//! 1. Walk the datagrams of all trains; classify. What is no data goes its own way.
//! 2. Data: core, connection and session by the receiver index, an array each. A packet touches a cache line of its own in the
//!    table, two of its peer, one of its session, and one of the counters that others read.
//! 3. Refuse what cannot be good before the cipher sees it: another interface, an old session, a counter seen before.
//! 4. Open up to 64 in place in one call.
//! 5. Per packet whose tag was right, in order: mark the counter (the same may be there twice).
//! 6. Once per run of packets of a session from one address: confirm the session, follow the peer, answer timers.
//! 7. Inner packet: trim, take over a congestion mark, check the source.
//! 8. Hand out as ranges of the arena. Counters once per run.
//!
//! Cost per packet: no allocation, no copy, no system call.

use dataplane_aead::{Aead, BATCH_MAX, OpenDesc, Span};
use dataplane_wire::classify::{Class, classify};
use dataplane_wire::ip::{Packet, decapsulate_ecn, set_ecn};
use dataplane_wire::wireguard::{DATA_OVERHEAD, Data, Message};
use dataplane_wire::{DropReason, Ecn, Instant, InterfaceId, RxMeta, SocketId, TxSink};

use core::net::IpAddr;
use core::sync::atomic::Ordering;

use super::peer::{CURRENT, NEXT, PREVIOUS, Slot, touch};
use super::table::{Found, LocalId, NONE};
use super::{Arrival, Delivery, Foreign, Inbound, Shard};
use crate::index::{connection_of, core_of};
use crate::messages::{HandshakeCause, PeerCounters};
use crate::replay::REJECT_AFTER_MESSAGES;
use crate::shun::Source;

/// A datagram of the call.
#[derive(Clone, Copy)]
struct Place {
    interface: InterfaceId,
    meta: u32,
    offset: usize,
    len: usize,
}

/// Packets of one session that came one behind the other in one train.
struct Run {
    peer: LocalId,
    session: u32,
    meta: u32,
    /// Bytes that count as received.
    bytes: u64,
    /// Whether one of them was not empty.
    data: bool,
}

impl<A: Aead> Shard<A> {
    /// Takes in all datagrams of one receive call. Data is opened where it lies in `arena`; what is for inner sides and for
    /// other cores is in `inbound` afterwards, until the next call. `interface_of` names the interface of a socket.
    pub fn handle_datagrams(
        &mut self,
        now: Instant,
        interface_of: impl Fn(SocketId) -> InterfaceId,
        arena: &mut [u8],
        metas: &[RxMeta],
        tx: &mut impl TxSink,
        inbound: &mut Inbound,
    ) {
        inbound.clear();
        for (number, meta) in metas.iter().enumerate() {
            let interface = interface_of(meta.tuple.socket);
            for (offset, len) in meta.segments() {
                let place = Place { interface, meta: number as u32, offset, len };
                self.handle_datagram(now, place, metas, arena, tx, inbound);
                if self.arrivals.len() == BATCH_MAX {
                    self.open(now, arena, metas, tx, inbound);
                }
            }
        }
        self.open(now, arena, metas, tx, inbound);
        self.note_refused(now, metas);
    }

    /// Step 1.
    #[inline]
    fn handle_datagram(
        &mut self,
        now: Instant,
        place: Place,
        metas: &[RxMeta],
        arena: &mut [u8],
        tx: &mut impl TxSink,
        inbound: &mut Inbound,
    ) {
        let Some(datagram) = arena.get(place.offset..place.offset + place.len) else {
            return self.count(DropReason::RxTruncated);
        };
        match classify(datagram) {
            Class::WireGuard(Message::Data(data)) => self.collect(place, &data, inbound),
            Class::WireGuard(Message::CookieReply(reply)) if !self.is_ours(reply.receiver()) => {
                self.pass_on(reply.receiver(), place, inbound);
            }
            Class::WireGuard(message) => {
                let tuple = &metas[place.meta as usize].tuple;
                if let Err(why) = self.handle_handshake(now, place.interface, tuple, &message, datagram, tx) {
                    self.reject(now, place.meta, metas, why);
                }
            }
            // No path of ours leads over a relay, so none of its framing is expected (DX-7).
            Class::ChannelData { .. } => self.count(DropReason::UnexpectedChannelData),
            Class::Stun(_) => self.count(DropReason::UnexpectedStun),
            Class::Unknown(why) => self.reject(now, place.meta, metas, why),
        }
    }

    /// Counts a datagram that is of use to nobody, for its source too. What comes late or belongs to another protocol is no
    /// stranger's fault.
    #[inline]
    fn reject(&mut self, now: Instant, number: u32, metas: &[RxMeta], why: DropReason) {
        self.count(why);
        if matches!(why, DropReason::LateIndex | DropReason::SessionExpired | DropReason::InterfaceGone) {
            return;
        }
        if self.refused.0 != number {
            self.note_refused(now, metas);
            self.refused.0 = number;
        }
        use DropReason::{BadMac1, HandshakeQueueFull, HandshakeRate, NeedsCookie};
        let handshake = matches!(why, BadMac1 | NeedsCookie | HandshakeRate | HandshakeQueueFull);
        self.refused.1.datagrams += 1;
        self.refused.1.handshakes += u32::from(handshake);
    }

    /// Tells the list of shunned sources what was refused of the train in hand.
    fn note_refused(&mut self, now: Instant, metas: &[RxMeta]) {
        let (number, refused) = core::mem::take(&mut self.refused);
        let Some(meta) = metas.get(number as usize).filter(|_| refused.datagrams > 0) else { return };
        let source = Source::from(&meta.tuple);
        if let Some(mut due) = self.shun.note_refused(now, source, refused)
            && !self.is_path(source)
        {
            // A peer of another core may be there. Its data goes to that core, its handshakes to any.
            due.handshakes &= self.config.cores == 1;
            self.shun.add(now, due);
        }
    }

    /// Whether one of the peers is reached there. Walks all of them.
    #[cold]
    fn is_path(&self, source: Source) -> bool {
        self.peers.all().any(|peer| peer.path.tuple().is_some_and(|path| Source::from(&path) == source))
    }

    #[inline]
    fn is_ours(&self, index: u32) -> bool {
        core_of(index, self.config.core_bits) == self.config.core
    }

    /// Gives a datagram to the core that its index names.
    fn pass_on(&mut self, index: u32, place: Place, inbound: &mut Inbound) {
        let core = core_of(index, self.config.core_bits);
        if core.0 >= self.config.cores {
            return self.count(DropReason::UnknownIndex);
        }
        if inbound.foreign.len() == inbound.foreign.capacity() {
            return self.count(DropReason::HandOffFull);
        }
        self.totals.foreign += 1;
        let (offset, len) = (place.offset as u32, place.len as u32);
        inbound.foreign.push(Foreign { core, meta: place.meta, offset, len });
    }

    /// Step 2: what the header says.
    #[inline]
    fn collect(&mut self, place: Place, data: &Data<'_>, inbound: &mut Inbound) {
        let index = data.receiver();
        if !self.is_ours(index) {
            return self.pass_on(index, place, inbound);
        }
        let text = data.text();
        self.table.prefetch(connection_of(index));
        self.arrivals.push(Arrival {
            index,
            counter: data.counter(),
            text: Span { offset: (place.offset + text.start) as u32, len: text.len() as u32 },
            meta: place.meta,
            interface: place.interface,
            peer: NONE,
            session: NONE,
        });
    }

    /// Steps 2 and 3 for what is collected: the good ones are described to the cipher, and stay.
    ///
    /// A loop for each array that is read: so the processor has the misses of many packets under way at once, where a loop
    /// over packets would wait for each in turn.
    fn describe(&mut self, now: Instant, metas: &[RxMeta]) {
        for arrival in &mut self.arrivals {
            arrival.peer = self.table.find_raw(connection_of(arrival.index));
            self.peers.prefetch_in(arrival.peer);
        }
        for arrival in &mut self.arrivals {
            if let Some(peer) = self.peers.get(arrival.peer) {
                let is_its = |slot: &&Slot| slot.local_index == arrival.index && slot.session != NONE;
                arrival.session = peer.slots.iter().find(is_its).map_or(NONE, |slot| slot.session);
                self.sessions.prefetch(arrival.session);
            }
        }
        let mut last = NONE;
        for arrival in &self.arrivals {
            if arrival.peer == last {
                continue;
            }
            last = arrival.peer;
            if let Some(peer) = self.peers.get(arrival.peer) {
                touch(&peer.counters);
                if peer.keepalive_at == Instant::FAR {
                    self.wheel.prefetch(arrival.peer);
                }
                self.sessions.prefetch_window(arrival.session, arrival.counter);
            }
        }
        let mut arrivals = core::mem::take(&mut self.arrivals);
        // A run of packets of one session names one key, which the cipher spreads once.
        let mut last = (NONE, 0);
        arrivals.retain(|arrival| match self.refusal(now, arrival) {
            None => {
                let &Arrival { counter, text, session, .. } = arrival;
                if session != last.0 {
                    let key = self.sessions.get(session).key();
                    last = (session, self.opening_keys.set(self.opening.len(), key));
                }
                self.opening.push(OpenDesc {
                    key: last.1,
                    counter,
                    aad: Span::default(),
                    text,
                    opened: false,
                });
                true
            }
            Some(why) => {
                self.reject(now, arrival.meta, metas, why);
                false
            }
        });
        self.arrivals = arrivals;
    }

    /// Step 3.
    #[inline]
    fn refusal(&self, now: Instant, arrival: &Arrival) -> Option<DropReason> {
        let Some(peer) = self.peers.get(arrival.peer) else {
            let late = self.table.get(connection_of(arrival.index)) == Found::Late;
            return Some(if late { DropReason::LateIndex } else { DropReason::UnknownIndex });
        };
        if arrival.session == NONE {
            let late = self.peers.cold(arrival.peer).is_late(arrival.index, now);
            return Some(if late { DropReason::LateIndex } else { DropReason::UnknownIndex });
        }
        if peer.interface != arrival.interface {
            return Some(DropReason::WrongInterface);
        }
        let session = self.sessions.get(arrival.session);
        if now >= session.expires {
            return Some(DropReason::SessionExpired);
        }
        if !self.sessions.may_accept(arrival.session, arrival.counter) {
            let exhausted = arrival.counter >= REJECT_AFTER_MESSAGES;
            return Some(if exhausted { DropReason::CounterExhausted } else { DropReason::Replay });
        }
        None
    }

    /// Steps 3 to 8, for what is collected.
    fn open(
        &mut self,
        now: Instant,
        arena: &mut [u8],
        metas: &[RxMeta],
        tx: &mut impl TxSink,
        inbound: &mut Inbound,
    ) {
        self.describe(now, metas);
        if self.opening.is_empty() {
            return;
        }
        let opened = self.aead.open_batch(self.opening_keys.all(), &[], arena, &mut self.opening);
        debug_assert!(opened.is_ok());
        // They are put back below: nothing between looks at them, and this leaves the rest of the shard free for use.
        let mut opening = core::mem::take(&mut self.opening);
        let mut arrivals = core::mem::take(&mut self.arrivals);
        let mut run = Run { peer: NONE, session: NONE, meta: NONE, bytes: 0, data: false };
        for (desc, arrival) in opening.iter().zip(&arrivals) {
            if !desc.opened {
                self.reject(now, arrival.meta, metas, DropReason::BadTag);
                continue;
            }
            if !self.sessions.accept(arrival.session, arrival.counter) {
                self.count(DropReason::Replay);
                continue;
            }
            let Some(meta) = metas.get(arrival.meta as usize) else { continue };
            if (arrival.session, arrival.meta) != (run.session, run.meta) {
                self.end_run(now, &run);
                let &Arrival { peer, session, meta: number, .. } = arrival;
                run = Run { peer, session, meta: number, bytes: 0, data: false };
                self.begin_run(now, &run, meta, tx);
            }
            if arrival.text.len == 0 {
                self.totals.rx_keepalives += 1;
                run.bytes += DATA_OVERHEAD as u64;
                continue;
            }
            run.data = true;
            match self.accept_inner(arena, arrival.text, meta.ecn, arrival.peer, inbound) {
                Ok(()) => run.bytes += u64::from(arrival.text.len) + DATA_OVERHEAD as u64,
                Err(why) => self.count(why),
            }
        }
        self.end_run(now, &run);
        opening.clear();
        arrivals.clear();
        (self.opening, self.arrivals) = (opening, arrivals);
    }

    /// Step 6, before the packets.
    #[inline]
    fn begin_run(&mut self, now: Instant, run: &Run, meta: &RxMeta, tx: &mut impl TxSink) {
        let local = run.peer;
        let peer = self.peers.hot_mut(local);
        peer.note_received(now);
        let (next, current) = (peer.slots[NEXT], peer.slots[CURRENT]);
        self.move_path(local, &meta.tuple);
        if next.session == run.session {
            self.confirm(now, local, tx);
        } else if current.session != NONE && now >= self.sessions.get(current.session).refresh {
            self.sessions.get_mut(current.session).refresh = Instant::FAR;
            self.want(now, local, HandshakeCause::RekeyOnReceive);
        }
    }

    /// Step 8, behind the packets.
    #[inline]
    fn end_run(&mut self, now: Instant, run: &Run) {
        if run.session == NONE {
            return;
        }
        if run.data {
            self.owe_answer(now, run.peer);
        }
        PeerCounters::add(&self.peers.hot(run.peer).counters.data_rx_bytes, run.bytes);
    }

    /// The peer proved that it has the key: `next` becomes `current`, and what waited goes (WG-28).
    fn confirm(&mut self, now: Instant, local: LocalId, tx: &mut impl TxSink) {
        let slots = self.peers.hot(local).slots;
        let mut after = slots;
        (after[CURRENT], after[PREVIOUS], after[NEXT]) = (slots[NEXT], slots[CURRENT], Slot::EMPTY);
        self.set_slots(now, local, after, tx);
        let cold = self.peers.cold_mut(local);
        cold.quiet_until = Instant::ZERO;
        let since = u64::try_from(now.since(cold.next_created).as_nanos()).unwrap_or(u64::MAX);
        let unix_ns = cold.next_unix_ns.saturating_add(since);
        self.peers.hot(local).counters.last_handshake_unix_ns.store(unix_ns, Ordering::Relaxed);
        self.tell_confirmed(local, slots[NEXT].local_index);
        if self.peers.hot(local).sending.staged {
            self.send_staged(now, local, tx);
        }
    }

    /// Step 7.
    #[inline]
    fn accept_inner(
        &mut self,
        arena: &mut [u8],
        text: Span,
        outer: Ecn,
        local: LocalId,
        inbound: &mut Inbound,
    ) -> Result<(), DropReason> {
        let start = text.offset as usize;
        let plain = arena.get_mut(start..start + text.len as usize).ok_or(DropReason::InnerMalformed)?;
        let packet = Packet::parse(plain).map_err(|_| DropReason::InnerMalformed)?;
        let (source, inner, len) = (packet.source(), packet.class().ecn(), packet.as_bytes().len());
        if !self.is_source_of(local, source) {
            return Err(DropReason::InnerSource);
        }
        if outer != Ecn::NotEct {
            let mark = decapsulate_ecn(outer, inner)?;
            if mark != inner {
                set_ecn(plain, mark);
            }
        }
        if inbound.packets.len() == inbound.packets.capacity() {
            return Err(DropReason::InnerFull);
        }
        let peer = self.peers.hot(local);
        let (interface, peer) = (peer.interface, peer.id);
        inbound.packets.push(Delivery { interface, peer, offset: text.offset, len: len as u32 });
        self.totals.rx_packets += 1;
        self.totals.rx_bytes += len as u64;
        Ok(())
    }

    /// Whether the longest prefix that a source lies in is this peer's (WG-51). The last source that was is remembered
    /// until routes change, so a flow pays for one look-up.
    #[inline]
    fn is_source_of(&mut self, local: LocalId, source: IpAddr) -> bool {
        let peer = self.peers.hot_mut(local);
        let Some(Some(interface)) = self.interfaces.get(usize::from(peer.interface.0)) else { return false };
        let (bits, family) = match source {
            IpAddr::V4(source) => (u128::from(source.to_bits()), 0),
            IpAddr::V6(source) => (source.to_bits(), 1),
        };
        let epoch = interface.epoch | family;
        if (peer.source, peer.source_epoch) == (bits, epoch) {
            return true;
        }
        let owns = interface.routes.get(source).is_some_and(|owner| owner.peer == peer.id);
        if owns {
            (peer.source, peer.source_epoch) = (bits, epoch);
        }
        owns
    }
}
