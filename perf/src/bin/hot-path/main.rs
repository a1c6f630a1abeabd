//! Carries packets between two shards in memory, so often as it is told: for callgrind, which counts instructions.
//! `perf/instructions` runs it. There is no cipher in it: which one a processor has must not change the count.
#![forbid(unsafe_code)]

use clap::{Parser, ValueEnum};
use dataplane_benches::alone::{Ends, Load};

/// Sessions: so many that nothing is special about one.
const PEERS: u32 = 1000;

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Packets of 64 bytes to a peer each.
    Singles,
    /// TCP super-packets of 44 segments.
    Supers,
}

#[derive(Parser)]
#[command(about = "Carries packets in memory, to be counted")]
struct Arguments {
    /// Which packets.
    kind: Kind,
    /// How often all of them are carried.
    rounds: usize,
}

fn main() {
    let Arguments { kind, rounds } = Arguments::parse();
    let mut load = match kind {
        Kind::Singles => Load::singles(PEERS, 4096),
        Kind::Supers => Load::supers(PEERS, 96),
    };
    let mut ends = Ends::new(PEERS);
    for _ in 0..rounds {
        ends.round(&mut load);
    }
    println!("{}", load.datagrams() * rounds);
}
