//! What is measured, under which names. No label names a peer or an address: the number of series is that of workers, drop
//! reasons and interfaces, whatever the number of peers.

use std::time::{Duration, SystemTime};

use dataplane::{DropReason, InterfaceSnapshot, WorkerStats};

use super::exposition::{Exposition, Kind};
use super::health::{Inquiry, Verdict};

/// A session ends so long after its handshake (WireGuard's REJECT_AFTER_TIME).
const SESSION_LIFE: Duration = Duration::from_secs(180);

/// Everything there is to say about a subject. Where its control layer does not answer, what that alone knows is left out.
pub(super) fn render(inquiry: &mut Inquiry) -> String {
    let mut page = Exposition::default();
    let name = inquiry.subject().name.clone();
    if let Some(engine) = inquiry.subject().engine.upgrade() {
        let backend = engine.backend().name.to_owned();
        let labels = [env!("CARGO_PKG_VERSION").to_owned(), engine.cipher().to_owned(), backend];
        let names = ["version", "cipher", "backend"];
        let help = "Always 1; the labels say what runs.";
        page.family("dataplane_build_info", Kind::Gauge, help, names, [(labels, 1)]);
        let stats = engine.stats();
        drop(engine);
        workers(&mut page, stats.workers());
        drops(&mut page, &stats.total());
    }
    // Asked once: a control layer that does not answer costs one wait.
    let snapshot = inquiry.snapshot();
    let healthy = u8::from(inquiry.health(&snapshot) == Verdict::Good);
    page.single("dataplane_healthy", Kind::Gauge, "Whether /healthz answers 200.", healthy);
    let ready = u8::from(inquiry.readiness(&snapshot) == Verdict::Good);
    page.single("dataplane_ready", Kind::Gauge, "Whether /readyz answers 200.", ready);
    if let Ok(snapshot) = snapshot {
        interface(&mut page, &name, &snapshot);
    }
    process(&mut page);
    page.into_text()
}

fn workers(page: &mut Exposition, workers: &[WorkerStats]) {
    let labelled = |value: fn(&WorkerStats) -> f64| {
        let samples = workers.iter().enumerate();
        samples.map(move |(number, worker)| ([number.to_string()], value(worker))).collect::<Vec<_>>()
    };
    page.family(
        "dataplane_worker_busy_seconds_total",
        Kind::Counter,
        "Time in which a worker had work.",
        ["worker"],
        labelled(|worker| worker.busy_ns as f64 / 1e9),
    );
    page.family(
        "dataplane_worker_idle_seconds_total",
        Kind::Counter,
        "Time in which a worker waited for work.",
        ["worker"],
        labelled(|worker| worker.idle_ns as f64 / 1e9),
    );
    let names = WorkerStats::default();
    let counters = names.named().enumerate().filter(|(_, (name, _))| !name.ends_with("_ns"));
    for (at, (name, _)) in counters {
        let count = |worker: &WorkerStats| worker.named().nth(at).map_or(0, |(_, count)| count);
        let samples =
            workers.iter().enumerate().map(|(number, worker)| ([number.to_string()], count(worker)));
        let full = format!("dataplane_worker_{name}_total");
        page.family(&full, Kind::Counter, help(name), ["worker"], samples);
    }
}

/// What a worker's counter of this name counts.
pub(super) fn help(name: &str) -> &'static str {
    match name {
        "rx_datagrams" => "Outer datagrams received, each of a GRO train counted.",
        "rx_bytes" => "Bytes of the outer datagrams received, above UDP.",
        "rx_batches" => "Receive calls that brought something.",
        "rx_errors" => "Errors that the kernel reported in place of a datagram, about one that was sent.",
        "rx_kernel_drops" => {
            "Datagrams that sockets lost in the kernel, because their receive buffers were full."
        }
        "tx_datagrams" => "Outer datagrams sent.",
        "tx_bytes" => "Bytes of the outer datagrams sent, above UDP.",
        "tx_batches" => "Send calls.",
        "inner_out_packets" => "Inner packets delivered to the interface.",
        "inner_out_bytes" => "Bytes of the inner packets delivered.",
        "inner_out_writes" => "Writes to the interface: a coalesced run counts once.",
        "inner_in_reads" => "Reads from the interface: a super-packet counts once.",
        "inner_in_bytes" => "Bytes read from the interface.",
        "hand_off_datagrams" => "Datagrams handed to another worker.",
        "hand_off_packets" => "Super-packets handed to another worker.",
        "turns_busy" => "Turns of the worker's loop that found work.",
        _ => "A counter of the worker, as in the documentation of the library's WorkerStats.",
    }
}

fn drops(page: &mut Exposition, total: &WorkerStats) {
    // Those that never occurred too: a rate needs a zero to begin with.
    let samples = DropReason::ALL.iter().map(|&reason| ([reason.name().to_owned()], total.drops.of(reason)));
    let help = "Datagrams and packets that went no further, by reason.";
    page.family("dataplane_drops_total", Kind::Counter, help, ["reason"], samples);
}

fn interface(page: &mut Exposition, name: &str, snapshot: &InterfaceSnapshot) {
    let peers = &snapshot.device.peers;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // One that never had a handshake has the time zero.
    let sessions = peers.iter().filter(|peer| now.saturating_sub(peer.last_handshake) < SESSION_LIFE).count();
    let prefixes: usize = peers.iter().map(|peer| peer.allowed_ips.len()).sum();
    let mut gauge = |metric: &str, help: &str, value: usize| {
        page.family(metric, Kind::Gauge, help, ["interface"], [([name.to_owned()], value)]);
    };
    gauge("dataplane_interface_peers", "Peers that are configured.", peers.len());
    gauge("dataplane_interface_sessions", "Peers with a handshake in the last 180 s.", sessions);
    gauge("dataplane_interface_allowed_ips", "Allowed IPs of all peers.", prefixes);
}

/// What Prometheus's own libraries tell of every process.
fn process(page: &mut Exposition) {
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        let help = "Open descriptors of the process.";
        page.single("process_open_fds", Kind::Gauge, help, files.count());
    }
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    if let Some(pages) = pages {
        let bytes = pages * rustix::param::page_size() as u64;
        page.single("process_resident_memory_bytes", Kind::Gauge, "Memory that the process holds.", bytes);
    }
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    page.single("process_cpu_seconds_total", Kind::Counter, "User and system time of the process.", seconds);
}
