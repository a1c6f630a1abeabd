//! Two shards, each with the other as its only peer, and the network between them as two vectors.

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;

use dataplane_aead::{Aead, Key, OpenDesc, Reference, SealInPlaceDesc, Span};
use dataplane_wire::offload::VnetHeader;
use dataplane_wire::wireguard::Data;
use dataplane_wire::{
    DropReason, Ecn, FourTuple, Instant, InterfaceId, PeerId, RxMeta, SocketId, TrafficClass, Train, TxFull,
    TxMeta, TxSink,
};

use super::super::*;
use crate::gate::InterfaceKeys;
use crate::messages::{Command, Event, HandshakeBytes, Keypair, Path, PeerCounters, Role};

/// Index of the two sides.
pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

/// A send arena in memory.
pub(super) struct MemTx {
    arena: Vec<u8>,
    used: usize,
    trains: Vec<(TxMeta, usize, usize, usize, usize)>,
    pub(super) trains_max: usize,
}

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) local_ip: Option<IpAddr>,
    pub(super) class: TrafficClass,
    pub(super) bytes: Vec<u8>,
}

impl MemTx {
    pub(super) fn new(capacity: usize) -> Self {
        Self { arena: vec![0xaa; capacity], used: 0, trains: Vec::new(), trains_max: usize::MAX }
    }

    /// Lengths of the segments of each train: count, full length, last length.
    pub(super) fn trains(&self) -> Vec<(usize, usize, usize)> {
        self.trains.iter().map(|&(_, _, len, count, last)| (count, len, last)).collect()
    }

    fn take(&mut self, from: SocketAddr) -> Vec<Datagram> {
        let mut out = Vec::new();
        for (meta, offset, len, count, last) in self.trains.drain(..) {
            let bytes = &self.arena[offset..offset + len * (count - 1) + last];
            out.extend(bytes.chunks(len).map(|bytes| Datagram {
                from,
                to: meta.tuple.remote,
                local_ip: meta.tuple.local_ip,
                class: meta.class,
                bytes: bytes.to_vec(),
            }));
        }
        self.arena.fill(0xaa);
        self.used = 0;
        out
    }
}

impl TxSink for MemTx {
    fn reserve_train(
        &mut self,
        meta: &TxMeta,
        segment_len: usize,
        segments: usize,
        last_len: usize,
    ) -> Result<Train<'_, Self>, TxFull> {
        let len = segment_len * (segments - 1) + last_len;
        assert!((1..=64).contains(&segments) && len <= 65_507 && last_len >= 1 && last_len <= segment_len);
        if len > self.room() || self.trains_room() == 0 {
            return Err(TxFull);
        }
        let offset = self.used;
        self.used += len;
        Ok(Train::new(self, *meta, offset, segment_len, segments, last_len))
    }

    fn arena(&mut self) -> &mut [u8] {
        &mut self.arena
    }

    fn room(&self) -> usize {
        self.arena.len() - self.used
    }

    fn trains_room(&self) -> usize {
        self.trains_max - self.trains.len()
    }

    fn commit(&mut self, meta: &TxMeta, offset: usize, len: usize, segments: usize, last: usize) {
        self.trains.push((*meta, offset, len, segments, last));
    }

    fn roll_back(&mut self, offset: usize) {
        self.used = offset;
    }
}

/// One end.
pub(super) struct Side {
    pub(super) shard: Shard<Reference>,
    pub(super) tx: MemTx,
    pub(super) inbound: Inbound,
    /// The id of the other end here.
    pub(super) peer: PeerId,
    pub(super) counters: Arc<PeerCounters>,
    pub(super) address: SocketAddr,
    connection: u32,
    sessions: u8,
}

/// A delivered inner packet, and who it came from.
pub(super) type Delivered = (PeerId, Vec<u8>);

impl Side {
    pub(super) fn drops(&self, why: DropReason) -> u64 {
        self.shard.drops()[why as usize]
    }

    /// All drops but the ones that are zero.
    pub(super) fn all_drops(&self) -> Vec<(&'static str, u64)> {
        let counted = DropReason::ALL.iter().map(|&why| (why.name(), self.drops(why)));
        counted.filter(|(_, count)| *count != 0).collect()
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.shard.poll_event()).collect()
    }

    pub(super) fn transfer(&self) -> (u64, u64) {
        let counters = &self.counters;
        (counters.data_rx_bytes.load(Ordering::Relaxed), counters.data_tx_bytes.load(Ordering::Relaxed))
    }
}

