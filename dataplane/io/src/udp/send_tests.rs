use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use dataplane_wire::{DropReason, FourTuple, SocketId, TrafficClass, TxMeta, TxSink};

use super::UdpIo;
use super::fake::{Act, PaperKernel};
use crate::memory::{Class, Plan, Region};
use crate::packet_io::{OffReason, Offload, PacketIo, SendReport};
use crate::tx::TxBatch;

struct Bench {
    kernel: PaperKernel,
    io: UdpIo,
    tx: TxBatch,
    numbers: u32,
}

impl Bench {
    fn new() -> Self {
        let region = Region::new(&Plan::new().with("send arena", Class::Slab, 16)).unwrap();
        let kernel = PaperKernel::default();
        let io = kernel.backend();
        Self { kernel, io, tx: TxBatch::new(&region, 16, 256).unwrap(), numbers: 0 }
    }

    /// Commits a train of numbered datagrams.
    fn commit(&mut self, remote: &str, source: Option<IpAddr>, len: usize, count: usize) {
        let tuple = FourTuple { socket: SocketId(0), remote: remote.parse().unwrap(), local_ip: source };
        let meta = TxMeta { tuple, class: TrafficClass(0) };
        let mut train = self.tx.reserve_train(&meta, len, count, len).unwrap();
        for datagram in train.bytes().chunks_mut(len) {
            datagram.fill(0x5a);
            datagram[..4].copy_from_slice(&self.numbers.to_be_bytes());
            self.numbers += 1;
        }
        train.commit();
    }

    fn send(&mut self) -> SendReport {
        self.io.send(&mut self.tx)
    }

    fn acts(&self, acts: &[Act]) {
        self.kernel.with(|state| state.acts.extend(acts));
    }

    /// The numbers of what left, in order, and whether each was part of a train.
    fn left(&self) -> Vec<(u32, bool)> {
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
        self.kernel.with(|state| state.left.drain(..).map(|l| (number(&l.bytes), l.in_train)).collect())
    }

    fn numbers_left(&self) -> Vec<u32> {
        self.left().into_iter().map(|(number, _)| number).collect()
    }
}

const HERE: &str = "192.0.2.1:7";
const THERE: &str = "192.0.2.2:7";

fn drops(report: &SendReport) -> Vec<(DropReason, u64)> {
    report.drops().collect()
}

// EN-5
#[test]
fn a_refused_train_switches_gso_off_for_good_and_leaves_split_nothing_twice() {
    for errno in [libc::EIO, libc::EINVAL] {
        let mut bench = Bench::new();
        bench.commit(HERE, None, 1000, 10);
        bench.commit(THERE, None, 900, 64);
        bench.commit(HERE, None, 800, 30);
        // The first train still leaves whole.
        bench.acts(&[Act::Take(1), Act::Refuse(errno)]);
        let report = bench.send();
        assert_eq!((report.datagrams, report.dropped()), (104, 0));
        let expected: Vec<_> = (0..104).map(|number| (number, number < 10)).collect();
        assert_eq!(bench.left(), expected);
        assert_eq!(bench.io.offloads().gso, Offload::Off(OffReason::Failed(errno)));
        bench.commit(HERE, None, 1000, 3);
        bench.send();
        assert_eq!(bench.left(), [(104, false), (105, false), (106, false)], "it stays off");
    }
}

// EN-5
#[test]
fn a_train_too_long_for_its_path_leaves_split_and_those_of_other_destinations_stay_whole() {
    let mut bench = Bench::new();
    bench.commit(HERE, None, 1000, 3);
    bench.commit(THERE, None, 900, 3);
    bench.acts(&[Act::Refuse(libc::EMSGSIZE)]);
    let report = bench.send();
    assert_eq!((report.datagrams, report.dropped()), (6, 0));
    assert_eq!(bench.left(), [(0, false), (1, false), (2, false), (3, true), (4, true), (5, true)]);
    assert!(bench.io.offloads().gso.is_on());
    bench.commit(HERE, None, 1000, 2);
    bench.send();
    assert_eq!(bench.left(), [(6, false), (7, false)], "not tried again at once");
}

// EN-5
#[test]
fn gso_of_one_family_says_nothing_of_the_other() {
    let mut bench = Bench::new();
    bench.commit(HERE, None, 1000, 2);
    bench.commit("[2001:db8::1]:7", None, 1000, 2);
    bench.acts(&[Act::Refuse(libc::EIO)]);
    bench.send();
    assert_eq!(bench.left(), [(0, false), (1, false), (2, true), (3, true)]);
}

// EN-5
#[test]
fn a_short_count_goes_on_from_the_first_unsent_datagram() {
    let mut bench = Bench::new();
    bench.kernel.with(|state| state.no_trains = Some(libc::EIO));
    // Growing lengths, so that no train joins an earlier one.
    for len in [400, 401, 402] {
        bench.commit(HERE, None, len, 50);
        bench.commit(THERE, None, len, 7);
    }
    bench.acts(&[Act::Take(0), Act::Take(17), Act::Take(1), Act::Take(40), Act::Take(63)]);
    let report = bench.send();
    // Taking none without an error cannot be; it costs the message it was said of, so that the loop ends.
    assert_eq!((report.datagrams, drops(&report)), (171 - 50, vec![(DropReason::TxError, 50)]));
    assert_eq!(bench.numbers_left(), (50..171).collect::<Vec<_>>());
}

