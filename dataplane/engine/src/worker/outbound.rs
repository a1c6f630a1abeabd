//! Hot: from the inner sides to the send arena.
//!
//! 1. Read into slabs of the pool: a super-packet, or several small packets, so that the misses of the routes that they take
//!    and of the peers that they go to are under way at once.
//! 2. Route them. A peer of another core: the slab is handed over, and that core goes on from here.
//! 3. Show it to the hook.
//! 4. The shard describes it: segments, counters, places in the send arena.
//! 5. Send when enough is described that the cipher sees whole batches and the bytes are still in the cache.

use arrayvec::ArrayVec;
use dataplane_io::Buf;
use dataplane_io::inner::{RecvError, VNET_HEADER_LEN};
use dataplane_io::memory::{Class, FRAME_LEN};
use dataplane_io::packet_io::PacketIo;
use dataplane_proto::shard::{Outcome, Owner, Route};
use dataplane_wire::offload::{Segmentation, VnetHeader};
use dataplane_wire::{DropReason, Instant, InterfaceId, PeerId};

use super::Worker;
use crate::hook::{PacketBatch, Place};
use crate::link::HandOff;

/// Packets that one turn reads from one inner side: a batch for the cipher.
const READS_PER_TURN: usize = 64;
/// Bytes that one turn reads from one inner side: what the cache of the core holds twice, as plaintext and sealed.
const BYTES_PER_TURN: usize = 128 * 1024;
/// Small packets that are read before the first of them is described: half of the pool's slabs.
pub(super) const READS_MAX: usize = 32;
/// Bytes of an ICMP answer: IPv6 answers fill the minimum MTU.
const ICMP_LEN_MAX: usize = 1280;

/// How many packets a super-packet stands for, vnet header first; one where it is none.
#[cold]
pub(super) fn packets_of(bytes: &[u8]) -> u64 {
    let plan = VnetHeader::parse(bytes).and_then(|(vnet, packet)| Segmentation::plan(&vnet, packet).ok());
    plan.map_or(1, |plan| plan.count() as u64)
}

/// A packet that was read, has a route, and was not described yet.
pub(super) struct Read {
    route: Route,
    buf: Buf,
    len: usize,
}

