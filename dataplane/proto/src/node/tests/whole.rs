//! Two whole ends, each a node and a shard, and a network between them that delays and loses what a seed says.

use std::collections::BTreeMap;

use dataplane_aead::Reference;
use dataplane_wire::offload::VnetHeader;
use dataplane_wire::wireguard::{Message, peek_data};
use dataplane_wire::{Ecn, RxMeta, Train, TxFull, TxMeta, TxSink};

use super::*;
use crate::shard::{Inbound, Shard, ShardConfig, ShardLimits};

/// A send arena.
#[derive(Default)]
struct Sink {
    arena: Vec<u8>,
    used: usize,
    trains: Vec<(TxMeta, usize, usize, usize)>,
}

impl TxSink for Sink {
    fn reserve_train(
        &mut self,
        meta: &TxMeta,
        len: usize,
        n: usize,
        last: usize,
    ) -> Result<Train<'_, Self>, TxFull> {
        let offset = self.used;
        self.used += len * (n - 1) + last;
        self.arena.resize(self.used, 0);
        Ok(Train::new(self, *meta, offset, len, n, last))
    }

    fn arena(&mut self) -> &mut [u8] {
        &mut self.arena
    }

    fn room(&self) -> usize {
        usize::MAX
    }

    fn trains_room(&self) -> usize {
        usize::MAX
    }

    fn commit(&mut self, meta: &TxMeta, offset: usize, len: usize, n: usize, last: usize) {
        self.trains.push((*meta, offset, len, len * (n - 1) + last));
    }

    fn roll_back(&mut self, offset: usize) {
        self.used = offset;
    }
}

/// One end.
pub(super) struct End {
    pub(super) host: Host,
    pub(super) shard: Shard<Reference>,
    sink: Sink,
    inbound: Inbound,
    /// The other end, as it is called here.
    pub(super) peer: PeerId,
    /// Inner packets that have arrived.
    pub(super) delivered: usize,
    /// When initiations left.
    pub(super) initiations: Vec<Instant>,
    /// All sessions: our index, theirs, our role.
    pub(super) sessions: Vec<(u32, u32, Role)>,
    /// The receiver index of the last data that left.
    pub(super) sends_to: u32,
}

/// Ends 0 and 1, hosts of the numbers 1 and 2.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) ends: [End; 2],
    /// Datagrams on their way: when and in which order they arrive, at which end.
    wire: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    sent: u64,
    random: ChaCha12Rng,
    /// Delay of datagrams in milliseconds, from and to, and how many of a hundred are lost.
    pub(super) delay_ms: (u64, u64),
    pub(super) loss: u64,
    /// How many handshake messages the node of each end takes before it has no time left.
    pub(super) patience: [usize; 2],
    /// Which nodes do nothing at all; their shards go on.
    pub(super) stalled: [bool; 2],
    /// What went to neither end: where to, and what.
    pub(super) to_strangers: Vec<(SocketAddr, Vec<u8>)>,
}

impl World {
    pub(super) fn new(seed: u8) -> Self {
        let (mut first, mut second) = (Host::new(1), Host::new(2));
        let peers = [first.meet(Instant::ZERO, &second), second.meet(Instant::ZERO, &first)];
        let end = |mut host: Host, peer| {
            let other = 3 - host.number;
            let allowed_ips = vec![AllowedIp::Give(format!("10.9.0.{other}/32").parse().unwrap())];
            let public = Secret::new([other; 32]).public();
            let change = PeerChange { allowed_ips, ..PeerChange::new(WG0, public) };
            host.node.apply(Instant::ZERO, &[Change::Peer(change)]).unwrap();
            let limits =
                ShardLimits { handshakes: 64, staging_frames: 256, sources: 64, ..ShardLimits::default() };
            let config = ShardConfig {
                core: CoreId(0),
                cores: 1,
                core_bits: 0,
                limits,
                master_seed: [host.number; 32],
            };
            End {
                host,
                shard: Shard::new(config, Reference),
                sink: Sink::default(),
                inbound: Inbound::with_capacity(64),
                peer,
                delivered: 0,
                initiations: Vec::new(),
                sessions: Vec::new(),
                sends_to: 0,
            }
        };
        let ends = [end(first, peers[0]), end(second, peers[1])];
        let random = ChaCha12Rng::from_seed([seed; 32]);
        let mut world = Self {
            now: at(0.0),
            ends,
            wire: BTreeMap::new(),
            sent: 0,
            random,
            delay_ms: (5, 5),
            loss: 0,
            patience: [usize::MAX; 2],
            stalled: [false; 2],
            to_strangers: Vec::new(),
        };
        world.settle();
        world
    }