// WG-55
#[test]
fn a_source_at_fault_is_left_out_and_gso_stays_on() {
    for errno in [libc::EINVAL, libc::EADDRNOTAVAIL, libc::ENODEV, libc::ENETUNREACH] {
        let mut bench = Bench::new();
        let source: IpAddr = [10, 0, 0, 9].into();
        bench.kernel.with(|state| state.no_source = Some((source, errno)));
        bench.commit(THERE, None, 300, 4);
        bench.commit(HERE, Some(source), 300, 4);
        bench.commit(THERE, Some([10, 0, 0, 1].into()), 300, 1);
        bench.commit(HERE, Some(source), 301, 1);
        let report = bench.send();
        assert_eq!((report.datagrams, report.dropped()), (10, 0));
        assert_eq!(report.rejected_sources.len(), 1);
        assert_eq!(report.rejected_sources[0].remote, HERE.parse().unwrap());
        assert!(bench.io.offloads().gso.is_on());
        let sources =
            bench.kernel.with(|state| state.left.iter().map(|left| left.source).collect::<Vec<_>>());
        let good = Some([10, 0, 0, 1].into());
        assert_eq!(sources, [None, None, None, None, None, None, None, None, good, None]);
        assert_eq!(bench.numbers_left(), (0..10).collect::<Vec<_>>());
        // The first train; a refusal; two without it; the last, which was described before and now leaves without a doubt.
        assert_eq!(bench.kernel.with(|state| state.sends), 4);
    }
}

// EN-5 WG-55
#[test]
fn where_the_source_is_innocent_it_stays_and_gso_goes() {
    let mut bench = Bench::new();
    bench.kernel.with(|state| state.no_trains = Some(libc::EINVAL));
    bench.commit(HERE, Some([10, 0, 0, 1].into()), 300, 3);
    let report = bench.send();
    assert_eq!((report.datagrams, report.dropped(), report.rejected_sources.len()), (3, 0, 0));
    assert_eq!(bench.io.offloads().gso, Offload::Off(OffReason::Failed(libc::EINVAL)));
    let all_from = |source| bench.kernel.with(|state| state.left.iter().all(|left| left.source == source));
    assert!(all_from(Some([10, 0, 0, 1].into())));
}

// EN-5 EN-13
#[test]
fn datagrams_too_long_for_the_device_are_counted_and_the_others_leave() {
    let mut bench = Bench::new();
    bench.kernel.with(|state| state.len_max = Some(1400));
    bench.commit(HERE, None, 1452, 3);
    bench.commit(HERE, None, 1400, 3);
    let report = bench.send();
    assert_eq!((report.datagrams, drops(&report)), (3, vec![(DropReason::TxTooBig, 3)]));
    assert_eq!(bench.numbers_left(), [3, 4, 5]);
}

// FT-2
#[test]
fn no_buffers_is_tried_again_a_bounded_number_of_times() {
    let mut bench = Bench::new();
    bench.commit(HERE, None, 100, 3);
    bench.commit(THERE, None, 100, 3);
    bench.acts(&[Act::Take(1), Act::Refuse(libc::ENOBUFS), Act::Refuse(libc::ENOBUFS)]);
    let report = bench.send();
    assert_eq!((report.datagrams, report.dropped()), (6, 0));
    assert_eq!(bench.numbers_left(), (0..6).collect::<Vec<_>>());

    bench.commit(HERE, None, 100, 3);
    bench.commit(THERE, None, 100, 3);
    bench.kernel.with(|state| state.sends = 0);
    bench.acts(&[Act::Refuse(libc::ENOBUFS); 64]);
    let report = bench.send();
    assert_eq!((report.datagrams, drops(&report)), (0, vec![(DropReason::TxNoBuffers, 6)]));
    assert!(bench.kernel.with(|state| state.sends) < 16, "it must not go on for long");
}

// EN-13 EN-14
#[test]
fn a_full_socket_is_waited_for_once_and_then_the_rest_is_dropped() {
    let mut bench = Bench::new();
    let commit = |bench: &mut Bench| {
        bench.commit(HERE, None, 100, 3);
        bench.commit(THERE, None, 100, 3);
    };
    commit(&mut bench);
    bench.acts(&[Act::Take(1), Act::Refuse(libc::EAGAIN)]);
    assert_eq!(bench.send().datagrams, 6);
    assert_eq!(bench.kernel.with(|state| state.waits), 1);
    commit(&mut bench);
    bench.commit("[2001:db8::1]:7", None, 100, 1);
    bench.acts(&[Act::Take(1), Act::Refuse(libc::EAGAIN), Act::Refuse(libc::EAGAIN)]);
    let report = bench.send();
    assert_eq!((report.datagrams, drops(&report)), (4, vec![(DropReason::TxNoBuffers, 3)]));
    assert_eq!(bench.numbers_left(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 12], "the other socket is not full");
}

