//! What the kernel tells of processor time.

use std::time::Duration;

/// Clock ticks of one core since boot: spent on anything, and in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CoreTicks {
    busy: u64,
    all: u64,
}

impl CoreTicks {
    /// The share of the time since `earlier` that was spent on anything, 0 to 1.
    pub(super) fn busy_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all);
        let busy = self.busy.saturating_sub(earlier.busy);
        if all == 0 { 0.0 } else { busy as f64 / all as f64 }
    }
}

/// All cores at this moment; empty where /proc cannot be read.
pub(super) fn cores() -> Vec<CoreTicks> {
    std::fs::read_to_string("/proc/stat").map(|text| parse_cores(&text)).unwrap_or_default()
}

/// `cpu0 user nice system idle iowait irq softirq steal ...`: one line per core (proc_stat(5)).
fn parse_cores(text: &str) -> Vec<CoreTicks> {
    let cores = text.lines().filter(|line| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    });
    let core = |line: &str| {
        // Guest time, behind these eight, is part of user time.
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|t| t.parse().ok()).collect();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        let all = ticks.iter().sum::<u64>();
        CoreTicks { busy: all - idle, all }
    };
    cores.map(core).collect()
}

/// Processor time that a process has used, in user and kernel mode; zero for one that is gone.
pub(super) fn process_time(pid: u32) -> Duration {
    let ticks =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|text| parse_process(&text));
    Duration::from_secs_f64(ticks.unwrap_or(0) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Fields 14 and 15, utime and stime (proc_pid_stat(5)); the name before them may contain anything, brackets too.
fn parse_process(text: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let utime: u64 = fields.next()?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    Some(utime + stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_read_without_the_sum_and_without_guest_time() {
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 10 1 4 80 5 0 0 0 7 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nctxt 5\n";
        let cores = parse_cores(text);
        assert_eq!(cores, [CoreTicks { busy: 15, all: 100 }, CoreTicks::default()]);
        let later = CoreTicks { busy: 45, all: 140 };
        assert!((later.busy_since(cores[0]) - 0.75).abs() < 1e-9);
        assert_eq!(cores[0].busy_since(cores[0]), 0.0);
    }

    #[test]
    fn the_time_of_a_process_is_read_behind_its_name() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 9 9 20 0 1 0 5";
        assert_eq!(parse_process(text), Some(200));
        assert_eq!(parse_process("7 (a) S 1"), None);
        assert!(process_time(std::process::id()) < Duration::from_secs(3600));
        assert_eq!(process_time(u32::MAX), Duration::ZERO);
    }
}
