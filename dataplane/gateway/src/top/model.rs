//! Reports to rates.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::keys::PublicKey;
use crate::status::InterfaceReport;
use crate::uapi::PeerSnapshot;

/// Rates that are remembered: as many as a wide terminal shows.
const HISTORY_MAX: usize = 300;

/// By what peers are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// The busiest first.
    #[default]
    Rate,
    /// The one last heard from first.
    Handshake,
    /// By public key.
    Key,
}

/// A worker at present.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WorkerRate {
    /// The share of the last interval in which it had work.
    pub(super) busy_ratio: f64,
    pub(super) rx_bit_per_s: f64,
    pub(super) tx_bit_per_s: f64,
    pub(super) datagrams_per_s: f64,
    pub(super) drops_per_s: f64,
}

/// A peer at present.
#[derive(Clone, Debug)]
pub(super) struct PeerRate {
    pub(super) peer: PeerSnapshot,
    pub(super) rx_bit_per_s: f64,
    pub(super) tx_bit_per_s: f64,
}

/// A reason to drop.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DropRate {
    pub(super) reason: String,
    pub(super) count: u64,
    pub(super) per_s: f64,
}

/// What is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) interface: String,
    pub(super) interval: Duration,
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) sort: Sort,
    pub(super) scroll: usize,
    /// What the last look failed with.
    pub(super) problem: Option<String>,
    pub(super) last: Option<(Instant, InterfaceReport)>,
    /// Received and sent, the newest last, in bit/s.
    pub(super) rx_history: VecDeque<u64>,
    pub(super) tx_history: VecDeque<u64>,
    pub(super) workers: Vec<WorkerRate>,
    pub(super) peers: Vec<PeerRate>,
    pub(super) drops: Vec<DropRate>,
}

impl Model {
    pub(super) fn new(interface: String, interval: Duration) -> Self {
        Self { interface, interval, ..Self::default() }
    }

    /// Takes a report, or why there is none: what was shown stays then.
    pub(super) fn add(&mut self, now: Instant, report: Result<InterfaceReport, String>) {
        let report = match report {
            Ok(report) => report,
            Err(problem) => {
                self.problem = Some(problem);
                return;
            }
        };
        self.problem = None;
        let before = self.last.take();
        let seconds = before.as_ref().map_or(0.0, |(then, _)| now.duration_since(*then).as_secs_f64());
        let old = before.as_ref().map(|(_, report)| report);
        self.rate_workers(&report, old, seconds);
        self.rate_peers(&report, old, seconds);
        self.rate_drops(&report, old, seconds);
        if old.is_some() {
            let sum = |of: fn(&PeerRate) -> f64| self.peers.iter().map(of).sum::<f64>() as u64;
            let (rx, tx) = (sum(|peer| peer.rx_bit_per_s), sum(|peer| peer.tx_bit_per_s));
            remember(&mut self.rx_history, rx);
            remember(&mut self.tx_history, tx);
        }
        self.last = Some((now, report));
    }

    fn rate_workers(&mut self, report: &InterfaceReport, old: Option<&InterfaceReport>, seconds: f64) {
        let Some(status) = &report.status else { return self.workers.clear() };
        let before = old.and_then(|old| old.status.as_ref());
        let rate = |(number, worker): (usize, &crate::uapi::WorkerStatus)| {
            let Some(old) = before.and_then(|status| status.workers.get(number)) else {
                return WorkerRate::default();
            };
            let more = |name: &str| worker.counter(name).saturating_sub(old.counter(name));
            let sum = |drops: &[(String, u64)]| drops.iter().map(|(_, count)| count).sum::<u64>();
            let (busy, idle) = (more("busy_ns"), more("idle_ns"));
            WorkerRate {
                busy_ratio: if busy + idle == 0 { 0.0 } else { busy as f64 / (busy + idle) as f64 },
                rx_bit_per_s: per_s(8 * more("rx_bytes"), seconds),
                tx_bit_per_s: per_s(8 * more("tx_bytes"), seconds),
                datagrams_per_s: per_s(more("rx_datagrams") + more("tx_datagrams"), seconds),
                drops_per_s: per_s(sum(&worker.drops).saturating_sub(sum(&old.drops)), seconds),
            }
        };
        self.workers = status.workers.iter().enumerate().map(rate).collect();
    }

    fn rate_peers(&mut self, report: &InterfaceReport, old: Option<&InterfaceReport>, seconds: f64) {
        let old_peers = old.map(|old| old.device.peers.as_slice()).unwrap_or_default();
        let before: HashMap<PublicKey, &PeerSnapshot> =
            old_peers.iter().map(|peer| (peer.public_key, peer)).collect();
        let rate = |peer: &PeerSnapshot| {
            let old = before.get(&peer.public_key);
            let more = |now: u64, then: Option<u64>| then.map_or(0, |then| now.saturating_sub(then));
            PeerRate {
                rx_bit_per_s: per_s(8 * more(peer.rx_bytes, old.map(|old| old.rx_bytes)), seconds),
                tx_bit_per_s: per_s(8 * more(peer.tx_bytes, old.map(|old| old.tx_bytes)), seconds),
                peer: peer.clone(),
            }
        };
        self.peers = report.device.peers.iter().map(rate).collect();
    }

    fn rate_drops(&mut self, report: &InterfaceReport, old: Option<&InterfaceReport>, seconds: f64) {
        let before: HashMap<String, u64> =
            old.map(InterfaceReport::drops).unwrap_or_default().into_iter().collect();
        let rate = |(reason, count): (String, u64)| {
            let then = before.get(&reason).copied().unwrap_or(if old.is_some() { 0 } else { count });
            DropRate { per_s: per_s(count.saturating_sub(then), seconds), reason, count }
        };
        self.drops = report.drops().into_iter().map(rate).collect();
    }

    /// The peers in the order that was asked for.
    pub(super) fn sorted_peers(&self) -> Vec<&PeerRate> {
        let mut peers: Vec<&PeerRate> = self.peers.iter().collect();
        let rate = |peer: &PeerRate| peer.rx_bit_per_s + peer.tx_bit_per_s;
        match self.sort {
            Sort::Rate => peers.sort_by(|one, other| rate(other).total_cmp(&rate(one))),
            Sort::Handshake => peers.sort_by_key(|peer| std::cmp::Reverse(peer.peer.last_handshake)),
            Sort::Key => peers.sort_by_key(|peer| peer.peer.public_key),
        }
        peers
    }
}

fn per_s(amount: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount as f64 / seconds } else { 0.0 }
}

fn remember(history: &mut VecDeque<u64>, value: u64) {
    if history.len() == HISTORY_MAX {
        history.pop_front();
    }
    history.push_back(value);
}
