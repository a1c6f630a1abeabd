//! The demo inside of its namespaces: set up, traffic in four phases, summary.

use std::time::{Duration, Instant};

use super::gateway::Gateway;
use super::sandbox::{Networks, Side};
use super::screen::{Frame, GatewayRow, Screen, grouped, rate};
use super::tcp::Stream;
use super::udp::Flow;
use super::{DemoError, Options, sample};
use crate::signals::Termination;
use crate::text::Counted;
use crate::uapi::DeviceStatus;

/// Between two frames.
const FRAME_INTERVAL: Duration = Duration::from_millis(250);
/// What part of the rate that TCP reached is offered by UDP, which nothing slows down when the path is full.
const UDP_SHARE: f64 = 0.5;
/// How much of all time TCP gets in each direction; UDP gets the rest.
const TCP_SHARE: f64 = 0.32;

const DIRECTIONS: [(Side, Side); 2] = [(Side::Left, Side::Right), (Side::Right, Side::Left)];

/// What came of one phase.
struct Outcome {
    title: String,
    elapsed: Duration,
    delivered_bytes: u64,
    /// For UDP: what was sent.
    sent_bytes: Option<u64>,
    /// Processor time of both gateways.
    cpu: Duration,
}

impl Outcome {
    fn bits_per_s(&self) -> f64 {
        self.delivered_bytes as f64 * 8.0 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn row(&self) -> String {
        let cpu_per_gb = self.cpu.as_secs_f64() / (self.delivered_bytes as f64 / 1e9);
        let mut row = format!(
            "  {:<18} {:>12}  {:>6.2} GB in {:.1} s  {cpu_per_gb:>5.2} CPU s/GB",
            self.title,
            rate(self.bits_per_s()),
            self.delivered_bytes as f64 / 1e9,
            self.elapsed.as_secs_f64()
        );
        if let Some(sent) = self.sent_bytes.filter(|sent| *sent > 0) {
            let lost = sent.saturating_sub(self.delivered_bytes) as f64 / sent as f64 * 100.0;
            row.push_str(&format!("  {lost:.2} % lost"));
        }
        row
    }
}

/// What flows in a phase.
enum Traffic {
    Tcp(Stream),
    Udp(Flow),
}

impl Traffic {
    fn delivered_bytes(&self) -> u64 {
        match self {
            Self::Tcp(stream) => stream.delivered_bytes(),
            Self::Udp(flow) => flow.delivered_bytes(),
        }
    }
}

/// Two gateways and what has been seen of them.
struct Lab {
    networks: Networks,
    gateways: [Gateway; 2],
    /// Handshakes that each has completed, as far as they were seen, and the time of the last.
    handshakes: [(u32, Duration); 2],
}

/// Runs the demo.
pub(super) fn run(options: &Options, termination: &Termination) -> Result<(), DemoError> {
    println!("Two gateways, each a dataplane-wg process with a TUN interface, and a router between them:");
    println!("  left 10.78.0.1 ══ 10.77.1.2 ── router ── 10.77.2.2 ══ 10.78.0.2 right");
    let mut lab = Lab::start()?;
    let mut screen = Screen::new(options.plain);
    let mut outcomes = Vec::new();
    let tcp_time = Duration::from_secs_f64(options.seconds as f64 * TCP_SHARE);
    let udp_time = Duration::from_secs_f64(options.seconds as f64 * (0.5 - TCP_SHARE));
    for (from, to) in DIRECTIONS {
        let stream = Stream::start(&lab.networks, from, to).map_err(|error| {
            DemoError::NoTraffic(format!("TCP from {} to {}: {error}", from.name(), to.name()))
        })?;
        let title = format!("TCP {} → {}", from.name(), to.name());
        outcomes.push(lab.phase(title, Traffic::Tcp(stream), tcp_time, &mut screen, termination)?);
    }
    for (at, (from, to)) in DIRECTIONS.into_iter().enumerate() {
        let bytes_per_s = outcomes.get(at).map_or(0.0, |tcp| tcp.bits_per_s() / 8.0 * UDP_SHARE);
        let flow = Flow::start(&lab.networks, from, to, bytes_per_s)
            .map_err(DemoError::system("cannot send UDP through the tunnel"))?;
        let title = format!("UDP {} → {}", from.name(), to.name());
        outcomes.push(lab.phase(title, Traffic::Udp(flow), udp_time, &mut screen, termination)?);
    }
    lab.summary(&outcomes)
}

impl Lab {
    fn start() -> Result<Self, DemoError> {
        let networks = Networks::make()?;
        let mut left = Gateway::start(&networks, Side::Left)?;
        let mut right = Gateway::start(&networks, Side::Right)?;
        left.configure(right.public_key(), Side::Right)?;
        right.configure(left.public_key(), Side::Left)?;
        Ok(Self { networks, gateways: [left, right], handshakes: Default::default() })
    }

