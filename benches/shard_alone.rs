//! What a packet costs in the shard, the cipher taken off. `cargo bench -p dataplane-benches --bench shard_alone -- [PEERS…] [super|singles]`
//!
//! Two shards in memory, a null cipher that only copies (its time is measured and taken off), batches as a worker has them:
//! super-packets of 44 segments of 1,420 bytes, and single packets of 64 bytes in receive calls of 64, over peers drawn anew
//! for each batch. The packets themselves are the same few in all batches. Prints nanoseconds per packet, the least of many
//! rounds.

use dataplane_benches::alone::{Cost, Ends, Load};
use dataplane_io::memory::LargePages;

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

const ROUNDS: usize = 60;

/// The least of each column: what is more is the rest of the machine.
fn least(rounds: &[Cost]) -> Cost {
    std::array::from_fn(|column| rounds.iter().map(|round| round[column]).fold(f64::INFINITY, f64::min))
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let numbers: Vec<u32> = asked.iter().filter_map(|argument| argument.parse().ok()).collect();
    let counts = if numbers.is_empty() { vec![1, 1_000, 10_000, 100_000] } else { numbers };
    let wanted = |name: &str| {
        let mut kinds = asked.iter().filter(|argument| argument.parse::<u32>().is_err()).peekable();
        kinds.peek().is_none() || kinds.any(|kind| name.starts_with(kind.as_str()))
    };
    println!("ns per packet           |    out | less cipher |     in | less cipher");
    for peers in counts {
        let mut ends = Ends::new(peers);
        for (name, mut load) in
            [("super-packets", Load::supers(peers, 200)), ("singles of 64 B", Load::singles(peers, 20_000))]
                .into_iter()
                .filter(|(name, _)| wanted(name))
        {
            ends.round(&mut load);
            let rounds: Vec<Cost> = (0..ROUNDS).map(|_| ends.round(&mut load)).collect();
            let [out, out_net, back, back_net] = least(&rounds);
            println!("{peers:>7} {name:<15} | {out:>6.1} | {out_net:>11.1} | {back:>6.1} | {back_net:>11.1}");
        }
    }
}