/// Two ends and the time.
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) sides: [Side; 2],
    keys: u8,
    /// The session that was installed last, as each side has it.
    latest: [Option<Keypair>; 2],
}

pub(super) const INTERFACE: InterfaceId = InterfaceId(0);
pub(super) const MTU: u16 = 1420;

impl Pair {
    /// Two ends with paths and routes to each other and no session: A is 10.0.0.1 and fd00::1, B is 10.0.0.2 and fd00::2.
    pub(super) fn new() -> Self {
        Self::with(ShardLimits { handshakes: 64, staging_frames: 1024, ..ShardLimits::default() })
    }

    pub(super) fn with(limits: ShardLimits) -> Self {
        let now = Instant::from_nanos(1_000_000_000_000);
        let addresses: [SocketAddr; 2] = [([192, 0, 2, 1], 1111).into(), ([192, 0, 2, 2], 2222).into()];
        let sides = [A, B].map(|side| {
            let config = ShardConfig {
                core: CoreId(0),
                cores: 2,
                core_bits: 1,
                limits,
                master_seed: [side as u8; 32],
            };
            Side {
                shard: Shard::new(config, Reference),
                tx: MemTx::new(1 << 20),
                inbound: Inbound::with_capacity(4096),
                peer: PeerId { slot: 3 + side as u32, generation: 9 },
                counters: Arc::default(),
                address: addresses[side],
                connection: 0x12_3456 + side as u32,
                sessions: 0,
            }
        });
        let mut pair = Self { now, sides, keys: 0, latest: [None, None] };
        for side in [A, B] {
            let peer = pair.sides[side].peer;
            let keys = InterfaceKeys::of(&[side as u8; 32]);
            pair.command(
                side,
                Command::AddInterface {
                    interface: INTERFACE,
                    mtu: MTU,
                    mac1_key: keys.mac1,
                    cookie_key: keys.cookie,
                },
            );
            let (connection, counters) = (pair.sides[side].connection, pair.sides[side].counters.clone());
            pair.command(side, Command::AddPeer { peer, interface: INTERFACE, connection, counters });
            for prefix in [["10.0.0.2/32", "fd00::2/128"], ["10.0.0.1/32", "fd00::1/128"]][side] {
                let prefix = prefix.parse().unwrap();
                pair.command(side, Command::SetRoute { interface: INTERFACE, peer, core: CoreId(0), prefix });
            }
            let path = Some(pair.path_to(1 - side));
            pair.command(side, Command::SetPath { peer, generation: 1, path, roams: true });
        }
        pair
    }

    /// With a session that A began and both ends confirmed.
    pub(super) fn connected() -> Self {
        let mut pair = Self::new();
        pair.handshake(A);
        for side in &mut pair.sides {
            assert_eq!(side.all_drops(), []);
            side.events();
        }
        pair
    }

    pub(super) fn path_to(&self, side: usize) -> Path {
        Path::Direct(FourTuple {
            socket: SocketId(0),
            remote: self.sides[side].address,
            local_ip: Some(self.sides[1 - side].address.ip()),
        })
    }

    pub(super) fn command(&mut self, side: usize, command: Command) {
        let Side { shard, tx, .. } = &mut self.sides[side];
        shard.handle_command(self.now, command, tx);
    }

    /// The keypairs of a new session: of the initiator and of the responder.
    pub(super) fn keypairs(&mut self, initiator: usize) -> [Keypair; 2] {
        self.keys += 2;
        let [to, back] = [Key::new([self.keys; 32]), Key::new([self.keys + 1; 32])];
        let mut index = |side: usize| {
            let side = &mut self.sides[side];
            side.sessions = side.sessions.wrapping_add(1);
            crate::index::compose(side.connection, side.sessions)
        };
        let (ours, theirs) = (index(initiator), index(1 - initiator));
        let keypair = |local_index, remote_index, send: &Key, recv: &Key, role| Keypair {
            local_index,
            remote_index,
            send: send.clone(),
            recv: recv.clone(),
            role,
            begun: self.now,
            created: self.now,
        };
        [
            keypair(ours, theirs, &to, &back, Role::Initiator),
            keypair(theirs, ours, &back, &to, Role::Responder),
        ]
    }

