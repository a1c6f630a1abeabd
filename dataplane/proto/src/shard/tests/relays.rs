//! What looks like a relay's and is none: neither a port nor a frame makes one.

use core::net::SocketAddr;

use super::pair::Datagram;
use super::*;

/// Where a relay stands, or did.
const RELAY: ([u8; 4], u16) = ([203, 0, 113, 1], 3478);

fn from(from: impl Into<SocketAddr>, bytes: &[u8]) -> Datagram {
    let to = ([192, 0, 2, 2], 2222).into();
    Datagram { from: from.into(), to, local_ip: None, class: TrafficClass::default(), bytes: bytes.to_vec() }
}

fn in_channel(channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    let header = bytes.first_chunk_mut().expect("four bytes");
    dataplane_wire::classify::emit_channel_header(header, channel, payload.len() as u16);
    bytes.extend_from_slice(payload);
    bytes
}

/// A STUN message without attributes.
fn stun(kind: u16) -> Vec<u8> {
    let mut bytes = vec![5; 20];
    bytes[..2].copy_from_slice(&kind.to_be_bytes());
    bytes[2..4].fill(0);
    bytes[4..8].copy_from_slice(&0x2112_a442_u32.to_be_bytes());
    bytes
}

// DX-8
#[test]
fn dx_8_a_peer_whose_nat_gives_it_port_3478_is_spoken_to_directly() {
    let mut pair = Pair::connected();
    let nat = ([203, 0, 113, 9], 3478);
    let data = pair.forge(A, 100, &udp4(1, 2, 64, 7)).bytes;
    assert_eq!(pair.give(B, &[from(nat, &data)]).len(), 1);
    assert_eq!(pair.send(B, &udp4(2, 1, 64, 7)), Outcome::Queued);
    let back = pair.take(B).remove(0);
    assert_eq!((back.to, back.bytes[0]), (nat.into(), 4), "bare WireGuard, to the peer itself");
    // A session may be begun from there as well.
    let mut initiation = vec![1; 148];
    initiation[1..4].fill(0);
    let keys = InterfaceKeys::of(&[B as u8; 32]);
    dataplane_wire::wireguard::write_mac1(&mut initiation, |input| {
        crate::noise::hash::mac(&keys.mac1, &[input])
    });
    pair.give(B, &[from(nat, &initiation)]);
    let arrived = pair.sides[B].shard.poll_handshake().expect("an initiation");
    assert_eq!(arrived.tuple.remote, nat.into());
    assert_eq!(pair.sides[B].all_drops(), []);
}

// DX-9: what holds whoever sends it: STUN and ChannelData that belong to nothing are counted apart, and what they carry is not
// opened; from an address that nobody knows WireGuard is a peer's. What waits for paths over relays: that the last 64 of their
// addresses are remembered, that what comes late from these has a counter of its own, and that bare WireGuard from them is
// dropped too. Until then no address was ever a relay's.
#[test]
fn dx_9_what_a_relay_that_is_gone_still_sends_is_counted_apart_and_what_it_carries_is_not_opened() {
    let mut pair = Pair::connected();
    let home = pair.sides[A].address;
    let data = pair.forge(A, 100, &udp4(1, 2, 64, 7)).bytes;
    let initiation = [&[1, 0, 0, 0][..], &[7; 144]].concat();
    let late = [
        in_channel(0x4000, &data),
        in_channel(0x4fff, &initiation),
        in_channel(0x4001, &in_channel(0x4000, &data)),
        in_channel(0x4000, &[]),
        stun(0x0103),
        stun(0x0113),
        stun(0x0017),
    ];
    for bytes in &late {
        assert_eq!(pair.give(B, &[from(RELAY, bytes)]), []);
    }
    assert_eq!(pair.sides[B].all_drops(), [("unexpected_channel_data", 4), ("unexpected_stun", 3)]);
    assert_eq!(pair.sides[B].shard.poll_handshake(), None);
    assert_eq!((pair.take(B), pair.sides[B].events()), (vec![], vec![]));
    pair.send(B, &udp4(2, 1, 64, 7));
    assert_eq!(pair.take(B)[0].to, home, "the peer is where it was");
    // From an address that nobody knows the same message is a peer's: its counter is still free.
    assert_eq!(pair.give(B, &[from(([198, 51, 100, 7], 4242), &data)]).len(), 1);
}