// FT-1
#[test]
fn an_error_of_the_way_costs_one_message_and_not_the_socket() {
    for errno in [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::ENETDOWN, libc::EPERM, libc::EACCES] {
        let mut bench = Bench::new();
        bench.commit(HERE, None, 100, 2);
        bench.commit(THERE, None, 100, 5);
        bench.commit(HERE, None, 200, 2);
        bench.acts(&[Act::Take(1), Act::Refuse(errno)]);
        let report = bench.send();
        assert_eq!((report.datagrams, drops(&report)), (4, vec![(DropReason::TxUnreachable, 5)]));
        bench.commit(THERE, None, 100, 1);
        assert_eq!(bench.send().datagrams, 1, "the socket lives");
        assert_eq!(bench.numbers_left(), [0, 1, 7, 8, 9]);
        assert!(bench.io.offloads().gso.is_on());
    }
}

// FT-1
#[test]
fn news_of_an_earlier_refusal_does_not_cost_this_datagram() {
    let mut bench = Bench::new();
    bench.commit(HERE, None, 100, 2);
    bench.commit(THERE, None, 100, 2);
    bench.acts(&[Act::Refuse(libc::ECONNREFUSED), Act::Take(1), Act::Refuse(libc::ECONNREFUSED)]);
    assert_eq!(bench.send().datagrams, 4);
    bench.commit(HERE, None, 100, 1);
    bench.acts(&[Act::Refuse(libc::ECONNREFUSED); 2]);
    assert_eq!(drops(&bench.send()), [(DropReason::TxUnreachable, 1)]);
}

// EN-4
#[test]
fn many_destinations_leave_in_one_call() {
    let mut bench = Bench::new();
    for host in 0..60u8 {
        bench.commit(&format!("192.0.2.{host}:7"), None, 100, 20);
    }
    let report = bench.send();
    assert_eq!((report.calls, report.datagrams), (1, 1200));
}

const ERRNOS: [i32; 16] = [
    libc::EIO,
    libc::EINVAL,
    libc::EMSGSIZE,
    libc::ENOBUFS,
    libc::ENOMEM,
    libc::EAGAIN,
    libc::EINTR,
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::ENETDOWN,
    libc::EPERM,
    libc::ECONNREFUSED,
    libc::EADDRNOTAVAIL,
    libc::ENODEV,
    libc::EBADF,
    libc::EPIPE,
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    // EN-5 EN-13 FT-1 FT-2
    #[test]
    fn whatever_the_kernel_says_each_datagram_leaves_once_in_order_or_is_counted(
        trains in proptest::collection::vec((0u8..5, 0usize..4, 1usize..65, 0u8..3), 1..60),
        acts in proptest::collection::vec((0usize..24, 0usize..70), 0..60),
        no_trains in 0usize..8,
        len_max in 0usize..4,
    ) {
        let mut bench = Bench::new();
        for &(host, len, count, source) in &trains {
            let (remote, source): (String, Option<IpAddr>) = if host == 4 {
                ("[2001:db8::1]:7".into(), None)
            } else {
                (format!("192.0.2.{host}:7"), (source > 0).then(|| [10, 0, 0, source].into()))
            };
            bench.commit(&remote, source, [20, 100, 150, 400][len], count);
        }
        bench.kernel.with(|state| {
            state.no_source = Some(([10, 0, 0, 1].into(), libc::EINVAL));
            state.no_trains = [libc::EIO, libc::EINVAL, libc::EMSGSIZE].get(no_trains).copied();
            state.len_max = [120, 200].get(len_max).copied();
            state.acts = acts.iter().map(|&(what, count)| match ERRNOS.get(what) {
                Some(&errno) => Act::Refuse(errno),
                None => Act::Take(count),
            }).collect();
        });
        let offered = u64::from(bench.numbers);
        let report = bench.send();
        proptest::prop_assert_eq!(offered, report.datagrams + report.dropped());
        proptest::prop_assert!(bench.tx.is_empty());
        let calls = u64::from(report.calls);
        proptest::prop_assert!(calls <= 4 * (offered + acts.len() as u64), "{} calls", calls);
        let mut last: BTreeMap<SocketAddr, u32> = BTreeMap::new();
        let left = bench.kernel.with(|state| std::mem::take(&mut state.left));
        proptest::prop_assert_eq!(left.len() as u64, report.datagrams);
        for datagram in left {
            let number = u32::from_be_bytes(datagram.bytes[..4].try_into().unwrap());
            proptest::prop_assert!(datagram.bytes[4..].iter().all(|&byte| byte == 0x5a));
            if let Some(before) = last.insert(datagram.to, number) {
                proptest::prop_assert!(before < number, "{} after {}", number, before);
            }
        }
    }
}
