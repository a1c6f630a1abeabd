//! One core: a real shard, and around it what a worker of the engine does, in the worker's order.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use dataplane_aead::Cipher;
use dataplane_proto::messages::Command;
use dataplane_proto::shard::{Foreign, Inbound, Outcome, Shard};
use dataplane_wire::offload::VnetHeader;
use dataplane_wire::{CoreId, DropReason, FourTuple, Instant, InterfaceId, PeerId, RxMeta};

use super::arena::Arena;
use super::{Delivered, Effects, Outgoing, Received};
use crate::model::{Arrival, Order};
use crate::random::Random;

/// The one interface of a host.
pub(super) const WG0: InterfaceId = InterfaceId(0);
/// Hand-offs that wait for one core; what comes when there are so many is dropped and counted, as the engine does.
pub(super) const HAND_OFFS_MAX: usize = 1024;
/// Trains of one receive call, and commands of one turn.
const BATCH_MAX: usize = 64;
const COMMANDS_PER_TURN: usize = 128;
/// Room in the send arena that any command may need.
const COMMAND_ROOM: usize = 4096;

/// A packet of the inner side.
pub(crate) struct Offer {
    pub(crate) vnet: VnetHeader,
    pub(crate) bytes: Vec<u8>,
    /// How many it stands for.
    pub(crate) packets: u64,
}

/// From one core to another.
pub(super) enum HandOff {
    Datagram(Received),
    Packet { peer: PeerId, offer: Offer },
}

/// Where a datagram of the batch lies, and where it came from.
struct Place {
    offset: usize,
    number: u64,
    origin: Option<u8>,
    intact: bool,
    order: Order,
}

pub(super) struct Core {
    pub(super) id: CoreId,
    pub(super) shard: Shard<Cipher>,
    pub(super) commands: VecDeque<Command>,
    pub(super) hand_offs: VecDeque<HandOff>,
    pub(super) inbox: VecDeque<Received>,
    pub(super) offers: VecDeque<Offer>,
    arena: Arena,
    inbound: Inbound,
    bytes: Vec<u8>,
    metas: Vec<RxMeta>,
    places: Vec<Place>,
    /// Packets of the inner side that the worker dropped, not its shard.
    pub(super) dropped: u64,
}

impl Core {
    pub(super) fn new(id: CoreId, shard: Shard<Cipher>) -> Self {
        Self {
            id,
            shard,
            commands: VecDeque::new(),
            hand_offs: VecDeque::new(),
            inbox: VecDeque::new(),
            offers: VecDeque::new(),
            arena: Arena::default(),
            inbound: Inbound::with_capacity(BATCH_MAX * 4),
            bytes: Vec::new(),
            metas: Vec::new(),
            places: Vec::new(),
            dropped: 0,
        }
    }

