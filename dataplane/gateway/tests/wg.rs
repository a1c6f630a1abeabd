//! `dataplane-wg` as a process, with wg(8) and wg-quick(8) as they are installed.
#![forbid(unsafe_code)]

mod support;

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use dataplane_gateway::uapi::Client;
use support::{eventually, inside, ok, sh};

/// Whether the program runs, by the name that `ps` shows.
fn runs() -> bool {
    sh("pgrep -x dataplane-wg").0 == 0
}

fn exists(interface: &str) -> bool {
    sh(&format!("ip link show {interface}")).0 == 0
}

const KEY: &str = "QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXg=";
const PEER: &str = "iqc4h5/rFqUtdV9eYzsqBmgwzcEHPH7gra+4S0mgXk0=";

#[test]
fn wg_58_wg_quick_brings_an_interface_up_saves_it_and_takes_it_down() {
    if !inside("wg_58_wg_quick_brings_an_interface_up_saves_it_and_takes_it_down", &["wg", "wg-quick"]) {
        return;
    }
    let config = format!(
        "[Interface]\nPrivateKey = {KEY}\nAddress = 10.99.0.1/24, fd99::1/64\nListenPort = 51899\nMTU = 1380\n\
         [Peer]\nPublicKey = {PEER}\nPresharedKey = {KEY}\nAllowedIPs = 10.99.0.2/32, fd99::2/128\n\
         Endpoint = 192.0.2.7:51820\nPersistentKeepalive = 25\n"
    );
    std::fs::write("/run/up0.conf", config).unwrap();
    ok("chmod 600 /run/up0.conf");
    let userspace = "WG_QUICK_USERSPACE_IMPLEMENTATION=dataplane-wg";
    ok(&format!("{userspace} wg-quick up /run/up0.conf"));
    assert!(runs());
    let shown = ok("wg show up0 dump");
    let expected = format!("{PEER}\t{KEY}\t192.0.2.7:51820\t10.99.0.2/32,fd99::2/128\t0\t");
    assert!(shown.contains(&expected), "{shown}");
    assert!(shown.contains("\t51899\toff\n"), "{shown}");
    assert!(ok("ip link show up0").contains("mtu 1380"));

    ok("wg-quick save /run/up0.conf");
    let saved = std::fs::read_to_string("/run/up0.conf").unwrap();
    for line in ["ListenPort = 51899", "Endpoint = 192.0.2.7:51820", "PersistentKeepalive = 25"] {
        assert!(saved.contains(line), "{saved}");
    }
    ok("wg syncconf up0 <(wg-quick strip /run/up0.conf)");
    ok(&format!("wg set up0 fwmark 0x55 peer {PEER} allowed-ips 10.98.0.0/16 endpoint '[fe80::1%lo]:7'"));
    assert_eq!(ok("wg show up0 allowed-ips"), format!("{PEER}\t10.98.0.0/16\n"));
    assert_eq!(ok("wg show up0 endpoints"), format!("{PEER}\t[fe80::1%lo]:7\n"));
    assert_eq!(ok("wg show up0 fwmark"), "0x55\n");
    ok(&format!("wg set up0 peer {PEER} remove"));
    assert_eq!(ok("wg show up0 peers"), "");

    ok(&format!("{userspace} wg-quick down /run/up0.conf"));
    eventually("the process ends", || !runs());
    assert!(!std::path::Path::new("/run/wireguard/up0.sock").exists());
}

#[test]
fn the_foreground_process_returns_once_the_interface_is_managed() {
    if !inside("the_foreground_process_returns_once_the_interface_is_managed", &["wg"]) {
        return;
    }
    for _ in 0..5 {
        // Without any pause in between.
        ok("dataplane-wg t0 && wg show t0 && ip link show t0 && pkill -x dataplane-wg");
        eventually("the process ends", || !runs());
    }
}

#[test]
fn signals_end_the_program_with_nothing_left_behind() {
    if !inside("signals_end_the_program_with_nothing_left_behind", &["wg"]) {
        return;
    }
    for signal in ["TERM", "INT", "HUP"] {
        let script = format!(
            "set -m; dataplane-wg -f t0 & while ! wg show t0 >/dev/null 2>&1; do sleep 0.02; done; \
             kill -{signal} $!; wait $!"
        );
        let (code, text) = sh(&script);
        assert_eq!(code, 0, "{signal}: {text}");
        assert!(!exists("t0"));
        assert!(!std::path::Path::new("/run/wireguard/t0.sock").exists());
    }
}

#[test]
fn the_program_ends_when_its_socket_or_its_interface_is_removed() {
    if !inside("the_program_ends_when_its_socket_or_its_interface_is_removed", &["wg"]) {
        return;
    }
    ok("dataplane-wg t0 && rm /run/wireguard/t0.sock");
    eventually("the process ends", || !runs());
    assert!(!exists("t0"));
    ok("dataplane-wg t0 && ip link del t0");
    eventually("the process ends", || !runs());
    assert!(!std::path::Path::new("/run/wireguard/t0.sock").exists());
}

