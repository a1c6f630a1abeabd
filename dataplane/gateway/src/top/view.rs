//! Draws the model. Made for 80x24, and for whatever there is.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Sparkline, Table};

use super::model::{Model, Sort};
use crate::keys::Base64;
use crate::status::{bits_per_second, count, duration, handshake_age};

/// Most workers that are shown one by one.
const WORKERS_MAX: usize = 8;

/// Cells of the bar that shows how busy a worker is.
const BAR_LEN: usize = 8;

/// A peer's key, shortened: enough to tell ten thousand apart.
const KEY_LEN: usize = 11;

/// A whole key in base64.
const KEY_LEN_MAX: usize = 44;

/// An endpoint of IPv4, or the beginning of one of IPv6.
const ENDPOINT_LEN_MIN: usize = 24;

/// Columns that keys and endpoints leave: handshake, in and out with the spaces between, and the border.
const FIGURES_LEN: usize = 9 + 12 + 12 + 4 + 2;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let workers = model.workers.len().min(WORKERS_MAX) as u16;
    let [title, graphs, middle, peers, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Length(workers.max(3) + 2),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_title(frame, model, title);
    let [rx, tx] = Layout::horizontal([Constraint::Ratio(1, 2); 2]).areas(graphs);
    draw_graph(frame, "received", &model.rx_history, Color::Green, rx);
    draw_graph(frame, "sent", &model.tx_history, Color::Blue, tx);
    let [cores, drops] = Layout::horizontal([Constraint::Min(50), Constraint::Length(30)]).areas(middle);
    draw_workers(frame, model, cores);
    draw_drops(frame, model, drops);
    draw_peers(frame, model, peers);
    draw_keys(frame, model, keys);
    if model.help {
        draw_help(frame);
    }
}

