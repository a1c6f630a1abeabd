//! Where datagrams go: paths, roaming, sources.

use core::net::{IpAddr, SocketAddr};

use super::pair::Datagram;
use super::*;

/// The same datagram from another address.
fn from(datagram: &Datagram, port: u16) -> Datagram {
    Datagram { from: elsewhere(port), ..datagram.clone() }
}

fn elsewhere(port: u16) -> SocketAddr {
    ([203, 0, 113, 9], port).into()
}

fn destination(pair: &mut Pair, side: usize) -> SocketAddr {
    pair.send(side, &udp4(side as u8 + 1, 2 - side as u8, 64, 7));
    pair.take(side)[0].to
}

// WG-54
#[test]
fn wg_54_an_authenticated_packet_moves_the_endpoint_and_is_told() {
    let mut pair = Pair::connected();
    pair.send(A, &udp4(1, 2, 64, 7));
    let moved = from(&pair.take(A)[0], 5);
    assert_eq!(pair.give(B, &[moved]).len(), 1);
    assert_eq!(destination(&mut pair, B), elsewhere(5));
    let (peer, events) = (pair.sides[B].peer, pair.sides[B].events());
    assert!(
        matches!(events[..], [Event::Roamed { peer: of, path }] if of == peer && path.tuple().remote == elsewhere(5)),
        "{events:?}"
    );
}

// WG-54
#[test]
fn wg_54_neither_a_wrong_tag_nor_a_replay_moves_the_endpoint() {
    let mut pair = Pair::connected();
    let home = destination(&mut pair, B);
    pair.send(A, &udp4(1, 2, 64, 7));
    let good = pair.take(A).remove(0);
    let mut forged = from(&good, 6);
    forged.bytes[20] ^= 1;
    assert_eq!(pair.give(B, &[forged]).len(), 0);
    assert_eq!(destination(&mut pair, B), home);
    assert_eq!(pair.give(B, core::slice::from_ref(&good)).len(), 1);
    assert_eq!(pair.give(B, &[from(&good, 7)]).len(), 0, "seen before");
    assert_eq!(destination(&mut pair, B), home);
    // Both in one batch: the pre-check knows neither.
    pair.send(A, &udp4(1, 2, 64, 7));
    let good = pair.take(A).remove(0);
    assert_eq!(pair.give(B, &[good.clone(), from(&good, 8)]).len(), 1);
    assert_eq!(destination(&mut pair, B), home);
    assert_eq!((pair.sides[B].drops(DropReason::BadTag), pair.sides[B].drops(DropReason::Replay)), (1, 2));
    assert_eq!(pair.sides[B].events(), []);
}

// WG-54
#[test]
fn wg_54_a_path_that_the_control_layer_owns_stays() {
    let mut pair = Pair::connected();
    let (home, peer) = (destination(&mut pair, B), pair.sides[B].peer);
    let path = Some(pair.path_to(A));
    pair.command(B, Command::SetPath { peer, generation: 2, path, roams: false });
    pair.send(A, &udp4(1, 2, 64, 7));
    let moved = from(&pair.take(A)[0], 5);
    assert_eq!(pair.give(B, &[moved]).len(), 1, "the packet itself is good");
    assert_eq!(destination(&mut pair, B), home);
    assert_eq!(pair.sides[B].events(), []);
}

#[test]
fn a_path_of_an_older_generation_that_arrives_late_changes_nothing() {
    let mut pair = Pair::connected();
    let (home, peer) = (destination(&mut pair, A), pair.sides[A].peer);
    let path = |port| {
        Some(Path::Direct(FourTuple {
            socket: dataplane_wire::SocketId(0),
            remote: elsewhere(port),
            local_ip: None,
        }))
    };
    pair.command(A, Command::SetPath { peer, generation: 0, path: path(1), roams: true });
    assert_eq!(destination(&mut pair, A), home);
    pair.command(A, Command::SetPath { peer, generation: 2, path: path(2), roams: true });
    assert_eq!(destination(&mut pair, A), elsewhere(2));
}

fn source(pair: &mut Pair) -> Option<IpAddr> {
    pair.send(B, &udp4(2, 1, 64, 7));
    pair.take(B)[0].local_ip
}

// WG-55
#[test]
fn wg_55_replies_come_from_the_address_that_was_spoken_to() {
    let mut pair = Pair::connected();
    let other: IpAddr = [198, 51, 100, 3].into();
    pair.send(A, &udp4(1, 2, 64, 7));
    let mut datagram = pair.take(A).remove(0);
    datagram.to.set_ip(other);
    pair.give(B, &[datagram]);
    assert_eq!(source(&mut pair), Some(other));
    assert_eq!(pair.sides[B].events(), [], "the peer is where it was");
}

// WG-55
#[test]
fn wg_55_the_source_is_forgotten_on_a_send_error_and_on_a_retry() {
    let mut pair = Pair::connected();
    let used = source(&mut pair).expect("learned by the handshake");
    let tuple = FourTuple { local_ip: Some(used), ..*pair.path_to(A).tuple() };
    pair.sides[B].shard.source_refused(&FourTuple { local_ip: None, ..tuple });
    assert!(source(&mut pair).is_some());
    pair.sides[B].shard.source_refused(&tuple);
    assert_eq!(source(&mut pair), None);

    let mut pair = Pair::connected();
    let peer = pair.sides[B].peer;
    for (retry, expected) in [(false, true), (true, false)] {
        let message = HandshakeBytes::copy_from(&[1; 148]).unwrap();
        pair.command(B, Command::SendHandshake { peer, message, retry });
        assert_eq!(pair.take(B)[0].local_ip.is_some(), expected);
    }
    assert_eq!(source(&mut pair), None);
}

// WG-52
#[test]
fn wg_52_what_has_no_peer_or_no_endpoint_is_answered_by_icmp_at_a_bounded_rate() {
    let mut pair = Pair::connected();
    pair.now += secs(60);
    let peer = pair.sides[A].peer;
    assert_eq!(pair.send(A, &udp4(1, 99, 64, 7)), Outcome::Dropped(DropReason::NoRoute));
    pair.command(A, Command::SetPath { peer, generation: 2, path: None, roams: true });
    assert_eq!(pair.send(A, &udp4(1, 2, 64, 7)), Outcome::Dropped(DropReason::NoEndpoint));
    let mut out = [0; 1280];
    let now = pair.now;
    let mut answer = |to: u8, at| {
        pair.sides[A].shard.icmp_unreachable(at, INTERFACE, &udp4(1, to, 64, 7), &mut out).map(|_| out[20])
    };
    assert_eq!((answer(99, now), answer(2, now)), (Some(3), Some(3)), "destination unreachable");
    assert_eq!((0..200).filter_map(|_| answer(2, now)).count(), 98);
    assert_eq!((0..200).filter_map(|_| answer(2, now + millis(55))).count(), 5);
    assert_eq!(pair.sides[A].drops(DropReason::NoRoute) + pair.sides[A].drops(DropReason::NoEndpoint), 2);
}

#[test]
fn a_packet_for_a_peer_of_another_core_names_that_core() {
    let mut pair = Pair::new();
    let peer = PeerId { slot: 50, generation: 0 };
    let prefix = "10.0.0.64/26".parse().unwrap();
    pair.command(A, Command::SetRoute { interface: INTERFACE, peer, core: CoreId(1), prefix });
    let owner = pair.sides[A].shard.route(INTERFACE, &VnetHeader::PLAIN, &udp4(1, 70, 64, 7));
    assert_eq!(owner, Ok(Owner { peer, core: CoreId(1) }));
}