#[test]
fn a_second_start_is_refused_and_a_killed_one_is_replaced() {
    if !inside("a_second_start_is_refused_and_a_killed_one_is_replaced", &["wg"]) {
        return;
    }
    ok("dataplane-wg t0");
    let (code, text) = sh("dataplane-wg t0");
    assert_eq!((code, text.contains("interface t0 exists already")), (3, true), "{text}");
    ok("wg show t0");
    ok("pkill -KILL -x dataplane-wg; while pgrep -x dataplane-wg; do sleep 0.02; done");
    assert!(std::path::Path::new("/run/wireguard/t0.sock").exists(), "nobody could remove it");
    ok("dataplane-wg t0 && wg show t0");
}

#[test]
fn another_process_on_the_socket_is_named_and_no_interface_stays() {
    if !inside("another_process_on_the_socket_is_named_and_no_interface_stays", &[]) {
        return;
    }
    std::fs::create_dir("/run/wireguard").unwrap();
    let _other = UnixListener::bind("/run/wireguard/t0.sock").unwrap();
    let (code, text) = sh("dataplane-wg t0");
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("/run/wireguard/t0.sock is served by another process"), "{text}");
    assert!(!exists("t0"));
    assert!(!runs());
}

#[test]
fn bad_input_is_answered_with_one_line_and_a_code_of_its_kind() {
    if !inside("bad_input_is_answered_with_one_line_and_a_code_of_its_kind", &[]) {
        return;
    }
    let cases = [
        ("dataplane-wg sixteen-letters-", 2, "it is longer than 15 bytes"),
        ("dataplane-wg 'a/b'", 2, "contains white space, or one of / : %"),
        ("dataplane-wg .", 2, "the kernel reserves it"),
        ("LOG_LEVEL=loud dataplane-wg t0", 2, "LOG_LEVEL is `loud`: expected silent"),
        ("WG_TUN_FD=77 dataplane-wg t0", 2, "WG_TUN_FD is 77: Bad file descriptor"),
        ("WG_TUN_FD=0 dataplane-wg t0", 2, "it is not a descriptor of /dev/net/tun"),
        ("WG_UAPI_FD=0 dataplane-wg t0", 1, "no socket for /var/run/wireguard/t0.sock"),
        ("dataplane-wg lo", 3, "interface lo exists already: choose another name"),
        ("dataplane-wg --socket-directory /proc/x t0", 1, "cannot make the directory /proc/x"),
        ("dataplane-wg --workers 0 t0", 2, "1"),
        ("dataplane-wg --workers many t0", 2, "invalid value 'many'"),
        ("dataplane-wg --cipher rot13 t0", 2, "no cipher \"rot13\" here; choose one of: "),
        ("DATAPLANE_CIPHER=rot13 dataplane-wg t0", 2, "no cipher \"rot13\" here; choose one of: "),
        ("capsh --drop=cap_net_admin -- -c 'dataplane-wg t0'", 4, "CAP_NET_ADMIN"),
        (
            "unshare -m bash -c 'mount -t tmpfs none /dev/net && dataplane-wg t0'",
            5,
            "there is no /dev/net/tun",
        ),
    ];
    for (script, code, message) in cases {
        if script.starts_with("capsh") && sh("command -v capsh").0 != 0 {
            continue;
        }
        let found = sh(script);
        assert_eq!(found.0, code, "{script}: {}", found.1);
        assert!(found.1.contains(message), "{script}: {}", found.1);
        let lines = found.1.lines().filter(|line| line.starts_with("dataplane-wg: ")).count();
        assert!(lines <= 1 && !found.1.contains("panicked"), "{script}: {}", found.1);
        assert!(!exists("t0") && !runs(), "{script} left something behind");
    }
    assert!(ok("dataplane-wg --version").starts_with("dataplane-wg 0."));
    let (code, text) = sh("dataplane-wg");
    assert_eq!((code, text.contains("Usage: dataplane-wg")), (2, true), "{text}");
}

#[test]
fn the_cipher_that_was_asked_for_is_the_one_in_the_status() {
    if !inside("the_cipher_that_was_asked_for_is_the_one_in_the_status", &[]) {
        return;
    }
    let cases = [
        ("dataplane-wg --cipher reference t0", "reference"),
        ("DATAPLANE_CIPHER=ring dataplane-wg t0", "ring"),
        ("DATAPLANE_CIPHER=ring dataplane-wg --cipher reference t0", "reference"),
    ];
    for (script, cipher) in cases {
        ok(script);
        let mut client = Client::connect(Path::new("/run/wireguard/t0.sock")).unwrap();
        assert_eq!(client.status().unwrap().cipher, cipher, "{script}");
        ok("ip link del t0");
        eventually("the process ends", || !runs());
    }
}

