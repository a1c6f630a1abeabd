//! Two namespaces whose TUNs are joined back to back: what one kernel hands over as a super-packet, the other takes.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dataplane_wire::Span;
use dataplane_wire::offload::VnetHeader;

use super::*;
use crate::inner::{GsoKind, Inner, RECV_MIN, VNET_HEADER_LEN};
use crate::poll::{Interest, Poller, Token};
use crate::testing::Namespace;

const MTU: u32 = 1420;
/// Not a multiple of anything here.
const STREAM_BYTES: usize = 20_000_003;

/// What was carried from the first namespace to the second.
#[derive(Debug, Default)]
struct Carried {
    /// Super-packets by kind.
    whole: [u64; GsoKind::ALL.len()],
    plain: u64,
    partial_checksums: u64,
    /// Most segments in one.
    segments_max: usize,
    /// Most bytes of one as a train of WireGuard's datagrams.
    train_max: usize,
}

struct Joined {
    sides: [Namespace; 2],
    stop: Arc<AtomicBool>,
    carrier: JoinHandle<Carried>,
}

impl Joined {
    fn new(offloads: Offloads, super_packets: SuperPackets) -> Option<Self> {
        let sides = [Namespace::new()?, Namespace::new()?];
        let queues = [1, 2].map(|number| {
            sides[number - 1].run(move || {
                let options = Options { name: "joined", queues: 1, existing: Existing::Refuse, offloads };
                let (mut device, mut queues) = open(&options).unwrap();
                device.set_super_packets(super_packets);
                device.set_mtu(MTU).unwrap();
                device.set_tx_queue_len(1000).unwrap();
                for (address, prefix) in
                    [address_of(number, false), address_of(number, true)].map(|ip| (ip, 64))
                {
                    device.add_address(address, if address.is_ipv4() { 24 } else { prefix }).unwrap();
                }
                device.set_up(true).unwrap();
                assert!(!offloads.uso || device.offloads().uso, "this kernel has no USO (Linux 6.2)");
                queues.remove(0)
            })
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let carrier = thread::spawn(move || carry(queues, &stopping));
        Some(Self { sides, stop, carrier })
    }

    /// Sends a patterned TCP stream from the first to the second, and checks what arrives.
    fn stream(&self, v6: bool) {
        let address = SocketAddr::new(address_of(2, v6), 4000);
        let listener = self.sides[1].run(move || TcpListener::bind(address).unwrap());
        let sender = self.sides[0].run(move || {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let bytes: Vec<u8> = (0..STREAM_BYTES).map(pattern).collect();
                stream.write_all(&bytes).unwrap();
            })
        });
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut received = Vec::with_capacity(STREAM_BYTES);
        stream.read_to_end(&mut received).unwrap();
        sender.join().unwrap();
        assert_eq!(received.len(), STREAM_BYTES);
        assert!(received.iter().enumerate().all(|(at, byte)| *byte == pattern(at)), "the stream was garbled");
    }

    fn end(self) -> Carried {
        self.stop.store(true, Ordering::Relaxed);
        self.carrier.join().unwrap()
    }
}

fn pattern(at: usize) -> u8 {
    (at % 251) as u8 ^ (at >> 16) as u8
}

fn address_of(number: usize, v6: bool) -> IpAddr {
    let text = if v6 { format!("fd00::{number}") } else { format!("10.0.0.{number}") };
    text.parse().unwrap()
}

/// Writes to each what it reads from the other, gathered as after coalescing: headers, then the payload of each segment.
fn carry(mut queues: [Queue; 2], stop: &AtomicBool) -> Carried {
    let mut poller = Poller::new(2).unwrap();
    for (number, queue) in queues.iter().enumerate() {
        poller.add(queue.fd(), Token(number as u64), Interest::Read).unwrap();
    }
    let mut buffer = vec![0; RECV_MIN];
    let mut carried = Carried::default();
    while !stop.load(Ordering::Relaxed) {
        poller.wait(Some(Duration::from_millis(50))).unwrap();
        for number in 0..2 {
            while let Some(len) = queues[number].recv(&mut buffer).unwrap() {
                let (head, parts) = cut(&buffer[..len]);
                queues[1 - number].send_gather(&buffer[..head], &buffer, &parts).unwrap();
                if number == 0 {
                    carried.count(&buffer[..len], head, &parts);
                }
            }
        }
    }
    carried
}

