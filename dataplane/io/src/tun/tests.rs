//! TUN interfaces of a real kernel, in a namespace of each test's own.
//!
//! Contains unsafe: a thread gives its rights up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::*;
use crate::inner::{GsoKind, Inner, RECV_MIN, RecvError, SendError, VNET_HEADER_LEN};
use crate::netlink::{LinkSettings, Links};
use crate::poll::{Interest, Poller, Token};
use crate::testing::in_namespace;

const OPTIONS: Options<'static> =
    Options { name: "", queues: 1, existing: Existing::Refuse, offloads: Offloads::ALL };

fn wait_readable(queue: &Queue) {
    let mut poller = Poller::new(1).unwrap();
    poller.add(queue.fd(), Token(0), Interest::Read).unwrap();
    poller.wait(Some(Duration::from_secs(5))).unwrap();
}

/// The next packet that passes `wanted`; the kernel sends some of its own (router solicitations).
fn recv_matching(queue: &mut Queue, buffer: &mut [u8], wanted: impl Fn(&[u8]) -> bool) -> usize {
    for _ in 0..100 {
        match queue.recv(buffer).unwrap() {
            Some(len) if wanted(&buffer[VNET_HEADER_LEN..len]) => return len,
            Some(_) => {}
            None => wait_readable(queue),
        }
    }
    panic!("the packet never came");
}

#[test]
fn a_packet_of_the_kernel_is_read_behind_its_vnet_header() {
    in_namespace(|| {
        let (mut device, mut queues) = open(&Options { name: "tt0", ..OPTIONS }).unwrap();
        assert_eq!(device.name(), "tt0");
        device.add_address(Ipv4Addr::new(10, 0, 0, 1).into(), 24).unwrap();
        device.set_up(true).unwrap();
        let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
        socket.send_to(b"hello", "10.0.0.2:7").unwrap();
        let mut buffer = vec![0; RECV_MIN];
        let len = recv_matching(&mut queues[0], &mut buffer, |packet| packet[0] >> 4 == 4);
        assert_eq!(len, VNET_HEADER_LEN + 20 + 8 + 5);
        assert_eq!(&buffer[len - 5..len], b"hello");
    });
}

#[test]
fn mtu_queue_length_and_gso_limits_take_effect() {
    in_namespace(|| {
        let (mut device, _queues) = open(&OPTIONS).unwrap();
        for (super_packets, mtu) in [
            (SuperPackets::Auto, 1280),
            (SuperPackets::Train, 1420),
            (SuperPackets::Whole, 1420),
            (SuperPackets::Train, 8920),
        ] {
            device.set_super_packets(super_packets);
            let bytes = device.set_mtu(mtu).unwrap();
            assert_eq!(bytes, if super_packets == SuperPackets::Whole { 65_536 } else { fit(mtu).bytes });
            let state = device.state().unwrap();
            assert_eq!((state.mtu, state.gso_max_size), (mtu, bytes));
            if state.gso_ipv4_max_size != 0 {
                assert_eq!(state.gso_ipv4_max_size, bytes);
            }
            // Linux 5.18 tells the driver's own limit, and refuses more.
            if state.tso_max_size != 0 {
                assert!(bytes <= state.tso_max_size);
                let settings =
                    LinkSettings { gso_max_size: Some(state.tso_max_size + 1), ..LinkSettings::default() };
                assert!(Links::open().unwrap().set(state.index, &settings).is_err());
            }
        }
        device.set_tx_queue_len(4096).unwrap();
        assert_eq!(device.state().unwrap().tx_queue_len, 4096);
        let error = device.set_mtu(20).unwrap_err();
        assert!(error.to_string().contains("does not take the MTU 20"), "{error}");
        device.set_up(true).unwrap();
        assert!(device.state().unwrap().up);
        device.add_address(IpAddr::V6(Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, 0, 1)), 64).unwrap();
        // Usable at once, without waiting for duplicate address detection.
        UdpSocket::bind("[fd00::1]:0").unwrap();
    });
}

