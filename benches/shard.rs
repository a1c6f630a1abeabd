//! What a packet costs without system calls: looked up, sealed, carried in memory, opened, checked.
//! `cargo bench -p dataplane-benches --bench shard`
//!
//! `send` is the sender's half; `carry` is both halves and a copy that stands for the network.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane_benches::{Numbers, Pair, inner, tcp_super_packet, udp_packet};
use dataplane_wire::offload::VnetHeader;

/// Packets between two flushes, as a busy worker has them.
const BATCH: usize = 64;
const PEERS: [usize; 3] = [1, 1_000, 100_000];

/// Single packets, each to a peer drawn anew.
fn single_packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard/single");
    group.throughput(Throughput::Elements(BATCH as u64));
    for len in [64, 1420] {
        for peers in PEERS {
            let mut pair = Pair::new(peers);
            let mut numbers = Numbers::new(1);
            let packets: Vec<_> = (0..4096).map(|_| udp_packet(inner(numbers.below(peers)), len)).collect();
            let mut at = 0;
            let mut batch = |pair: &mut Pair| {
                for _ in 0..BATCH {
                    at = (at + 1) % packets.len();
                    pair.send(&VnetHeader::PLAIN, &packets[at]);
                }
            };
            group.bench_function(BenchmarkId::new(format!("send/{len}"), peers), |bencher| {
                bencher.iter(|| {
                    batch(&mut pair);
                    assert_eq!(pair.flush(), BATCH);
                });
            });
            // The receiver's window would be left behind by what was only sent.
            let mut pair = Pair::new(peers);
            group.bench_function(BenchmarkId::new(format!("carry/{len}"), peers), |bencher| {
                bencher.iter(|| {
                    batch(&mut pair);
                    assert_eq!(pair.carry(), BATCH);
                });
            });
        }
    }
    group.finish();
}

/// TCP super-packets to one peer.
fn super_packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard/super");
    let (vnet, packet) = tcp_super_packet(inner(0), 44);
    group.throughput(Throughput::Bytes(packet.len() as u64));
    let mut pair = Pair::new(1);
    group.bench_function("send", |bencher| {
        bencher.iter(|| {
            pair.send(&vnet, &packet);
            assert_eq!(pair.flush(), 44);
        });
    });
    let mut pair = Pair::new(1);
    group.bench_function("carry", |bencher| {
        bencher.iter(|| {
            pair.send(&vnet, &packet);
            assert_eq!(pair.carry(), 44);
        });
    });
    group.finish();
}

criterion_group!(benches, single_packets, super_packets);
criterion_main!(benches);