    /// Lets traffic flow for some time, and shows it.
    fn phase(
        &mut self,
        title: String,
        traffic: Traffic,
        length: Duration,
        screen: &mut Screen,
        termination: &Termination,
    ) -> Result<Outcome, DemoError> {
        screen.begin();
        let cpu_before = self.cpu();
        let begun = Instant::now();
        let mut last = Moment::now(self, &traffic)?;
        while begun.elapsed() < length {
            let left = length.saturating_sub(begun.elapsed());
            if termination.within(left.min(FRAME_INTERVAL)) {
                return Err(DemoError::Interrupted);
            }
            let now = Moment::now(self, &traffic)?;
            screen.show(&now.frame(&last, &title, begun.elapsed(), length));
            last = now;
            self.look_at_handshakes()?;
        }
        screen.end();
        let elapsed = begun.elapsed();
        let (sent_bytes, delivered_bytes) = match &traffic {
            Traffic::Tcp(stream) => (None, stream.delivered_bytes()),
            Traffic::Udp(flow) => {
                let (sent, delivered) = flow.settle();
                (Some(sent), delivered)
            }
        };
        if delivered_bytes == 0 {
            return Err(DemoError::NoTraffic(title));
        }
        Ok(Outcome { title, elapsed, delivered_bytes, sent_bytes, cpu: self.cpu() - cpu_before })
    }

    /// Processor time of both gateways since they began.
    fn cpu(&self) -> Duration {
        self.gateways.iter().map(|gateway| sample::process_time(gateway.pid())).sum()
    }

    fn look_at_handshakes(&mut self) -> Result<(), DemoError> {
        for (gateway, (count, latest)) in self.gateways.iter_mut().zip(&mut self.handshakes) {
            let last = gateway.peer()?.last_handshake;
            if last != *latest {
                *count += 1;
                *latest = last;
            }
        }
        Ok(())
    }

    fn summary(&mut self, outcomes: &[Outcome]) -> Result<(), DemoError> {
        println!("\nSummary");
        for outcome in outcomes {
            println!("{}", outcome.row());
        }
        let cpu: f64 = outcomes.iter().map(|outcome| outcome.cpu.as_secs_f64()).sum();
        let bytes: u64 = outcomes.iter().map(|outcome| outcome.delivered_bytes).sum();
        println!("  both gateways      {cpu:.1} CPU s, {:.2} CPU s per GB", cpu / (bytes as f64 / 1e9));
        let [left, right] = &mut self.gateways;
        let endpoint = |gateway: &mut Gateway| -> Result<String, DemoError> {
            let endpoint = gateway.peer()?.endpoint;
            Ok(endpoint.map_or_else(|| "unknown".to_owned(), |endpoint| endpoint.to_string()))
        };
        println!("  path               direct: left {} ⇄ right {}", endpoint(right)?, endpoint(left)?);
        let handshakes = self.handshakes.iter().map(|(count, _)| *count).max().unwrap_or(0);
        println!("  handshakes         {handshakes} complete");
        let statuses = [self.gateways[0].status()?, self.gateways[1].status()?];
        let drops: u64 = statuses.iter().map(DeviceStatus::drops).sum();
        println!("  drops              {}{}", grouped(drops), reasons(&statuses));
        let cores = sample::cores().len();
        println!(
            "  cipher {}, {} each. Senders, receivers, router and both gateways share {cores} cores.",
            statuses[0].cipher,
            Counted(statuses[0].workers.len(), "worker")
        );
        Ok(())
    }
}

/// ` (reason count, ...)`, or nothing where there were no drops.
fn reasons(statuses: &[DeviceStatus]) -> String {
    let workers = statuses.iter().flat_map(|status| &status.workers);
    let mut sums = std::collections::BTreeMap::<&str, u64>::new();
    for (reason, count) in workers.flat_map(|worker| &worker.drops) {
        *sums.entry(reason).or_default() += count;
    }
    let named: Vec<String> =
        sums.iter().map(|(reason, count)| format!("{reason} {}", grouped(*count))).collect();
    if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) }
}

/// Everything that is looked at for a frame.
struct Moment {
    at: Instant,
    delivered_bytes: u64,
    gateways: [(DeviceStatus, Duration); 2],
    cores: Vec<sample::CoreTicks>,
}

impl Moment {
    fn now(lab: &mut Lab, traffic: &Traffic) -> Result<Self, DemoError> {
        let [left, right] = &mut lab.gateways;
        let look = |gateway: &mut Gateway| -> Result<_, DemoError> {
            Ok((gateway.status()?, sample::process_time(gateway.pid())))
        };
        Ok(Self {
            gateways: [look(left)?, look(right)?],
            cores: sample::cores(),
            delivered_bytes: traffic.delivered_bytes(),
            at: Instant::now(),
        })
    }

    /// What is to be shown of the time since `earlier`.
    fn frame(&self, earlier: &Self, title: &str, elapsed: Duration, length: Duration) -> Frame {
        let seconds = (self.at - earlier.at).as_secs_f64().max(1e-9);
        let row = |side: Side, now: &(DeviceStatus, Duration), then: &(DeviceStatus, Duration)| {
            let per_s = |name| now.0.sum(name).saturating_sub(then.0.sum(name)) as f64 / seconds;
            GatewayRow {
                name: side.name(),
                rx_per_s: per_s("rx_datagrams"),
                tx_per_s: per_s("tx_datagrams"),
                drops: now.0.drops(),
                cpu: now.1.saturating_sub(then.1).as_secs_f64() / seconds,
            }
        };
        let [left, right] = [0, 1].map(|at| (&self.gateways[at], &earlier.gateways[at]));
        let cores = self.cores.iter().zip(&earlier.cores).map(|(now, then)| now.busy_since(*then));
        Frame {
            title: title.to_owned(),
            elapsed,
            length,
            bits_per_s: Some((self.delivered_bytes - earlier.delivered_bytes) as f64 * 8.0 / seconds),
            gateways: vec![row(Side::Left, left.0, left.1), row(Side::Right, right.0, right.1)],
            cores: cores.collect(),
        }
    }
}