    /// Sends an inner packet from an end to the other.
    pub(super) fn send(&mut self, from: usize) {
        let End { shard, sink, peer, host, .. } = &mut self.ends[from];
        let mut packet = [0; 28];
        packet[..10].copy_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 59]);
        packet[12..16].copy_from_slice(&[10, 9, 0, host.number]);
        packet[16..20].copy_from_slice(&[10, 9, 0, 3 - host.number]);
        let owner = shard.route(WG0, &VnetHeader::PLAIN, &packet).expect("a route");
        assert_eq!(owner.peer, *peer);
        shard.handle_packet(self.now, WG0, owner.peer, &VnetHeader::PLAIN, &packet, sink);
        self.settle();
    }

    /// Lets time pass until `until`, and all happen that happens by then.
    pub(super) fn run_until(&mut self, until: Instant) {
        loop {
            let timers = self.ends.iter().zip(self.stalled).flat_map(|(end, stalled)| {
                let node = end.host.node.poll_timeout().filter(|_| !stalled);
                [node, end.shard.poll_timeout()]
            });
            let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
            let next = timers.flatten().chain(arrival).min().filter(|next| *next <= until);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, bytes) = entry.remove();
                let from = path(self.ends[1 - to].host.number).remote;
                self.deliver(to, from, bytes);
                self.settle();
            }
            for (end, stalled) in self.ends.iter_mut().zip(self.stalled) {
                if !stalled {
                    end.host.node.handle_timeout(self.now);
                }
                end.shard.handle_timeout(self.now, &mut end.sink);
            }
            self.settle();
        }
        self.now = until;
    }

    /// Brings an end a datagram of a stranger.
    pub(super) fn strange(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        self.deliver(to, from, bytes.to_vec());
        self.settle();
    }

    fn deliver(&mut self, to: usize, from: SocketAddr, mut bytes: Vec<u8>) {
        let len = bytes.len() as u32;
        let tuple = FourTuple { remote: from, ..path(0) };
        let meta = RxMeta { tuple, ecn: Ecn::NotEct, offset: 0, len, stride: len };
        let End { shard, sink, inbound, delivered, .. } = &mut self.ends[to];
        shard.handle_datagrams(self.now, |_| WG0, &mut bytes, &[meta], sink, inbound);
        *delivered += inbound.packets.len();
    }

    /// Carries messages between nodes and shards until there are none, and puts on the wire what leaves.
    fn settle(&mut self) {
        for from in 0..2 {
            let end = &mut self.ends[from];
            while !self.stalled[from] {
                let mut idle = true;
                while let Some(event) = end.shard.poll_event() {
                    end.host.node.handle_event(self.now, CoreId(0), event);
                    idle = false;
                }
                while self.patience[from] > 0
                    && let Some(arrived) = end.shard.poll_handshake()
                {
                    self.patience[from] -= 1;
                    end.host.node.handle_handshake(self.now, CoreId(0), &arrived);
                    idle = false;
                }
                while let Some((_, command)) = end.host.node.poll_command() {
                    if let Command::InstallKeypair { keypair, .. } = &command {
                        end.sessions.push((keypair.local_index, keypair.remote_index, keypair.role));
                    }
                    end.shard.handle_command(self.now, command, &mut end.sink);
                    idle = false;
                }
                if idle {
                    break;
                }
            }
            end.shard.flush(&mut end.sink);
            let other = path(3 - end.host.number).remote;
            for (meta, offset, stride, len) in core::mem::take(&mut end.sink.trains) {
                for bytes in end.sink.arena[offset..offset + len].chunks(stride) {
                    if meta.tuple.remote != other {
                        self.to_strangers.push((meta.tuple.remote, bytes.to_vec()));
                        continue;
                    }
                    end.sends_to = peek_data(bytes).map_or(end.sends_to, |(receiver, _)| receiver);
                    if matches!(Message::parse(bytes), Ok(Message::Initiation(_))) {
                        end.initiations.push(self.now);
                    }
                    self.sent += 1;
                    if self.random.next_u64() % 100 < self.loss {
                        continue;
                    }
                    let (least, most) = self.delay_ms;
                    let delay = least + self.random.next_u64() % (most - least + 1);
                    let arrival = self.now + Duration::from_millis(delay);
                    self.wire.insert((arrival, self.sent), (1 - from, bytes.to_vec()));
                }
            }
            end.sink.used = 0;
        }
    }

    /// Whether both ends send by one and the same session.
    pub(super) fn one_session(&self) -> bool {
        let [first, second] = &self.ends;
        first.sessions.iter().any(|(ours, theirs, _)| *ours == second.sends_to && *theirs == first.sends_to)
    }
}

