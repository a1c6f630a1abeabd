use dataplane_wire::SocketId;

use super::UdpIo;
use super::addr::RawAddr;
use super::fake::{Came, PaperKernel};
use crate::memory::{Class, Plan, Region};
use crate::packet_io::PacketIo;
use crate::rx::RxRing;

struct Bench {
    kernel: PaperKernel,
    io: UdpIo,
    rx: RxRing,
}

impl Bench {
    /// One socket and a ring of 64 slots.
    fn new() -> Self {
        let region = Region::new(&Plan::new().with("ring", Class::Slab, 64)).unwrap();
        let kernel = PaperKernel::default();
        let mut io = UdpIo::with_calls(Default::default(), Box::new(kernel.clone()));
        io.add_socket(SocketId(0), std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        Self { kernel, io, rx: RxRing::new(&region, Class::Slab, 64).unwrap() }
    }

    fn arrive(&self, len: usize) {
        self.kernel.with(|state| state.inbox.push_back(Ok(came(len))));
    }

    fn fail(&self, errno: i32) {
        self.kernel.with(|state| state.inbox.push_back(Err(errno)));
    }

    /// Receives until there is no more; how many datagrams or trains came.
    fn drain(&mut self) -> usize {
        let mut count = 0;
        loop {
            self.io.set_all_ready();
            let report = self.io.recv(&mut self.rx);
            count += self.rx.metas().len();
            if !report.more {
                return count;
            }
        }
    }
}

fn came(len: usize) -> Came {
    let from = RawAddr::from_addr(&"192.0.2.1:7".parse().unwrap());
    Came { from, control: Vec::new(), bytes: vec![7; len], real_len: None }
}

// EN-3
#[test]
fn few_slots_are_offered_to_trains_and_many_to_single_datagrams() {
    let mut bench = Bench::new();
    (0..400).for_each(|_| bench.arrive(60_000));
    assert_eq!(bench.drain(), 400);
    let offered = bench.kernel.with(|state| std::mem::take(&mut state.offered));
    assert!(offered[3..].iter().all(|&slots| slots == 4), "{offered:?}");
    (0..800).for_each(|_| bench.arrive(100));
    assert_eq!(bench.drain(), 800);
    let offered = bench.kernel.with(|state| std::mem::take(&mut state.offered));
    assert!(offered[5..].iter().all(|&slots| slots == 64), "{offered:?}");
}

#[test]
fn news_of_other_datagrams_hides_none_that_came() {
    let mut bench = Bench::new();
    bench.arrive(10);
    bench.fail(libc::ECONNREFUSED);
    bench.fail(libc::EHOSTUNREACH);
    bench.arrive(20);
    bench.fail(libc::EINTR);
    bench.arrive(30);
    assert_eq!(bench.drain() + bench.drain() + bench.drain(), 3);
}

#[test]
fn a_socket_that_only_fails_is_left_alone_after_a_while() {
    let mut bench = Bench::new();
    (0..100).for_each(|_| bench.fail(libc::ENETDOWN));
    let report = bench.io.recv(&mut bench.rx);
    assert_eq!((report.errors, report.more), (8, false));
}

// EN-3
#[test]
fn a_truncated_train_is_counted_by_its_datagrams() {
    let mut bench = Bench::new();
    let mut control = Vec::new();
    control.extend(20usize.to_ne_bytes());
    control.extend(libc::SOL_UDP.to_ne_bytes());
    control.extend(libc::UDP_GRO.to_ne_bytes());
    control.extend(1000i32.to_ne_bytes());
    control.resize(24, 0);
    let cut = Came { control, real_len: Some(70_500), ..came(65_535) };
    bench.kernel.with(|state| state.inbox.push_back(Ok(cut)));
    bench.arrive(10);
    let report = bench.io.recv(&mut bench.rx);
    assert_eq!((report.truncated, bench.rx.metas().len()), (71, 1));
    let meta = bench.rx.metas()[0];
    assert_eq!(bench.rx.arena()[meta.offset as usize..][..10], [7; 10]);
}

#[test]
fn a_datagram_without_a_source_that_we_know_is_counted() {
    let mut bench = Bench::new();
    bench.kernel.with(|state| state.inbox.push_back(Ok(Came { from: RawAddr::EMPTY, ..came(10) })));
    let report = bench.io.recv(&mut bench.rx);
    assert_eq!((report.errors, bench.rx.metas().len()), (1, 0));
}

proptest::proptest! {
    #[test]
    fn no_control_message_leads_out_of_the_datagram(
        control in proptest::collection::vec(proptest::num::u8::ANY, 0..144),
        stride in proptest::num::i32::ANY,
        len in 0usize..3000,
    ) {
        let mut bench = Bench::new();
        let mut gro = Vec::new();
        gro.extend(20usize.to_ne_bytes());
        gro.extend(libc::SOL_UDP.to_ne_bytes());
        gro.extend(libc::UDP_GRO.to_ne_bytes());
        gro.extend(stride.to_ne_bytes());
        for control in [control, gro] {
            bench.kernel.with(|state| state.inbox.push_back(Ok(Came { control, ..came(len) })));
        }
        bench.io.recv(&mut bench.rx);
        let (arena, metas) = bench.rx.split();
        for meta in metas {
            proptest::prop_assert_eq!(meta.len as usize, len);
            let bytes: usize = meta.segments().map(|(offset, len)| arena[offset..offset + len].len()).sum();
            proptest::prop_assert_eq!(bytes, len);
        }
    }
}
