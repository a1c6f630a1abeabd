//! What sealing and opening a batch costs, by cipher, length and count. Run it on one core:
//! `taskset -c 1 cargo bench -p dataplane-benches --bench cipher`
//!
//! Ciphers take turns within each length and count, so that a slow spell of the machine hits all of them.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane_aead::{Aead, Cipher, Key, OpenDesc, SealDesc, Span, TAG_LEN};

const LENGTHS: [usize; 4] = [64, 512, 1_420, 16_384];
const COUNTS: [usize; 4] = [1, 4, 16, 44];
/// Bytes of a packet that come from elsewhere, as a rebuilt inner header does.
const HEAD: usize = 40;
/// Bytes before each packet, as a message header is.
const HEADER: usize = 16;

struct Batch {
    keys: Vec<Key>,
    gather: Vec<u8>,
    source: Vec<u8>,
    arena: Vec<u8>,
    seals: Vec<SealDesc>,
    opens: Vec<OpenDesc>,
}

impl Batch {
    fn new(len: usize, count: usize) -> Self {
        let (body, stride) = (len - HEAD, HEADER + len + TAG_LEN);
        let span = |offset: usize, len: usize| Span { offset: offset as u32, len: len as u32 };
        let seals = (0..count).map(|i| SealDesc {
            counter: i as u64,
            head: span(i * HEAD, HEAD),
            body: span(i * body, body),
            dst: (i * stride + HEADER) as u32,
            ..SealDesc::default()
        });
        let opens = (0..count).map(|i| OpenDesc {
            counter: i as u64,
            text: span(i * stride + HEADER, len),
            ..OpenDesc::default()
        });
        Self {
            keys: vec![Key::new([7; 32])],
            gather: vec![1; count * HEAD],
            source: vec![2; count * body],
            arena: vec![0; count * stride],
            seals: seals.collect(),
            opens: opens.collect(),
        }
    }

    fn seal(&mut self, cipher: Cipher, times: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..times {
            let sealed =
                cipher.seal_batch(&self.keys, &self.gather, &self.source, &mut self.arena, &self.seals);
            sealed.expect("descriptions are right");
        }
        start.elapsed()
    }

    /// Opening happens in place, so the batch is sealed anew each time, untimed.
    fn open(&mut self, cipher: Cipher, times: u64) -> Duration {
        self.seal(cipher, 1);
        let sealed = self.arena.clone();
        let mut spent = Duration::ZERO;
        for _ in 0..times {
            self.arena.copy_from_slice(&sealed);
            let start = Instant::now();
            let opened = cipher.open_batch(&self.keys, &self.gather, &mut self.arena, &mut self.opens);
            spent += start.elapsed();
            assert_eq!(opened, Ok(self.opens.len()));
        }
        spent
    }
}

fn batches(criterion: &mut Criterion) {
    let ciphers: Vec<Cipher> = Cipher::available().collect();
    for len in LENGTHS {
        for count in COUNTS {
            let mut batch = Batch::new(len, count);
            for (what, run) in
                [("seal", Batch::seal as fn(&mut Batch, Cipher, u64) -> Duration), ("open", Batch::open)]
            {
                let mut group = criterion.benchmark_group(format!("{what}/{len}x{count}"));
                group.throughput(Throughput::Bytes((len * count) as u64));
                for cipher in &ciphers {
                    group.bench_function(BenchmarkId::from_parameter(cipher.name()), |bencher| {
                        bencher.iter_custom(|times| run(&mut batch, *cipher, times));
                    });
                }
                group.finish();
                alternate(&mut batch, &ciphers, run, &format!("{what}/{len}x{count}"));
            }
        }
    }
}

/// The figure to quote: ciphers in turns of a millisecond, the least time of each, against ring.
fn alternate(
    batch: &mut Batch,
    ciphers: &[Cipher],
    run: fn(&mut Batch, Cipher, u64) -> Duration,
    what: &str,
) {
    let fast: Vec<&Cipher> = ciphers.iter().filter(|cipher| cipher.name() != "reference").collect();
    let mut least = vec![Duration::MAX; fast.len()];
    for _ in 0..300 {
        for (cipher, least) in fast.iter().zip(&mut least) {
            *least = (*least).min(run(batch, **cipher, 10));
        }
    }
    let ring = fast.iter().position(|cipher| cipher.name() == "ring").map(|at| least[at]);
    let ring = ring.expect("ring runs everywhere");
    for (cipher, least) in fast.iter().zip(&least) {
        let ns = least.as_secs_f64() * 1e8 / batch.seals.len() as f64;
        let ratio = ring.as_secs_f64() / least.as_secs_f64();
        println!("in turns, {what}: {:9} {ns:7.0} ns a packet, {ratio:.2} x ring", cipher.name());
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .sample_size(10);
    targets = batches
}
criterion_main!(benches);
