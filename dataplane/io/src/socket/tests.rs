use std::cell::Cell;

use super::*;
use crate::testing::{in_namespace, without_rights};

fn loopback(port: u16, workers: usize) -> BindRequest<'static> {
    let (v4, v6) = (Some(Ipv4Addr::LOCALHOST), Some(Ipv6Addr::LOCALHOST));
    BindRequest { port, v4, v6, workers, ..BindRequest::default() }
}

// WG-63
#[test]
fn port_zero_gives_both_families_the_same_port_and_a_member_per_worker() {
    let group = bind_group(&loopback(0, 3)).unwrap();
    assert_eq!((group.v4.len(), group.v6.len()), (3, 3));
    let ports: Vec<u16> =
        group.v4.iter().chain(&group.v6).map(|socket| socket.local_addr().unwrap().port()).collect();
    assert_eq!(ports, [group.port; 6]);
}

// EN-2
#[test]
fn a_foreign_reuse_port_group_of_the_same_user_is_not_joined() {
    let theirs = bind_group(&loopback(0, 2)).unwrap();
    for workers in [1, 2] {
        let refused = bind_group(&loopback(theirs.port, workers)).unwrap_err();
        assert!(matches!(refused, BindError::PortInUse { port, .. } if port == theirs.port), "{refused}");
    }
}

// EN-17
#[test]
fn a_port_is_free_again_as_soon_as_its_group_is_dropped() {
    let port = bind_group(&loopback(0, 2)).unwrap().port;
    for _ in 0..10 {
        drop(bind_group(&loopback(port, 2)).unwrap());
    }
}

#[test]
fn every_member_gets_its_share_of_the_groups_datagrams() {
    let group = bind_group(&loopback(0, 2)).unwrap();
    for socket in &group.v4 {
        socket.set_nonblocking(true).unwrap();
    }
    for _ in 0..64 {
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sender.send_to(b"x", (Ipv4Addr::LOCALHOST, group.port)).unwrap();
    }
    let count = |socket: &UdpSocket| std::iter::from_fn(|| socket.recv(&mut [0; 8]).ok()).count();
    let counts = [count(&group.v4[0]), count(&group.v4[1])];
    assert_eq!(counts[0] + counts[1], 64);
    assert!(counts.iter().all(|&n| n > 0), "the group was not formed: {counts:?}");
}

#[test]
fn the_hook_sees_each_socket_before_it_is_bound_and_may_refuse() {
    let seen = Cell::new(0);
    let hook = |fd: BorrowedFd<'_>, role| {
        let socket = socket2::SockRef::from(&fd);
        assert_eq!(socket.local_addr().unwrap().as_socket().unwrap().port(), 0);
        assert_eq!(role, SocketRole::Listener);
        seen.set(seen.get() + 1);
        if seen.get() > 4 { Err(io::Error::other("enough")) } else { Ok(()) }
    };
    let request = BindRequest { hook: Some(&hook), ..loopback(0, 2) };
    bind_group(&request).unwrap();
    assert_eq!(seen.get(), 4);
    assert!(matches!(bind_group(&request), Err(BindError::Hook(error)) if error.to_string() == "enough"));
}

#[test]
fn an_address_of_another_machine_is_named() {
    let request = BindRequest { v4: Some(Ipv4Addr::new(192, 0, 2, 1)), v6: None, ..loopback(0, 1) };
    let error = bind_group(&request).unwrap_err();
    assert_eq!(error.to_string(), "cannot bind 192.0.2.1: it is not an address of this machine");
}

#[test]
fn no_family_is_an_error_and_one_is_enough() {
    let none = BindRequest { v4: None, v6: None, ..loopback(0, 1) };
    assert!(matches!(bind_group(&none), Err(BindError::NoFamily)));
    let only_v6 = bind_group(&BindRequest { v4: None, ..loopback(0, 1) }).unwrap();
    assert_eq!((only_v6.v4.len(), only_v6.v6.len()), (0, 1));
}

#[test]
fn buffers_are_as_large_as_the_kernel_lets_them_be() {
    let request = BindRequest { recv_buffer: 300_000, send_buffer: 200_000, ..loopback(0, 1) };
    let (recv, send) = bind_group(&request).unwrap().buffers;
    assert!(recv > 100_000 && send > 100_000, "{recv} {send}");
}

#[test]
fn missing_rights_are_named_with_their_remedy() {
    without_rights(|| {
        let error = bind_group(&loopback(80, 1)).unwrap_err();
        assert!(error.to_string().starts_with("not allowed to bind UDP port 80: "), "{error}");
        assert!(error.to_string().contains("CAP_NET_BIND_SERVICE"));
        let error = bind_group(&BindRequest { mark: 7, ..loopback(0, 1) }).unwrap_err();
        assert!(error.to_string().starts_with("not allowed to set a firewall mark: "), "{error}");
    });
}

#[test]
fn without_rights_buffers_grow_up_to_the_limit_of_the_system() {
    without_rights(|| {
        let wanted = 1 << 30;
        let request = BindRequest { recv_buffer: wanted, send_buffer: wanted, ..loopback(0, 1) };
        let (recv, send) = bind_group(&request).unwrap().buffers;
        assert!((100_000..wanted).contains(&recv) && (100_000..wanted).contains(&send), "{recv} {send}");
    });
}

#[test]
fn a_mark_is_on_every_member() {
    in_namespace(|| {
        let group = bind_group(&BindRequest { mark: 0xfeed, ..loopback(0, 2) }).unwrap();
        for socket in group.v4.iter().chain(&group.v6) {
            assert_eq!(socket2::SockRef::from(socket).mark().unwrap(), 0xfeed);
        }
    });
}

// WG-63
#[test]
fn where_ipv6_is_switched_off_the_start_succeeds() {
    in_namespace(|| {
        std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        let group = bind_group(&BindRequest::default()).unwrap();
        assert_eq!(group.v4.len(), 1);
        // Kernels differ on whether `::` can be bound then; where it can, it has the same port.
        let ports: Vec<u16> = group.v6.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|port| *port == group.port), "{ports:?}");
        // An address of IPv6 that was asked for by name is missed, and not left out in silence.
        let refused = bind_group(&loopback(0, 1)).unwrap_err();
        assert!(matches!(refused, BindError::AddressUnknown { address } if address.is_ipv6()), "{refused}");
    });
}

// EN-2
#[test]
fn a_port_that_one_family_has_not_free_is_refused_whole() {
    let theirs = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let port = theirs.local_addr().unwrap().port();
    let refused = bind_group(&loopback(port, 2)).unwrap_err();
    assert!(matches!(refused, BindError::PortInUse { address, .. } if address.is_ipv6()), "{refused}");
    assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok(), "the other family was left bound");
}