#[test]
fn super_packets_stay_whole_in_a_namespace_that_forwards() {
    in_namespace(|| {
        let (mut device, _queues) = open(&OPTIONS).unwrap();
        for path in ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"] {
            for (value, bytes) in [("0", fit(1420).bytes), ("1", 65_536), ("0", fit(1420).bytes)] {
                // A sandbox may mount /proc/sys read-only; then it is taken to forward.
                if std::fs::write(path, value).is_ok() {
                    assert_eq!(device.set_mtu(1420).unwrap(), bytes, "{path} = {value}");
                }
            }
        }
    });
}

#[test]
fn an_interface_that_exists_is_refused_and_attached_to_when_asked() {
    in_namespace(|| {
        let named = Options { name: "tt1", ..OPTIONS };
        let (_device, queues) = open(&Options { queues: 2, ..named }).unwrap();
        assert_eq!(queues.len(), 2);
        let error = open(&named).unwrap_err();
        assert!(matches!(&error, TunError::Exists { name } if name == "tt1"), "{error}");
        let error = open(&Options { name: "lo", ..OPTIONS }).unwrap_err();
        assert!(matches!(error, TunError::Exists { .. }), "{error}");
        let attach = Options { existing: Existing::Attach, ..named };
        open(&attach).unwrap();
        let error = open(&Options { name: "lo", ..attach }).unwrap_err();
        assert!(matches!(error, TunError::Kind { .. }), "{error}");
    });
}

#[test]
fn without_the_right_or_the_driver_the_error_says_which() {
    let error = device::driver_at(std::path::Path::new("/dev/net/no-such-driver")).unwrap_err();
    assert!(matches!(error, TunError::NoDriver), "{error}");
    in_namespace(|| {
        let (mut device, _queues) = open(&OPTIONS).unwrap();
        // This thread alone becomes nobody, and so loses its capabilities.
        // SAFETY: takes no pointer. The raw call, unlike libc's function, changes one thread.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) }, 0);
        let refused = [
            open(&OPTIONS).unwrap_err(),
            device.set_mtu(1300).unwrap_err(),
            device.set_up(true).unwrap_err(),
        ];
        for error in refused {
            assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        }
    });
}

// EN-6
#[test]
fn the_kernel_answers_a_flow_on_the_queue_that_last_wrote_it() {
    in_namespace(|| {
        let (mut device, mut queues) = open(&Options { queues: 4, ..OPTIONS }).unwrap();
        device.add_address(Ipv4Addr::new(10, 0, 0, 1).into(), 24).unwrap();
        device.set_up(true).unwrap();
        let socket = UdpSocket::bind("10.0.0.1:9").unwrap();
        let mut buffer = vec![0; RECV_MIN];
        for port in 5000..5064u16 {
            for number in [port as usize % 4, (port as usize + 1) % 4] {
                queues[number].send_gather(&udp_packet(port), &[], &[]).unwrap();
                let (_, source) = socket.recv_from(&mut [0; 8]).unwrap();
                assert_eq!(source.port(), port);
                socket.send_to(b"answer", source).unwrap();
                recv_matching(&mut queues[number], &mut buffer, |packet| packet.ends_with(b"answer"));
            }
        }
    });
}

/// An empty UDP datagram from 10.0.0.2 and this port to 10.0.0.1:9.
fn udp_packet(port: u16) -> Vec<u8> {
    let mut packet = vec![0; VNET_HEADER_LEN + 28];
    let ip = &mut packet[VNET_HEADER_LEN..];
    ip[..4].copy_from_slice(&[0x45, 0, 0, 28]);
    ip[8..12].copy_from_slice(&[64, 17, 0x66, 0xCF]);
    ip[12..20].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
    ip[20..22].copy_from_slice(&port.to_be_bytes());
    ip[22..26].copy_from_slice(&[0, 9, 0, 8]);
    packet
}

