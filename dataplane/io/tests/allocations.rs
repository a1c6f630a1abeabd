//! After the first round, nothing on the way of a datagram allocates.
//!
//! Contains unsafe: an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dataplane_io::mem::{Behaviour, MemIo, Network};
use dataplane_io::socket::{BindRequest, OffloadConfig, bind_group};
use dataplane_io::udp::UdpIo;
use dataplane_io::{Class, PacketIo, Plan, Pool, PoolSizes, Region, RxRing, TxBatch};
use dataplane_wire::{FourTuple, SocketId, TrafficClass, TxMeta, TxSink};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches a thread-local integer that needs no
// allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rounds of trains and single datagrams to two destinations, all sent and all received.
fn rounds(a: &mut impl PacketIo, b: &mut impl PacketIo, to: [SocketAddr; 2], gso: bool) {
    let plan = Plan::new().with("send arena", Class::Slab, 8).with("receive ring", Class::Slab, 16).with(
        "pool",
        Class::Slab,
        4,
    );
    let region = Region::new(&plan).unwrap();
    let mut rx = RxRing::new(&region, Class::Slab, 16).unwrap();
    let mut tx = TxBatch::new(&region, 8, 256).unwrap();
    let mut pool = Pool::new(&region, PoolSizes { slabs: 4, ..PoolSizes::default() }).unwrap();
    let mut before = 0;
    for round in 0..50 {
        if round == 1 {
            before = ALLOCATIONS.get();
        }
        let mut sent = 0;
        for number in 0..40 {
            let tuple = FourTuple { socket: SocketId(0), remote: to[number % 2], local_ip: None };
            let meta = TxMeta { tuple, class: TrafficClass(0) };
            let segments = if number % 10 == 0 { 5 } else { 1 };
            let len = 100 + number / 8;
            tx.reserve_train(&meta, len, segments, len).unwrap().commit();
            sent += segments;
        }
        // What does not leave is part of it.
        let nowhere = FourTuple { socket: SocketId(9), remote: to[0], local_ip: None };
        tx.reserve_train(&TxMeta { tuple: nowhere, class: TrafficClass(0) }, 10, 1, 10).unwrap().commit();
        let report = a.send(&mut tx);
        assert_eq!((report.datagrams as usize, report.dropped()), (sent, 1));
        let mut received = 0;
        b.set_all_ready();
        while received < sent {
            b.recv(&mut rx);
            b.set_all_ready();
            received += rx.metas().iter().map(|meta| meta.segments().count()).sum::<usize>();
        }
        let (kept, dropped) = (pool.take(Class::Slab).unwrap(), pool.take(Class::Slab).unwrap());
        pool.put(kept);
        drop(dropped);
        assert_eq!(pool.free(Class::Slab), 4);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "gso {gso}");
}

// EN-8
#[test]
fn sending_and_receiving_over_udp_allocates_nothing() {
    for gso in [true, false] {
        let [mut a, mut b] = [(); 2].map(|()| UdpIo::new(OffloadConfig { gso, gro: gso }));
        let bind = |io: &mut UdpIo, id| {
            let request = BindRequest { v4: Some(Ipv4Addr::LOCALHOST), v6: None, ..BindRequest::default() };
            let mut group = bind_group(&request).unwrap();
            io.add_socket(SocketId(id), group.v4.remove(0)).unwrap();
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), group.port)
        };
        bind(&mut a, 0);
        let to = [0, 1].map(|id| bind(&mut b, id));
        rounds(&mut a, &mut b, to, gso);
    }
}

// EN-8
#[test]
fn sending_and_receiving_in_memory_allocates_nothing() {
    for gso in [true, false] {
        let network = Network::new(Behaviour { gso, gro: gso, depth: 256, ..Behaviour::default() });
        let [mut a, mut b] = [(); 2].map(|()| MemIo::new());
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        a.add_socket(SocketId(0), network.bind(&[host], 1).unwrap()).unwrap();
        let to = [0, 1].map(|id| {
            b.add_socket(SocketId(id), network.bind(&[host], 10 + id).unwrap()).unwrap();
            SocketAddr::new(host, 10 + id)
        });
        rounds(&mut a, &mut b, to, gso);
    }
}
