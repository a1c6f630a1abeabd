//! When packets are sent: at full speed, or so many per second.

use std::time::Duration;

/// Most packets that are made up for after a pause: what was due before is not sent.
const LATE_MAX: f64 = 1024.0;

/// A budget that grows with time.
pub struct Pace {
    /// Packets per second; 0 for full speed.
    rate: f64,
    budget: f64,
    counted: Duration,
}

impl Pace {
    /// So many packets per second; 0 for full speed.
    pub fn new(rate: f64) -> Self {
        Self { rate, budget: 0.0, counted: Duration::ZERO }
    }

    /// How many of `most` packets may go at a time since the start, which never goes back.
    pub fn take(&mut self, since_start: Duration, most: usize) -> usize {
        if self.rate <= 0.0 {
            return most;
        }
        let passed = since_start.saturating_sub(self.counted);
        self.counted = since_start;
        self.budget = (self.budget + passed.as_secs_f64() * self.rate).min(LATE_MAX);
        let due = (self.budget as usize).min(most);
        self.budget -= due as f64;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_go_as_the_rate_says() {
        let mut pace = Pace::new(1000.0);
        let sent: usize = (0..=2000).map(|ms| pace.take(Duration::from_millis(ms), 64)).sum();
        assert!((1999..=2000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_pause_is_made_up_for_only_so_far() {
        let mut pace = Pace::new(1000.0);
        assert_eq!(pace.take(Duration::from_secs(100), usize::MAX), LATE_MAX as usize);
        assert_eq!(Pace::new(0.0).take(Duration::ZERO, 64), 64);
    }
}
