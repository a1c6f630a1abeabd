//! The corpora with small changes: up to a thousand inputs per target without a fuzzer, the same in every run.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dataplane_fuzz::TARGETS;

/// Where a slow machine stops early. Nothing is asserted about time.
const TIME_MAX: Duration = Duration::from_secs(1);
const CHANGED_MAX: usize = 1_000;

/// Numbers that look random (xorshift, Marsaglia 2003): enough to choose places.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

fn change(input: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    let at = numbers.below(input.len());
    match numbers.below(5) {
        0 => input.truncate(at),
        1 => input.insert(at, numbers.below(256) as u8),
        2 => {
            let from = numbers.below(other.len()).min(other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << numbers.below(8);
            }
        }
    }
}

#[test]
fn every_target_holds_over_small_changes_of_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let mut paths: Vec<_> = fs::read_dir(corpus.join(name))
            .expect("a corpus")
            .map(|entry| entry.expect("an input").path())
            .collect();
        paths.sort();
        let inputs: Vec<_> = paths.iter().map(|path| fs::read(path).expect("an input")).collect();
        let (mut numbers, begun) = (Numbers(0x9e37_79b9_7f4a_7c15), Instant::now());
        for count in 0..CHANGED_MAX {
            if begun.elapsed() > TIME_MAX {
                break;
            }
            let mut input = inputs[count % inputs.len()].clone();
            let other = &inputs[numbers.below(inputs.len())];
            for _ in 0..=numbers.below(4) {
                change(&mut input, other, &mut numbers);
            }
            let held = std::panic::catch_unwind(|| target(&input));
            assert!(held.is_ok(), "{name} fails on {input:?}");
        }
    }
}
