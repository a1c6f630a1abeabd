//! A real flood over loopback: whom the sockets keep out, and whom they never do.

mod common;

use std::net::{Ipv4Addr, UdpSocket};

use common::{PATIENCE, Site, connect, engine, tell, until};
use dataplane::DropReason;

/// Sends so many datagrams of data under an index that nobody has.
fn flood(stranger: &UdpSocket, port: u16, datagrams: usize) {
    let mut junk = [0x5a; 128];
    junk[..4].copy_from_slice(&[4, 0, 0, 0]);
    for _ in 0..datagrams {
        stranger.send_to(&junk, (Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}

#[test]
fn a_stranger_s_flood_stays_in_the_kernel_while_peers_of_all_interfaces_and_new_ones_get_through() {
    let (near, _near_events) = engine(1);
    let (far, _far_events) = engine(1);
    let mut ours = [Site::add(&near, 1, 64), Site::add(&near, 2, 64)];
    let mut theirs = [Site::add(&far, 3, 64), Site::add(&far, 4, 64)];
    for (one, other) in ours.iter_mut().zip(&mut theirs) {
        connect(one, other, &near);
    }
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = ours[0].port();
    // Behind a marker, which a peer sends, the socket's queue is empty; what was counted until then shows.
    let mut markers = 0;
    let mut unknown = |theirs: &mut [Site], ours: &mut [Site]| {
        markers += 1;
        theirs[0].send(ours[0].address, [markers]);
        assert_eq!(ours[0].recv(PATIENCE), Some(markers), "{}", tell(&near));
        until("counted", || near.stats().total().inner_out_packets == 2 + u64::from(markers));
        near.stats().total().drops.of(DropReason::UnknownIndex)
    };
    until("the kernel keeps datagrams out", || {
        flood(&stranger, port, 1500);
        let before = unknown(&mut theirs, &mut ours);
        flood(&stranger, port, 100);
        unknown(&mut theirs, &mut ours) == before
    });
    for number in 1..50 {
        flood(&stranger, port, 100);
        for (one, other) in ours.iter_mut().zip(&mut theirs) {
            one.send(other.address, [number]);
            other.send(one.address, [number]);
            assert_eq!(other.recv(PATIENCE), Some(number), "{}", tell(&near));
            assert_eq!(one.recv(PATIENCE), Some(number), "{}", tell(&near));
        }
    }
    let mut late = Site::add(&far, 5, 64);
    flood(&stranger, port, 500);
    connect(&mut ours[0], &mut late, &near);
}
