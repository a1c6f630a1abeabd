//! Two shards in memory with a cipher that only copies: what a packet costs without system calls and without a cipher.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant as Clock};

use dataplane_aead::{Aead, BatchError, Key, OpenDesc, SealDesc, SealInPlaceDesc};
use dataplane_proto::IpPrefix;
use dataplane_proto::messages::{Command, HandshakeBytes, Keypair, Path, Role};
use dataplane_proto::shard::{Inbound, Outcome, Route, Shard, ShardConfig, ShardLimits};
use dataplane_wire::offload::VnetHeader;
use dataplane_wire::{
    CoreId, Ecn, FourTuple, Instant, InterfaceId, PeerId, RxMeta, SocketId, Train, TxFull, TxMeta, TxSink,
};

use crate::Numbers;

/// Packets between two flushes, as a busy worker has them.
const BATCH: usize = 64;
/// Segments of a super-packet.
pub const SEGMENTS: usize = 44;
/// Super-packets of a batch.
const SUPERS: usize = 4;
const MSS: usize = 1380;
const WG0: InterfaceId = InterfaceId(0);

thread_local! {
    static CIPHER: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Copies instead of sealing, and measures how long it took.
struct Null;

fn timed<T>(work: impl FnOnce() -> T) -> T {
    let start = Clock::now();
    let done = work();
    CIPHER.set(CIPHER.get() + start.elapsed());
    done
}

impl Aead for Null {
    fn name(&self) -> &'static str {
        "null"
    }

    fn seal_batch(
        &self,
        _: &[Key],
        gather: &[u8],
        source: &[u8],
        arena: &mut [u8],
        batch: &[SealDesc],
    ) -> Result<(), BatchError> {
        timed(|| {
            for desc in batch {
                let head = &gather[desc.head.offset as usize..][..desc.head.len as usize];
                let body = &source[desc.body.offset as usize..][..desc.body.len as usize];
                let text = &mut arena[desc.dst as usize..][..head.len() + body.len() + desc.pad as usize];
                text[..head.len()].copy_from_slice(head);
                text[head.len()..][..body.len()].copy_from_slice(body);
                text[head.len() + body.len()..].fill(0);
            }
        });
        Ok(())
    }

    fn seal_in_place(
        &self,
        _: &[Key],
        _: &[u8],
        _: &mut [u8],
        _: &[SealInPlaceDesc],
    ) -> Result<(), BatchError> {
        Ok(())
    }

    fn open_batch(
        &self,
        _: &[Key],
        _: &[u8],
        _: &mut [u8],
        batch: &mut [OpenDesc],
    ) -> Result<usize, BatchError> {
        timed(|| batch.iter_mut().for_each(|desc| desc.opened = true));
        Ok(batch.len())
    }
}

/// A bump arena; what was sent lies as the receiver's batch.
struct Arena {
    bytes: Vec<u8>,
    used: usize,
    metas: Vec<RxMeta>,
}

impl TxSink for Arena {
    fn reserve_train(
        &mut self,
        meta: &TxMeta,
        segment_len: usize,
        segments: usize,
        last_len: usize,
    ) -> Result<Train<'_, Self>, TxFull> {
        let offset = self.used;
        let end = offset + segment_len * (segments - 1) + last_len;
        if end > self.bytes.len() {
            return Err(TxFull);
        }
        self.used = end;
        Ok(Train::new(self, *meta, offset, segment_len, segments, last_len))
    }

    fn arena(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn room(&self) -> usize {
        self.bytes.len() - self.used
    }

    fn trains_room(&self) -> usize {
        usize::MAX
    }

    fn commit(&mut self, meta: &TxMeta, offset: usize, segment_len: usize, segments: usize, last: usize) {
        self.metas.push(RxMeta {
            tuple: FourTuple { local_ip: None, ..meta.tuple },
            ecn: Ecn::NotEct,
            offset: offset as u32,
            len: (segment_len * (segments - 1) + last) as u32,
            stride: segment_len as u32,
        });
    }

    fn roll_back(&mut self, offset: usize) {
        self.used = offset;
    }
}

