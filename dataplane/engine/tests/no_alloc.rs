//! The hot path allocates nothing: its own test binary, because the allocator counts for the whole process.

mod common;

use std::alloc::System;
use std::time::{Duration, Instant};

use common::{Gateway, PATIENCE, udp_packet};
use dataplane::inner::{Inner, RECV_MIN, VNET_HEADER_LEN};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Sends `count` copies of `packet` in at `from`, at most 32 of them in flight, and counts what comes out at `to`.
fn pump(from: &mut Gateway, to: &mut Gateway, packet: &[u8], buffer: &mut [u8], count: usize) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let (mut sent, mut received) = (0, 0);
    while received < count && Instant::now() < deadline {
        while sent < count && sent - received < 32 && from.inner[0].send_gather(packet, &[], &[]).is_ok() {
            sent += 1;
        }
        match to.inner[0].recv(buffer).unwrap() {
            // A merged run counts for all its packets: each is 32 bytes, behind one header of 28.
            Some(len) => received += ((len - VNET_HEADER_LEN - 28) / 4).max(1),
            None => std::thread::sleep(Duration::from_micros(50)),
        }
    }
    received
}

/// EN-8
#[test]
fn after_warm_up_no_packet_allocates_in_any_thread() {
    let (mut a, mut b) = (Gateway::start(1, 1), Gateway::start(1, 2));
    a.know(&b);
    b.know(&a);
    let mut there = vec![0; VNET_HEADER_LEN];
    there.extend(udp_packet(a.address, b.address, 7));
    let mut back = vec![0; VNET_HEADER_LEN];
    back.extend(udp_packet(b.address, a.address, 8));
    let mut buffer = vec![0; RECV_MIN];
    assert_eq!(pump(&mut a, &mut b, &there, &mut buffer, 1000), 1000, "a: {}\nb: {}", a.tell(), b.tell());
    assert_eq!(pump(&mut b, &mut a, &back, &mut buffer, 1000), 1000, "a: {}\nb: {}", a.tell(), b.tell());

    let region = Region::new(ALLOCATOR);
    let counts =
        [pump(&mut a, &mut b, &there, &mut buffer, 5000), pump(&mut b, &mut a, &back, &mut buffer, 5000)];
    let change = region.change();
    assert_eq!(counts, [5000, 5000], "a: {}\nb: {}", a.tell(), b.tell());
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
}
