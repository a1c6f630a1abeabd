//! What a program behind an interface tells of itself, beside what the protocol of `wg` has words for.
//!
//! The answer to `status=1`: `version`, `cipher`, `backend`, `backend_reason`, `offload_NAME=on|off`, then for each worker a line `worker=N`, its counters by their names, and its
//! drops as `drop_REASON`; those that are zero are left out.

use std::fmt;

use super::parse::Problem;
use super::reply::{ReplyError, read_facts, unexpected};

/// The answer to `status=1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceStatus {
    /// The version of the program.
    pub version: String,
    /// The provider of the cipher.
    pub cipher: String,
    /// What moves datagrams.
    pub backend: String,
    /// Why this one.
    pub backend_reason: String,
    /// What of the kernel's offloads is in use: names, and `on` or `off`, with a reason where it is known.
    pub offloads: Vec<(String, String)>,
    /// Each worker, in order.
    pub workers: Vec<WorkerStatus>,
}

/// The counters of a worker, which all count up from its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Counters by name.
    pub counters: Vec<(String, u64)>,
    /// Packets that went no further, by reason.
    pub drops: Vec<(String, u64)>,
}

impl WorkerStatus {
    /// A counter; zero for one that it has not.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| known == name).map_or(0, |(_, count)| *count)
    }

    /// The share of time in which it had work, 0 to 1.
    pub fn busy_ratio(&self) -> f64 {
        let (busy, idle) = (self.counter("busy_ns"), self.counter("idle_ns"));
        if busy + idle == 0 { 0.0 } else { busy as f64 / (busy + idle) as f64 }
    }
}

impl DeviceStatus {
    /// A counter, summed over all workers; zero for one that nobody has.
    pub fn sum(&self, name: &str) -> u64 {
        let all = self.workers.iter().flat_map(|worker| &worker.counters);
        all.filter(|(known, _)| known == name).map(|(_, count)| count).sum()
    }

    /// Packets that went no further, for whatever reason.
    pub fn drops(&self) -> u64 {
        self.workers.iter().flat_map(|worker| &worker.drops).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for DeviceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "version={}\ncipher={}", self.version, self.cipher)?;
        writeln!(f, "backend={}\nbackend_reason={}", self.backend, self.backend_reason)?;
        for (name, state) in &self.offloads {
            writeln!(f, "offload_{name}={state}")?;
        }
        for (number, worker) in self.workers.iter().enumerate() {
            writeln!(f, "worker={number}")?;
            for (name, count) in &worker.counters {
                writeln!(f, "{name}={count}")?;
            }
            for (reason, count) in &worker.drops {
                writeln!(f, "drop_{reason}={count}")?;
            }
        }
        f.write_str("errno=0\n\n")
    }
}

/// Reads a whole answer to `status=1`.
///
/// # Errors
/// [`ReplyError`]: refused, or something else answered. wireguard-go ends the connection instead.
pub fn parse_status_reply(text: &str) -> Result<DeviceStatus, ReplyError> {
    let mut status = DeviceStatus::default();
    read_facts(text, |key, value| take_fact(&mut status, key, value))?;
    Ok(status)
}

fn take_fact(status: &mut DeviceStatus, key: &str, value: &str) -> Result<(), Problem> {
    let Some(worker) = status.workers.last_mut().filter(|_| key != "worker") else {
        match key {
            "version" => status.version = value.to_owned(),
            "cipher" => status.cipher = value.to_owned(),
            "backend" => status.backend = value.to_owned(),
            "backend_reason" => status.backend_reason = value.to_owned(),
            "worker" => status.workers.push(WorkerStatus::default()),
            _ => {
                let offload = key.strip_prefix("offload_");
                status.offloads.extend(offload.map(|name| (name.to_owned(), value.to_owned())));
            }
        }
        return Ok(());
    };
    let count = value.parse().map_err(|_| unexpected("a counter", value, "a number"))?;
    match key.strip_prefix("drop_") {
        Some(reason) => worker.drops.push((reason.to_owned(), count)),
        None => worker.counters.push((key.to_owned(), count)),
    }
    Ok(())
}
