//! `dataplane demo` as a process.
#![forbid(unsafe_code)]

mod support;

use support::{eventually, inside, ok, sh};

/// Whether anything of a demo is left in this process namespace.
fn is_over() -> bool {
    sh("pgrep -x dataplane-wg").0 != 0 && sh("pgrep -x dataplane").0 != 0
}

#[test]
fn the_demo_carries_tcp_and_udp_both_ways_and_leaves_nothing_behind() {
    if !inside("the_demo_carries_tcp_and_udp_both_ways_and_leaves_nothing_behind", &[]) {
        return;
    }
    let text = ok("dataplane demo --seconds 3");
    for line in ["TCP left → right", "TCP right → left", "UDP left → right", "UDP right → left"] {
        let summary = text.rsplit("Summary").next().unwrap();
        let row = summary.lines().find(|row| row.trim_start().starts_with(line)).unwrap();
        assert!(row.contains("bit/s") && row.contains("CPU s/GB"), "{row}");
    }
    assert!(text.contains("handshakes         1 complete"), "{text}");
    assert!(text.contains("left 10.77.1.2:51820 ⇄ right 10.77.2.2:51820"), "{text}");
    assert!(is_over());
    // Nothing of it was ever outside of its own namespaces.
    assert!(!std::path::Path::new("/run/netns").exists());
}

#[test]
fn an_interrupted_demo_ends_at_once_and_leaves_nothing_behind() {
    if !inside("an_interrupted_demo_ends_at_once_and_leaves_nothing_behind", &[]) {
        return;
    }
    for signal in ["INT", "TERM"] {
        let (code, text) = sh(&format!(
            "set -m; dataplane demo --seconds 600 & \
             until pgrep -x dataplane-wg >/dev/null; do sleep 0.05; done; sleep 0.5; kill -{signal} $!; wait $!"
        ));
        assert_eq!(
            (code, text.contains("interrupted; nothing is left behind")),
            (130, true),
            "{signal}: {text}"
        );
        eventually("everything ends", is_over);
    }
}

#[test]
fn without_namespaces_the_demo_says_so_and_shows_no_speed() {
    if !inside("without_namespaces_the_demo_says_so_and_shows_no_speed", &[]) {
        return;
    }
    let text = ok("unshare -m bash -c 'mount -t tmpfs none /dev/net && dataplane demo --seconds 2'");
    assert!(text.starts_with("No namespaces here (/dev/net/tun: No such file"), "{text}");
    assert!(text.contains("No speed is shown") && !text.contains("bit/s"), "{text}");
    let delivered = text.split(" delivered").next().and_then(|before| before.rsplit(' ').next()).unwrap();
    assert_ne!(delivered, "0");
    let (code, text) = sh("dataplane demo --seconds 1");
    assert_eq!((code, text.contains("1 is not in 2..=3600")), (2, true), "{text}");
}