#[test]
fn names_that_no_interface_can_have_are_refused_before_the_kernel_is_asked() {
    for name in ["sixteen-letters-", ".", "..", "a/b", "a b", "a:b", "wg%d", "a\0b"] {
        let error = open(&Options { name, ..OPTIONS }).unwrap_err();
        assert!(matches!(error, TunError::Name { .. }), "{name:?}: {error}");
    }
}

#[test]
fn a_descriptor_that_was_handed_over_is_adopted_with_more_queues() {
    in_namespace(|| {
        let (device, mut queues) = open(&OPTIONS).unwrap();
        let (name, fd) = (device.name().to_owned(), queues.remove(0).into_fd());
        let (adopted, queues) = adopt(fd, 3, Offloads { uso: false, ..Offloads::ALL }).unwrap();
        assert_eq!((adopted.name(), queues.len()), (&*name, 3));
        assert!(!adopted.offloads().uso && adopted.offloads().tso);
        assert_eq!(adopted.index(), device.index());
    });
}

#[test]
fn a_descriptor_without_vnet_headers_carries_plain_packets() {
    in_namespace(|| {
        let fd = device::driver().unwrap();
        ioctl::attach(fd.as_fd(), "plain", libc::IFF_TUN | libc::IFF_NO_PI).unwrap();
        let (mut device, mut queues) = adopt(fd, 2, Offloads::ALL).unwrap();
        assert_eq!((queues.len(), device.offloads()), (1, Offloads::NONE));
        device.add_address(Ipv4Addr::new(10, 0, 0, 1).into(), 24).unwrap();
        device.set_up(true).unwrap();
        let socket = UdpSocket::bind("10.0.0.1:9").unwrap();
        socket.send_to(b"hello", "10.0.0.2:7").unwrap();
        let mut buffer = vec![0xFF; RECV_MIN];
        let len = recv_matching(&mut queues[0], &mut buffer, |packet| packet[0] >> 4 == 4);
        assert_eq!((len, &buffer[..VNET_HEADER_LEN]), (VNET_HEADER_LEN + 33, &[0; VNET_HEADER_LEN][..]));
        // Sent back with the addresses and ports swapped, it arrives.
        let (one, other) = buffer[VNET_HEADER_LEN + 12..].split_at_mut(4);
        one.swap_with_slice(&mut other[..4]);
        let (one, other) = buffer[VNET_HEADER_LEN + 20..].split_at_mut(2);
        one.swap_with_slice(&mut other[..2]);
        queues[0].send_gather(&buffer[..len], &[], &[]).unwrap();
        let mut payload = [0; 16];
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(socket.recv(&mut payload).unwrap(), 5);
        assert!(GsoKind::ALL.iter().all(|kind| !queues[0].takes(*kind)));
    });
}

#[test]
fn other_descriptors_are_refused_with_what_they_are() {
    in_namespace(|| {
        let why = |fd: OwnedFd| match adopt(fd, 1, Offloads::ALL) {
            Err(TunError::Descriptor { why }) => why,
            other => panic!("{other:?}"),
        };
        assert!(
            why(std::fs::File::open("/dev/null").unwrap().into())
                .contains("not a descriptor of /dev/net/tun")
        );
        assert!(why(device::driver().unwrap()).contains("attached to no interface"));
        let tap = device::driver().unwrap();
        ioctl::attach(tap.as_fd(), "tap7", libc::IFF_TAP | libc::IFF_NO_PI).unwrap();
        assert!(why(tap).contains("TAP"));
        let with_information = device::driver().unwrap();
        ioctl::attach(with_information.as_fd(), "pi7", libc::IFF_TUN).unwrap();
        assert!(why(with_information).contains("IFF_NO_PI"));
    });
}

