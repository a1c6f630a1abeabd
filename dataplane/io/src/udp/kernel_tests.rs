//! What only a network of one's own can show: routes that go, devices that shrink, addresses that vanish.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use dataplane_wire::{DropReason, FourTuple, SocketId, TrafficClass, TxMeta, TxSink};

use super::UdpIo;
use crate::memory::{Class, Plan, Region};
use crate::netlink::{LinkSettings, Links};
use crate::packet_io::{PacketIo, SendReport};
use crate::rx::RxRing;
use crate::socket::{BindRequest, OffloadConfig, bind_group};
use crate::testing::in_namespace;
use crate::tx::TxBatch;

struct Ends {
    a: UdpIo,
    b: UdpIo,
    rx: RxRing,
    tx: TxBatch,
    port: u16,
}

impl Ends {
    fn new() -> Self {
        let plan = Plan::new().with("send arena", Class::Slab, 4).with("receive ring", Class::Slab, 8);
        let region = Region::new(&plan).unwrap();
        let (rx, tx) = (RxRing::new(&region, Class::Slab, 8).unwrap(), TxBatch::new(&region, 4, 64).unwrap());
        let bind = || {
            let group = bind_group(&BindRequest::default()).unwrap();
            let mut io = UdpIo::new(OffloadConfig::default());
            for socket in group.v4.into_iter().chain(group.v6) {
                io.add_socket(SocketId(0), socket).unwrap();
            }
            (io, group.port)
        };
        let ((a, _), (b, port)) = (bind(), bind());
        Self { a, b, rx, tx, port }
    }

    fn send(&mut self, to: IpAddr, source: Option<IpAddr>, len: usize, count: usize) -> SendReport {
        let tuple = FourTuple { socket: SocketId(0), remote: (to, self.port).into(), local_ip: source };
        let meta = TxMeta { tuple, class: TrafficClass(0) };
        self.tx.reserve_train(&meta, len, count, len).unwrap().commit();
        self.a.send(&mut self.tx)
    }

    fn arrives(&mut self, to: IpAddr) -> bool {
        self.send(to, None, 100, 3).datagrams == 3 && self.drain().len() == 3
    }

    /// Where each datagram came from.
    fn drain(&mut self) -> Vec<IpAddr> {
        let mut from = Vec::new();
        self.b.set_all_ready();
        loop {
            let more = self.b.recv(&mut self.rx).more;
            for meta in self.rx.metas() {
                from.extend(meta.segments().map(|_| meta.tuple.remote.ip()));
            }
            if !more {
                return from;
            }
        }
    }
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn set_loopback(settings: LinkSettings) {
    let mut links = Links::open().unwrap();
    let index = links.find("lo").unwrap().index;
    links.set(index, &settings).unwrap();
}

// EN-5
#[test]
fn a_device_smaller_than_the_segments_gets_them_split_and_every_one_arrives() {
    in_namespace(|| {
        let mut ends = Ends::new();
        set_loopback(LinkSettings { mtu: Some(1400), ..LinkSettings::default() });
        for to in [V4, V6] {
            let report = ends.send(to, None, 1452, 40);
            assert_eq!((report.datagrams, report.dropped()), (40, 0), "{to}");
            assert_eq!(ends.drain().len(), 40, "{to}");
        }
        let gso = ends.a.offloads().gso;
        assert!(gso.is_on(), "a narrow path says nothing of the others: {gso}");
    });
}

// FT-1
#[test]
fn sockets_live_through_a_network_that_is_not_there_yet() {
    in_namespace(|| {
        let mut ends = Ends::new();
        let mut links = Links::open().unwrap();
        let lo = links.find("lo").unwrap().index;
        for (to, prefix_len) in [("198.51.100.1", 32), ("2001:db8::1", 128)] {
            let to: IpAddr = to.parse().unwrap();
            for _ in 0..3 {
                let report = ends.send(to, None, 100, 3);
                assert_eq!(report.drops().collect::<Vec<_>>(), [(DropReason::TxUnreachable, 3)], "{to}");
                assert_eq!(ends.send(V4, None, 100, 3).datagrams, 3);
                assert_eq!(ends.drain().len(), 3, "others are not held up");
            }
            links.add_address(lo, to, prefix_len).unwrap();
            // The kernel makes an IPv6 address its own a moment after it has said yes.
            let start = Instant::now();
            while !ends.arrives(to) {
                assert!(start.elapsed() < Duration::from_secs(10), "{to} is still not reached");
                thread::sleep(Duration::from_millis(5));
            }
        }
        assert!(ends.a.offloads().gso.is_on(), "a missing route says nothing of GSO");
    });
}

// WG-55
#[test]
fn a_source_of_either_family_is_used_while_it_exists_and_reported_when_not() {
    in_namespace(|| {
        let mut links = Links::open().unwrap();
        let lo = links.find("lo").unwrap().index;
        let ours: [IpAddr; 2] = [[192, 0, 2, 7].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 7].into()];
        links.add_address(lo, ours[0], 32).unwrap();
        links.add_address(lo, ours[1], 128).unwrap();
        let foreign: [IpAddr; 2] = [[192, 0, 2, 8].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 8].into()];
        let mut ends = Ends::new();
        for (family, to) in [V4, V6].into_iter().enumerate() {
            let report = ends.send(to, Some(ours[family]), 500, 3);
            assert_eq!((report.datagrams, report.rejected_sources.len()), (3, 0));
            assert_eq!(ends.drain(), [ours[family]; 3]);
            let report = ends.send(to, Some(foreign[family]), 500, 3);
            assert_eq!((report.datagrams, report.rejected_sources.len()), (3, 1), "{to}");
            assert_eq!(ends.drain(), [to; 3]);
        }
        assert!(ends.a.offloads().gso.is_on(), "an address says nothing of GSO");
    });
}

#[test]
fn the_mark_of_a_living_socket_can_be_changed() {
    in_namespace(|| {
        let ends = Ends::new();
        for mark in [7, 0x51820, 0] {
            ends.a.set_mark(SocketId(0), mark).unwrap();
            ends.a.poll_fds(&mut |_, fd| assert_eq!(socket2::SockRef::from(&fd).mark().unwrap(), mark));
        }
    });
}