impl<P: PacketIo<Socket: Send + 'static>> Worker<P> {
    /// Reads from each inner side that is ready. Whether there was anything.
    pub(super) fn read_inner_sides(&mut self, now: Instant) -> bool {
        let mut any = false;
        let mut next = 0;
        while let Some(slot) = self.interfaces.next_readable(next) {
            next = slot + 1;
            any |= self.read_inner_side(now, slot);
        }
        any
    }

    fn read_inner_side(&mut self, now: Instant, slot: usize) -> bool {
        let any = self.read_packets(now, slot);
        self.take_read(now, InterfaceId(slot as u16));
        any
    }

    /// Steps 1 and 2; what has a route waits in `self.read`.
    fn read_packets(&mut self, now: Instant, slot: usize) -> bool {
        let interface = InterfaceId(slot as u16);
        let mut bytes = 0;
        for read in 0..READS_PER_TURN {
            if bytes >= BYTES_PER_TURN {
                self.more = true;
                return true;
            }
            let Some(mut buf) = self.pool.take(Class::Slab) else {
                // Buffers that other cores hold come home; until then the packets wait in the inner side's own queue. Who holds
                // them may need this very processor to give them back.
                std::thread::yield_now();
                self.more = true;
                return read > 0;
            };
            let Some(side) = self.interfaces.side_mut(slot) else { return read > 0 };
            match side.recv(&mut buf) {
                // An inner side of the embedder's own says what it likes: there is no packet without its header, and none beyond
                // the buffer.
                Ok(Some(len)) if len <= VNET_HEADER_LEN || len > buf.len() => {
                    self.stats.drops.add(DropReason::OutboundMalformed, 1);
                    self.pool.put(buf);
                }
                Ok(Some(len)) => {
                    bytes += len;
                    self.stats.inner_in_reads += 1;
                    self.stats.inner_in_bytes += len.saturating_sub(VNET_HEADER_LEN) as u64;
                    self.send_packet(now, interface, buf, len);
                    if len > FRAME_LEN || self.read.len() == READS_MAX {
                        self.take_read(now, interface);
                    }
                }
                Ok(None) => {
                    self.pool.put(buf);
                    self.interfaces.set_drained(slot);
                    return read > 0;
                }
                Err(error) => {
                    self.pool.put(buf);
                    self.interfaces.set_drained(slot);
                    self.inner_failed(slot, &error);
                    return true;
                }
            }
        }
        self.more = true;
        true
    }

    /// Begins step 2 for a packet of this core's inner side.
    fn send_packet(&mut self, now: Instant, interface: InterfaceId, buf: Buf, len: usize) {
        let Some((vnet, packet)) = VnetHeader::parse(&buf[..len]) else {
            self.stats.drops.add(DropReason::OutboundMalformed, 1);
            return self.pool.put(buf);
        };
        match self.shard.find_route(interface, &vnet, packet) {
            Ok(route) => self.read.push(Read { route, buf, len }),
            Err(reason) => self.no_route(now, interface, buf, len, reason),
        }
    }

    /// Counted by the shard, and answered.
    #[cold]
    fn no_route(&mut self, now: Instant, interface: InterfaceId, buf: Buf, len: usize, reason: DropReason) {
        if reason == DropReason::NoRoute {
            self.answer_unreachable(now, interface, &buf[VNET_HEADER_LEN..len]);
        }
        self.pool.put(buf);
    }

    /// Steps 2 to 5 for what was read, each for all before the next: so the misses of all are under way at once.
    fn take_read(&mut self, now: Instant, interface: InterfaceId) {
        let mut read = std::mem::take(&mut self.read);
        let mut owners: ArrayVec<Result<Owner, DropReason>, READS_MAX> = ArrayVec::new();
        for packet in &read {
            let owner = self.shard.owner(&packet.route);
            if let Ok(owner) = owner {
                self.shard.prefetch_peer(owner.peer);
            }
            owners.push(owner);
        }
        owners.iter().flatten().for_each(|owner| self.shard.prefetch_counters(owner.peer));
        for (Read { buf, len, .. }, owner) in read.drain(..).zip(&owners) {
            match *owner {
                Ok(Owner { core, peer }) if core == self.core => {
                    self.take_packet(now, interface, peer, buf, len);
                }
                Ok(Owner { core, peer }) => {
                    let buf = self.pack(buf, len);
                    if self.hand_over(core, HandOff::Packet { interface, peer, buf, len }) {
                        self.stats.hand_off_packets += 1;
                    }
                }
                Err(reason) => self.no_route(now, interface, buf, len, reason),
            }
        }
        self.read = read;
    }

    /// Moves a small packet that goes to another core into a frame. Slabs are few: a core that has given all of its own away
    /// reads nothing until some come home, while copying so little costs less than a cache miss.
    fn pack(&mut self, slab: Buf, len: usize) -> Buf {
        if len > FRAME_LEN {
            return slab;
        }
        let Some(mut frame) = self.pool.take(Class::Frame) else { return slab };
        frame[..len].copy_from_slice(&slab[..len]);
        self.pool.put(slab);
        frame
    }

    /// Steps 3 to 5 for a packet to a peer of this core, `len` bytes, vnet header first.
    pub(super) fn take_packet(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        peer: PeerId,
        mut buf: Buf,
        len: usize,
    ) {
        let (head, packet) = buf[..len].split_at_mut(VNET_HEADER_LEN);
        let Some((vnet, _)) = VnetHeader::parse(head) else {
            self.stats.drops.add(DropReason::OutboundMalformed, 1);
            return self.pool.put(buf);
        };
        if let Some(hook) = &mut self.hook {
            let places = [Place { offset: 0, len: packet.len() }];
            let mut batch = PacketBatch::new(packet, &places, &mut self.policy);
            hook.outbound(peer, &mut batch);
            if batch.is_dropped(0) {
                self.stats.drops.add(DropReason::Policy, 1);
                return self.pool.put(buf);
            }
        }
        let mut outcome = self.shard.handle_packet(now, interface, peer, &vnet, packet, &mut self.tx);
        if outcome == Outcome::Blocked {
            self.send();
            let packet = &mut buf[VNET_HEADER_LEN..len];
            outcome = self.shard.handle_packet(now, interface, peer, &vnet, packet, &mut self.tx);
        }
        match outcome {
            Outcome::Dropped(DropReason::NoEndpoint) => {
                self.answer_unreachable(now, interface, &buf[VNET_HEADER_LEN..len]);
            }
            // An empty arena takes every packet; the shard has counted its own drops.
            Outcome::Blocked => self.stats.drops.add(DropReason::TxFull, packets_of(&buf[..len])),
            Outcome::Queued | Outcome::Staged | Outcome::Dropped(_) => {}
        }
        self.pool.put(buf);
    }

    /// Tells the sender of an inner packet that nobody takes it (WG-52).
    fn answer_unreachable(&mut self, now: Instant, interface: InterfaceId, packet: &[u8]) {
        let mut answer = [0; VNET_HEADER_LEN + ICMP_LEN_MAX];
        let Some(len) = self.shard.icmp_unreachable(now, interface, packet, &mut answer[VNET_HEADER_LEN..])
        else {
            return;
        };
        let Some(side) = self.interfaces.side_mut(usize::from(interface.0)) else { return };
        if let Err(error) = side.send_gather(&answer[..VNET_HEADER_LEN + len], &[], &[]) {
            self.stats.drops.add(error.drop_reason(), 1);
        }
        side.flush();
    }

    /// An inner side that is gone is not read any more; the control thread hears of it from the kernel.
    fn inner_failed(&mut self, slot: usize, error: &RecvError) {
        match error {
            RecvError::Gone => {
                if let Some(inner) = self.interfaces.remove(slot) {
                    let _ = self.poller.remove(inner.fd());
                }
                let _ = self.link().gone.push(InterfaceId(slot as u16));
                self.control.unpark();
            }
            RecvError::Io(_) => self.stats.drops.add(DropReason::InnerError, 1),
        }
    }
}
