//! Hot: from the sockets, and from other cores, to the inner sides.
//!
//! 1. Receive one batch into the ring.
//! 2. The shard classifies, opens and checks it; what is left are ranges of plaintext in the ring.
//! 3. Datagrams of other cores' sessions are copied into frames and handed over.
//! 4. Show runs of packets of one peer to the hook.
//! 5. Merge what continues each other, and write it: one gather write for each run, straight from the ring.

use dataplane_io::inner::{Inner, SendError, VNET_HEADER_LEN};
use dataplane_io::memory::{Buf, Class, FRAME_LEN, Pool};
use dataplane_io::packet_io::PacketIo;
use dataplane_io::usdt;
use dataplane_proto::shard::{Delivery, Foreign, Inbound};
use dataplane_wire::offload::{Coalescer, Run};
use dataplane_wire::{DropReason, Instant, InterfaceId, RxMeta, SocketId, Span};

use super::Worker;
use super::interfaces::Interfaces;
use crate::counters::WorkerStats;
use crate::hook::{HOOK_BATCH_MAX, Hook, PacketBatch, Place, PolicyCounts};
use crate::link::HandOff;

impl<P: PacketIo<Socket: Send + 'static>> Worker<P> {
    /// Steps 1 to 5. Whether anything came.
    pub(super) fn receive(&mut self, now: Instant) -> bool {
        let report = self.io.recv(&mut self.rx);
        self.stats.drops.add(DropReason::RxTruncated, report.truncated);
        self.stats.rx_errors += report.errors;
        self.more |= report.more;
        let (arena, metas) = self.rx.split();
        if metas.is_empty() {
            return report.calls > 0;
        }
        let (mut datagrams, mut bytes) = (0, 0);
        for meta in metas {
            datagrams += u64::from(meta.len.div_ceil(meta.stride.max(1)).max(1));
            bytes += u64::from(meta.len);
        }
        self.stats.rx_batches += 1;
        self.stats.rx_datagrams += datagrams;
        self.stats.rx_bytes += bytes;
        usdt::rx_batch(self.core.0, metas.len() as u64, datagrams, bytes);
        self.shard.handle_datagrams(now, interface_of, arena, metas, &mut self.tx, &mut self.inbound);
        usdt::open(self.core.0, datagrams, self.inbound.packets.len() as u64);
        self.hand_over_foreign();
        let mut out = Out {
            inbound: &mut self.inbound,
            hook: self.hook.as_deref_mut(),
            policy: &mut self.policy,
            coalescer: &mut self.coalescer,
            interfaces: &mut self.interfaces,
            stats: &mut self.stats,
        };
        out.deliver(self.rx.arena());
        true
    }

    /// A datagram that another core received: it is a batch of its own.
    pub(super) fn take_datagram(&mut self, now: Instant, mut buf: Buf, meta: RxMeta) {
        self.shard.handle_datagrams(now, interface_of, &mut buf, &[meta], &mut self.tx, &mut self.inbound);
        // The index led here, so it leads nowhere else; a datagram that travels on would do so for ever.
        let lost = self.inbound.foreign.len() as u64;
        self.stats.drops.add(DropReason::UnknownIndex, lost);
        let mut out = Out {
            inbound: &mut self.inbound,
            hook: self.hook.as_deref_mut(),
            policy: &mut self.policy,
            coalescer: &mut self.coalescer,
            interfaces: &mut self.interfaces,
            stats: &mut self.stats,
        };
        out.deliver(&mut buf);
        self.pool.put(buf);
    }

    /// Step 3.
    fn hand_over_foreign(&mut self) {
        for number in 0..self.inbound.foreign.len() {
            let foreign = self.inbound.foreign[number];
            let (arena, metas) = self.rx.split();
            let Some(copied) = copy_out(&mut self.pool, arena, metas, &foreign) else {
                self.stats.drops.add(DropReason::NoBuffer, 1);
                continue;
            };
            if self.hand_over(foreign.core, copied) {
                self.stats.hand_off_datagrams += 1;
            }
        }
    }
}

/// Copies a datagram out of the ring, which will be overwritten by the next receive.
fn copy_out(pool: &mut Pool, arena: &[u8], metas: &[RxMeta], foreign: &Foreign) -> Option<HandOff> {
    let meta = metas.get(foreign.meta as usize)?;
    let from = foreign.offset as usize;
    let datagram = arena.get(from..from + foreign.len as usize)?;
    let class = if datagram.len() <= FRAME_LEN { Class::Frame } else { Class::Slab };
    let mut buf = pool.take(class)?;
    buf.get_mut(..datagram.len())?.copy_from_slice(datagram);
    let meta = RxMeta { offset: 0, len: foreign.len, stride: foreign.len, ..*meta };
    Some(HandOff::Datagram { buf, meta })
}