    pub(super) fn install(&mut self, side: usize, keypair: Keypair, keep_next: bool) {
        let from = FourTuple {
            socket: SocketId(0),
            remote: self.sides[1 - side].address,
            local_ip: Some(self.sides[side].address.ip()),
        };
        let response = (keypair.role == Role::Responder)
            .then(|| (from, HandshakeBytes::copy_from(&[2; 92]).expect("a response fits")));
        self.latest[side] = Some(keypair.clone());
        let peer = self.sides[side].peer;
        let unix_ns = 1_700_000_000_000_000_000;
        self.command(
            side,
            Command::InstallKeypair { peer, keypair: Box::new(keypair), response, keep_next, from, unix_ns },
        );
    }

    /// A handshake without loss; what waited on the initiator's side has arrived afterwards.
    pub(super) fn handshake(&mut self, initiator: usize) -> Vec<Delivered> {
        let [ours, theirs] = self.keypairs(initiator);
        self.install(1 - initiator, theirs, false);
        let response = self.take(1 - initiator);
        assert_eq!((response.len(), response[0].bytes.len()), (1, 92), "only the response leaves");
        self.install(initiator, ours, false);
        self.carry(initiator)
    }

    /// Sends an inner packet from a side.
    pub(super) fn send(&mut self, side: usize, packet: &[u8]) -> Outcome {
        self.send_super(side, &VnetHeader::PLAIN, packet)
    }

    pub(super) fn send_super(&mut self, side: usize, vnet: &VnetHeader, packet: &[u8]) -> Outcome {
        let Side { shard, tx, .. } = &mut self.sides[side];
        match shard.route(INTERFACE, vnet, packet) {
            Ok(owner) => shard.handle_packet(self.now, INTERFACE, owner.peer, vnet, packet, tx),
            Err(why) => Outcome::Dropped(why),
        }
    }

    /// Flushes a side, and takes what it sends.
    pub(super) fn take(&mut self, side: usize) -> Vec<Datagram> {
        let Side { shard, tx, address, .. } = &mut self.sides[side];
        shard.flush(tx);
        tx.take(*address)
    }

    /// A datagram from a side under its latest session, with any counter and any plaintext.
    pub(super) fn forge(&self, from: usize, counter: u64, plain: &[u8]) -> Datagram {
        let keypair = self.latest[from].as_ref().expect("a session");
        let mut bytes = vec![0; 16 + plain.len() + 16];
        Data::emit_header(bytes.first_chunk_mut().expect("a header"), keypair.remote_index, counter);
        bytes[16..16 + plain.len()].copy_from_slice(plain);
        let text = Span { offset: 16, len: plain.len() as u32 };
        let desc = SealInPlaceDesc { key: 0, counter, aad: Span::default(), text };
        Reference
            .seal_in_place(core::slice::from_ref(&keypair.send), &[], &mut bytes, &[desc])
            .expect("a batch");
        Datagram {
            from: self.sides[from].address,
            to: self.sides[1 - from].address,
            local_ip: None,
            class: TrafficClass::default(),
            bytes,
        }
    }

    /// The plaintext of a datagram from a side under its latest session, padding and all.
    pub(super) fn plaintext(&self, from: usize, datagram: &Datagram) -> Vec<u8> {
        let keypair = self.latest[from].as_ref().expect("a session");
        let mut bytes = datagram.bytes.clone();
        let counter = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
        let text = Span { offset: 16, len: bytes.len() as u32 - 32 };
        let mut batch = [OpenDesc { key: 0, counter, aad: Span::default(), text, opened: false }];
        let opened = Reference.open_batch(core::slice::from_ref(&keypair.send), &[], &mut bytes, &mut batch);
        assert_eq!(opened, Ok(1));
        bytes[16..bytes.len() - 16].to_vec()
    }

