//! What a look-up of an allowed IP costs, by how many there are. `cargo bench -p dataplane-benches --bench routes`
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use dataplane_benches::{Numbers, hosts_v4, hosts_v6};
use dataplane_proto::routes::{Owner, Routes};

const COUNTS: [usize; 4] = [1, 1_000, 10_000, 100_000];

fn look_ups(criterion: &mut Criterion) {
    for (family, hosts) in [("v4", hosts_v4 as fn(usize) -> Vec<IpAddr>), ("v6", hosts_v6)] {
        let mut group = criterion.benchmark_group(format!("routes/{family}"));
        for count in COUNTS {
            let hosts = hosts(count);
            let mut routes = Routes::new();
            for host in &hosts {
                let bits = if host.is_ipv4() { 32 } else { 128 };
                let prefix = dataplane_proto::IpPrefix::new(*host, bits).expect("a host is a prefix");
                routes.insert(prefix, Owner::default());
            }
            // In an order that no prefetcher guesses.
            let mut numbers = Numbers::new(7);
            let asked: Vec<IpAddr> = (0..4096).map(|_| hosts[numbers.below(hosts.len())]).collect();
            let mut at = 0;
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter(|| {
                    at = (at + 1) % asked.len();
                    black_box(routes.get(black_box(asked[at])))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, look_ups);
criterion_main!(benches);
