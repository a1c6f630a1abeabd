//! Two shards in memory with sessions between them: the whole hot path but for system calls.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dataplane_aead::{Cipher, Key};
use dataplane_io::memory::{Class, Plan, Region};
use dataplane_io::tx::TxBatch;
use dataplane_proto::IpPrefix;
use dataplane_proto::messages::{Command, Keypair, Path, PeerCounters, Role};
use dataplane_proto::shard::{Inbound, Outcome, Shard, ShardConfig, ShardLimits};
use dataplane_wire::offload::VnetHeader;
use dataplane_wire::{CoreId, Ecn, FourTuple, Instant, InterfaceId, PeerId, RxMeta, SocketId};

const INTERFACE: InterfaceId = InterfaceId(0);
const MTU: u16 = 1420;
/// Slabs of the send arena: as a worker has.
const TX_SLABS: usize = 16;

struct End {
    shard: Shard<Cipher>,
    tx: TxBatch,
}

/// A sender and a receiver, with a session for each of a number of peers.
pub struct Pair {
    now: Instant,
    from: End,
    to: End,
    inbound: Inbound,
    arena: Vec<u8>,
    metas: Vec<RxMeta>,
    peers: Vec<PeerId>,
}

fn tuple(number: usize) -> FourTuple {
    let ip = Ipv4Addr::from_bits(192 << 24 | number as u32);
    FourTuple { socket: SocketId(0), remote: SocketAddr::from((ip, 51820)), local_ip: None }
}

/// The inner address of a peer.
pub fn inner(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(10 << 24 | number as u32)
}

impl Pair {
    /// Ends with so many sessions between them.
    pub fn new(peers: usize) -> Self {
        let plan = Plan::new().with("send arenas", Class::Slab, 2 * TX_SLABS);
        let region = Region::new(&plan).expect("memory for two send arenas");
        let end = |seed| {
            let limits = ShardLimits { staging_frames: 64, ..ShardLimits::default() };
            let config =
                ShardConfig { core: CoreId(0), cores: 1, core_bits: 0, limits, master_seed: [seed; 32] };
            let tx = TxBatch::new(&region, TX_SLABS, 1024).expect("the plan has a line for it");
            End { shard: Shard::new(config, Cipher::auto()), tx }
        };
        let mut pair = Self {
            now: Instant::ZERO + Duration::from_secs(1000),
            from: end(1),
            to: end(2),
            inbound: Inbound::with_capacity(4096),
            arena: vec![0; TX_SLABS * Class::Slab.bytes()],
            metas: Vec::with_capacity(1024),
            peers: (0..peers as u32).map(|slot| PeerId { slot, generation: 0 }).collect(),
        };
        for number in 0..peers {
            pair.connect(number);
        }
        pair
    }

    fn connect(&mut self, number: usize) {
        let peer = self.peers[number];
        let index = (number as u32) << 8 | 1;
        let keys = [0_u8, 1].map(|way| {
            let mut bytes = [way; 32];
            bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
            Key::new(bytes)
        });
        for (end, role) in [(&mut self.to, Role::Responder), (&mut self.from, Role::Initiator)] {
            let (send, recv) = match role {
                Role::Initiator => (keys[0].clone(), keys[1].clone()),
                Role::Responder => (keys[1].clone(), keys[0].clone()),
            };
            let prefix = IpPrefix::new(IpAddr::V4(inner(number)), 32).expect("a host is a prefix");
            let keypair = Keypair {
                local_index: index,
                remote_index: index,
                send,
                recv,
                role,
                begun: self.now,
                created: self.now,
            };
            let commands = [
                Command::AddInterface {
                    interface: INTERFACE,
                    mtu: MTU,
                    mac1_key: [0; 32],
                    cookie_key: [0; 32],
                },
                Command::AddPeer {
                    peer,
                    interface: INTERFACE,
                    connection: number as u32,
                    counters: Arc::new(PeerCounters::default()),
                },
                Command::SetRoute { interface: INTERFACE, peer, core: CoreId(0), prefix },
                Command::SetPath {
                    peer,
                    generation: 1,
                    path: Some(Path::Direct(tuple(number))),
                    roams: false,
                },
                Command::InstallKeypair {
                    peer,
                    keypair: Box::new(keypair),
                    response: None,
                    keep_next: false,
                    from: tuple(number),
                    unix_ns: 0,
                },
            ];
            // One interface is enough.
            for command in commands.into_iter().skip(usize::from(number > 0)) {
                end.shard.handle_command(self.now, command, &mut end.tx);
            }
            // What the shard says while it is set up (a keepalive that confirms the session) goes nowhere.
            end.shard.flush(&mut end.tx);
            end.tx.clear();
        }
    }

    /// Looks the peer of a packet up and gives the packet to it.
    ///
    /// # Panics
    /// Where it is not taken.
    pub fn send(&mut self, vnet: &VnetHeader, packet: &[u8]) {
        let End { shard, tx } = &mut self.from;
        let owner = shard.route(INTERFACE, vnet, packet).expect("a route");
        let outcome = shard.handle_packet(self.now, INTERFACE, owner.peer, vnet, packet, tx);
        assert!(matches!(outcome, Outcome::Queued), "{outcome:?}");
    }

    /// Seals what was sent and forgets it: the cost of sending alone. Returns how many datagrams it was.
    pub fn flush(&mut self) -> usize {
        self.from.shard.flush(&mut self.from.tx);
        let datagrams = self.from.tx.datagrams();
        self.from.tx.clear();
        datagrams
    }

    /// Seals what was sent, copies it to the receiver as a network would, and opens it. Returns how many packets arrived.
    pub fn carry(&mut self) -> usize {
        self.from.shard.flush(&mut self.from.tx);
        self.metas.clear();
        let mut offset = 0;
        for train in self.from.tx.trains() {
            let start = offset;
            for piece in train.pieces() {
                self.arena[offset..offset + piece.len()].copy_from_slice(piece);
                offset += piece.len();
            }
            self.metas.push(RxMeta {
                tuple: train.meta().tuple,
                ecn: Ecn::NotEct,
                offset: start as u32,
                len: (offset - start) as u32,
                stride: train.segment_len() as u32,
            });
        }
        self.from.tx.clear();
        let End { shard, tx } = &mut self.to;
        shard.handle_datagrams(self.now, |_| INTERFACE, &mut self.arena, &self.metas, tx, &mut self.inbound);
        tx.clear();
        self.inbound.packets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{tcp_super_packet, udp_packet};

    #[test]
    fn packets_to_many_peers_arrive() {
        let mut pair = Pair::new(100);
        for number in 0..100 {
            pair.send(&VnetHeader::PLAIN, &udp_packet(inner(number), 64));
        }
        assert_eq!(pair.carry(), 100);
    }

    #[test]
    fn a_super_packet_arrives_as_its_segments() {
        let mut pair = Pair::new(1);
        let (vnet, packet) = tcp_super_packet(inner(0), 44);
        pair.send(&vnet, &packet);
        assert_eq!(pair.carry(), 44);
        pair.send(&vnet, &packet);
        assert_eq!(pair.flush(), 44);
    }
}