    /// One turn, in the order of the engine's worker; whether there was anything to do. What is for other cores is in `moved`.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        newest: &mut BTreeMap<u8, u64>,
        moved: &mut Vec<(CoreId, HandOff)>,
        random: &mut Random,
        out: &mut Effects,
    ) -> bool {
        let mut busy = self.take_commands(now, out);
        while let Some(hand_off) = self.hand_offs.pop_front() {
            busy = true;
            match hand_off {
                HandOff::Datagram(received) => {
                    self.collect(&received, false);
                    self.receive(now, newest, None, out);
                }
                HandOff::Packet { peer, offer } => self.send_to(now, peer, &offer, out),
            }
        }
        while !self.inbox.is_empty() {
            busy = true;
            for _ in 0..BATCH_MAX {
                let Some(received) = self.inbox.pop_front() else { break };
                // Now and then the kernel hands several over as one train.
                let join = random.small(2) == 0;
                self.collect(&received, join);
            }
            self.receive(now, newest, Some(moved), out);
        }
        while let Some(offer) = self.offers.pop_front() {
            busy = true;
            self.route(now, offer, moved, out);
        }
        if self.shard.poll_timeout().is_some_and(|due| due <= now) {
            busy = true;
            self.shard.handle_timeout(now, &mut self.arena);
        }
        self.send(out);
        busy
    }

    fn take_commands(&mut self, now: Instant, out: &mut Effects) -> bool {
        for taken in 0..COMMANDS_PER_TURN {
            let Some(command) = self.commands.pop_front() else { return taken > 0 };
            if dataplane_wire::TxSink::room(&self.arena) < COMMAND_ROOM {
                self.send(out);
            }
            self.shard.handle_command(now, command, &mut self.arena);
        }
        true
    }

    /// Puts a datagram into the receive arena, behind the last one as a train with it where they fit and it shall.
    fn collect(&mut self, received: &Received, join: bool) {
        let (offset, len) = (self.bytes.len(), received.bytes.len() as u32);
        self.bytes.extend_from_slice(&received.bytes);
        if len == 0 {
            // Places are told apart by where they begin.
            self.bytes.push(0);
        }
        let Received { number, origin, intact, tuple, ecn, .. } = *received;
        self.places.push(Place { offset, number, origin, intact, order: Order::Kept });
        match self.metas.last_mut() {
            Some(meta)
                if join
                    && (meta.tuple, meta.ecn) == (tuple, ecn)
                    && meta.len.is_multiple_of(meta.stride.max(1))
                    && len > 0
                    && len <= meta.stride =>
            {
                meta.len += len;
            }
            _ => self.metas.push(RxMeta { tuple, ecn, offset: offset as u32, len, stride: len }),
        }
    }

    /// Has the shard open what was collected. A datagram of another core is handed over, but not twice.
    fn receive(
        &mut self,
        now: Instant,
        newest: &mut BTreeMap<u8, u64>,
        moved: Option<&mut Vec<(CoreId, HandOff)>>,
        out: &mut Effects,
    ) {
        out.seen.datagrams += self.places.len() as u64;
        let (shard, arena) = (&mut self.shard, &mut self.arena);
        shard.handle_datagrams(now, |_| WG0, &mut self.bytes, &self.metas, arena, &mut self.inbound);
        let foreign = |place: &Place, inbound: &Inbound| {
            inbound.foreign.iter().any(|foreign| foreign.offset as usize == place.offset)
        };
        for place in &mut self.places {
            let Some(origin) = place.origin else { continue };
            if !foreign(place, &self.inbound) {
                let last = newest.entry(origin).or_default();
                if place.number < *last {
                    place.order = Order::Late;
                }
                *last = place.number.max(*last);
            }
        }
        for delivery in &self.inbound.packets {
            let at = delivery.offset as usize;
            let behind = self.places.partition_point(|place| place.offset <= at);
            let Some(place) = self.places[..behind].last() else { continue };
            let arrival = Arrival { datagram: place.number, intact: place.intact, order: place.order };
            let bytes = self.bytes[at..at + delivery.len as usize].to_vec();
            out.delivered.push(Delivered { peer: delivery.peer, bytes, arrival });
        }
        if let Some(moved) = moved {
            for foreign in &self.inbound.foreign {
                moved.extend(self.copy_out(foreign).map(|datagram| (foreign.core, datagram)));
            }
        }
        self.bytes.clear();
        self.metas.clear();
        self.places.clear();
    }

    fn copy_out(&self, foreign: &Foreign) -> Option<HandOff> {
        let from = foreign.offset as usize;
        let place = self.places.iter().find(|place| place.offset == from)?;
        let meta = self.metas.get(foreign.meta as usize)?;
        let bytes: Rc<[u8]> = self.bytes[from..from + foreign.len as usize].into();
        let Place { number, origin, intact, .. } = *place;
        Some(HandOff::Datagram(Received { number, origin, intact, tuple: meta.tuple, ecn: meta.ecn, bytes }))
    }

    /// Finds the peer of a packet of this core's inner side.
    fn route(&mut self, now: Instant, offer: Offer, moved: &mut Vec<(CoreId, HandOff)>, out: &mut Effects) {
        match self.shard.route(WG0, &offer.vnet, &offer.bytes) {
            Ok(owner) if owner.core == self.id => self.send_to(now, owner.peer, &offer, out),
            Ok(owner) => moved.push((owner.core, HandOff::Packet { peer: owner.peer, offer })),
            Err(DropReason::NoRoute) => self.answer(now, &offer.bytes, out),
            // The shard has counted it.
            Err(_) => {}
        }
    }

    fn send_to(&mut self, now: Instant, peer: PeerId, offer: &Offer, out: &mut Effects) {
        let Offer { vnet, bytes, .. } = offer;
        let mut outcome = self.shard.handle_packet(now, WG0, peer, vnet, bytes, &mut self.arena);
        if outcome == Outcome::Blocked {
            self.send(out);
            outcome = self.shard.handle_packet(now, WG0, peer, vnet, bytes, &mut self.arena);
        }
        match outcome {
            Outcome::Blocked => self.dropped += offer.packets,
            Outcome::Dropped(DropReason::NoEndpoint) => self.answer(now, bytes, out),
            Outcome::Queued | Outcome::Staged | Outcome::Dropped(_) => {}
        }
    }

    /// The ICMP answer to a packet that nobody takes (WG-52).
    fn answer(&mut self, now: Instant, packet: &[u8], out: &mut Effects) {
        let mut answer = [0; 1280];
        out.answers += u64::from(self.shard.icmp_unreachable(now, WG0, packet, &mut answer).is_some());
    }

    /// Seals and hands out what was described.
    pub(super) fn send(&mut self, out: &mut Effects) {
        self.shard.flush(&mut self.arena);
        self.arena.drain(|meta, datagram| {
            out.seen.sent(datagram);
            out.sent.push(Outgoing {
                core: self.id,
                tuple: meta.tuple,
                class: meta.class,
                bytes: datagram.into(),
            });
        });
    }

    /// Forgets a source address from which nothing can be sent any more.
    pub(super) fn source_refused(&mut self, tuple: &FourTuple) {
        self.shard.source_refused(tuple);
    }
}
