//! Hot: one worker, which moves the packets of one core.
//!
//! A turn:
//! 1. wait until something is ready, another thread calls, or a timer is due; read the clock once;
//! 2. take commands, a bounded number;
//! 3. take what other cores handed over ([`inbound`], [`outbound`]);
//! 4. receive one batch from the sockets, open it, deliver it ([`inbound`]);
//! 5. read a bounded number of packets from each inner side that is ready, describe them ([`outbound`]);
//! 6. run timers that are due;
//! 7. seal what was described, send it;
//! 8. pass events on, publish counters; while strangers flood, decide what of it the kernel should keep.
//!
//! A panic in a turn ends the turn, not the worker: [`recover`] makes it a shard anew.
//!
//! Every step is bounded, so that a busy sender starves neither receive nor control (EN-14). After start the steps from 3 on
//! allocate nothing and take no lock.

mod inbound;
mod interfaces;
mod outbound;
mod recover;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use dataplane_aead::Cipher;
use dataplane_io::memory::Pool;
use dataplane_io::packet_io::{PacketIo, ReadyToken};
use dataplane_io::poll::{Interest, Poller, Token};
use dataplane_io::screen::Shunned;
use dataplane_io::usdt;
use dataplane_io::{RxRing, TxBatch};
use dataplane_proto::admission::{Admission, Share};
use dataplane_proto::shard::{Inbound, Shard, ShardConfig};
use dataplane_proto::shun::{self, SHUNNED_MAX, Source};
use dataplane_wire::offload::{Coalescer, Offloads};
use dataplane_wire::{CoreId, DropReason, Instant, SocketId, TxSink};

use crate::clock;
use crate::counters::{Drops, WorkerStats};
use crate::hook::{Hook, PolicyCounts};
use crate::link::{Drain, HandOff, WorkerCommand, WorkerLink};
use crate::outer::AnySocket;
use interfaces::{Interfaces, SideReady};
use outbound::{READS_MAX, Read, packets_of};
use recover::{Panics, Standing};
use rustix::thread::sched_getcpu;

/// Datagrams of one train at most (the kernel's limit for UDP_GRO).
const SEGMENTS_MAX: usize = 64;
/// Commands that one turn takes: a flood of configuration leaves room for packets.
const COMMANDS_PER_TURN: usize = 128;
/// Hand-offs that one turn takes.
const HAND_OFFS_PER_TURN: usize = 256;
/// Room in the send arena that any command may need: a response, and what it lets go of.
const COMMAND_ROOM: usize = 4096;
/// Trains that are left when the arena is sent before a command, or before the timers: as many keepalives as fit the room above.
const TRAINS_ROOM: usize = COMMAND_ROOM / 32;
/// How often counters are published while packets move.
const PUBLISH_EVERY: Duration = Duration::from_millis(20);
/// Poller tokens from here on are inner sides; below are sockets.
const INNER_TOKENS: u64 = 1 << 32;

/// What a worker is built from, beside its backend.
pub(crate) struct Parts {
    pub(crate) core: CoreId,
    pub(crate) shard_config: ShardConfig,
    pub(crate) cipher: Cipher,
    pub(crate) rx: RxRing,
    pub(crate) tx: TxBatch,
    pub(crate) pool: Pool,
    pub(crate) poller: Poller,
    pub(crate) links: Arc<[WorkerLink]>,
    pub(crate) control: std::thread::Thread,
    pub(crate) hook: Option<Box<dyn Hook>>,
    /// For how long after work the worker looks for more without sleeping.
    pub(crate) busy_poll: Duration,
}

/// A worker, whatever its backend.
pub(crate) trait Run {
    /// Runs until the link says stop.
    fn run(&mut self);
}