fn draw_title(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let mut spans = vec![" dataplane top  ".into(), model.interface.as_str().bold()];
    if let Some((_, report)) = &model.last {
        match &report.link {
            Some(link) if link.up => spans.push("  up".green()),
            Some(_) => spans.push("  down".red()),
            None => {}
        }
        let peers = report.device.peers.len();
        spans.push(format!("  {peers} peer{}", if peers == 1 { "" } else { "s" }).into());
        if let Some(status) = &report.status {
            spans.push(format!("  {}  {}", status.backend, status.cipher).into());
        }
    }
    spans.push(format!("  every {:.2} s", model.interval.as_secs_f64()).into());
    if model.paused {
        spans.push("  PAUSED".yellow().bold());
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_graph(frame: &mut Frame<'_>, name: &str, history: &VecDeque<u64>, colour: Color, area: Rect) {
    let now = history.back().copied().unwrap_or(0);
    let inside = usize::from(area.width.saturating_sub(2));
    let shown: Vec<u64> = history.iter().rev().take(inside).rev().copied().collect();
    let peak = shown.iter().copied().max().unwrap_or(0);
    let title = format!(" {name} {} ", bits_per_second(now as f64));
    let block = Block::default()
        .borders(Borders::ALL)
        .title(title.bold())
        .title_bottom(Line::from(format!(" peak {} ", bits_per_second(peak as f64))).right_aligned());
    let graph = Sparkline::default().block(block).data(shown).max(peak.max(1)).style(Style::new().fg(colour));
    frame.render_widget(graph, area);
}

fn draw_workers(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let names = ["", " busy", "", &right("in", 11), &right("out", 11), "drop/s"];
    let header = Row::new(names.map(|name| Cell::from(name.to_owned())))
        .style(Style::new().add_modifier(Modifier::DIM));
    let rows = model.workers.iter().take(WORKERS_MAX).enumerate().map(|(number, worker)| {
        let percent = (100.0 * worker.busy_ratio).round();
        let filled = (worker.busy_ratio.clamp(0.0, 1.0) * BAR_LEN as f64).round() as usize;
        let colour = if percent >= 90.0 { Color::Red } else { Color::Green };
        Row::new([
            Cell::from(format!("{number:>2}")),
            Cell::from(format!("{percent:>3.0} %")),
            Cell::from(Span::styled(
                format!("{}{}", "█".repeat(filled), "░".repeat(BAR_LEN - filled)),
                colour,
            )),
            Cell::from(right(&bits_per_second(worker.rx_bit_per_s), 11)),
            Cell::from(right(&bits_per_second(worker.tx_bit_per_s), 11)),
            Cell::from(right(&count(worker.drops_per_s as u64), 6)),
        ])
    });
    let widths = [2, 5, BAR_LEN as u16, 11, 11, 6].map(Constraint::Length);
    let more = model.workers.len().saturating_sub(WORKERS_MAX);
    let title = if more > 0 { format!(" workers, {more} more ") } else { " workers ".to_owned() };
    let block = Block::default().borders(Borders::ALL).title(title.bold());
    frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
}

fn draw_drops(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let block = Block::default().borders(Borders::ALL).title(" dropped, per second ".bold());
    if model.drops.is_empty() {
        return frame.render_widget(Paragraph::new("nothing").block(block), area);
    }
    let rows = model.drops.iter().map(|drop| {
        let style = if drop.per_s > 0.0 { Style::new().fg(Color::Red) } else { Style::new() };
        Row::new([
            Cell::from(drop.reason.clone()),
            Cell::from(right(&count(drop.count), 6)),
            Cell::from(right(&count(drop.per_s as u64), 6)),
        ])
        .style(style)
    });
    let widths = [Constraint::Min(14), Constraint::Length(6), Constraint::Length(6)];
    frame.render_widget(Table::new(rows, widths).block(block), area);
}

fn draw_peers(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let now = model.last.as_ref().map(|(_, report)| report.time).unwrap_or_default();
    let sorted = model.sorted_peers();
    let room = usize::from(area.height.saturating_sub(3));
    let first = model.scroll.min(sorted.len().saturating_sub(room));
    // Whole keys where there is room for them, and whole endpoints of IPv6 where there is more.
    let rest = usize::from(area.width).saturating_sub(FIGURES_LEN);
    let key_len = if rest > KEY_LEN_MAX + ENDPOINT_LEN_MIN { KEY_LEN_MAX } else { KEY_LEN };
    let endpoint_len = rest.saturating_sub(key_len + 1).max(ENDPOINT_LEN_MIN);
    let rows = sorted.iter().skip(first).take(room).map(|rate| {
        let peer = &rate.peer;
        let age = handshake_age(peer, now);
        let age_text = age.map_or_else(|| "never".to_owned(), duration);
        let fresh = age.is_some_and(|age| age.as_secs() < 180);
        let endpoint =
            peer.endpoint.map_or_else(|| "no endpoint".to_owned(), |endpoint| endpoint.to_string());
        Row::new([
            Cell::from(shortened(&Base64(&peer.public_key.0).to_string(), key_len)),
            Cell::from(shortened(&endpoint, endpoint_len)),
            Cell::from(right(&age_text, 9)).style(Style::new().fg(if fresh {
                Color::Green
            } else {
                Color::Red
            })),
            Cell::from(right(&bits_per_second(rate.rx_bit_per_s), 12)),
            Cell::from(right(&bits_per_second(rate.tx_bit_per_s), 12)),
        ])
    });
    let header = Row::new([
        "peer".to_owned(),
        "endpoint".to_owned(),
        right("handshake", 9),
        right("in", 12),
        right("out", 12),
    ])
    .style(Style::new().add_modifier(Modifier::DIM));
    let order = match model.sort {
        Sort::Rate => "by rate",
        Sort::Handshake => "by handshake",
        Sort::Key => "by key",
    };
    let place = if sorted.len() > room {
        format!(", {} to {} of {}", first + 1, (first + room).min(sorted.len()), sorted.len())
    } else {
        String::new()
    };
    let block = Block::default().borders(Borders::ALL).title(format!(" peers {order}{place} ").bold());
    let widths = [
        Constraint::Length(key_len as u16 + 1),
        Constraint::Min(ENDPOINT_LEN_MIN as u16),
        Constraint::Length(9),
        Constraint::Length(12),
        Constraint::Length(12),
    ];
    frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
}

fn draw_keys(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let line = match &model.problem {
        Some(problem) => Line::from(format!(" {problem}")).red(),
        None => {
            Line::from(" q quit  p pause  s sort  i next interface  + - interval  ↑ ↓ scroll  h help").dim()
        }
    };
    frame.render_widget(line, area);
}

fn draw_help(frame: &mut Frame<'_>) {
    let text = "\
q, Esc, Ctrl-C  quit
p, space        pause, go on
s               sort peers by rate, handshake, key
i, Tab          the next interface
+ -             look more, less often
↑ ↓ PgUp PgDn   scroll peers
h, ?            this";
    let (width, height) = (54, 9);
    let all = frame.area();
    let area = Rect {
        x: all.width.saturating_sub(width) / 2,
        y: all.height.saturating_sub(height) / 2,
        width: width.min(all.width),
        height: height.min(all.height),
    };
    frame.render_widget(Clear, area);
    let block = Block::default().borders(Borders::ALL).title(" keys ".bold());
    frame.render_widget(Paragraph::new(text).block(block), area);
}

fn right(text: &str, width: usize) -> String {
    format!("{text:>width$}")
}

/// The beginning of a text, with an ellipsis where something is left out.
fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}