    /// Hands datagrams to a side, one receive call for all, each a train of its own.
    pub(super) fn give(&mut self, side: usize, datagrams: &[Datagram]) -> Vec<Delivered> {
        let mut arena = Vec::new();
        let mut metas = Vec::new();
        for datagram in datagrams {
            let len = datagram.bytes.len() as u32;
            metas.push(RxMeta {
                tuple: FourTuple {
                    socket: SocketId(0),
                    remote: datagram.from,
                    local_ip: Some(datagram.to.ip()),
                },
                ecn: datagram.class.ecn(),
                offset: arena.len() as u32,
                len,
                stride: len,
            });
            arena.extend_from_slice(&datagram.bytes);
        }
        self.receive(side, &mut arena, &metas)
    }

    pub(super) fn receive(&mut self, side: usize, arena: &mut [u8], metas: &[RxMeta]) -> Vec<Delivered> {
        let Side { shard, tx, inbound, .. } = &mut self.sides[side];
        shard.handle_datagrams(self.now, |socket| InterfaceId(socket.0), arena, metas, tx, inbound);
        let packets = inbound.packets.iter().map(|delivery| {
            (delivery.peer, arena[delivery.offset as usize..][..delivery.len as usize].to_vec())
        });
        packets.collect()
    }

    /// Carries all that a side has to send to the other.
    pub(super) fn carry(&mut self, from: usize) -> Vec<Delivered> {
        let datagrams = self.take(from);
        self.give(1 - from, &datagrams)
    }

    /// Lets time pass; timers run when they say, and what they send is carried over. Returns the datagrams that were, with
    /// their times since the beginning in milliseconds, and which side they came from.
    pub(super) fn pass(&mut self, span: Duration) -> Vec<(u64, usize, usize)> {
        let (start, end) = (self.now, self.now + span);
        let mut seen = Vec::new();
        loop {
            for side in [A, B] {
                let datagrams = self.take(side);
                let at = self.now.since(start).as_millis() as u64;
                seen.extend(datagrams.iter().map(|datagram| (at, side, datagram.bytes.len())));
                self.give(1 - side, &datagrams);
            }
            let next = self.sides.iter().filter_map(|side| side.shard.poll_timeout()).min();
            match next {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => break,
            }
            for Side { shard, tx, .. } in &mut self.sides {
                shard.handle_timeout(self.now, tx);
            }
        }
        self.now = end;
        seen
    }
}

/// A UDP packet over IPv4 of `len` bytes in all, between two hosts of 10.0.0.0/24.
pub(super) fn udp4(from: u8, to: u8, len: usize, fill: u8) -> Vec<u8> {
    let mut packet = vec![fill; len];
    packet[..10].copy_from_slice(&[0x45, 0, (len >> 8) as u8, len as u8, 0, 1, 0x40, 0, 64, 17]);
    packet[10..20].copy_from_slice(&[0, 0, 10, 0, 0, from, 10, 0, 0, to]);
    let sum = !header_sum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    if let Some(udp) = packet.get_mut(20..28) {
        udp.copy_from_slice(&[0x10, 0, 0x20, 0, ((len - 20) >> 8) as u8, (len - 20) as u8, 0, 0]);
    }
    packet
}

fn header_sum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

/// A TCP super-packet over IPv4 from 10.0.0.`from` with `payload` bytes, to be cut to `mss`.
pub(super) fn tcp_super(from: u8, to: u8, payload: usize, mss: u16, ecn: Ecn) -> (VnetHeader, Vec<u8>) {
    let len = 40 + payload;
    let mut packet = udp4(from, to, len, 0);
    packet[9] = 6;
    packet[1] = ecn as u8;
    for (at, byte) in packet[40..].iter_mut().enumerate() {
        *byte = (at / 7) as u8;
    }
    packet[10..12].fill(0);
    let sum = !header_sum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet[20..40]
        .copy_from_slice(&[0x12, 0x34, 0x43, 0x21, 1, 2, 3, 4, 9, 9, 9, 9, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    // As the kernel leaves it: the sum of the pseudo header stands where the checksum will.
    let tcp_len = (len - 20) as u32;
    let pseudo = u32::from(header_sum(&packet[12..20])) + 6 + tcp_len;
    let pseudo = ((pseudo & 0xffff) + (pseudo >> 16)) as u16;
    packet[36..38].copy_from_slice(&pseudo.to_be_bytes());
    let vnet = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: VnetHeader::GSO_TCPV4,
        hdr_len: 40,
        gso_size: mss,
        csum_start: 20,
        csum_offset: 16,
    };
    (vnet, packet)
}
