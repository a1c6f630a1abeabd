//! What every implementation of [`Inner`] must do, run over the kernel's and over the one in memory.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use super::memory::{MemoryInner, pair};
use super::*;
use crate::poll::{Interest, Poller, Token};
use crate::testing::in_namespace;
use crate::tun::{self, Existing, Offloads, Options, Queue};

/// Bytes of an IPv4 and a UDP header.
const HEADERS: usize = 28;

/// An inner side under test, and the one behind it.
trait Rig {
    type Inner: Inner;

    fn inner(&mut self) -> &mut Self::Inner;
    /// The one behind sends a packet with this payload.
    fn far_send(&mut self, payload: &[u8]);
    /// The payload of the next packet that the one behind has got.
    fn far_recv(&mut self) -> Option<Vec<u8>>;
    /// Super-packets of this kind are refused from now on.
    fn refuse(&mut self, kind: GsoKind);
    /// The one behind goes away for good.
    fn end(&mut self);
}

/// The vnet header and IP and UDP headers of a packet from 10.0.0.2:7 to 10.0.0.1:9.
fn head(payload_len: usize) -> Vec<u8> {
    let mut head = vec![0; VNET_HEADER_LEN + HEADERS];
    let ip = &mut head[VNET_HEADER_LEN..];
    let [total, udp] = [HEADERS, 8].map(|headers| (headers + payload_len) as u16);
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[8..10].copy_from_slice(&[64, 17]);
    ip[12..20].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
    let sum: u32 = ip[..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = !(((sum >> 16) + sum) as u16);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    // No UDP checksum: IPv4 allows that.
    ip[20..24].copy_from_slice(&[0, 7, 0, 9]);
    ip[24..26].copy_from_slice(&udp.to_be_bytes());
    head
}

fn is_readable(inner: &impl Inner) -> bool {
    let mut poller = Poller::new(1).unwrap();
    poller.add(inner.fd(), Token(0), Interest::Read).unwrap();
    poller.wait(Some(Duration::ZERO)).unwrap();
    poller.ready().any(|ready| ready.readable)
}

fn conforms(mut rig: impl Rig) {
    packets_come_in_order_and_only_while_readable(&mut rig);
    gather_writes_arrive_in_one_piece(&mut rig);
    wrong_gather_writes_do_nothing(&mut rig);
    refused_kinds_are_told_and_plain_packets_pass(&mut rig);
    the_end_is_told_in_both_directions(&mut rig);
}

fn packets_come_in_order_and_only_while_readable(rig: &mut impl Rig) {
    let mut buffer = vec![0xEE; RECV_MIN];
    assert_eq!(rig.inner().recv(&mut buffer).unwrap(), None);
    assert!(!is_readable(rig.inner()));
    let payloads: Vec<Vec<u8>> = (0..5).map(|number| vec![number; 100 + number as usize]).collect();
    payloads.iter().for_each(|payload| rig.far_send(payload));
    for payload in &payloads {
        assert!(is_readable(rig.inner()));
        let len = rig.inner().recv(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[VNET_HEADER_LEN + HEADERS..len], payload);
    }
    assert_eq!(rig.inner().recv(&mut buffer).unwrap(), None);
    assert!(!is_readable(rig.inner()));
}

fn gather_writes_arrive_in_one_piece(rig: &mut impl Rig) {
    let arena: Vec<u8> = (0..60_000u32).map(|at| (at % 251) as u8).collect();
    for count in [0, 1, 7, PARTS_MAX] {
        // Neither in order nor next to each other, and the last is shorter.
        let mut parts: Vec<Span> =
            (0..count).map(|index| Span { offset: ((count - index) * 900) as u32, len: 20 }).collect();
        if let Some(last) = parts.last_mut() {
            last.len = 3;
        }
        let payload: Vec<u8> = parts.iter().flat_map(|part| arena[part.range()].to_vec()).collect();
        rig.inner().send_gather(&head(payload.len()), &arena, &parts).unwrap();
        assert_eq!(rig.far_recv().as_ref(), Some(&payload), "{count} parts");
    }
}

fn wrong_gather_writes_do_nothing(rig: &mut impl Rig) {
    let (arena, head) = ([7; 100], head(10));
    let part = |offset, len| Span { offset, len };
    let cases: [(&[u8], &[Span]); 5] = [
        (&head, &[part(91, 10)]),
        (&head, &[part(0, 10), part(u32::MAX, 1)]),
        (&head, &[part(u32::MAX, u32::MAX)]),
        (&head[..VNET_HEADER_LEN - 1], &[part(0, 10)]),
        (&head, &[Span { offset: 0, len: 1 }; PARTS_MAX + 1]),
    ];
    for (head, parts) in cases {
        assert_eq!(rig.inner().send_gather(head, &arena, parts), Err(SendError::OutOfBounds));
    }
    assert_eq!(rig.far_recv(), None);
    // The last byte of the arena is inside, and an empty part lies anywhere up to its end.
    rig.inner().send_gather(&head, &arena, &[part(90, 10), part(100, 0)]).unwrap();
    assert_eq!(rig.far_recv(), Some(vec![7; 10]));
}

fn refused_kinds_are_told_and_plain_packets_pass(rig: &mut impl Rig) {
    assert!(GsoKind::ALL.iter().all(|kind| rig.inner().takes(*kind)));
    rig.refuse(GsoKind::Udp);
    assert!(!rig.inner().takes(GsoKind::Udp) && rig.inner().takes(GsoKind::Tcp4));
    let mut head = head(8);
    rig.inner().send_gather(&head, b"12345678", &[Span { offset: 0, len: 8 }]).unwrap();
    assert_eq!(rig.far_recv(), Some(b"12345678".to_vec()));
    head[1] = VnetHeader::GSO_UDP_L4;
    let refused = rig.inner().send_gather(&head, b"12345678", &[Span { offset: 0, len: 8 }]);
    assert_eq!(refused, Err(SendError::GsoRefused));
    assert_eq!(rig.far_recv(), None);
}

fn the_end_is_told_in_both_directions(rig: &mut impl Rig) {
    rig.end();
    assert!(is_readable(rig.inner()));
    let mut buffer = vec![0; RECV_MIN];
    for _ in 0..2 {
        assert!(matches!(rig.inner().recv(&mut buffer), Err(RecvError::Gone)));
        assert_eq!(rig.inner().send_gather(&head(0), &[], &[]), Err(SendError::Gone));
    }
    assert!(is_readable(rig.inner()));
}

struct MemoryRig {
    near: MemoryInner,
    far: Option<MemoryInner>,
}

impl Rig for MemoryRig {
    type Inner = MemoryInner;

    fn inner(&mut self) -> &mut MemoryInner {
        &mut self.near
    }

    fn far_send(&mut self, payload: &[u8]) {
        let part = Span { offset: 0, len: payload.len() as u32 };
        self.far.as_mut().unwrap().send_gather(&head(payload.len()), payload, &[part]).unwrap();
    }

    fn far_recv(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; RECV_MIN];
        let len = self.far.as_mut().unwrap().recv(&mut buffer).unwrap()?;
        Some(buffer[VNET_HEADER_LEN + HEADERS..len].to_vec())
    }

    fn refuse(&mut self, kind: GsoKind) {
        self.near.refuse(kind);
    }

    fn end(&mut self) {
        self.far = None;
    }
}

