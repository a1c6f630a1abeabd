//! `dataplane-wg` as a service: rights, word to the service manager, metrics and health.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its own part of it")]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use support::{eventually, inside, ok, sh};

const KEY: &str = "QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXg=";

/// Body and status of a path of the metrics server.
fn get(path: &str) -> (String, String) {
    let mut stream = TcpStream::connect("127.0.0.1:9586").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

#[test]
fn a_running_program_keeps_no_right_but_those_over_interfaces_and_ports() {
    if !inside("a_running_program_keeps_no_right_but_those_over_interfaces_and_ports", &["wg"]) {
        return;
    }
    ok("dataplane-wg --metrics 127.0.0.1:9586 t0");
    let threads = ok("cat /proc/$(pgrep -x dataplane-wg)/task/*/status");
    // Bits 10 and 12: CAP_NET_BIND_SERVICE and CAP_NET_ADMIN.
    let kept = "0000000000001400";
    let all = |name: &str| -> Vec<&str> {
        threads.lines().filter_map(|line| line.strip_prefix(name)).map(str::trim).collect()
    };
    assert!(all("Pid:").len() >= 6, "workers, control, events, link, http: {threads}");
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert!(all(set).iter().all(|bits| *bits == kept), "{set} {:?}", all(set));
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert!(all(set).iter().all(|bits| *bits == "0000000000000000"), "{set} {:?}", all(set));
    }
    assert!(all("NoNewPrivs:").iter().all(|value| *value == "1"));
    // And that is enough.
    std::fs::write("/run/key", KEY).unwrap();
    ok("wg set t0 private-key /run/key listen-port 443 fwmark 7");
    ok("ip link set t0 mtu 1300 up");
    eventually("it listens on a low port", || ok("ss -Hlnu sport = 443").contains(":443"));
    ok("ip link set t0 down && ip link set t0 up && wg set t0 listen-port 444 fwmark 9");
    eventually("it listens on another", || ok("ss -Hlnu sport = 444").contains(":444"));
    assert_eq!(ok("wg show t0 fwmark"), "0x9\n");
}

#[test]
fn health_follows_the_link_and_metrics_are_taken_by_prometheus() {
    if !inside("health_follows_the_link_and_metrics_are_taken_by_prometheus", &["wg"]) {
        return;
    }
    ok("dataplane-wg --metrics 127.0.0.1:9586 t0");
    assert_eq!(get("/healthz"), ("200".into(), "ok\n".into()));
    assert_eq!(get("/readyz"), ("503".into(), "interface t0 has no private key\n".into()));
    std::fs::write("/run/key", KEY).unwrap();
    ok("wg set t0 private-key /run/key");
    assert_eq!(get("/readyz"), ("503".into(), "the link of interface t0 is down\n".into()));
    ok("ip link set t0 up");
    eventually("it is ready", || get("/readyz").0 == "200");
    let (code, text) = get("/metrics");
    assert_eq!(code, "200");
    assert!(text.contains("\ndataplane_ready 1\n") && !text.contains(KEY), "{text}");
    if sh("command -v promtool").0 == 0 {
        std::fs::write("/run/metrics", text).unwrap();
        assert_eq!(ok("promtool check metrics </run/metrics"), "");
    }
}

#[test]
fn an_address_that_cannot_be_served_is_named_and_no_interface_stays() {
    if !inside("an_address_that_cannot_be_served_is_named_and_no_interface_stays", &[]) {
        return;
    }
    ok("dataplane-wg --metrics 127.0.0.1:9586 t0");
    for (address, code, message) in [
        ("127.0.0.1:9586", 3, "--metrics: 127.0.0.1:9586 is in use: choose another address or port"),
        ("192.0.2.9:9586", 2, "192.0.2.9 is no address of this machine"),
        ("9586", 2, "expected an address with a port, as 127.0.0.1:9586"),
    ] {
        let (found, text) = sh(&format!("dataplane-wg --metrics {address} t1"));
        assert_eq!((found, text.contains(message)), (code, true), "{address}: {text}");
        assert_ne!(sh("ip link show t1").0, 0);
        assert!(!std::path::Path::new("/run/wireguard/t1.sock").exists());
    }
}

#[test]
fn a_service_manager_is_told_of_the_start_of_every_well_interval_and_of_the_end() {
    let name = "a_service_manager_is_told_of_the_start_of_every_well_interval_and_of_the_end";
    if !inside(name, &[]) {
        return;
    }
    let manager = UnixDatagram::bind("/run/notify").unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let next = || {
        let mut text = [0; 4096];
        let count = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..count]).trim().to_owned()
    };
    let program =
        std::thread::spawn(|| ok("NOTIFY_SOCKET=/run/notify WATCHDOG_USEC=40000 dataplane-wg -f t0"));
    let mut told = vec![next()];
    while !(told.contains(&"READY=1".to_owned())
        && told.iter().filter(|word| *word == "WATCHDOG=1").count() >= 3)
    {
        told.push(next());
    }
    assert!(std::path::Path::new("/run/wireguard/t0.sock").exists(), "ready means that it can be configured");
    ok("pkill -x dataplane-wg");
    while told.last().unwrap() != "STOPPING=1" {
        told.push(next());
    }
    program.join().unwrap();
}

#[test]
fn an_interface_by_file_takes_its_key_from_a_credential_and_leaves_root_s_rights_to_its_commands_alone() {
    let name =
        "an_interface_by_file_takes_its_key_from_a_credential_and_leaves_root_s_rights_to_its_commands_alone";
    if !inside(name, &["wg"]) {
        return;
    }
    let manager = UnixDatagram::bind("/run/notify").unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    std::fs::create_dir("/run/credentials").unwrap();
    std::fs::write("/run/credentials/private-key", format!("{KEY}\n")).unwrap();
    let config = "[Interface]\nAddress = 10.99.0.1/24\nPostUp = grep CapEff /proc/self/status >/run/post\n";
    std::fs::write("/run/t0.conf", config).unwrap();
    let program = std::thread::spawn(|| {
        let environment = "NOTIFY_SOCKET=/run/notify CREDENTIALS_DIRECTORY=/run/credentials";
        ok(&format!("{environment} dataplane up --foreground --metrics 127.0.0.1:9586 /run/t0.conf"))
    });
    let mut text = [0; 64];
    let count = manager.recv(&mut text).unwrap();
    assert_eq!(&text[..count], b"READY=1\n");
    assert_eq!(get("/readyz").0, "200", "ready means that packets are carried");
    let public = ok(&format!("wg pubkey <<<{KEY}"));
    assert_eq!(ok("wg show t0 public-key"), public);
    let threads = ok("grep -h CapEff /proc/$(pgrep -x dataplane)/task/*/status");
    assert!(threads.lines().all(|line| line.ends_with("0000000000001400")), "{threads}");
    let own = ok("grep CapEff /proc/self/status");
    assert_eq!(std::fs::read_to_string("/run/post").unwrap(), own, "commands have what the starter had");
    ok("dataplane down t0");
    program.join().unwrap();
}
