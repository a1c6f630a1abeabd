//! The report for people: 80 columns, aligned.

use std::fmt::Write;
use std::time::Duration;

use super::InterfaceReport;
use super::units::{bytes, count, duration};
use crate::keys::{Base64, Secret};
use crate::uapi::PeerSnapshot;

/// Columns of a page.
const WIDTH: usize = 80;

/// Most peers on a page, the latest heard from first; all are in the JSON.
const PEERS_MAX: usize = 50;

/// Escapes of a terminal, where there is one.
struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn strong(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn good(&self, text: &str) -> String {
        self.with("32", text)
    }

    fn bad(&self, text: &str) -> String {
        self.with("31", text)
    }
}

/// The page of an interface.
pub(super) fn page(report: &InterfaceReport, colour: bool) -> String {
    let paint = Paint(colour);
    let mut page = String::new();
    // Formatting into a string does not fail.
    let _ = head(report, &paint, &mut page);
    let _ = peers(report, &paint, &mut page);
    let _ = workers(report, &paint, &mut page);
    let _ = drops(report, &paint, &mut page);
    page
}

fn head(report: &InterfaceReport, paint: &Paint, page: &mut String) -> std::fmt::Result {
    let device = &report.device;
    let state = match &report.link {
        Some(link) if link.up => paint.good("up"),
        Some(_) => paint.bad("down"),
        None => paint.bad("in another network namespace"),
    };
    writeln!(page, "{}  {state}", paint.strong(&report.name))?;
    let key = device.private_key.as_ref().map(Secret::public);
    let key = key.map_or_else(|| "none: nobody can be reached".to_owned(), |key| Base64(&key.0).to_string());
    writeln!(page, "  public key  {key}")?;
    let mark = if device.fwmark == 0 { "none".to_owned() } else { format!("{:#x}", device.fwmark) };
    let mtu = report.link.as_ref().map_or_else(|| "unknown".to_owned(), |link| link.mtu_bytes.to_string());
    writeln!(page, "  listens on  port {}, mark {mark}, MTU {mtu}", device.listen_port)?;
    if let Some(link) = report.link.as_ref().filter(|link| !link.addresses.is_empty()) {
        let all: Vec<String> = link.addresses.iter().map(ToString::to_string).collect();
        writeln!(page, "  addresses   {}", fitted(&all, WIDTH - 14))?;
    }
    if let Some(file) = &report.config_file {
        writeln!(page, "  file        {file}")?;
    }
    match &report.status {
        None => writeln!(page, "  program     another than dataplane: it tells no more")?,
        Some(status) => {
            writeln!(page, "  program     dataplane {}, cipher {}", status.version, status.cipher)?;
            writeln!(page, "  backend     {}: {}", status.backend, status.backend_reason)?;
            let offloads: Vec<String> =
                status.offloads.iter().map(|(name, state)| format!("{name} {state}")).collect();
            writeln!(page, "  offloads    {}", offloads.join(", "))?;
        }
    }
    Ok(())
}

fn peers(report: &InterfaceReport, paint: &Paint, page: &mut String) -> std::fmt::Result {
    let mut peers: Vec<&PeerSnapshot> = report.device.peers.iter().collect();
    peers.sort_by_key(|peer| std::cmp::Reverse(peer.last_handshake));
    writeln!(page, "\n{}", paint.strong(&format!("peers ({})", peers.len())))?;
    for peer in peers.iter().take(PEERS_MAX) {
        let age = handshake_age(peer, report.time);
        let fresh = age.is_some_and(|age| age < Duration::from_secs(180));
        let said = age
            .map_or_else(|| "no handshake yet".to_owned(), |age| format!("handshake {} ago", duration(age)));
        let said = if fresh { paint.good(&said) } else { paint.bad(&said) };
        writeln!(page, "  {}  {said}", Base64(&peer.public_key.0))?;
        let path = match peer.endpoint {
            Some(endpoint) => format!("direct to {endpoint}"),
            None => "no endpoint".to_owned(),
        };
        let keepalive = match peer.keepalive_s {
            0 => String::new(),
            seconds => format!(", keepalive {seconds} s"),
        };
        writeln!(page, "    {path}{keepalive}")?;
        writeln!(page, "    received {:>9}, sent {:>9}", bytes(peer.rx_bytes), bytes(peer.tx_bytes))?;
        if !peer.allowed_ips.is_empty() {
            let all: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
            writeln!(page, "    allowed  {}", fitted(&all, WIDTH - 13))?;
        }
    }
    if peers.len() > PEERS_MAX {
        writeln!(page, "  and {} more: see --json", peers.len() - PEERS_MAX)?;
    }
    Ok(())
}

fn workers(report: &InterfaceReport, paint: &Paint, page: &mut String) -> std::fmt::Result {
    let Some(status) = &report.status else { return Ok(()) };
    writeln!(page, "\n{}", paint.strong("workers"))?;
    writeln!(
        page,
        "  {:>6} {:>6} {:>13} {:>9} {:>13} {:>9} {:>9}",
        "number", "busy", "datagrams in", "bytes in", "datagrams out", "bytes out", "drops"
    )?;
    for (number, worker) in status.workers.iter().enumerate() {
        let of = |name: &str| worker.counter(name);
        let drops: u64 = worker.drops.iter().map(|(_, count)| count).sum();
        writeln!(
            page,
            "  {number:>6} {:>6} {:>13} {:>9} {:>13} {:>9} {:>9}",
            format!("{:.1} %", 100.0 * worker.busy_ratio()),
            count(of("rx_datagrams")),
            bytes(of("rx_bytes")),
            count(of("tx_datagrams")),
            bytes(of("tx_bytes")),
            count(drops)
        )?;
    }
    Ok(())
}

fn drops(report: &InterfaceReport, paint: &Paint, page: &mut String) -> std::fmt::Result {
    let drops = report.drops();
    if drops.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n{}", paint.strong("dropped"))?;
    for (reason, dropped) in drops {
        writeln!(page, "  {:>9}  {reason}", count(dropped))?;
    }
    Ok(())
}

/// How long ago a peer's last handshake was; `None` for never.
pub(crate) fn handshake_age(peer: &PeerSnapshot, now: Duration) -> Option<Duration> {
    (!peer.last_handshake.is_zero()).then(|| now.saturating_sub(peer.last_handshake))
}

/// As many elements of a list as fit, and how many more there are.
fn fitted(all: &[String], width: usize) -> String {
    let mut line = String::new();
    for (at, one) in all.iter().enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        let left = all.len() - at;
        let rest = format!(" and {left} more");
        let needed = if left == 1 { 0 } else { rest.len() };
        if at > 0 && line.len() + separator.len() + one.len() + needed > width {
            line.push_str(&rest);
            return line;
        }
        line.push_str(separator);
        line.push_str(one);
    }
    line
}
