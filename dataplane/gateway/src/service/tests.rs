use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use dataplane::inner::memory;
use dataplane::{
    AllowedIp, Change, Engine, InnerSide, Interface, PeerChange, PublicKey, Secret, SocketHook, WorkerStats,
    Workers,
};

use super::*;

/// An engine with one worker and one interface whose inner side nobody reads.
fn subject() -> (Arc<Engine>, Subject) {
    let (engine, _) = Engine::builder().workers(Workers::Count(1)).start().unwrap();
    let engine = Arc::new(engine);
    let (side, _) = memory::pair(16).unwrap();
    let side = InnerSide::custom(vec![Box::new(side)]);
    let handle = engine.add_interface(Interface::new(side).down()).unwrap();
    let subject =
        Subject { name: "wg0".to_owned(), engine: Arc::downgrade(&engine), handle, health: Arc::default() };
    (engine, subject)
}

fn add_peers(subject: &Subject, range: std::ops::Range<u32>) {
    let peers = range.map(|number| {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let mut peer = PeerChange::new(subject.handle.id(), PublicKey(key));
        let [a, b, c, d] = (0x0A00_0000 + number).to_be_bytes();
        peer.allowed_ips = vec![AllowedIp::Give(format!("{a}.{b}.{c}.{d}/32").parse().unwrap())];
        peer
    });
    let change = Change { peers: peers.collect(), ..Change::default() };
    subject.handle.apply(change).unwrap().wait().unwrap().unwrap();
}

/// The names and labels of all samples.
fn series(text: &str) -> BTreeSet<&str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

#[test]
fn the_series_are_the_same_with_one_peer_and_with_a_thousand() {
    let (_engine, subject) = subject();
    let mut inquiry = Inquiry::new(subject.clone());
    add_peers(&subject, 0..1);
    let few = metrics::render(&mut inquiry);
    add_peers(&subject, 1..1000);
    let many = metrics::render(&mut inquiry);
    assert!(few.contains("dataplane_interface_peers{interface=\"wg0\"} 1\n"), "{few}");
    assert!(many.contains("dataplane_interface_peers{interface=\"wg0\"} 1000\n"), "{many}");
    assert!(many.contains("dataplane_interface_allowed_ips{interface=\"wg0\"} 1000\n"), "{many}");
    assert_eq!(series(&few), series(&many));
    assert!(series(&few).len() < 150, "{}", series(&few).len());
    assert!(
        series(&few).contains("dataplane_drops_total{reason=\"replay\"}"),
        "those that never occurred too"
    );
}

#[test]
fn promtool_has_nothing_to_say_against_the_metrics_without_peers_and_with_a_hundred() {
    let (_engine, subject) = subject();
    let mut inquiry = Inquiry::new(subject.clone());
    let none = metrics::render(&mut inquiry);
    promtool_accepts(&none);
    add_peers(&subject, 0..100);
    let hundred = metrics::render(&mut inquiry);
    promtool_accepts(&hundred);
    assert_eq!(series(&none), series(&hundred));
}

fn promtool_accepts(text: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        // Past the harness's capture: nobody shall take a skipped test for one that passed.
        let _ = writeln!(std::io::stderr(), "SKIPPED: promtool (Debian package prometheus) is not installed");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said));
}

#[test]
fn every_counter_of_a_worker_has_a_help_text_of_its_own() {
    let stats = WorkerStats::default();
    let names: Vec<_> = stats.named().map(|(name, _)| name).filter(|name| !name.ends_with("_ns")).collect();
    let texts: BTreeSet<_> = names.iter().map(|name| metrics::help(name)).collect();
    assert_eq!(texts.len(), names.len(), "{names:?}");
}

#[test]
fn health_and_readiness_say_what_is_wrong() {
    let (engine, subject) = subject();
    let mut inquiry = Inquiry::new(subject.clone());
    let mut ask = |path: &str| {
        let answer = answer(&mut inquiry, path);
        (answer.status, answer.body)
    };
    assert_eq!(ask("/healthz"), (Status::Ok, "ok\n".to_owned()));
    assert_eq!(ask("/readyz"), (Status::Unavailable, "interface wg0 has no private key\n".to_owned()));
    let change = Change { private_key: Some(Secret::new([5; 32])), ..Change::default() };
    subject.handle.apply(change).unwrap().wait().unwrap().unwrap();
    assert_eq!(ask("/readyz"), (Status::Unavailable, "the link of interface wg0 is down\n".to_owned()));
    subject.health.set_sockets_open(true);
    assert_eq!(ask("/readyz"), (Status::Ok, "ok\n".to_owned()));
    assert_eq!(ask("/").0, Status::NotFound);

    subject.health.count_stopped_worker();
    let (status, why) = ask("/healthz");
    assert_eq!((status, why.starts_with("1 workers have ended")), (Status::Unavailable, true), "{why}");
    drop(engine);
    assert_eq!(ask("/readyz").0, Status::Unavailable, "an engine that has ended answers nothing");
    let text = ask("/metrics").1;
    assert!(text.contains("dataplane_healthy 0\n") && text.contains("dataplane_ready 0\n"), "{text}");
}

/// A control thread that hangs, and as many requests before it as may wait.
#[test]
fn health_is_answered_with_a_reason_where_the_engine_takes_no_request_and_again_when_it_does() {
    let (engine, _) = Engine::builder().workers(Workers::Count(1)).start().unwrap();
    let engine = Arc::new(engine);
    let (side, _) = memory::pair(16).unwrap();
    let (entered, hanging) = channel();
    let gate = Arc::new(Mutex::new(()));
    let (held, passed) = (gate.lock().unwrap(), Arc::clone(&gate));
    let hang: SocketHook = Arc::new(move |_| {
        let _ = entered.send(());
        drop(passed.lock());
        Ok(())
    });
    let interface = Interface::new(InnerSide::custom(vec![Box::new(side)])).on_socket(hang).down();
    let handle = engine.add_interface(interface).unwrap();
    let engine_of = Arc::downgrade(&engine);
    let subject = Subject { name: "wg0".to_owned(), engine: engine_of, handle, health: Arc::default() };
    let up = subject.handle.set_up(true).unwrap();
    hanging.recv().unwrap();
    let mut waiting = Vec::new();
    while let Some(asked) = subject.handle.try_snapshot().unwrap() {
        waiting.push(asked);
    }
    // On a thread of its own: a wait without end is to fail the test.
    let (said, answers) = channel();
    let asking = subject.clone();
    std::thread::spawn(move || {
        let mut inquiry = Inquiry::new(asking);
        while said.send(answer(&mut inquiry, "/healthz")).is_ok() {}
    });
    let next = || answers.recv_timeout(Duration::from_secs(20)).expect("an answer");
    for _ in 0..3 {
        let answer = next();
        assert_eq!(answer.status, Status::Unavailable);
        assert!(answer.body.contains("has taken no request for 2 s"), "{}", answer.body);
    }
    drop(held);
    assert!(up.wait().unwrap().is_ok());
    while next().status != Status::Ok {}
}

#[test]
fn an_address_for_metrics_has_a_port() {
    assert_eq!(address("127.0.0.1:9586").unwrap().port(), 9586);
    for wrong in ["", "127.0.0.1", "localhost:9586", ":9586", "1.2.3.4:99999"] {
        assert!(address(wrong).unwrap_err().contains("127.0.0.1:9586"), "{wrong}");
    }
}