#[test]
fn descriptors_that_are_handed_over_are_used() {
    if !inside("descriptors_that_are_handed_over_are_used", &["wg"]) {
        return;
    }
    let options = dataplane_io::tun::Options {
        name: "given0",
        queues: 1,
        existing: dataplane_io::tun::Existing::Refuse,
        offloads: dataplane_io::tun::Offloads::NONE,
    };
    let (device, mut queues) = dataplane_io::tun::open(&options).unwrap();
    let queue = queues.remove(0).into_fd();
    std::fs::create_dir("/run/wireguard").unwrap();
    let listener = UnixListener::bind("/run/wireguard/given0.sock").unwrap();
    for fd in [queue.as_fd(), listener.as_fd()] {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
    }
    let (tun, uapi) = (queue.as_fd().as_raw_fd(), listener.as_raw_fd());
    // The name of the command line gives way to the device's own.
    ok(&format!("WG_TUN_FD={tun} WG_UAPI_FD={uapi} dataplane-wg other0"));
    assert!(ok("wg show").contains("interface: given0"));
    drop((queue, listener, device));
    assert!(exists("given0"), "the process holds it");
    ok("wg set given0 listen-port 5");
    ok("pkill -x dataplane-wg");
    eventually("the process ends", || !runs());
    assert!(!exists("given0"));
    assert!(!std::path::Path::new("/run/wireguard/given0.sock").exists());
}

#[test]
fn sockets_of_several_namespaces_do_not_collide_in_directories_of_their_own() {
    if !inside("sockets_of_several_namespaces_do_not_collide_in_directories_of_their_own", &[]) {
        return;
    }
    // Relative, too: the background process changes its working directory.
    ok("cd /run && dataplane-wg --socket-directory one t0 && test -S one/t0.sock");
    ok(
        "ip netns add other && ip netns exec other dataplane-wg --socket-directory /run/two t0 && test -S /run/two/t0.sock",
    );
    assert_eq!(ok("pgrep -c -x dataplane-wg").trim(), "2");
}

#[test]
fn a_port_in_use_is_told_to_wg_and_nothing_of_the_request_happens() {
    if !inside("a_port_in_use_is_told_to_wg_and_nothing_of_the_request_happens", &["wg"]) {
        return;
    }
    let taken = std::net::UdpSocket::bind("[::]:5555").unwrap();
    ok("dataplane-wg t0 && wg set t0 listen-port 5554");
    for link in ["down", "up"] {
        ok(&format!("ip link set {link} dev t0"));
        // The link is followed; the port that was configured is bound once it is up.
        eventually("sockets follow the link", || {
            sh("ss -Huln sport = :5554").1.is_empty() == (link == "down")
        });
        let (code, text) = sh("wg set t0 listen-port 5555 fwmark 9");
        assert_eq!((code, text.contains("Address already in use")), (1, true), "{link}: {text}");
        assert_eq!(ok("wg show t0 listen-port"), "5554\n");
        assert_eq!(ok("wg show t0 fwmark"), "off\n");
    }
    drop(taken);
    ok("wg set t0 listen-port 5555");
    assert_ne!(ok("ss -Huln sport = :5555"), "");
}

#[test]
fn a_port_that_is_taken_when_the_link_comes_up_can_be_changed_afterwards() {
    if !inside("a_port_that_is_taken_when_the_link_comes_up_can_be_changed_afterwards", &["wg"]) {
        return;
    }
    ok("LOG_LEVEL=error dataplane-wg t0 2>/run/log && wg set t0 listen-port 5555");
    let _taken = std::net::UdpSocket::bind("0.0.0.0:5555").unwrap();
    ok("ip link set up dev t0");
    eventually("the log tells", || {
        let log = std::fs::read_to_string("/run/log").unwrap();
        log.contains("the link is up, but nothing can be received: UDP port 5555 is in use")
    });
    ok("wg set t0 listen-port 5556");
    assert_ne!(ok("ss -Huln sport = :5556"), "");
}

#[test]
fn ten_thousand_peers_with_a_hundred_thousand_allowed_ips_are_set_and_shown_in_seconds() {
    if !inside("ten_thousand_peers_with_a_hundred_thousand_allowed_ips_are_set_and_shown_in_seconds", &["wg"])
    {
        return;
    }
    ok("dataplane-wg t0");
    let mut config = String::from("[Interface]\nListenPort = 5\n");
    for peer in 0..10_000_u32 {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&peer.to_be_bytes());
        let ips: Vec<String> = (0..10).map(|ip| format!("10.{}.{}.{ip}/32", peer >> 8, peer & 255)).collect();
        let key = dataplane_gateway::keys::Base64(&key).to_string();
        config.push_str(&format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {}\n", ips.join(", ")));
    }
    std::fs::write("/run/large.conf", config).unwrap();
    let start = std::time::Instant::now();
    ok("wg setconf t0 /run/large.conf");
    assert_eq!(ok("wg show t0 allowed-ips | tr ' ' '\\n' | grep -c /32").trim(), "100000");
    ok("wg syncconf t0 /run/large.conf");
    assert_eq!(ok("wg show t0 peers | wc -l").trim(), "10000");
    // One or two on an idle machine; the bound tells what is quadratic.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
