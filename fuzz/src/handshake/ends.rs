//! Our node and its twin, and all that they say, in a form that can be compared.

use std::net::SocketAddr;
use std::time::Duration;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use dataplane_proto::controller::Output;
use dataplane_proto::keys::{PublicKey, Secret};
use dataplane_proto::messages::{
    Command, Event, HandshakeArrived, HandshakeBytes, HandshakeCause, Keypair, Path, Role,
};
use dataplane_proto::node::{
    Change, HandshakePolicy, InterfaceSnapshot, Limits, Node, NodeConfig, Notice, PeerChange, Timestamps,
};
use dataplane_wire::wireguard::Data;
use dataplane_wire::{CoreId, FourTuple, Instant, InterfaceId, PeerId, SocketId};

use super::theirs::{Theirs, packet};

pub(super) const OUR_KEY: [u8; 32] = [1; 32];
pub(super) const THEIR_KEY: [u8; 32] = [2; 32];
pub(super) const THEIR_ADDRESS: SocketAddr =
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, 2), 51820));
const WG0: InterfaceId = InterfaceId(0);
const PEER: PeerId = PeerId { slot: 0, generation: 0 };
const TUPLE: FourTuple = FourTuple { socket: SocketId(0), remote: THEIR_ADDRESS, local_ip: None };

pub(super) fn our_public() -> PublicKey {
    static PUBLIC: std::sync::OnceLock<PublicKey> = std::sync::OnceLock::new();
    *PUBLIC.get_or_init(|| Secret::new(OUR_KEY).public())
}

pub(super) fn their_public() -> PublicKey {
    static PUBLIC: std::sync::OnceLock<PublicKey> = std::sync::OnceLock::new();
    *PUBLIC.get_or_init(|| Secret::new(THEIR_KEY).public())
}

/// Our node, its twin, and the other end.
pub(super) fn ends(psk: Option<[u8; 32]>) -> (Node, Node, Theirs) {
    let node = || {
        let limits = Limits::default();
        let config = NodeConfig { cores: 1, core_bits: 0, limits, seed: [3; 32] };
        let mut node = Node::new(config, Instant::ZERO);
        node.set_wall_clock(Instant::ZERO, Duration::from_secs(1_700_000_000));
        let peer = PeerChange { preshared_key: psk.map(Secret::new), ..PeerChange::new(WG0, their_public()) };
        let changes = [
            Change::AddInterface { interface: WG0, mtu: 1420, policy: HandshakePolicy::default() },
            Change::SetSockets { interface: WG0, v4: Some(SocketId(0)), v6: None },
            Change::SetPrivateKey { interface: WG0, key: Secret::new(OUR_KEY) },
            Change::SetUp { interface: WG0, up: true },
            Change::Peer(peer),
        ];
        node.apply(Instant::ZERO, &changes).expect("a configuration that holds");
        let path = Some(Path::Direct(TUPLE));
        node.handle_controller(
            Instant::ZERO,
            Output::SetPath { peer: PEER, generation: 1, path, roams: true },
        );
        node.handle_timeout(Instant::ZERO);
        let _ = Said::by(&mut node, Instant::ZERO);
        node
    };
    (node(), node(), Theirs::new(psk))
}

pub(super) fn want(node: &mut Node, now: Instant) {
    node.handle_event(now, CoreId(0), Event::WantHandshake { peer: PEER, cause: HandshakeCause::NoSession });
}

pub(super) fn give(node: &mut Node, now: Instant, message: &[u8]) {
    // What is longer than any handshake message does not get this far: a shard takes it for what it is.
    let Some(message) = HandshakeBytes::copy_from(message) else { return };
    node.handle_handshake(now, CoreId(0), &HandshakeArrived { interface: WG0, tuple: TUPLE, message });
}

pub(super) fn dropped(node: &Node) -> u64 {
    node.drops().iter().sum()
}

/// A session that our node gave to its shard.
#[derive(Clone)]
pub(super) struct Session(Keypair);

impl Session {
    fn parts(&self) -> (u32, u32, [u8; 32], [u8; 32], Role, [Instant; 2]) {
        let Keypair { local_index, remote_index, send, recv, role, begun, created } = &self.0;
        (*local_index, *remote_index, *send.bytes(), *recv.bytes(), *role, [*begun, *created])
    }

    /// A packet that we seal reaches the other end, and one of theirs reaches us. A responder may only answer.
    pub(super) fn reaches(&self, theirs: &mut Theirs) {
        if self.0.role == Role::Responder || !theirs.knows(self.0.remote_index) {
            return;
        }
        let mut header = [0; 16];
        Data::emit_header(&mut header, self.0.remote_index, 0);
        let mut sealed = packet().to_vec();
        let tag = ChaCha20Poly1305::new(self.0.send.bytes().into())
            .encrypt_inout_detached(&Nonce::default(), &[], (&mut sealed[..]).into())
            .expect("a short packet");
        theirs.expect_packet(&[&header[..], &sealed, &tag].concat());
    }
}

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x?}", self.parts())
    }
}

/// Everything that a node says, and everything that it shows.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) sessions: Vec<Session>,
    pub(super) given_up: bool,
    other_commands: usize,
    facts: String,
    notices: Vec<Notice>,
    shown: (Option<InterfaceSnapshot>, Option<Instant>),
    timestamps: Option<Timestamps>,
}

impl Said {
    pub(super) fn shown(node: &Node) -> (Option<InterfaceSnapshot>, Option<Instant>) {
        (node.snapshot(WG0), node.poll_timeout())
    }

    pub(super) fn by(node: &mut Node, now: Instant) -> Self {
        let (mut messages, mut sessions, mut other_commands) = (Vec::new(), Vec::new(), 0);
        while let Some((_, command)) = node.poll_command() {
            match command {
                Command::SendHandshake { message, .. } => messages.push(message.as_slice().to_vec()),
                Command::InstallKeypair { keypair, response, .. } => {
                    messages.extend(response.map(|(_, message)| message.as_slice().to_vec()));
                    sessions.push(Session(*keypair));
                }
                _ => other_commands += 1,
            }
        }
        let facts: Vec<_> = std::iter::from_fn(|| node.poll_controller_input()).collect();
        let notices: Vec<_> = std::iter::from_fn(|| node.poll_notice()).collect();
        let given_up = notices.iter().any(|notice| matches!(notice, Notice::HandshakeGivenUp { .. }));
        let (shown, timestamps) = (Self::shown(node), node.timestamps(now, WG0));
        Self {
            messages,
            sessions,
            given_up,
            other_commands,
            facts: format!("{facts:?}"),
            notices,
            shown,
            timestamps,
        }
    }
}
