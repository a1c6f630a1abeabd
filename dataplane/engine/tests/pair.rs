//! Two engines on the loopback interface, with inner sides in memory.

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::{Gateway, number_of, udp_packet};
use dataplane::DropReason;

fn packets_cross(workers: usize) {
    let (mut a, mut b) = (Gateway::start(workers, 1), Gateway::start(workers, 2));
    a.know(&b);
    b.know(&a);
    for number in 0..50 {
        a.send(&b, number);
        let packet = b.recv().unwrap_or_else(|| panic!("a: {}\nb: {}", a.tell(), b.tell()));
        assert_eq!(packet, udp_packet(a.address, b.address, number));
        b.send(&a, number + 1000);
        assert_eq!(number_of(&a.recv().expect("a packet from b to a")), number + 1000);
    }
    let handshake = |event| matches!(event, dataplane::Event::Handshake { .. }).then_some(());
    assert_eq!(common::event(&mut a.events, handshake), Some(()));
    let snapshot = a.interface.snapshot().unwrap().wait().unwrap().unwrap();
    assert!(snapshot.device.peers[0].last_handshake > Duration::ZERO);
    assert!(a.engine.stats().total().drops.of(DropReason::BadTag) == 0);
}

#[test]
fn packets_cross_between_two_engines_of_one_worker() {
    packets_cross(1);
}

/// EN-15
#[test]
fn packets_cross_between_engines_whose_peer_lives_on_one_of_two_workers() {
    packets_cross(2);
}

/// EN-17
#[test]
fn dropping_an_engine_frees_its_port_before_it_returns() {
    let gateway = Gateway::start(2, 3);
    let port = gateway.port();
    assert!(std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_err(), "the port is in use");
    drop(gateway);
    std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("the port is free at once");
}