/// A shard with so many peers that all have sessions. Peer `n` is the host 10.(128 if `far`) + n.
fn shard(peers: u32, far: bool, now: Instant, tx: &mut Arena) -> Shard<Null> {
    let config = ShardConfig {
        core: CoreId(0),
        cores: 1,
        core_bits: 0,
        limits: ShardLimits::default(),
        master_seed: [1; 32],
    };
    let mut shard = Shard::new(config, Null);
    let (mac1_key, cookie_key) = ([0; 32], [0; 32]);
    let mut tell = |command| {
        shard.handle_command(now, command, tx);
        (tx.used, tx.metas) = (0, Vec::with_capacity(BATCH));
    };
    tell(Command::AddInterface { interface: WG0, mtu: 1420, mac1_key, cookie_key });
    for number in 0..peers {
        let peer = PeerId { slot: number, generation: 0 };
        let connection = number.wrapping_mul(0x9e37_79b9) >> 8;
        tell(Command::AddPeer { peer, interface: WG0, connection, counters: Default::default() });
        let prefix = IpPrefix::new(host(number, far).into(), 32).expect("a host");
        tell(Command::SetRoute { interface: WG0, peer, core: CoreId(0), prefix });
        let from = FourTuple { socket: SocketId(0), remote: remote(number), local_ip: None };
        tell(Command::SetPath { peer, generation: 1, path: Some(Path::Direct(from)), roams: true });
        let index = connection << 8;
        let keypair = Keypair {
            local_index: index,
            remote_index: index,
            send: Key::new([1; 32]),
            recv: Key::new([1; 32]),
            role: Role::Initiator,
            begun: now,
            created: now,
        };
        let (response, keep_next): (Option<(FourTuple, HandshakeBytes)>, bool) = (None, false);
        tell(Command::InstallKeypair {
            peer,
            keypair: Box::new(keypair),
            response,
            keep_next,
            from,
            unix_ns: 0,
        });
    }
    shard
}

fn host(number: u32, far: bool) -> [u8; 4] {
    let [_, a, b, c] = number.to_be_bytes();
    [10, a | if far { 128 } else { 0 }, b, c]
}

fn remote(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    ([172, a, b, c], 51820).into()
}

/// An IPv4 packet to peer `number`, as it will be accepted from the other end's peer of that number.
fn packet(number: u32, len: usize, protocol: u8) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[..10].copy_from_slice(&[0x45, 0, (len >> 8) as u8, len as u8, 0, 1, 0x40, 0, 64, protocol]);
    packet[12..16].copy_from_slice(&host(number, false));
    packet[16..20].copy_from_slice(&host(number, true));
    packet
}

fn super_packet(number: u32) -> (VnetHeader, Vec<u8>) {
    let mut bytes = packet(number, 40 + SEGMENTS * MSS, 6);
    bytes[32] = 0x50;
    let vnet = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: VnetHeader::GSO_TCPV4,
        hdr_len: 40,
        gso_size: MSS as u16,
        csum_start: 20,
        csum_offset: 16,
    };
    (vnet, bytes)
}

/// What one round cost per packet in nanoseconds: out, out less cipher, in, in less cipher.
pub type Cost = [f64; 4];

/// A sender, a receiver, and what lies between them.
pub struct Ends {
    near: Shard<Null>,
    far: Shard<Null>,
    tx: Arena,
    replies: Arena,
    inbound: Inbound,
    /// Of the batch in hand.
    routes: Vec<Route>,
    owners: Vec<PeerId>,
    now: Instant,
}

impl Ends {
    /// Ends with so many sessions between them.
    pub fn new(peers: u32) -> Self {
        let now = Instant::from_nanos(1 << 40);
        let arena = |bytes| Arena { bytes: vec![0; bytes], used: 0, metas: Vec::with_capacity(BATCH) };
        let (mut tx, mut replies) = (arena(1 << 20), arena(1 << 16));
        let near = shard(peers, true, now, &mut tx);
        let far = shard(peers, false, now, &mut replies);
        let (routes, owners) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        Self { near, far, tx, replies, inbound: Inbound::with_capacity(4096), routes, owners, now }
    }

