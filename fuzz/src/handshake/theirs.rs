//! The other end: boringtun.

use std::net::IpAddr;
use std::sync::Arc;

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use dataplane_wire::wireguard::Message;

use super::ends::{OUR_KEY, THEIR_KEY, our_public, their_public};

const OUR_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
/// Sessions that boringtun keeps: one takes the place of that whose index is as many less.
const SESSIONS: u32 = 8;

/// An inner IPv4 packet of 20 bytes, which is a header alone.
pub(super) fn packet() -> [u8; 32] {
    let mut packet = [0; 32];
    packet[..4].copy_from_slice(&[0x45, 0, 0, 20]);
    packet[12..16].copy_from_slice(&[10, 9, 9, 9]);
    packet
}

pub(super) struct Theirs {
    tunn: Tunn,
    pub(super) psk: Option<[u8; 32]>,
    /// Indices of the sessions that they answered, oldest first.
    answered: Vec<u32>,
    /// The last index that they gave out. They count up by one.
    newest: u32,
}

fn tunn(key: [u8; 32], peer: [u8; 32], psk: Option<[u8; 32]>) -> Tunn {
    let secret = x25519::StaticSecret::from(key);
    let limiter = Arc::new(RateLimiter::new(&x25519::PublicKey::from(&secret), u64::MAX));
    Tunn::new(secret, peer.into(), psk, None, 0x1234, Some(limiter))
}

impl Theirs {
    pub(super) fn new(psk: Option<[u8; 32]>) -> Self {
        let tunn = tunn(THEIR_KEY, our_public().0, psk);
        Self { tunn, psk, answered: Vec::new(), newest: 0 }
    }

    /// Whether boringtun with our own key takes an initiation that claims to be theirs.
    pub(super) fn double_takes(psk: Option<[u8; 32]>, message: &[u8]) -> bool {
        let mut buffer = [0; 2048];
        let mut double = tunn(OUR_KEY, their_public().0, psk);
        matches!(double.decapsulate(Some(OUR_ADDRESS), message, &mut buffer), TunnResult::WriteToNetwork(_))
    }

    pub(super) fn initiate(&mut self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        match self.tunn.format_handshake_initiation(&mut buffer, true) {
            TunnResult::WriteToNetwork(message) => {
                let Ok(Message::Initiation(initiation)) = Message::parse(message) else {
                    panic!("no initiation")
                };
                self.newest = initiation.sender();
                message.to_vec()
            }
            other => panic!("boringtun does not initiate: {other:?}"),
        }
    }

    /// A handshake message of ours. An initiation that is newer than the last is answered; what else there is to say is up to
    /// how old the message is.
    pub(super) fn take(&mut self, message: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let answer = match self.tunn.decapsulate(Some(OUR_ADDRESS), message, &mut buffer) {
            TunnResult::WriteToNetwork(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        match (Message::parse(message), Message::parse(&answer)) {
            (Ok(Message::Initiation(_)), Ok(Message::Response(response))) => {
                self.newest = response.sender();
                self.answered.push(self.newest);
            }
            (Ok(Message::Initiation(_)), _) => {
                assert!(!self.answered.is_empty(), "boringtun refuses our first initiation");
            }
            _ => {}
        }
        answer
    }

    /// Whether a session that they answered is one of the last, so that it must work.
    pub(super) fn knows(&self, index: u32) -> bool {
        self.answered.contains(&index) && self.newest.wrapping_sub(index) < SESSIONS
    }

    /// Our first packet of a session comes out at their end.
    pub(super) fn expect_packet(&mut self, datagram: &[u8]) {
        let mut buffer = [0; 2048];
        match self.tunn.decapsulate(Some(OUR_ADDRESS), datagram, &mut buffer) {
            TunnResult::WriteToTunnelV4(inner, _) => assert_eq!(*inner, packet()[..20]),
            other => panic!("boringtun does not take our packet: {other:?}"),
        }
    }
}
