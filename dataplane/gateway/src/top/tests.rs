//! The model's rates, and the screen as it is drawn.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::keys::{Base64, PublicKey};
use crate::status::InterfaceReport;
use crate::uapi::{DeviceSnapshot, DeviceStatus, PeerSnapshot, WorkerStatus};

/// An interface after so many seconds of steady work.
fn report(seconds: u64) -> InterfaceReport {
    let peer = |byte: u8, rate: u64| PeerSnapshot {
        endpoint: Some(format!("192.0.2.{byte}:51820").parse().unwrap()),
        last_handshake: Duration::from_secs(1_700_000_000 + u64::from(byte)),
        rx_bytes: rate * seconds,
        tx_bytes: 2 * rate * seconds,
        ..PeerSnapshot::new(PublicKey([byte; 32]))
    };
    let counter = |name: &str, value: u64| (name.to_owned(), value);
    InterfaceReport {
        name: "wg0".into(),
        time: Duration::from_secs(1_700_000_100 + seconds),
        device: DeviceSnapshot {
            peers: vec![peer(1, 1000), peer(2, 1_250_000), PeerSnapshot::new(PublicKey([3; 32]))],
            ..DeviceSnapshot::default()
        },
        status: Some(DeviceStatus {
            cipher: "avx2".into(),
            backend: "udp".into(),
            workers: vec![
                WorkerStatus {
                    counters: vec![
                        counter("rx_bytes", 1_250_000 * seconds),
                        counter("busy_ns", 250_000_000 * seconds),
                        counter("idle_ns", 750_000_000 * seconds),
                    ],
                    drops: vec![counter("replay", 5 * seconds), counter("no_peer", 7)],
                },
                WorkerStatus {
                    counters: vec![counter("busy_ns", 95 * seconds), counter("idle_ns", 5 * seconds)],
                    drops: Vec::new(),
                },
            ],
            ..DeviceStatus::default()
        }),
        ..InterfaceReport::default()
    }
}

fn model() -> Model {
    let mut model = Model::new("wg0".into(), Duration::from_secs(1));
    let start = Instant::now();
    for seconds in 0..4 {
        model.add(start + Duration::from_secs(seconds), Ok(report(seconds)));
    }
    model
}

/// The screen as lines of text.
fn screen(model: &Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, model)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

#[test]
fn rates_are_what_has_come_since_the_last_look() {
    let model = model();
    assert_eq!(model.rx_history, [10_008_000; 3]);
    assert_eq!(model.tx_history, [20_016_000; 3]);
    assert_eq!((model.workers[0].busy_ratio, model.workers[0].drops_per_s), (0.25, 5.0));
    assert_eq!(model.workers[0].rx_bit_per_s, 10_000_000.0);
    assert_eq!(
        (model.drops[0].reason.as_str(), model.drops[0].count, model.drops[0].per_s),
        ("replay", 15, 5.0)
    );
    assert_eq!((model.drops[1].count, model.drops[1].per_s), (7, 0.0), "from before the first look");
}

#[test]
fn counters_that_begin_anew_are_no_rate() {
    let mut model = model();
    model.add(Instant::now() + Duration::from_secs(9), Ok(report(0)));
    assert_eq!((model.rx_history.back(), model.workers[0].rx_bit_per_s), (Some(&0), 0.0));
}

#[test]
fn the_screen_of_80_by_24_shows_everything() {
    let screen = screen(&model(), 80, 24);
    let expected = include_str!("screen.txt");
    assert_eq!(screen.join("\n"), expected.trim_end_matches('\n'), "\n{}", screen.join("\n"));
}

#[test]
fn a_wide_screen_shows_whole_keys_and_whole_endpoints() {
    let mut model = model();
    let endpoint = "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:51820";
    model.peers[0].peer.endpoint = Some(endpoint.parse().unwrap());
    let key = Base64(&model.peers[0].peer.public_key.0).to_string();
    assert!(!screen(&model, 80, 24).join("\n").contains(&key));
    assert!(screen(&model, 120, 40).join("\n").contains(&key));
    assert!(screen(&model, 140, 40).join("\n").contains(endpoint));
}

#[test]
fn other_sizes_are_drawn_too() {
    for (width, height) in [(1, 1), (10, 3), (40, 12), (79, 23), (200, 60), (500, 10)] {
        screen(&model(), width, height);
        screen(&Model { help: true, ..model() }, width, height);
        screen(&Model::default(), width, height);
    }
}

#[test]
fn keys_pause_sort_scroll_and_quit() {
    let key = |code| action(KeyEvent::new(code, KeyModifiers::NONE));
    assert_eq!([key(KeyCode::Char('q')), key(KeyCode::Esc)], [Action::Quit; 2]);
    assert_eq!(action(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Action::Quit);
    assert_eq!(key(KeyCode::Char('c')), Action::Nothing);
    let mut model = model();
    let first = |model: &Model| model.sorted_peers()[0].peer.public_key.0[0];
    assert_eq!(first(&model), 2, "the busiest");
    for (sort, peer) in [(Sort::Handshake, 2), (Sort::Key, 1), (Sort::Rate, 2)] {
        model.apply(key(KeyCode::Char('s')));
        assert_eq!((model.sort, first(&model)), (sort, peer));
    }
    model.apply(key(KeyCode::Char('p')));
    assert!(screen(&model, 80, 24)[0].contains("PAUSED"));
    model.apply(key(KeyCode::PageDown));
    assert_eq!(model.scroll, 3, "no further than there are peers");
    for _ in 0..20 {
        model.apply(key(KeyCode::Char('+')));
    }
    assert_eq!(model.interval, Duration::from_millis(250));
    model.apply(key(KeyCode::Char('h')));
    assert!(screen(&model, 80, 24).join("\n").contains("sort peers by rate, handshake"));
}

#[test]
fn an_interface_that_goes_away_is_told_of_and_the_last_figures_stay() {
    let mut model = model();
    model.add(Instant::now(), Err("wg0: its process is gone".into()));
    let screen = screen(&model, 80, 24);
    assert_eq!(screen[23], " wg0: its process is gone");
    assert!(screen.join("\n").contains("192.0.2.2:51820"));
}
