//! What the wheel of timers costs, by how many are armed. `cargo bench -p dataplane-benches --bench wheel`
//!
//! Each timer is armed for ten seconds later whenever it fires, as those of peers with traffic are, and time goes on in steps
//! of a busy worker's turn. Prints the least of some rounds: a firing with its arming, and a turn in which nothing is due.

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use dataplane_benches::Numbers;
use dataplane_proto::wheel::Wheel;
use dataplane_wire::Instant;

const PERIOD: Duration = Duration::from_secs(10);
/// Time between two looks at the wheel.
const TURN: Duration = Duration::from_micros(50);
/// As a shard: most timers of one look.
const WORK: u32 = 256;
const ROUNDS: usize = 5;

fn armed(count: u32) -> (Wheel, Instant) {
    let now = Instant::from_nanos(1 << 40);
    let (mut wheel, mut numbers) = (Wheel::new(now), Numbers::new(1));
    wheel.grow(count as usize);
    for name in 0..count {
        wheel.arm(name, now + PERIOD / 1_000_000 * numbers.below(1_000_000) as u32);
    }
    (wheel, now)
}

/// Nanoseconds per firing, over one period.
fn firing(count: u32) -> f64 {
    let (mut wheel, mut now) = armed(count);
    let end = now + PERIOD;
    let (start, mut fired) = (Clock::now(), 0);
    while now < end {
        // On to the next deadline: turns with nothing due are measured apart.
        now = wheel.next_deadline().map_or(end, |due| due.max(now + TURN));
        let mut work = WORK;
        while let Some(name) = wheel.poll(now, &mut work) {
            wheel.arm(name, now + PERIOD);
            fired += 1;
        }
    }
    start.elapsed().as_nanos() as f64 / f64::from(fired.max(1))
}

/// Nanoseconds of a look at a wheel on which nothing is due.
fn idle(count: u32) -> f64 {
    const LOOKS: u32 = 1_000_000;
    let (wheel, now) = armed(count);
    let start = Clock::now();
    let due = (0..LOOKS).filter(|_| black_box(&wheel).next_deadline().is_some_and(|due| due <= now)).count();
    let spent = start.elapsed();
    assert!(due <= LOOKS as usize);
    spent.as_nanos() as f64 / f64::from(LOOKS)
}

fn main() {
    println!("{:>8} timers | {:>16} | {:>12}", "", "ns fired + armed", "ns idle look");
    for count in [1_u32, 1_000, 10_000, 100_000] {
        let least = |of: fn(u32) -> f64| (0..ROUNDS).map(|_| of(count)).fold(f64::INFINITY, f64::min);
        println!("{count:>8} timers | {:>16.1} | {:>12.1}", least(firing), least(idle));
    }
}
