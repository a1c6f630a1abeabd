//! Whether the time a cipher takes depends on what it is given, asked by statistics.
//!
//! Two classes of input, fixed and random, in random order; Welch's t-test says whether their times differ (the method of
//! "dude, is my code constant time?", Reparaz, Balasch and Verbauwhede, 2017). Three questions, each of sealing and of
//! opening: does the time depend on the key, on the text, or, in a batch none of whose tags is right, on where a tag is
//! wrong? Times beyond a percentile are cut off, at several percentiles, for interrupts hide small differences.
//!
//! |t| above 4.5 with many measurements is reason to look; it stays below for code whose time does not depend on secrets.
//! A leak on purpose (a comparison that stops at the first difference) shows that the question can be answered with yes.
//!
//! `taskset -c 1 cargo run --release -p dataplane-perf --bin constant-time -- --rounds 200000`

use std::hint::black_box;
use std::time::Instant;

use clap::Parser;
use dataplane_aead::{Aead, Cipher, Key, OpenDesc, SealInPlaceDesc, Span, TAG_LEN};

#[derive(Parser)]
#[command(about = "Asks by statistics whether a cipher's time depends on keys, texts or tags")]
struct Arguments {
    /// Measurements for each question.
    #[arg(long, default_value_t = 100_000)]
    rounds: usize,
    /// Bytes of a packet. From 320 on our own ciphers authenticate packets while they encrypt others.
    #[arg(long, value_delimiter = ',', default_values_t = [192, 1_420])]
    lengths: Vec<usize>,
    /// Only this cipher.
    #[arg(long)]
    cipher: Option<String>,
}

const PACKETS: usize = 16;
/// Above this, times of the two classes differ.
const SUSPICIOUS: f64 = 4.5;

/// Numbers that look random (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// What the two classes differ in.
#[derive(Clone, Copy, Debug)]
enum Question {
    Key,
    Text,
    Tag,
    /// No question: a leak that must be found.
    Leak,
}

/// Times of the two classes, in nanoseconds.
fn measure(
    cipher: &Cipher,
    len: usize,
    question: Question,
    opening: bool,
    rounds: usize,
    numbers: &mut Numbers,
) -> [Vec<f64>; 2] {
    let mut times = [Vec::with_capacity(rounds), Vec::with_capacity(rounds)];
    let stride = len + TAG_LEN;
    let text = |i: usize| Span { offset: (i * stride) as u32, len: len as u32 };
    let seals: [SealInPlaceDesc; PACKETS] = core::array::from_fn(|i| SealInPlaceDesc {
        counter: i as u64,
        text: text(i),
        ..SealInPlaceDesc::default()
    });
    let mut opens: [OpenDesc; PACKETS] =
        core::array::from_fn(|i| OpenDesc { counter: i as u64, text: text(i), ..OpenDesc::default() });
    let (mut arena, mut random_text) = (vec![0; PACKETS * stride], vec![0; PACKETS * stride]);
    for _ in 0..rounds {
        let class = (numbers.next() & 1) as usize;
        // Both classes do the same work before the clock starts; only what they keep differs.
        let (mut key, mut random_key) = ([0; 32], [0; 32]);
        arena.fill(0);
        numbers.fill(&mut random_key);
        numbers.fill(&mut random_text);
        let pick = |random: &[u8], to: &mut [u8]| {
            let mask = 0_u8.wrapping_sub(class as u8);
            to.iter_mut().zip(random).for_each(|(to, random)| *to = random & mask);
        };
        if matches!(question, Question::Key) {
            pick(&random_key, &mut key);
        }
        if matches!(question, Question::Text) {
            pick(&random_text, &mut arena);
        }
        let keys = [Key::new(key)];
        if opening {
            cipher.seal_in_place(&keys, &[], &mut arena, &seals).expect("descriptions are right");
        }
        if matches!(question, Question::Tag | Question::Leak) {
            // Wrong in the first byte, or in the last; both are written, for a byte just written takes longer to read.
            for packet in arena.chunks_mut(stride) {
                packet[len] ^= black_box(1 - class as u8);
                packet[len + TAG_LEN - 1] ^= black_box(class as u8);
            }
        }
        let start = Instant::now();
        if matches!(question, Question::Leak) {
            black_box(leak(&arena, len));
        } else if opening {
            let _ = black_box(cipher.open_batch(&keys, &[], &mut arena, &mut opens));
        } else {
            let _ = black_box(cipher.seal_in_place(&keys, &[], &mut arena, &seals));
        }
        times[class].push(start.elapsed().as_nanos() as f64);
    }
    times
}