// WG-29, WG-61
#[test]
fn a_first_packet_gets_through_in_three_half_turns_and_an_idle_session_stays_silent() {
    let mut world = World::new(1);
    world.run_until(at(1.0));
    world.send(0);
    world.run_until(at(1.02));
    assert_eq!(world.ends[1].delivered, 1);
    world.send(1);
    world.run_until(at(1.03));
    assert_eq!(world.ends[0].delivered, 1);
    assert!(world.one_session());
    world.run_until(at(600.0));
    assert_eq!([0, 1].map(|end: usize| world.ends[end].initiations.len()), [1, 0]);
}

// WG-31, WG-32
#[test]
fn simultaneous_initiations_converge_on_one_session_that_one_end_renews() {
    let mut crossings = 0;
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.delay_ms = (1, 200);
        world.run_until(at(1.0));
        // Both within the time that a datagram takes.
        let skew = f64::from(seed % 4) * 0.03;
        world.send(0);
        world.run_until(at(1.0 + skew));
        world.send(1);
        for tenth in 20..1100 {
            world.run_until(at(f64::from(tenth) / 10.0));
            world.send(0);
            world.send(1);
        }
        assert!(world.one_session(), "seed {seed}");
        let [first, second] = [0, 1].map(|end: usize| world.ends[end].initiations.len());
        assert!(first == 1 && second <= 1, "seed {seed}");
        crossings += second;
        let delivered = [0, 1].map(|end: usize| world.ends[end].delivered);
        for tenth in 1100..1300 {
            world.run_until(at(f64::from(tenth) / 10.0));
            world.send(0);
            world.send(1);
        }
        world.run_until(at(131.0));
        // One end renews it; nothing was lost on the way.
        let after = world.ends.iter().map(|end| end.initiations.len()).sum::<usize>();
        assert_eq!(after, first + second + 1, "seed {seed}");
        assert!(world.one_session(), "seed {seed}");
        for end in [0, 1] {
            assert!(world.ends[end].delivered >= delivered[end] + 200, "seed {seed}");
        }
    }
    assert!(crossings > 30, "{crossings}");
}

// WG-31
#[test]
fn with_loss_too_ends_that_begin_together_end_on_one_session() {
    for seed in 0..120 {
        let mut world = World::new(seed);
        (world.delay_ms, world.loss) = ((1, 300), 30);
        world.send(0);
        world.send(1);
        for second in 1..60 {
            world.run_until(at(f64::from(second)));
            world.send(0);
            world.send(1);
        }
        world.loss = 0;
        for second in 60..70 {
            world.run_until(at(f64::from(second)));
            world.send(0);
            world.send(1);
        }
        world.run_until(at(71.0));
        assert!(world.one_session(), "seed {seed}");
        let gaps =
            |end: &End| end.initiations.windows(2).all(|two| two[1].since(two[0]) >= Duration::from_secs(5));
        assert!(world.ends.iter().all(gaps), "seed {seed}");
    }
}