/// What deliveries need of a worker, beside the arena that they lie in.
struct Out<'w> {
    inbound: &'w mut Inbound,
    hook: Option<&'w mut (dyn Hook + 'static)>,
    policy: &'w mut PolicyCounts,
    coalescer: &'w mut Coalescer,
    interfaces: &'w mut Interfaces,
    stats: &'w mut WorkerStats,
}

impl Out<'_> {
    /// Steps 4 and 5.
    fn deliver(&mut self, arena: &mut [u8]) {
        if self.inbound.packets.is_empty() {
            return;
        }
        if self.hook.is_some() {
            self.ask_hook(arena);
        }
        let Self { inbound, coalescer, interfaces, stats, .. } = self;
        let mut open = None;
        for packet in &inbound.packets {
            let slot = usize::from(packet.interface.0);
            if open != Some(slot) {
                coalescer.flush(arena, &mut |run| write(interfaces, stats, arena, &run));
                interfaces.flush(open.replace(slot));
                coalescer.set_offloads(interfaces.offloads(slot));
            }
            let span = Span { offset: packet.offset, len: packet.len };
            coalescer.push(packet.interface, arena, span, &mut |run| write(interfaces, stats, arena, &run));
        }
        coalescer.flush(arena, &mut |run| write(interfaces, stats, arena, &run));
        interfaces.flush(open);
    }

    /// Shows consecutive packets of one peer together, and takes out what was dropped.
    fn ask_hook(&mut self, arena: &mut [u8]) {
        let Some(hook) = self.hook.as_deref_mut() else { return };
        let packets = &mut self.inbound.packets;
        let mut kept = 0;
        let mut next = 0;
        while next < packets.len() {
            let first = packets[next];
            let mut places = [Place::default(); HOOK_BATCH_MAX];
            let mut count = 0;
            while count < HOOK_BATCH_MAX
                && packets.get(next + count).is_some_and(|more| same_peer(more, &first))
            {
                let packet = packets[next + count];
                places[count] = Place { offset: packet.offset as usize, len: packet.len as usize };
                count += 1;
            }
            let mut batch = PacketBatch::new(arena, &places[..count], self.policy);
            hook.inbound(first.peer, &mut batch);
            let dropped = batch.dropped();
            for place in 0..count {
                if dropped & (1 << place) == 0 {
                    packets[kept] = packets[next + place];
                    kept += 1;
                }
            }
            next += count;
        }
        self.stats.drops.add(DropReason::Policy, (packets.len() - kept) as u64);
        packets.truncate(kept);
    }
}

fn same_peer(one: &Delivery, other: &Delivery) -> bool {
    one.peer == other.peer && one.interface == other.interface
}

/// Writes a run; where the inner side refuses a merged one, its packets one by one, as they came.
fn write(interfaces: &mut Interfaces, stats: &mut WorkerStats, arena: &[u8], run: &Run<'_>) {
    let packets = run.parts.len() as u64;
    let Some(side) = interfaces.side_mut(usize::from(run.interface.0)) else {
        return stats.drops.add(DropReason::InterfaceGone, packets);
    };
    stats.inner_out_writes += 1;
    match side.send_gather(run.head, arena, run.parts) {
        Ok(()) => {
            stats.inner_out_packets += packets;
            stats.inner_out_bytes += run.parts.iter().map(|part| u64::from(part.len)).sum::<u64>();
        }
        Err(SendError::GsoRefused) => write_singly(side, stats, arena, run),
        Err(error) => stats.drops.add(error.drop_reason(), packets),
    }
}

/// The packets that a run was made of still lie whole in the arena: each part is what follows the headers that the run has once.
#[cold]
fn write_singly(side: &mut dyn Inner, stats: &mut WorkerStats, arena: &[u8], run: &Run<'_>) {
    let header_len = (run.head.len() - VNET_HEADER_LEN) as u32;
    for part in run.parts {
        let packet = Span { offset: part.offset - header_len, len: part.len + header_len };
        stats.inner_out_writes += 1;
        match side.send_gather(&[0; VNET_HEADER_LEN], arena, &[packet]) {
            Ok(()) => {
                stats.inner_out_packets += 1;
                stats.inner_out_bytes += u64::from(packet.len);
            }
            Err(error) => stats.drops.add(error.drop_reason(), 1),
        }
    }
}

/// The sockets of an interface have its number.
fn interface_of(socket: SocketId) -> InterfaceId {
    InterfaceId(socket.0)
}