    /// Sends all packets of a load in batches, and receives them.
    ///
    /// # Panics
    /// Where one is lost.
    pub fn round(&mut self, load: &mut Load) -> Cost {
        let mut spent = [Duration::ZERO; 4];
        for _ in 0..load.batches {
            load.address();
            let (out, out_cipher) = self.send(load);
            let (back, back_cipher) = self.receive(load);
            let all = [out, out - out_cipher, back, back - back_cipher];
            spent.iter_mut().zip(all).for_each(|(sum, one)| *sum += one);
        }
        spent.map(|time| time.as_nanos() as f64 / load.datagrams() as f64)
    }

    /// The way out of the batch in hand: how long it took, and how long the cipher of it.
    fn send(&mut self, load: &Load) -> (Duration, Duration) {
        let Self { near, tx, routes, owners, now, .. } = self;
        *now += Duration::from_micros(50);
        CIPHER.set(Duration::ZERO);
        let start = Clock::now();
        routes.clear();
        owners.clear();
        let find = |packet: &Vec<u8>| near.find_route(WG0, &load.vnet, packet).expect("a route");
        routes.extend(load.packets.iter().map(find));
        owners.extend(routes.iter().map(|route| {
            let owner = near.owner(route).expect("an owner").peer;
            near.prefetch_peer(owner);
            owner
        }));
        owners.iter().for_each(|owner| near.prefetch_counters(*owner));
        for (owner, packet) in owners.iter().zip(&load.packets) {
            let outcome = near.handle_packet(*now, WG0, *owner, &load.vnet, packet, tx);
            assert_eq!(outcome, Outcome::Queued);
        }
        near.flush(tx);
        (start.elapsed(), CIPHER.replace(Duration::ZERO))
    }

    /// The way in, likewise.
    fn receive(&mut self, load: &Load) -> (Duration, Duration) {
        let Self { far, tx, replies, inbound, now, .. } = self;
        let start = Clock::now();
        far.handle_datagrams(*now, |_| WG0, &mut tx.bytes, &tx.metas, replies, inbound);
        let took = start.elapsed();
        assert_eq!(inbound.packets.len(), load.packets.len() * load.per_call);
        (tx.used, replies.used) = (0, 0);
        tx.metas.clear();
        (took, CIPHER.get())
    }
}

/// The packets of one batch, which are addressed anew for each: so that what a round reads of its own stays in the cache, and
/// only peers are what there are many of.
pub struct Load {
    packets: Vec<Vec<u8>>,
    vnet: VnetHeader,
    numbers: Numbers,
    peers: usize,
    /// Of a round.
    batches: usize,
    /// Datagrams that a packet becomes.
    per_call: usize,
}

impl Load {
    /// TCP super-packets, each to a peer drawn anew.
    pub fn supers(peers: u32, count: usize) -> Self {
        let (vnet, packet) = super_packet(0);
        Self::new(peers, vec![packet; SUPERS], vnet, count, SEGMENTS)
    }

    /// Packets of 64 bytes, each to a peer drawn anew.
    pub fn singles(peers: u32, count: usize) -> Self {
        Self::new(peers, vec![packet(0, 64, 17); BATCH], VnetHeader::PLAIN, count, 1)
    }

    fn new(peers: u32, packets: Vec<Vec<u8>>, vnet: VnetHeader, count: usize, per_call: usize) -> Self {
        let batches = count.div_ceil(packets.len());
        Self { packets, vnet, numbers: Numbers::new(1), peers: peers as usize, batches, per_call }
    }

    /// How many datagrams a round sends.
    pub fn datagrams(&self) -> usize {
        self.batches * self.packets.len() * self.per_call
    }

    fn address(&mut self) {
        for packet in &mut self.packets {
            let number = self.numbers.below(self.peers) as u32;
            packet[12..16].copy_from_slice(&host(number, false));
            packet[16..20].copy_from_slice(&host(number, true));
        }
    }
}