/// How many bytes of headers there are, the vnet header included, and the payload of each segment.
fn cut(packet: &[u8]) -> (usize, Vec<Span>) {
    let vnet = VnetHeader::parse(packet).unwrap().0;
    if GsoKind::of(packet).is_none() {
        return (packet.len(), vec![]);
    }
    // The length of the headers in the vnet header is a hint only.
    let transport = VNET_HEADER_LEN + vnet.csum_start as usize;
    let tcp = vnet.gso_type & !VnetHeader::GSO_ECN != VnetHeader::GSO_UDP_L4;
    let head = transport + if tcp { usize::from(packet[transport + 12] >> 4) * 4 } else { 8 };
    let size = vnet.gso_size as usize;
    let starts = (head..packet.len()).step_by(size);
    let parts = starts.map(|at| Span { offset: at as u32, len: size.min(packet.len() - at) as u32 });
    (head, parts.collect())
}

impl Carried {
    fn count(&mut self, packet: &[u8], head: usize, parts: &[Span]) {
        self.partial_checksums += u64::from(packet[0] & VnetHeader::NEEDS_CSUM);
        let Some(kind) = GsoKind::of(packet) else {
            self.plain += 1;
            return;
        };
        self.whole[kind as usize] += 1;
        self.segments_max = self.segments_max.max(parts.len());
        let datagram = |part: &Span| head - VNET_HEADER_LEN + part.len as usize + SEGMENT_OVERHEAD as usize;
        self.train_max = self.train_max.max(parts.iter().map(datagram).sum());
    }
}

// EN-6
#[test]
fn tcp_super_packets_fill_a_train_and_never_exceed_it() {
    let Some(joined) = Joined::new(Offloads::ALL, SuperPackets::Train) else { return };
    joined.stream(false);
    joined.stream(true);
    let carried = joined.end();
    assert!(carried.whole[GsoKind::Tcp4 as usize] > 100 && carried.whole[GsoKind::Tcp6 as usize] > 100);
    assert_eq!(carried.segments_max, fit(MTU).train as usize, "gso_max_size takes no effect: {carried:?}");
    assert!(carried.train_max <= TRAIN_BYTES_MAX as usize, "{carried:?}");
}

#[test]
fn whole_super_packets_are_larger_than_a_train() {
    let Some(joined) = Joined::new(Offloads::ALL, SuperPackets::Whole) else { return };
    joined.stream(false);
    let carried = joined.end();
    assert!(carried.segments_max > fit(MTU).train as usize, "{carried:?}");
}

// EN-6, EN-7
#[test]
fn udp_super_packets_of_64_segments_cross_in_one_gather_write() {
    let Some(joined) = Joined::new(Offloads::ALL, SuperPackets::Train) else { return };
    for v6 in [false, true] {
        let [near, far] = [1, 2].map(|number| {
            let address = SocketAddr::new(address_of(number, v6), 5000);
            joined.sides[number - 1].run(move || UdpSocket::bind(address).unwrap())
        });
        near.connect(far.local_addr().unwrap()).unwrap();
        // The kernel puts the route to an own IPv6 address in place a moment after its interface came up.
        far.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        while far.recv(&mut [0; 1]).is_err() {
            near.send(&[0]).unwrap();
        }
        while far.recv(&mut [0; 1]).is_ok() {}
        far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        crate::trains::fix(&near, 900).unwrap();
        let train: Vec<u8> = (0..64 * 900 - 450).map(pattern).collect();
        near.send(&train).unwrap();
        let mut buffer = [0; 2000];
        for segment in train.chunks(900) {
            let len = far.recv(&mut buffer).unwrap();
            assert!(buffer[..len] == *segment);
        }
    }
    let carried = joined.end();
    assert_eq!((carried.whole[GsoKind::Udp as usize], carried.segments_max), (2, 64));
}

// EN-6
#[test]
fn without_offloads_every_packet_is_plain_and_complete() {
    let Some(joined) = Joined::new(Offloads::NONE, SuperPackets::Train) else { return };
    joined.stream(false);
    let carried = joined.end();
    assert_eq!((carried.whole, carried.partial_checksums), ([0; 3], 0));
    assert!(carried.plain as usize > STREAM_BYTES / MTU as usize);
}
