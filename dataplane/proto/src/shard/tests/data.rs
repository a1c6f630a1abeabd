//! Packets both ways.

use super::*;

#[test]
fn packets_arrive_both_ways_as_they_were_sent() {
    let mut pair = Pair::connected();
    for len in [20, 28, 29, 64, 1399, 1420] {
        let packet = udp4(1, 2, len, 7);
        assert_eq!(pair.send(A, &packet), Outcome::Queued);
        assert_eq!(pair.carry(A), [(pair.sides[B].peer, packet)]);
        let packet = udp4(2, 1, len, 8);
        assert_eq!(pair.send(B, &packet), Outcome::Queued);
        assert_eq!(pair.carry(B), [(pair.sides[A].peer, packet)]);
    }
    assert_eq!((pair.sides[A].all_drops(), pair.sides[B].all_drops()), (vec![], vec![]));
}

#[test]
fn a_super_packet_arrives_as_its_segments() {
    let mut pair = Pair::connected();
    // Few segments are copied, many sealed from where they lie, very many in more than one train.
    for (payload, segments) in [(1380 * 3, 3), (1380 * 10 + 5, 11), (60_000, 44), (65_000, 48)] {
        let (vnet, packet) = tcp_super(1, 2, payload, 1380, Ecn::NotEct);
        assert_eq!(pair.send_super(A, &vnet, &packet), Outcome::Queued);
        let delivered = pair.carry(A);
        assert_eq!(delivered.len(), segments);
        let text: Vec<u8> = delivered.iter().flat_map(|(_, segment)| segment[40..].to_vec()).collect();
        assert_eq!(text, packet[40..]);
    }
    assert_eq!((pair.sides[A].all_drops(), pair.sides[B].all_drops()), (vec![], vec![]));
}
