//! Runs scenarios for many seeds: `scripts/sim` builds and calls it.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dataplane_sim::scenarios::{self, SCENARIOS, Summary};

const USAGE: &str = "\
usage: sim [SCENARIO] --seed N [--trace]     one seed; --trace prints every event
       sim [SCENARIO] --seeds A..B [--jobs N] [--keep-going]
                                             all seeds from A on and below B, N at a time (default: one per core);
                                             stops at the first that fails unless told to keep going
       sim --list                            the names of all scenarios
SCENARIO is `whole` unless it is named.";

/// Failures that are shown in full.
const SHOWN_MAX: usize = 5;

struct Asked {
    scenario: String,
    seeds: Range<u64>,
    trace: bool,
    jobs: usize,
    keep_going: bool,
}

/// What was asked for; `None` for the list of names.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Asked>, String> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut asked =
        Asked { scenario: "whole".to_owned(), seeds: 0..0, trace: false, jobs, keep_going: false };
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--list" => return Ok(None),
            "--trace" => asked.trace = true,
            "--keep-going" => asked.keep_going = true,
            "--jobs" => asked.jobs = number(&value()?)?.clamp(1, 256) as usize,
            "--seed" => {
                let seed = number(&value()?)?;
                asked.seeds = seed..seed.saturating_add(1);
            }
            "--seeds" => {
                let range = value()?;
                let (first, end) =
                    range.split_once("..").ok_or(format!("`{range}` is no range: write A..B"))?;
                asked.seeds = number(first)?..number(end)?;
            }
            name if !name.starts_with('-') => asked.scenario = name.to_owned(),
            other => return Err(format!("{other} is no option")),
        }
    }
    if !SCENARIOS.iter().any(|(name, _)| *name == asked.scenario) {
        return Err(format!("no scenario is named `{}`; --list shows all", asked.scenario));
    }
    if asked.seeds.is_empty() {
        return Err("name a seed, or a range of seeds that is not empty".to_owned());
    }
    if asked.trace && asked.seeds.end - asked.seeds.start > 1 {
        return Err("--trace is for one seed".to_owned());
    }
    Ok(Some(asked))
}

/// One seed; what is to be said if it failed.
fn run(asked: &Asked, seed: u64) -> Result<Summary, String> {
    let Asked { scenario, trace, .. } = asked;
    match catch_unwind(AssertUnwindSafe(|| scenarios::run(scenario, seed, *trace))) {
        Ok(Some(Ok(summary))) => Ok(summary),
        Ok(Some(Err(failure))) => Err(failure.to_string()),
        Ok(None) => Err(format!("no scenario is named `{scenario}`")),
        Err(_) => Err(format!(
            "{scenario}, seed {seed}: a panic, which stands above\nsee it again: scripts/sim {scenario} --seed {seed} --trace"
        )),
    }
}

/// What all seeds came to.
#[derive(Default)]
struct Totals {
    passed: u64,
    failed: Vec<u64>,
    virtual_time: Duration,
    datagrams: u64,
    packets: (u64, u64),
    reached_after: Duration,
    /// Of all hashes, whatever their order.
    hash: u64,
}

impl Totals {
    fn add(&mut self, summary: &Summary) {
        self.passed += 1;
        self.virtual_time += summary.time;
        self.datagrams += summary.datagrams;
        self.packets.0 += summary.packets.0;
        self.packets.1 += summary.packets.1;
        self.reached_after = self.reached_after.max(summary.reached_after);
        self.hash ^= summary.hash;
    }

    fn print(&self, asked: &Asked, took: Duration) {
        let Asked { scenario, seeds, jobs, .. } = asked;
        let real = took.as_secs_f64().max(1e-9);
        let count = (self.passed + self.failed.len() as u64) as f64;
        println!(
            "{scenario}, seeds {}..{}: {} passed, {} failed in {real:.1} s by {jobs} jobs: {:.1} seeds/s, \
             {:.0} virtual seconds/s",
            seeds.start,
            seeds.end,
            self.passed,
            self.failed.len(),
            count / real,
            self.virtual_time.as_secs_f64() / real
        );
        println!(
            "{} datagrams; {} packets, of which {} delivered; pairs reached within {:.1} s; hash {:016x}",
            self.datagrams,
            self.packets.0,
            self.packets.1,
            self.reached_after.as_secs_f64(),
            self.hash
        );
        for seed in &self.failed {
            println!("failed: scripts/sim {scenario} --seed {seed} --trace");
        }
    }
}

fn main() -> ExitCode {
    let asked = match parse(std::env::args().skip(1)) {
        Ok(Some(asked)) => asked,
        Ok(None) => {
            SCENARIOS.iter().for_each(|(name, _)| println!("{name}"));
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("sim: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let (next, stop) = (AtomicU64::new(asked.seeds.start), AtomicBool::new(false));
    let totals = Mutex::new(Totals::default());
    // Relaxed: each seed is handed out once, and nothing else is published by these two.
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= asked.seeds.end {
                return;
            }
            let verdict = run(&asked, seed);
            let mut totals = totals.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match verdict {
                Ok(summary) => totals.add(&summary),
                Err(said) => {
                    if totals.failed.len() < SHOWN_MAX {
                        println!("{said}\n");
                    }
                    totals.failed.push(seed);
                    stop.store(!asked.keep_going, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| (0..asked.jobs).for_each(|_| drop(scope.spawn(work))));
    let totals = totals.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    totals.print(&asked, began.elapsed());
    if totals.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
