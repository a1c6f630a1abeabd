//! A histogram of times, fine enough that a quantile is right to 1.6 %.

use std::time::Duration;

/// Steps between a power of two and the next.
const STEPS: u32 = 64;
const STEP_BITS: u32 = STEPS.ilog2();
const BUCKETS: usize = (64 * STEPS) as usize;

/// Counts of times by size.
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS] }
    }
}

impl Histogram {
    /// Counts a time.
    pub fn add(&mut self, time: Duration) {
        self.counts[bucket(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))] += 1;
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The least time in nanoseconds that a share of all times is not above; 0 where there is none.
    pub fn quantile_ns(&self, share: f64) -> u64 {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.counts
            .iter()
            .enumerate()
            .find(|(_, count)| {
                seen += **count;
                seen >= wanted
            })
            .map_or(0, |(bucket, _)| least(bucket))
    }

    /// (least nanoseconds, count) of each bucket that holds something.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(at, count)| (least(at), *count))
    }
}

fn bucket(ns: u64) -> usize {
    if ns < u64::from(STEPS) {
        return ns as usize;
    }
    let power = ns.ilog2();
    let step = (ns >> (power - STEP_BITS)) as u32 - STEPS;
    ((power - STEP_BITS + 1) * STEPS + step) as usize
}

/// The least time that a bucket holds.
fn least(bucket: usize) -> u64 {
    let (power, step) = (bucket as u32 / STEPS, bucket as u64 % u64::from(STEPS));
    if power == 0 { step } else { (u64::from(STEPS) + step) << (power - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        for ns in (0..100_000).chain((20..60).map(|power| (1 << power) - 1)) {
            let at = bucket(ns);
            assert!(least(at) <= ns, "{ns}");
            assert!(bucket(ns + 1) - at <= 1, "{ns}");
            assert!(ns - least(at) <= ns / 64 + 1, "{ns} in {}", least(at));
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let mut times = Histogram::default();
        (1..=1000).for_each(|us| times.add(Duration::from_micros(us)));
        assert_eq!(times.count(), 1000);
        for (share, us) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = times.quantile_ns(share) as f64 / 1000.0;
            assert!((found / us - 1.0).abs() < 0.017, "{share}: {found} of {us}");
        }
        assert_eq!(Histogram::default().quantile_ns(0.5), 0);
        assert_eq!(times.buckets().map(|(_, count)| count).sum::<u64>(), 1000);
    }
}
