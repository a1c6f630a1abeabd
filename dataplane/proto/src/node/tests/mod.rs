//! Nodes under virtual time, and what tests need to speak to them.

use core::net::SocketAddr;
use core::time::Duration;

use dataplane_wire::{CoreId, DropReason, FourTuple, Instant, InterfaceId, PeerId, SocketId};

use super::*;
use crate::messages::{HandshakeArrived, HandshakeBytes, Keypair, Role};

mod attempts;
mod boringtun;
mod config;
mod cookies;
mod crossings;
mod exchange;
mod flood;
mod load;
mod model;
mod recheck;
mod scale;
mod whole;

pub(super) const WG0: InterfaceId = InterfaceId(0);

pub(super) fn at(secs: f64) -> Instant {
    Instant::ZERO + Duration::from_secs_f64(secs)
}

/// A path to the host with this number.
pub(super) fn path(host: u8) -> FourTuple {
    let remote = SocketAddr::from(([10, 0, 0, host], 51820));
    FourTuple { socket: SocketId(0), remote, local_ip: None }
}

/// A node with one interface that is up, whose private key and address follow from a number.
pub(super) struct Host {
    pub(super) number: u8,
    pub(super) node: Node,
}

impl Host {
    pub(super) fn new(number: u8) -> Self {
        Self::with_cores(number, 1, 0)
    }

    pub(super) fn with_cores(number: u8, cores: u8, core_bits: u8) -> Self {
        Self::with(number, cores, core_bits, HandshakePolicy::default())
    }

    pub(super) fn with_policy(number: u8, policy: HandshakePolicy) -> Self {
        Self::with(number, 1, 0, policy)
    }

    fn with(number: u8, cores: u8, core_bits: u8, policy: HandshakePolicy) -> Self {
        let config = NodeConfig { cores, core_bits, limits: Limits::default(), seed: [number; 32] };
        let mut node = Node::new(config, Instant::ZERO);
        node.set_wall_clock(Instant::ZERO, Duration::from_secs(1_700_000_000));
        let changes = [
            Change::AddInterface { interface: WG0, mtu: 1420, policy },
            Change::SetSockets { interface: WG0, v4: Some(SocketId(0)), v6: None },
            Change::SetPrivateKey { interface: WG0, key: Secret::new([number; 32]) },
            Change::SetUp { interface: WG0, up: true },
        ];
        node.apply(Instant::ZERO, &changes).unwrap();
        Self { number, node }
    }

    pub(super) fn public(&self) -> PublicKey {
        Secret::new([self.number; 32]).public()
    }

    /// Adds the other host as a peer, with a path to it, as a controller of fixed endpoints would.
    pub(super) fn meet(&mut self, now: Instant, other: &Host) -> PeerId {
        let change =
            PeerChange { endpoint: Some(path(other.number).remote), ..PeerChange::new(WG0, other.public()) };
        let peer = self.node.apply(now, &[Change::Peer(change)]).unwrap()[0].unwrap();
        self.set_path(now, peer, 1, Some(other.number));
        peer
    }

    pub(super) fn set_path(&mut self, now: Instant, peer: PeerId, generation: u32, to: Option<u8>) {
        let path = to.map(|host| Path::Direct(path(host)));
        self.node.handle_controller(now, Output::SetPath { peer, generation, path, roams: true });
    }

    pub(super) fn want(&mut self, now: Instant, peer: PeerId) {
        let cause = crate::messages::HandshakeCause::NoSession;
        self.node.handle_event(now, CoreId(0), Event::WantHandshake { peer, cause });
    }

    /// Serves all timers up to and at `until`, each at its time.
    pub(super) fn run_until(&mut self, until: Instant) {
        while let Some(due) = self.node.poll_timeout().filter(|due| *due <= until) {
            self.node.handle_timeout(due);
        }
    }

    /// When the next timer of a peer goes off.
    pub(super) fn due(&self) -> Option<Instant> {
        self.node.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn commands(&mut self) -> Vec<Command> {
        core::iter::from_fn(|| self.node.poll_command()).map(|(_, command)| command).collect()
    }

    /// The handshake messages among the commands that wait, oldest first. Drops the other commands.
    pub(super) fn messages(&mut self) -> Vec<HandshakeBytes> {
        let sent = |command| match command {
            Command::SendHandshake { message, .. } => Some(message),
            Command::InstallKeypair { response: Some((_, message)), .. } => Some(message),
            _ => None,
        };
        self.commands().into_iter().filter_map(sent).collect()
    }

    /// Takes in a message that `from` has sent.
    pub(super) fn take(&mut self, now: Instant, from: u8, message: &HandshakeBytes) {
        let arrived = HandshakeArrived { interface: WG0, tuple: path(from), message: *message };
        self.node.handle_handshake(now, CoreId(0), &arrived);
    }

    /// The next notice that is not of a path.
    pub(super) fn notice(&mut self) -> Option<Notice> {
        core::iter::from_fn(|| self.node.poll_notice())
            .find(|notice| !matches!(notice, Notice::PathChanged { .. }))
    }

    /// The state when nothing waits to be fetched.
    pub(super) fn settled(&mut self) -> String {
        self.state();
        self.state()
    }

    /// Everything that a message could change but for counters of drops: peers and their keys, timers, what waits to be
    /// fetched, the next random number.
    pub(super) fn state(&mut self) -> String {
        let commands = self.commands().len();
        let inputs: Vec<_> = core::iter::from_fn(|| self.node.poll_controller_input()).collect();
        let notices: Vec<_> = core::iter::from_fn(|| self.node.poll_notice()).collect();
        let random = self.node.random.clone().next_u64();
        let (peers, timers, allowed) = (&self.node.peers, &self.node.timers, &self.node.allowed);
        format!("{commands} {inputs:?} {notices:?} {random} {peers:?} {timers:?} {allowed:?}")
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.node.drops()[reason as usize]
    }
}

pub(super) fn keypairs(commands: Vec<Command>) -> Vec<(Keypair, bool, Option<HandshakeBytes>)> {
    let install = |command| match command {
        Command::InstallKeypair { keypair, keep_next, response, .. } => {
            Some((*keypair, keep_next, response.map(|(_, message)| message)))
        }
        _ => None,
    };
    commands.into_iter().filter_map(install).collect()
}

/// Two hosts that know each other.
pub(super) fn pair() -> (Host, PeerId, Host, PeerId) {
    let (mut alice, mut bob) = (Host::new(1), Host::new(2));
    let bob_at_alice = alice.meet(Instant::ZERO, &bob);
    let alice_at_bob = bob.meet(Instant::ZERO, &alice);
    alice.commands();
    bob.commands();
    (alice, bob_at_alice, bob, alice_at_bob)
}

/// A whole handshake that `from` begins; the keypairs of both ends.
pub(super) fn shake(now: Instant, from: &mut Host, peer: PeerId, to: &mut Host) -> (Keypair, Keypair) {
    from.want(now, peer);
    from.run_until(now);
    let initiation = from.messages().pop().expect("an initiation");
    to.take(now, from.number, &initiation);
    let (theirs, _, response) = keypairs(to.commands()).pop().expect("a session at the responder");
    from.take(now, to.number, &response.expect("a response"));
    let (ours, ..) = keypairs(from.commands()).pop().expect("a session at the initiator");
    assert_eq!((ours.role, theirs.role), (Role::Initiator, Role::Responder));
    (ours, theirs)
}
