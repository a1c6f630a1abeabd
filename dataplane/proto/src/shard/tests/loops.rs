//! Datagrams of our own that are routed into the tunnel.

use dataplane_wire::SocketId;
use dataplane_wire::offload::VnetHeader;

use super::*;

/// An IPv4 packet with a datagram to an address and port.
fn outer(to: [u8; 4], port: u16, datagram: &[u8]) -> Vec<u8> {
    let mut packet = udp4(1, 2, 28 + datagram.len(), 0);
    packet[16..20].copy_from_slice(&to);
    packet[22..24].copy_from_slice(&port.to_be_bytes());
    packet[28..].copy_from_slice(datagram);
    packet
}

/// A whole pair in which A routes everything into the tunnel, and a datagram that it has sent to B.
fn routed_into_itself() -> (Pair, Vec<u8>) {
    let mut pair = Pair::connected();
    let peer = pair.sides[A].peer;
    for prefix in ["192.0.2.2/32", "2001:db8::2/128"] {
        let prefix = prefix.parse().unwrap();
        pair.command(A, Command::SetRoute { interface: INTERFACE, peer, core: CoreId(0), prefix });
    }
    pair.send(A, &udp4(1, 2, 100, 5));
    let sent = pair.take(A).remove(0);
    assert_eq!(sent.to, ([192, 0, 2, 2], 2222).into());
    (pair, sent.bytes)
}

const LOOP: Outcome = Outcome::Dropped(DropReason::RoutingLoop);

// WG-59
#[test]
fn wg_59_a_datagram_that_is_routed_into_its_own_tunnel_goes_no_further() {
    let (mut pair, sent) = routed_into_itself();
    assert_eq!(pair.send(A, &outer([192, 0, 2, 2], 2222, &sent)), LOOP);
    assert_eq!(pair.sides[A].all_drops(), [("routing_loop", 1)]);
    assert_eq!(pair.take(A), []);

    let mut first_fragment = outer([192, 0, 2, 2], 2222, &sent);
    first_fragment[6] = 0x20;
    assert_eq!(pair.send(A, &first_fragment), LOOP);

    let train = outer([192, 0, 2, 2], 2222, &[&sent[..], &sent[..], &sent[..]].concat());
    let vnet = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: VnetHeader::GSO_UDP_L4,
        hdr_len: 28,
        gso_size: sent.len() as u16,
        csum_start: 20,
        csum_offset: 6,
    };
    assert_eq!(pair.send_super(A, &vnet, &train), LOOP);
    assert_eq!(pair.sides[A].drops(DropReason::RoutingLoop), 5, "each packet of the train counts");
}

// WG-59
#[test]
fn wg_59_a_tunnel_of_somebody_else_to_the_same_peer_passes() {
    let (mut pair, sent) = routed_into_itself();
    let mut other_session = sent.clone();
    other_session[4] ^= 1;
    let mut handshake = sent.clone();
    handshake[0] = 1;
    let mut later_fragment = outer([192, 0, 2, 2], 2222, &sent);
    later_fragment[7] = 1;
    for packet in [
        outer([192, 0, 2, 2], 2222, &other_session),
        outer([192, 0, 2, 2], 2222, &handshake),
        outer([192, 0, 2, 2], 2223, &sent),
        outer([192, 0, 2, 2], 2222, &sent[..7]),
        outer([10, 0, 0, 2], 2222, &sent),
        later_fragment,
    ] {
        assert_eq!(pair.send(A, &packet), Outcome::Queued);
    }
}

// WG-59
#[test]
fn wg_59_a_loop_over_ipv6_is_seen_too() {
    let (mut pair, sent) = routed_into_itself();
    let peer = pair.sides[A].peer;
    let remote = "[2001:db8::2]:2222".parse().unwrap();
    let path = Some(Path::Direct(FourTuple { socket: SocketId(0), remote, local_ip: None }));
    pair.command(A, Command::SetPath { peer, generation: 2, path, roams: true });
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
    packet[4..6].copy_from_slice(&((8 + sent.len()) as u16).to_be_bytes());
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend([0, 9]);
    packet.extend(2222_u16.to_be_bytes());
    packet.extend(((8 + sent.len()) as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(&sent);
    assert_eq!(pair.send(A, &packet), LOOP);
}