pub(crate) struct Worker<P> {
    core: CoreId,
    shard_config: ShardConfig,
    cipher: Cipher,
    shard: Shard<Cipher>,
    standing: Standing,
    panics: Panics,
    io: P,
    rx: RxRing,
    tx: TxBatch,
    pool: Pool,
    poller: Poller,
    links: Arc<[WorkerLink]>,
    control: std::thread::Thread,
    hook: Option<Box<dyn Hook>>,
    policy: Box<PolicyCounts>,
    interfaces: Interfaces,
    inbound: Inbound,
    /// Read from an inner side, and not described yet; empty between turns.
    read: Vec<Read>,
    coalescer: Coalescer,
    stats: WorkerStats,
    /// What the probe `drop` was told of.
    probed_drops: Drops,
    published_at: Instant,
    busy_poll: Duration,
    worked_at: Instant,
    drains: Vec<Drain>,
    /// How much of a flood of handshakes the sockets let through.
    admission: Admission,
    /// Sources that the sockets keep out.
    shunned: ArrayVec<Shunned, SHUNNED_MAX>,
    /// Cores that were handed something in this turn, a bit each.
    wake: u64,
    /// Something is known to be ready: the next wait does not block.
    more: bool,
}

impl<P: PacketIo<Socket: Send + 'static>> Worker<P> {
    pub(crate) fn new(parts: Parts, io: P) -> Self {
        let inbound = Inbound::with_capacity(parts.rx.slots() * SEGMENTS_MAX);
        Self {
            core: parts.core,
            shard_config: parts.shard_config,
            cipher: parts.cipher,
            shard: Shard::new(parts.shard_config, parts.cipher),
            standing: Standing::Told,
            panics: Panics::default(),
            io,
            rx: parts.rx,
            tx: parts.tx,
            pool: parts.pool,
            poller: parts.poller,
            links: parts.links,
            control: parts.control,
            hook: parts.hook,
            policy: Box::new([0; 256]), // tidy: at start
            interfaces: Interfaces::default(),
            inbound,
            read: Vec::with_capacity(READS_MAX), // tidy: at start
            coalescer: Coalescer::new(Offloads::ALL),
            stats: WorkerStats::default(),
            probed_drops: Drops::default(),
            published_at: Instant::ZERO,
            busy_poll: parts.busy_poll,
            worked_at: Instant::ZERO,
            drains: Vec::new(), // tidy: at start
            admission: Admission::default(),
            shunned: ArrayVec::new(),
            wake: 0,
            more: false,
        }
    }

    /// Turns until the link says stop.
    fn turns(&mut self) {
        let mut now = clock::now();
        while !self.link().stopping() {
            let parked_at = now;
            let wait = self.wait_for(now);
            if self.poller.wait(wait).is_err() {
                // Nothing that this thread does can cause it; going on would spin.
                break;
            }
            now = clock::now();
            self.stats.idle_ns += saturating_ns(now.since(parked_at));
            if self.turn(now) {
                let ended = clock::now();
                self.stats.turns_busy += 1;
                self.stats.busy_ns += saturating_ns(ended.since(now));
                self.worked_at = ended;
                now = ended;
            }
        }
        self.finish(now);
    }

    /// One turn; whether there was anything to do.
    fn turn(&mut self, now: Instant) -> bool {
        self.more = false;
        let mut busy = self.note_ready();
        busy |= self.take_commands(now);
        busy |= self.take_hand_offs(now);
        busy |= self.receive(now);
        if self.standing == Standing::Told {
            busy |= self.read_inner_sides(now);
        }
        if self.shard.poll_timeout().is_some_and(|due| due <= now) {
            self.make_room();
            self.shard.handle_timeout(now, &mut self.tx);
            busy = true;
        }
        self.send();
        self.drain(now);
        self.pass_events();
        if now.since(self.published_at) >= PUBLISH_EVERY {
            self.publish(now);
        }
        busy
    }

    fn link(&self) -> &WorkerLink {
        &self.links[usize::from(self.core.0)]
    }

    /// How long the next wait may block.
    fn wait_for(&mut self, now: Instant) -> Option<Duration> {
        if self.more {
            return Some(Duration::ZERO);
        }
        if !self.busy_poll.is_zero() && now.since(self.worked_at) < self.busy_poll {
            return Some(Duration::ZERO);
        }
        if self.published_at < now {
            // What was counted since the last time must show even if nothing happens for an hour.
            self.publish(now);
        }
        let drain = self.drains.iter().map(|drain| drain.deadline).min();
        let flood = [self.admission.poll_timeout(), self.shard.shunned_until()].into_iter().flatten().min();
        let due = [drain, self.shard.poll_timeout(), flood];
        due.into_iter().flatten().min().map(|due| due.since(now))
    }

    fn note_ready(&mut self) -> bool {
        let mut any = false;
        for ready in self.poller.ready() {
            any = true;
            if ready.token.0 >= INNER_TOKENS {
                self.interfaces.set_ready((ready.token.0 - INNER_TOKENS) as usize, SideReady::from(ready));
            } else {
                self.io.set_ready(ReadyToken(ready.token.0 as u32));
            }
        }
        any
    }

    fn take_commands(&mut self, now: Instant) -> bool {
        for taken in 0..COMMANDS_PER_TURN {
            let Some(command) = self.link().commands.pop() else { return taken > 0 };
            match command {
                // What it speaks of will be told again.
                WorkerCommand::Proto(_) if self.standing == Standing::Orphaned => {}
                WorkerCommand::Proto(command) => {
                    self.make_room();
                    self.shard.handle_command(now, command, &mut self.tx);
                }
                other => self.change_interfaces(other),
            }
        }
        self.more = true;
        true
    }

    fn take_hand_offs(&mut self, now: Instant) -> bool {
        for taken in 0..HAND_OFFS_PER_TURN {
            let Some(hand_off) = self.link().hand_offs.pop() else { return taken > 0 };
            match hand_off {
                HandOff::Datagram { buf, meta } => self.take_datagram(now, buf, meta),
                HandOff::Packet { interface, peer, buf, len } => {
                    self.take_packet(now, interface, peer, buf, len);
                }
            }
        }
        self.more = true;
        true
    }

    fn change_interfaces(&mut self, command: WorkerCommand) {
        match command {
            // Dropping a fence is what it is for.
            WorkerCommand::Proto(_) | WorkerCommand::Fence { .. } => {}
            WorkerCommand::Adopt => self.be_adopted(),
            WorkerCommand::Adopted => self.standing = Standing::Told,
            WorkerCommand::Drain(drain) => {
                self.interfaces.set_all_ready();
                self.drains.push(drain);
            }
            WorkerCommand::AddInner { interface, inner, readable, refusals } => {
                let slot = usize::from(interface.0);
                let token = Token(INNER_TOKENS + slot as u64);
                let polled =
                    if readable { self.poller.add(inner.fd(), token, Interest::Read) } else { Ok(()) };
                match polled {
                    Ok(()) => self.interfaces.add(slot, inner, readable),
                    // Who asked has the answer, or does not wait any more.
                    Err(error) => _ = refusals.send(error),
                }
            }
            WorkerCommand::RemoveInner { interface, _done } => {
                if let Some(inner) = self.interfaces.remove(usize::from(interface.0)) {
                    let _ = self.poller.remove(inner.fd());
                }
            }
            WorkerCommand::AddSockets { socket, sockets, refusals } => {
                if let Err(error) = self.add_sockets(socket, sockets) {
                    // What was added goes with the sockets of the other workers, by the next command.
                    let _ = refusals.send(error);
                }
            }
            WorkerCommand::RemoveSockets { socket, _done } => {
                let poller = &self.poller;
                self.io.poll_fds(&mut |_, fd| {
                    let _ = poller.remove(fd);
                });
                drop(self.io.remove_socket(socket));
                // They were polled a moment ago, so there is room for them.
                let _ = self.poll_sockets();
            }
        }
    }

    /// Sends now where the arena is nearly full.
    fn make_room(&mut self) {
        if self.tx.room() < COMMAND_ROOM || self.tx.trains_room() < TRAINS_ROOM {
            self.send();
        }
    }

    /// Seals and sends what was described since the last send.
    fn send(&mut self) {
        self.shard.flush(&mut self.tx);
        if !self.tx.is_empty() {
            let report = self.io.send(&mut self.tx);
            self.stats.tx_batches += u64::from(report.calls);
            self.stats.tx_datagrams += report.datagrams;
            self.stats.tx_bytes += report.bytes;
            usdt::tx_batch(self.core.0, report.datagrams, report.bytes, u64::from(report.calls));
            for (reason, count) in report.drops() {
                self.stats.drops.add(reason, count);
            }
            for tuple in &report.rejected_sources {
                self.shard.source_refused(tuple);
            }
        }
        let mut wake = std::mem::take(&mut self.wake);
        while wake != 0 {
            self.links[wake.trailing_zeros() as usize].waker.wake();
            wake &= wake - 1;
        }
    }

    /// Moves events to the control thread as far as its queues have room; the rest stays in the shard.
    fn pass_events(&mut self) {
        let link = &self.links[usize::from(self.core.0)];
        let mut passed = false;
        while !link.events.is_full() {
            let Some(event) = self.shard.poll_event() else { break };
            passed |= link.events.push(event).is_ok();
        }
        while !link.handshakes.is_full() {
            let Some(arrived) = self.shard.poll_handshake() else { break };
            passed |= link.handshakes.push(arrived).is_ok();
        }
        if passed {
            self.control.unpark();
        }
    }

    fn publish(&mut self, now: Instant) {
        self.published_at = now;
        self.screen(now);
        let mut stats = self.stats;
        stats.drops.add_table(self.shard.drops());
        self.probe_drops(&stats.drops);
        let link = &self.links[usize::from(self.core.0)];
        link.counters.publish(&stats);
        link.set_place(sched_getcpu(), self.io.offloads());
        if self.hook.is_some() {
            link.policy.publish(&self.policy);
        }
    }

    /// Has the kernel keep out what is known to be refused.
    fn screen(&mut self, now: Instant) {
        let mut changed = self.admission.handle_stats(now, &self.shard.gate_stats(now));
        let shunned =
            self.shard.shunned(now).map(|shun::Shunned { source: Source { socket, remote }, handshakes }| {
                Shunned { socket, remote, handshakes }
            });
        let shunned: ArrayVec<_, SHUNNED_MAX> = shunned.collect();
        changed |= shunned != self.shunned;
        if changed {
            self.io.screen(self.admission.share().map(Share::most), &shunned);
            self.shunned = shunned;
        }
    }

    /// Tells the probe what was dropped since the last time.
    fn probe_drops(&mut self, drops: &Drops) {
        if cfg!(feature = "usdt") {
            for (reason, count) in drops.nonzero() {
                let before = self.probed_drops.of(reason);
                if count > before {
                    usdt::drop(self.core.0, reason as u64, count - before);
                }
            }
            self.probed_drops = *drops;
        }
    }

    /// The last turn: what was committed still leaves.
    fn finish(&mut self, now: Instant) {
        self.send();
        self.publish(now);
    }

    /// Hands something to another core; counts what it stands for as dropped when that core's ring is full.
    fn hand_over(&mut self, core: CoreId, hand_off: HandOff) -> bool {
        let Some(link) = self.links.get(usize::from(core.0)) else { return false };
        usdt::hand_off(self.core.0, core.0, matches!(hand_off, HandOff::Packet { .. }));
        match link.hand_offs.push(hand_off) {
            Ok(()) => {
                self.wake |= 1 << core.0;
                true
            }
            Err(back) => {
                let packets = match &back {
                    HandOff::Datagram { .. } => 1,
                    HandOff::Packet { buf, len, .. } => packets_of(&buf[..*len]),
                };
                self.stats.drops.add(DropReason::HandOffFull, packets);
                false
            }
        }
    }

    fn add_sockets(&mut self, socket: SocketId, sockets: Vec<AnySocket>) -> io::Result<()> {
        for member in sockets {
            // Of another type only by a defect of this crate: the backend made it.
            let Ok(member) = member.downcast() else { return Err(io::ErrorKind::InvalidInput.into()) };
            self.io.add_socket(socket, *member)?;
        }
        self.poll_sockets()
    }

    /// Tells the poller of every socket.
    fn poll_sockets(&mut self) -> io::Result<()> {
        let poller = &self.poller;
        let mut polled = Ok(());
        self.io.poll_fds(&mut |token, fd| match poller.add(fd, Token(u64::from(token.0)), Interest::Read) {
            // It is there already, and stays as it is.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => polled = Err(error),
            Ok(()) => {}
        });
        polled
    }
}

fn saturating_ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