/// A comparison that stops at the first byte that differs from 0, as no comparison of tags may.
fn leak(arena: &[u8], len: usize) -> usize {
    arena
        .chunks(len + TAG_LEN)
        .map(|packet| packet[len..].iter().position(|byte| black_box(*byte) != 0).unwrap_or(0))
        .sum()
}

/// Welch's t of two classes, of the times below a limit.
fn t_of(times: &[Vec<f64>; 2], limit: f64) -> f64 {
    let [(n0, mean0, var0), (n1, mean1, var1)] = [0, 1].map(|class| {
        let kept: Vec<f64> = times[class].iter().copied().filter(|time| *time <= limit).collect();
        let n = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / n;
        let var = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (n, mean, var)
    });
    (mean0 - mean1) / (var0 / n0 + var1 / n1).sqrt().max(1e-9)
}

/// The largest |t| over several percentiles.
fn worst(times: &[Vec<f64>; 2]) -> f64 {
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let at = |percent: usize| all[(all.len() - 1) * percent / 100];
    [50, 75, 90, 95, 99].iter().map(|percent| t_of(times, at(*percent)).abs()).fold(0.0, f64::max)
}

fn main() {
    let arguments = Arguments::parse();
    let mut numbers = Numbers(1);
    let mut suspicious = 0;
    let all = || Cipher::available();
    let found = arguments.cipher.as_deref().map(|name| all().filter(|c| c.name() == name).collect());
    let ciphers: Vec<Cipher> = found.unwrap_or_else(|| all().collect());
    if ciphers.is_empty() {
        eprintln!("no such cipher here; there are: {:?}", all().map(|c| c.name()).collect::<Vec<_>>());
        std::process::exit(2);
    }
    let mut leaks_seen = true;
    for len in arguments.lengths {
        println!(
            "{PACKETS} packets of {len} bytes, {} rounds, |t| above {SUSPICIOUS} is suspicious",
            arguments.rounds
        );
        let leak = worst(&measure(&ciphers[0], len, Question::Leak, false, arguments.rounds, &mut numbers));
        println!("a leak on purpose: |t| = {leak:.1}");
        leaks_seen &= leak > SUSPICIOUS;
        for cipher in &ciphers {
            suspicious += ask(cipher, len, arguments.rounds, &mut numbers);
        }
    }
    std::process::exit(i32::from(suspicious > 0 || !leaks_seen));
}

/// Asks a cipher every question at one length and tells how many answers are suspicious.
fn ask(cipher: &Cipher, len: usize, rounds: usize, numbers: &mut Numbers) -> usize {
    let mut suspicious = 0;
    for (question, opening) in [
        (Question::Key, false),
        (Question::Key, true),
        (Question::Text, false),
        (Question::Text, true),
        (Question::Tag, true),
    ] {
        let t = worst(&measure(cipher, len, question, opening, rounds, numbers));
        let what = if opening { "opening" } else { "sealing" };
        let verdict = if t > SUSPICIOUS { "SUSPICIOUS" } else { "no difference seen" };
        suspicious += usize::from(t > SUSPICIOUS);
        println!("{:9} {what}, {question:?}: |t| = {t:.1}, {verdict}", cipher.name());
    }
    suspicious
}