// FT-3
#[test]
fn a_removed_interface_shows_as_gone_in_both_directions() {
    in_namespace(|| {
        let (device, mut queues) = open(&OPTIONS).unwrap();
        Links::open().unwrap().remove(device.index().unwrap()).unwrap();
        wait_readable(&queues[0]);
        let mut buffer = vec![0; RECV_MIN];
        assert!(matches!(queues[0].recv(&mut buffer), Err(RecvError::Gone)));
        let mut head = [0; VNET_HEADER_LEN + 20];
        head[VNET_HEADER_LEN] = 0x45;
        assert_eq!(queues[0].send_gather(&head, &[], &[]), Err(SendError::Gone));
    });
}

#[test]
fn an_interface_that_is_down_refuses_packets_and_stays() {
    in_namespace(|| {
        let (mut device, mut queues) = open(&OPTIONS).unwrap();
        let mut head = [0; VNET_HEADER_LEN + 20];
        head[VNET_HEADER_LEN] = 0x45;
        assert_eq!(queues[0].send_gather(&head, &[], &[]), Err(SendError::Down));
        device.set_up(true).unwrap();
        assert_eq!(queues[0].send_gather(&head, &[], &[]), Ok(()));
    });
}

#[test]
fn a_first_refused_super_packet_switches_its_kind_off_and_a_later_one_does_not() {
    in_namespace(|| {
        let (mut device, mut queues) = open(&Options { queues: 2, ..OPTIONS }).unwrap();
        device.add_address(Ipv4Addr::new(10, 0, 0, 1).into(), 24).unwrap();
        device.set_up(true).unwrap();
        let good = tcp_super_packet(1000);
        // A segment size of zero is refused by every kernel.
        let bad = tcp_super_packet(0);
        let [fresh, proven] = &mut queues[..] else { panic!() };
        assert_eq!(fresh.send_gather(&bad, &[], &[]), Err(SendError::GsoRefused));
        assert_eq!((fresh.takes(GsoKind::Tcp4), fresh.refusal(GsoKind::Tcp4)), (false, Some(libc::EINVAL)));
        assert_eq!(fresh.send_gather(&good, &[], &[]), Err(SendError::GsoRefused));
        assert!(fresh.takes(GsoKind::Tcp6), "another kind is not concerned");
        assert_eq!(proven.send_gather(&good, &[], &[]), Ok(()));
        assert_eq!(proven.send_gather(&bad, &[], &[]), Err(SendError::GsoRefused));
        assert!(proven.takes(GsoKind::Tcp4), "one bad packet of a peer must not switch off what works");
    });
}

/// An IPv4 TCP super-packet of 3,000 payload bytes to nobody, with this segment size in its vnet header.
fn tcp_super_packet(segment: u16) -> Vec<u8> {
    let mut packet = vec![0; VNET_HEADER_LEN + 40 + 3000];
    // NEEDS_CSUM, TCPV4, header length, segment size, checksum start and offset.
    packet[..2].copy_from_slice(&[1, 1]);
    for (at, value) in [(2, 40), (4, segment), (6, 20), (8, 16)] {
        packet[at..at + 2].copy_from_slice(&u16::to_ne_bytes(value));
    }
    let ip = &mut packet[VNET_HEADER_LEN..];
    ip[..4].copy_from_slice(&[0x45, 0, (3040u16 >> 8) as u8, 3040u16 as u8]);
    ip[8..10].copy_from_slice(&[64, 6]);
    ip[12..20].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
    ip[32] = 0x50;
    packet
}

#[test]
fn every_error_says_what_to_do() {
    let name = || "wg0".to_owned();
    let cases = [
        (TunError::NoDriver, "modprobe tun"),
        (TunError::Rights { what: "creating an interface" }, "CAP_NET_ADMIN"),
        (TunError::Exists { name: name() }, "ip link del wg0"),
        (TunError::Busy { name: name() }, "stop that one"),
        (TunError::Kind { name: name() }, "ip tuntap add wg0"),
    ];
    for (error, remedy) in cases {
        assert!(error.to_string().contains(remedy), "{error}");
    }
}
