//! Faults in front of every backend: each shows in a count, none in the datagrams around it.

use dataplane_io::PacketIo;
use dataplane_io::faulty::{RecvFault, Schedule, SendFault};
use dataplane_wire::DropReason;

use crate::labs::{Lab, Mem, Udp, Wish};
use crate::suite::{datagram, to};

/// Sends ten trains of three datagrams; returns the numbers that arrived, and the ends.
fn ten_trains<L: Lab>(a: Schedule, b: Schedule) -> (Vec<u32>, Outcome) {
    let mut ends = L::ends(Wish::default()).wrap(a, b);
    let mut outcome = Outcome::default();
    for train in 0..10u32 {
        // Lengths differ from train to train, so that none joins the one before.
        let datagrams: Vec<_> = (0..3).map(|at| datagram(train * 3 + at, 100 + train as usize)).collect();
        ends.commit(&to(ends.to[0]), &datagrams);
    }
    let report = ends.send();
    outcome.sent = report.datagrams;
    outcome.drops = report.drops().collect();
    let drained = ends.drain();
    outcome.truncated = drained.truncated;
    outcome.errors = drained.errors;
    outcome.lost = ends.a.lost() + ends.b.lost();
    outcome.duplicated = ends.a.duplicated() + ends.b.duplicated();
    assert!(ends.a.offloads().gso.is_on());
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    (drained.datagrams.iter().map(|arrived| number(&arrived.bytes)).collect(), outcome)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    sent: u64,
    drops: Vec<(DropReason, u64)>,
    truncated: u64,
    errors: u64,
    lost: u64,
    duplicated: u64,
}

fn all_but(missing: &[u32]) -> Vec<u32> {
    (0..30).filter(|number| !missing.contains(number)).collect()
}

// EN-13 FT-1 FT-2
#[test]
fn refused_trains_are_counted_by_reason_and_the_others_arrive() {
    fn check<L: Lab>() {
        let schedule = Schedule::new()
            .send(0, SendFault::Fail(libc::ENETUNREACH))
            .send(4, SendFault::Fail(libc::ENOBUFS))
            .send(5, SendFault::Fail(libc::EMSGSIZE))
            .send(9, SendFault::Fail(libc::EBADF));
        let (arrived, outcome) = ten_trains::<L>(schedule, Schedule::new());
        assert_eq!(arrived, all_but(&[0, 1, 2, 12, 13, 14, 15, 16, 17, 27, 28, 29]));
        let reasons =
            [DropReason::TxNoBuffers, DropReason::TxUnreachable, DropReason::TxTooBig, DropReason::TxError];
        assert_eq!(outcome.drops, reasons.map(|reason| (reason, 3)));
        assert_eq!(outcome.sent, 18);
    }
    check::<Udp<false>>();
    check::<Udp<true>>();
    check::<Mem<false>>();
}

// EN-13
#[test]
fn losses_and_duplicates_on_the_wire_are_told_apart() {
    fn check<L: Lab>() {
        let send = Schedule::new().send(1, SendFault::Lose).send(3, SendFault::Duplicate);
        let recv = Schedule::new().recv(0, RecvFault::Lose);
        let (arrived, outcome) = ten_trains::<L>(send, recv);
        let mut expected = all_but(&[0, 1, 2, 3, 4, 5]);
        expected.splice(6..6, [9, 10, 11]);
        assert_eq!(arrived, expected);
        assert_eq!((outcome.sent, outcome.lost, outcome.duplicated), (30, 6, 3));
        assert_eq!(arrived.len() as u64, outcome.sent - outcome.lost + outcome.duplicated);
    }
    check::<Udp<false>>();
    check::<Mem<true>>();
}

// EN-3 EN-13
#[test]
fn truncation_errors_and_copies_on_receive_are_counted() {
    fn check<L: Lab>() {
        let recv = Schedule::new()
            .recv(2, RecvFault::Truncate)
            .recv(4, RecvFault::Error)
            .recv(6, RecvFault::Duplicate);
        let (mut arrived, outcome) = ten_trains::<L>(Schedule::new(), recv);
        arrived.sort_unstable();
        let mut expected = all_but(&[6, 7, 8]);
        expected.extend([18, 19, 20]);
        expected.sort_unstable();
        assert_eq!(arrived, expected);
        assert_eq!((outcome.truncated, outcome.errors, outcome.duplicated), (3, 1, 3));
    }
    check::<Udp<false>>();
    check::<Mem<false>>();
}