// WG-32
#[test]
fn a_response_that_a_stalled_node_takes_in_late_makes_a_session_whose_age_counts_from_the_initiation() {
    let mut world = World::new(1);
    world.run_until(at(1.0));
    world.send(0);
    // The response is there, and nobody looks at it for 110 s. For the responder the session is as old as that.
    world.stalled[0] = true;
    world.run_until(at(111.0));
    world.stalled[0] = false;
    world.settle();
    for second in 111..240 {
        world.run_until(at(f64::from(second)));
        world.send(0);
    }
    world.run_until(at(241.0));
    let begun: Vec<_> = world.ends[0].initiations.iter().map(|at| at.as_nanos() / 1_000_000_000).collect();
    assert_eq!(begun, [1, 121], "renewed after 120 s, not refused after 180");
    assert_eq!(world.ends[1].initiations.len(), 0);
    assert_eq!(world.ends[1].delivered, 1 + 129, "nothing is lost");
}

/// Two ends with a session, of which the first keeps the way open; and nothing gets through from now on.
fn cut_off(interval_s: u64) -> World {
    let mut world = World::new(1);
    let keepalive = Some(Duration::from_secs(interval_s));
    let change = PeerChange { keepalive, ..PeerChange::new(WG0, Secret::new([2; 32]).public()) };
    world.ends[0].host.node.apply(world.now, &[Change::Peer(change)]).unwrap();
    world.run_until(at(1.0));
    world.settle();
    world.run_until(at(2.0));
    world.loss = 100;
    world
}

fn network_is_back(world: &mut World) {
    world.loss = 0;
    let now = world.now;
    world.ends[0].host.node.network_changed(now, WG0);
    world.settle();
}

// FT-1
#[test]
fn when_the_network_changes_a_peer_with_a_persistent_keepalive_is_sent_one_at_once() {
    let mut world = cut_off(100);
    world.run_until(at(110.0));
    let heard = world.ends[1].shard.totals().rx_keepalives;
    world.loss = 0;
    world.run_until(at(120.0));
    assert_eq!(world.ends[1].shard.totals().rx_keepalives, heard, "the next is due at 200 s");
    network_is_back(&mut world);
    world.run_until(at(120.01));
    assert_eq!(world.ends[1].shard.totals().rx_keepalives, heard + 1);
}

// FT-1, WG-38
#[test]
fn when_the_network_changes_what_was_given_up_is_begun_again_but_never_twice_in_five_seconds() {
    let mut world = cut_off(600);
    for tenth in 30..4000_u32 {
        world.run_until(at(f64::from(tenth) / 10.0));
        if tenth == 1900 {
            world.send(0);
        }
        // Links come and go all the time, and none of them is the right one.
        if tenth.is_multiple_of(7) && tenth < 2500 {
            let now = world.now;
            world.ends[0].host.node.network_changed(now, WG0);
            world.settle();
        }
    }
    let gaps =
        |end: &End| end.initiations.windows(2).all(|two| two[1].since(two[0]) >= Duration::from_secs(5));
    assert!(gaps(&world.ends[0]));
    let tried = world.ends[0].initiations.len();
    world.run_until(at(500.0));
    assert_eq!(world.ends[0].initiations.len(), tried, "given up");
    network_is_back(&mut world);
    world.run_until(at(500.1));
    assert_eq!(world.ends[0].initiations.len(), tried + 1);
    assert_eq!(world.ends[1].sessions.last().map(|session| session.2), Some(Role::Responder));
}

#[test]
fn the_same_seed_gives_the_same_world_twice() {
    let run = |seed| {
        let mut world = World::new(seed);
        (world.delay_ms, world.loss) = ((1, 300), 30);
        for second in 0..300 {
            world.run_until(at(f64::from(second)));
            world.send(usize::from(second % 3 == 0));
        }
        let bytes: Vec<_> = world.wire.iter().collect();
        let state = [0, 1].map(|end: usize| {
            let end = &world.ends[end];
            (end.delivered, end.initiations.clone(), end.sessions.clone(), end.sends_to)
        });
        format!("{} {bytes:?} {state:?}", world.sent)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
