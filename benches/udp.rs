//! What the memory and the UDP backend cost, in CPU time of the thread that works: loopback delivers in the context of the
//! sender, so that a send includes the kernel's receive path up to the socket's queue.
//!
//! `cargo bench -p dataplane-benches --bench udp`. quinn-udp's path, one message per call, stands beside ours.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dataplane_io::socket::{BindRequest, OffloadConfig, bind_group};
use dataplane_io::udp::UdpIo;
use dataplane_io::{Class, PacketIo, Plan, Pool, PoolSizes, Region, RxRing, TxBatch};
use dataplane_wire::{FourTuple, SocketId, TrafficClass, TxMeta, TxSink};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// CPU time of so many calls.
fn timed(calls: u64, mut call: impl FnMut()) -> Duration {
    let start = cpu();
    (0..calls).for_each(|_| call());
    cpu() - start
}

fn region() -> Region {
    let plan = Plan::new().with("send arena", Class::Slab, 16).with("receive ring", Class::Slab, 64).with(
        "pool",
        Class::Slab,
        16,
    );
    Region::new(&plan).unwrap()
}

fn to(port: u16) -> TxMeta {
    let remote = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    TxMeta { tuple: FourTuple { socket: SocketId(0), remote, local_ip: None }, class: TrafficClass(0) }
}

fn bind(io: &mut UdpIo, id: u16) -> u16 {
    let request = BindRequest { v4: Some(Ipv4Addr::LOCALHOST), v6: None, ..BindRequest::default() };
    let mut group = bind_group(&request).unwrap();
    io.add_socket(SocketId(id), group.v4.remove(0)).unwrap();
    group.port
}

/// Two ends over loopback; the receiver has a socket for each of `ports`.
struct Ends {
    a: UdpIo,
    b: UdpIo,
    rx: RxRing,
    tx: TxBatch,
    ports: Vec<u16>,
}

impl Ends {
    fn new(receivers: u16, gso: bool) -> Self {
        let config = OffloadConfig { gso, gro: true };
        let (mut a, mut b) = (UdpIo::new(config), UdpIo::new(config));
        bind(&mut a, 0);
        let ports = (0..receivers).map(|id| bind(&mut b, id)).collect();
        let region = region();
        let rx = RxRing::new(&region, Class::Slab, 64).unwrap();
        Self { a, b, rx, tx: TxBatch::new(&region, 16, 1024).unwrap(), ports }
    }

    fn fill(&mut self, trains: usize, segment_len: usize, segments: usize) {
        for train in 0..trains {
            let meta = to(self.ports[train % self.ports.len()]);
            // To one destination, single datagrams grow, so that none joins the one before.
            let len = segment_len + if segments == 1 { train / self.ports.len() } else { 0 };
            self.tx.reserve_train(&meta, len, segments, len).unwrap().commit();
        }
    }

    fn drain(&mut self) -> usize {
        self.b.set_all_ready();
        let mut datagrams = 0;
        loop {
            let more = self.b.recv(&mut self.rx).more;
            datagrams += self.rx.metas().iter().map(|meta| meta.segments().count()).sum::<usize>();
            if !more {
                return datagrams;
            }
        }
    }
}

/// Sends, or receives, `trains` trains per round.
fn rounds(c: &mut Criterion, name: &str, ends: &mut Ends, shape: (usize, usize, usize), receive: bool) {
    let (trains, segment_len, segments) = shape;
    let mut group = c.benchmark_group(name);
    let datagrams = trains * segments;
    if segments > 1 {
        group.throughput(Throughput::Bytes((datagrams * segment_len) as u64));
    } else {
        group.throughput(Throughput::Elements(datagrams as u64));
    }
    group.bench_function(if receive { "receive" } else { "send" }, |b| {
        b.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                ends.fill(trains, segment_len, segments);
                let start = cpu();
                let report = ends.a.send(&mut ends.tx);
                let sent = cpu();
                assert_eq!(report.datagrams as usize, datagrams);
                let before = cpu();
                assert_eq!(ends.drain(), datagrams);
                spent += if receive { cpu() - before } else { sent - start };
            }
            spent
        });
    });
}

fn udp(c: &mut Criterion) {
    for receive in [false, true] {
        rounds(c, "8 trains of 44 x 1452", &mut Ends::new(1, true), (8, 1452, 44), receive);
        rounds(c, "64 singles of 100 bytes to 64 sockets", &mut Ends::new(64, true), (64, 100, 1), receive);
        rounds(c, "64 singles of 100 to 163 bytes to one", &mut Ends::new(1, true), (64, 100, 1), receive);
        rounds(c, "64 singles of 1452 bytes to 64 sockets", &mut Ends::new(64, true), (64, 1452, 1), receive);
    }
    rounds(c, "8 trains of 44 x 1452 without GSO", &mut Ends::new(1, false), (8, 1452, 44), false);
}

/// One message per call through quinn-udp.
fn quinn(c: &mut Criterion) {
    for (name, count, segments, len) in
        [("8 trains of 44 x 1452", 8, 44, 1452), ("64 singles of 100 bytes to 64 sockets", 64, 1, 100)]
    {
        let mut ends = Ends::new(if segments == 1 { 64 } else { 1 }, true);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let state = quinn_udp::UdpSocketState::new((&socket).into()).unwrap();
        let contents = vec![0u8; len * segments];
        let mut group = c.benchmark_group(name);
        if segments > 1 {
            group.throughput(Throughput::Bytes((count * len * segments) as u64));
        } else {
            group.throughput(Throughput::Elements(count as u64));
        }
        group.bench_function("send by quinn-udp", |b| {
            b.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    let start = cpu();
                    for message in 0..count {
                        let port = ends.ports[message % ends.ports.len()];
                        let transmit = quinn_udp::Transmit {
                            destination: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
                            ecn: None,
                            contents: &contents,
                            segment_size: (segments > 1).then_some(len),
                            src_ip: None,
                        };
                        state.try_send((&socket).into(), &transmit).unwrap();
                    }
                    spent += cpu() - start;
                    assert_eq!(ends.drain(), count * segments);
                }
                spent
            });
        });
    }
}

fn memory(c: &mut Criterion) {
    let region = region();
    let mut tx = TxBatch::new(&region, 16, 1024).unwrap();
    let mut group = c.benchmark_group("describe 1,000 singles of 96 bytes");
    group.throughput(Throughput::Elements(1000));
    for destinations in [1, 100, 1000] {
        let metas: Vec<TxMeta> = (1..=destinations).map(to).collect();
        group.bench_function(format!("to {destinations} destinations"), |b| {
            b.iter_custom(|iterations| {
                timed(iterations, || {
                    for number in 0..1000 {
                        let meta = &metas[number % metas.len()];
                        tx.reserve_train(meta, 96, 1, 96).unwrap().commit();
                    }
                    black_box(&mut tx).clear();
                })
            });
        });
    }
    group.finish();
    let mut pool = Pool::new(&region, PoolSizes { slabs: 16, ..PoolSizes::default() }).unwrap();
    let mut group = c.benchmark_group("a buffer");
    group.bench_function("taken and put back by its owner", |b| {
        b.iter_custom(|iterations| {
            timed(iterations, || {
                let buf = pool.take(Class::Slab).unwrap();
                pool.put(black_box(buf));
            })
        });
    });
    group.bench_function("taken, and home by the return queue", |b| {
        b.iter_custom(|iterations| timed(iterations, || drop(black_box(pool.take(Class::Slab).unwrap()))));
    });
}

criterion_group!(benches, memory, udp, quinn);
criterion_main!(benches);
