//! What is seen of a demo while it runs: a table that is redrawn on a terminal, lines elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often lines are written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// Columns of the bar that stands for the rate of one phase.
const HISTORY_LEN: usize = 40;

/// One moment of a demo.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame {
    /// What flows, such as `TCP left → right`.
    pub(super) title: String,
    /// Time since the phase began, and its length.
    pub(super) elapsed: Duration,
    pub(super) length: Duration,
    /// Payload bits delivered per second; `None` where a speed would mean nothing.
    pub(super) bits_per_s: Option<f64>,
    /// The gateways.
    pub(super) gateways: Vec<GatewayRow>,
    /// The share of each core that was in use, 0 to 1.
    pub(super) cores: Vec<f64>,
}

/// One gateway at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct GatewayRow {
    pub(super) name: &'static str,
    /// Outer datagrams per second.
    pub(super) rx_per_s: f64,
    pub(super) tx_per_s: f64,
    /// Packets that went no further since the start.
    pub(super) drops: u64,
    /// Cores' worth of processor time.
    pub(super) cpu: f64,
}

/// Where frames are shown.
pub(super) struct Screen {
    live: bool,
    /// Lines of the last frame, which the next one overwrites.
    drawn: usize,
    history: Vec<f64>,
    written: Option<Instant>,
}

impl Screen {
    /// A screen on standard output, redrawn where that is a terminal and nobody wants it `plain`.
    pub(super) fn new(plain: bool) -> Self {
        let live = !plain
            && io::stdout().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { live, drawn: 0, history: Vec::new(), written: None }
    }

    /// Another phase begins.
    pub(super) fn begin(&mut self) {
        self.history.clear();
        self.written = None;
    }

    /// Shows a frame.
    pub(super) fn show(&mut self, frame: &Frame) {
        self.history.extend(frame.bits_per_s);
        let mut out = String::new();
        if self.live {
            let table = table(frame, &self.history);
            if self.drawn > 0 {
                let _ = write!(out, "\x1b[{}A", self.drawn);
            }
            for line in &table {
                let _ = writeln!(out, "\r{line}\x1b[K");
            }
            self.drawn = table.len();
        } else if self.written.is_none_or(|at| at.elapsed() >= LINE_INTERVAL) {
            self.written = Some(Instant::now());
            out = line(frame);
        }
        write_out(&out);
    }

    /// Leaves the last frame where it stands.
    pub(super) fn end(&mut self) {
        self.drawn = 0;
    }
}

/// A reader that has gone away is no reason to fail.
fn write_out(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn table(frame: &Frame, history: &[f64]) -> Vec<String> {
    let mut lines = vec![format!(
        "  {:<22} {:>5.1} s of {:.1} s",
        frame.title,
        frame.elapsed.as_secs_f64(),
        frame.length.as_secs_f64()
    )];
    if let Some(bits) = frame.bits_per_s {
        lines.push(format!("  {:>10}  {}", rate(bits), bars(history)));
    }
    lines.push("  gateway   datagrams in/s   out/s      drops   CPU".to_owned());
    for row in &frame.gateways {
        lines.push(format!(
            "  {:<8} {:>15} {:>8} {:>9} {:>4.0} %",
            row.name,
            grouped(row.rx_per_s as u64),
            grouped(row.tx_per_s as u64),
            grouped(row.drops),
            row.cpu * 100.0
        ));
    }
    lines.push(format!("  cores     {}", cores(&frame.cores)));
    lines
}

fn line(frame: &Frame) -> String {
    let mut line = format!("{} {:.1} s:", frame.title, frame.elapsed.as_secs_f64());
    if let Some(bits) = frame.bits_per_s {
        let _ = write!(line, " {},", rate(bits));
    }
    for row in &frame.gateways {
        let _ = write!(
            line,
            " {} in {}/s out {}/s drops {} CPU {:.0} %,",
            row.name,
            grouped(row.rx_per_s as u64),
            grouped(row.tx_per_s as u64),
            grouped(row.drops),
            row.cpu * 100.0
        );
    }
    let _ = writeln!(line, " cores {}", cores(&frame.cores));
    line
}

fn cores(shares: &[f64]) -> String {
    shares.iter().map(|share| format!("{:.0} %", share * 100.0)).collect::<Vec<_>>().join("  ")
}

/// A column for each of the last values, against the largest of them.
fn bars(history: &[f64]) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &history[history.len().saturating_sub(HISTORY_LEN)..];
    let most = shown.iter().copied().fold(0.0, f64::max);
    let step = |value: &f64| if most > 0.0 { (value / most * 7.0).round() as usize } else { 0 };
    shown.iter().map(|value| STEPS.get(step(value)).copied().unwrap_or('█')).collect()
}

/// Bits per second for people.
pub(super) fn rate(bits_per_s: f64) -> String {
    match bits_per_s {
        bits if bits >= 1e9 => format!("{:.2} Gbit/s", bits / 1e9),
        bits if bits >= 1e6 => format!("{:.0} Mbit/s", bits / 1e6),
        bits => format!("{:.0} kbit/s", bits / 1e3),
    }
}

/// A number with a comma before each third digit.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let row = GatewayRow { name: "left", rx_per_s: 1234.0, tx_per_s: 9.0, drops: 1_000_000, cpu: 1.5 };
        Frame {
            title: "TCP left → right".into(),
            elapsed: Duration::from_millis(1500),
            length: Duration::from_secs(4),
            bits_per_s: Some(2.5e9),
            gateways: vec![row],
            cores: vec![0.5, 1.0],
        }
    }

    #[test]
    fn a_frame_becomes_a_table_on_a_terminal_and_one_line_elsewhere() {
        let table = table(&frame(), &[1.0, 2.5e9]);
        assert_eq!(table.len(), 5);
        assert!(table[1].contains("2.50 Gbit/s  ▁█"), "{table:?}");
        assert!(table[3].contains("1,234") && table[3].contains("1,000,000") && table[3].ends_with("150 %"));
        assert_eq!(
            line(&frame()),
            "TCP left → right 1.5 s: 2.50 Gbit/s, left in 1,234/s out 9/s drops 1,000,000 CPU 150 %, \
             cores 50 %  100 %\n"
        );
    }

    #[test]
    fn without_a_speed_none_is_shown() {
        let frame = Frame { bits_per_s: None, ..frame() };
        assert!(!line(&frame).contains("bit/s"));
        assert!(!table(&frame, &[]).concat().contains("bit/s"));
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1.5e9, 2e6, 3e3].map(rate), ["1.50 Gbit/s", "2 Mbit/s", "3 kbit/s"]);
        assert_eq!(bars(&[0.0, 0.0]), "▁▁");
        assert_eq!(bars(&[1.0; 100]).chars().count(), HISTORY_LEN);
    }
}