struct TunRig {
    device: tun::Device,
    queue: Queue,
    far: UdpSocket,
}

impl TunRig {
    fn new() -> Self {
        let options = Options { name: "", queues: 1, existing: Existing::Refuse, offloads: Offloads::ALL };
        let (mut device, mut queues) = tun::open(&options).unwrap();
        // Or the kernel would send IPv6 packets of its own accord.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", device.name()), "1");
        device.add_address("10.0.0.1".parse().unwrap(), 24).unwrap();
        device.set_up(true).unwrap();
        let far = UdpSocket::bind("10.0.0.1:9").unwrap();
        far.connect("10.0.0.2:7").unwrap();
        far.set_nonblocking(true).unwrap();
        Self { device, queue: queues.remove(0), far }
    }
}

impl Rig for TunRig {
    type Inner = Queue;

    fn inner(&mut self) -> &mut Queue {
        &mut self.queue
    }

    fn far_send(&mut self, payload: &[u8]) {
        self.far.send(payload).unwrap();
    }

    fn far_recv(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; RECV_MIN];
        match self.far.recv(&mut buffer) {
            Ok(len) => Some(buffer[..len].to_vec()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn refuse(&mut self, kind: GsoKind) {
        self.queue.switch_off(kind);
    }

    fn end(&mut self) {
        crate::netlink::Links::open().unwrap().remove(self.device.index().unwrap()).unwrap();
    }
}

#[test]
fn the_inner_side_in_memory_conforms() {
    let (near, far) = pair(8).unwrap();
    conforms(MemoryRig { near, far: Some(far) });
}

// EN-7
#[test]
fn a_tun_conforms() {
    in_namespace(|| conforms(TunRig::new()));
}
