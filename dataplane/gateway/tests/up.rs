//! `dataplane up`, `down` and `reload` as processes, in namespaces of their own.
#![forbid(unsafe_code)]

mod support;

use support::{eventually, inside, ok, sh};

const KEY: &str = "QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXg=";
const PEER: &str = "iqc4h5/rFqUtdV9eYzsqBmgwzcEHPH7gra+4S0mgXk0=";
const OTHER: &str = "OBR9fdAY6QbNb1LZ8n3TjuN/IbnjpUTWH1xSfI+KTnA=";

/// Writes /run/NAME.conf for its owner alone.
fn write(name: &str, text: &str) {
    std::fs::write(format!("/run/{name}.conf"), text).unwrap();
    ok(&format!("chmod 600 /run/{name}.conf"));
}

/// A file that asks for most of what there is.
fn full(more: &str) -> String {
    format!(
        "[Interface]\nPrivateKey = {KEY}\nAddress = 10.99.0.1/24, fd99::1/64\nListenPort = 51899\nMTU = 1380\n{more}\n\
         [Peer]\nPublicKey = {PEER}\nPresharedKey = {KEY}\nAllowedIPs = 10.99.0.2/32, fd99::2/128, 10.98.0.0/16, fd98::/16\n\
         Endpoint = 192.0.2.7:51820\nPersistentKeepalive = 25\n"
    )
}

/// Everything of the kernel that a file may change, without what changes by itself.
fn kernel() -> String {
    ok(
        "ip -br link | grep -v DOWN | awk '{print $1, $2}'; ip -br addr | sed 's/fe80[^ ]*//'; ip route show table all; \
        ip -6 route show table all | grep -v -e fe80 -e ff00; ip rule; ip -6 rule; nft list tables 2>/dev/null; true",
    )
}

/// Whether a process carries an interface.
fn runs() -> bool {
    sh("pgrep -x dataplane").0 == 0
}

#[test]
fn an_interface_comes_up_by_its_file_and_down_without_a_trace() {
    if !inside("an_interface_comes_up_by_its_file_and_down_without_a_trace", &["wg"]) {
        return;
    }
    let before = kernel();
    let hooks = "PreUp = echo preup-%i >>/run/log\nPostUp = wg show %i listen-port >>/run/log\n\
                 PreDown = wg show %i listen-port >>/run/log\nPostDown = echo postdown-%i >>/run/log";
    write("up0", &full(hooks));
    ok("dataplane up /run/up0.conf");
    assert!(runs());
    let shown = ok("wg show up0 dump");
    assert!(shown.contains(&format!("{PEER}\t{KEY}\t192.0.2.7:51820\t")), "{shown}");
    assert!(shown.contains("\t51899\toff\n"), "{shown}");
    assert!(ok("ip link show up0").contains("mtu 1380"));
    assert!(
        ok("ip route show dev up0").contains("10.98.0.0/16 scope link"),
        "{}",
        ok("ip route show dev up0")
    );
    assert!(ok("ip -6 route show dev up0").contains("fd98::/16"));
    assert_eq!(ok("cat /run/log"), "preup-up0\n51899\n");
    let (code, text) = sh("dataplane up /run/up0.conf");
    assert_eq!((code, text.contains("interface up0 exists already")), (3, true), "{text}");

    ok("dataplane down up0 2>&1 || dataplane down /run/up0.conf");
    assert!(!runs(), "the process has ended when `down` returns");
    assert_eq!(ok("cat /run/log"), "preup-up0\n51899\n51899\npostdown-up0\n");
    assert_eq!(kernel(), before);
    assert_eq!(ok("ls /run/wireguard"), "");
    let (code, text) = sh("dataplane down up0");
    assert_eq!((code, text.contains("up0 was not brought up by `dataplane up`")), (2, true), "{text}");
}

#[test]
fn a_default_route_goes_by_mark_and_leaves_nothing_behind() {
    if !inside("a_default_route_goes_by_mark_and_leaves_nothing_behind", &["wg", "nft"]) {
        return;
    }
    let before = kernel();
    let text = full("").replace("AllowedIPs = ", "AllowedIPs = 0.0.0.0/0, ::/0, ");
    write("up0", &text);
    for end in [
        "dataplane down /run/up0.conf",
        "pkill -x dataplane",
        "ip link del up0",
        "rm /run/wireguard/up0.sock",
    ] {
        ok("dataplane up /run/up0.conf");
        assert_eq!(ok("wg show up0 fwmark"), "0xca6c\n");
        assert!(ok("ip rule").contains("not from all fwmark 0xca6c lookup 51820"), "{}", ok("ip rule"));
        assert!(ok("ip rule").contains("from all lookup main suppress_prefixlength 0"));
        assert!(ok("ip -6 route show table 51820").contains("default dev up0"));
        assert!(ok("nft list table ip dataplane-up0").contains("ip daddr 10.99.0.1"));
        ok(end);
        eventually(end, || !runs());
        assert_eq!(kernel(), before, "{end}");
        assert_eq!(ok("ls /run/wireguard"), "", "{end}");
    }
    // Killed, it can take nothing back: the next one does.
    ok("dataplane up /run/up0.conf && pkill -KILL -x dataplane");
    eventually("the process is gone", || !runs());
    assert!(ok("ip rule").contains("lookup 51820"));
    ok("dataplane up /run/up0.conf && pkill -KILL -x dataplane");
    eventually("the process is gone", || !runs());
    ok("dataplane down /run/up0.conf");
    assert_eq!(kernel(), before);
}

#[test]
fn what_fails_on_the_way_up_is_told_and_leaves_nothing_half_done() {
    if !inside("what_fails_on_the_way_up_is_told_and_leaves_nothing_half_done", &["wg", "nft"]) {
        return;
    }
    ok("ip tuntap add dev d0 mode tun && ip link set d0 up && ip route add 10.98.0.0/16 dev d0");
    let before = kernel();
    let default = full("").replace("AllowedIPs = ", "AllowedIPs = 0.0.0.0/0, ");
    let cases = [
        ("PostUp = false", 1, "up0.conf:6: PostUp `false` failed: exit status: 1"),
        ("PreUp = false", 1, "up0.conf:6: PreUp `false` failed: exit status: 1"),
        (
            "",
            1,
            "cannot add the route to 10.98.0.0/16 in table 254: File exists (os error 17); another interface has it",
        ),
    ];
    for (more, code, message) in cases {
        let text = if more.is_empty() { default.clone() } else { full(more).replace("10.98.0.0/16, ", "") };
        write("up0", &text);
        for command in ["dataplane up /run/up0.conf", "dataplane up -f /run/up0.conf"] {
            let (found, text) = sh(command);
            assert_eq!((found, text.contains(message)), (code, true), "{command} {more}: {text}");
            assert!(!runs());
            assert_eq!(kernel(), before, "{more}");
            assert_eq!(ok("ls -A /run/wireguard"), "", "{more}");
        }
    }
}

#[test]
fn bad_input_is_refused_with_place_expectation_and_remedy_before_anything_happens() {
    if !inside("bad_input_is_refused_with_place_expectation_and_remedy_before_anything_happens", &["wg"]) {
        return;
    }
    let before = kernel();
    let peers = format!(
        "[Peer]\nPublicKey={PEER}\nAllowedIPs=10.1.0.0/16\n[Peer]\nPublicKey={OTHER}\nAllowedIPs=10.1.0.0/16\n"
    );
    let long = format!("[Interface]\nPostUp = {}\n", "a".repeat(1 << 20));
    let cases: [(&str, Vec<u8>, i32, &str); 10] = [
        (
            "key",
            b"[Interface]\nColour = red\n".into(),
            2,
            "key.conf:2: unknown key `Colour` in [Interface]; keys there are",
        ),
        ("value", b"[Interface]\nMTU = 1\n".into(), 2, "value.conf:2: `MTU` is `1`: expected bytes from 576"),
        (
            "mtu6",
            b"[Interface]\nMTU=600\nAddress=fd00::1/64\n".into(),
            2,
            "mtu6.conf:2: MTU: IPv6 needs 1280 at least: raise",
        ),
        (
            "twice",
            format!("[Interface]\n{peers}").into(),
            2,
            "twice.conf:5: allowed IP 10.1.0.0/16 belongs to the peer at line 2",
        ),
        (
            "keyfile",
            b"[Interface]\nPrivateKeyFile = none\n".into(),
            2,
            "keyfile.conf:2: PrivateKeyFile /run/none cannot be read: No such",
        ),
        (
            "notkey",
            b"[Interface]\nPrivateKeyFile = key.conf\n".into(),
            2,
            "PrivateKeyFile /run/key.conf holds something else: expected a key",
        ),
        (
            "dns",
            b"[Interface]\nAddress=10.0.0.1/24\nDNS = 9.9.9.9\n".into(),
            2,
            "dns.conf:3: DNS: there is neither resolvconf nor resolvectl",
        ),
        ("long", long.into(), 2, "long.conf:2: the line is longer than 64 KiB"),
        ("utf8", b"[Interface]\nPostUp = \xff\xfe\n".into(), 2, "utf8.conf:2: expected text in UTF-8"),
        (
            "port",
            format!("[Interface]\nPrivateKey={KEY}\nListenPort = 5555\n").into(),
            3,
            "port.conf:3: ListenPort: ",
        ),
    ];
    let _taken = std::net::UdpSocket::bind("0.0.0.0:5555").unwrap();
    for (name, text, code, message) in cases {
        std::fs::write(format!("/run/{name}.conf"), text).unwrap();
        if name == "dns" && sh("command -v resolvconf resolvectl").0 == 0 {
            continue;
        }
        for command in ["up", "up -f"] {
            let (found, text) = sh(&format!("dataplane {command} /run/{name}.conf"));
            assert_eq!((found, text.contains(message)), (code, true), "{command} {name}: {text}");
            assert_eq!(kernel(), before, "{name}");
        }
    }
    let (code, text) = sh("dataplane up /run/missing.conf");
    assert_eq!((code, text.contains("missing.conf: cannot be read: No such file")), (2, true), "{text}");
    write("rights", &full(""));
    let (code, text) = sh("setpriv --bounding-set=-all --inh-caps=-all dataplane up /run/rights.conf");
    assert_eq!((code, text.contains("CAP_NET_ADMIN")), (4, true), "{text}");
    assert_eq!(kernel(), before);
    let (code, text) = sh("LOG_LEVEL=loud dataplane up -f /run/rights.conf");
    assert_eq!((code, text.contains("LOG_LEVEL is `loud`: expected silent")), (2, true), "{text}");
}

#[test]
fn a_signal_in_the_foreground_or_while_a_command_runs_undoes_everything() {
    if !inside("a_signal_in_the_foreground_or_while_a_command_runs_undoes_everything", &["wg"]) {
        return;
    }
    let before = kernel();
    write("up0", &full("PostDown = echo down >/run/log"));
    let wait = "while ! wg show up0 >/dev/null 2>&1; do sleep 0.02; done";
    for signal in ["TERM", "INT", "HUP"] {
        let script =
            format!("set -m; dataplane up -f /run/up0.conf & {wait}; sleep 0.3; kill -{signal} $!; wait $!");
        let (code, text) = sh(&script);
        assert_eq!(code, 0, "{signal}: {text}");
        assert_eq!(kernel(), before, "{signal}");
        assert_eq!(ok("cat /run/log; rm /run/log"), "down\n");
    }
    write("up0", &full("PostUp = sleep 100"));
    for command in ["dataplane up -f", "dataplane up"] {
        let script = format!("set -m; {command} /run/up0.conf & {wait}; sleep 0.3; kill -TERM $!; wait $!");
        let (code, text) = sh(&script);
        assert_eq!((code, text.contains("interrupted: everything")), (130, true), "{text}");
        assert_eq!(kernel(), before, "{command}");
        eventually("the command has been ended", || sh("pgrep -x sleep").0 != 0);
    }
}

#[test]
fn equal_names_in_two_network_namespaces_do_not_collide() {
    if !inside("equal_names_in_two_network_namespaces_do_not_collide", &["wg"]) {
        return;
    }
    write("up0", &full(""));
    ok("mkdir /run/netns && ip netns add other && ip -n other link set lo up");
    ok("dataplane up /run/up0.conf");
    let other = "ip netns exec other dataplane";
    let (code, text) = sh(&format!("{other} up /run/up0.conf"));
    assert_eq!((code, text.contains("is served by another process")), (3, true), "{text}");
    ok(&format!("{other} up --run-dir /run/other /run/up0.conf"));
    let (code, text) = sh(&format!("{other} down /run/up0.conf"));
    assert_eq!((code, text.contains("is in another network namespace")), (2, true), "{text}");
    ok("dataplane down /run/up0.conf");
    ok("ip -n other link show up0");
    ok(&format!("DATAPLANE_RUN_DIR=/run/other {other} down /run/up0.conf"));
    assert_eq!(ok("ls /run/other /run/wireguard"), "/run/other:\n\n/run/wireguard:\n");
}

/// FT-12: a broken file changes nothing, the same file changes nothing, another changes what differs.
#[test]
fn a_reload_changes_what_differs_or_nothing() {
    if !inside("a_reload_changes_what_differs_or_nothing", &["wg"]) {
        return;
    }
    write("up0", &full(""));
    ok("dataplane up /run/up0.conf");
    // It has roamed, which a reload of the same file leaves as it is.
    ok(&format!("wg set up0 peer {PEER} endpoint 198.51.100.9:9"));
    let state = || kernel() + &ok("wg showconf up0; cat /run/wireguard/up0.state.json");
    let before = state();
    assert_eq!(ok("dataplane reload /run/up0.conf"), "/run/up0.conf: nothing has changed\n");
    assert_eq!(state(), before);
    let (other, taken) =
        (format!("[Peer]\nPublicKey={OTHER}\nAllowedIPs=10.98.0.0/16\n"), "ListenPort = 5555");
    let _taken = std::net::UdpSocket::bind("0.0.0.0:5555").unwrap();
    ok("ip tuntap add dev d0 mode tun && ip link set d0 up && ip route add 10.77.0.0/16 dev d0");
    let before = state();
    let broken = [
        (full("Colour = red"), 2, "up0.conf:6: unknown key `Colour`"),
        (full("") + &other, 2, "up0.conf:13: allowed IP 10.98.0.0/16 belongs to the peer at line 7"),
        (full("").replace("ListenPort = 51899", taken), 3, "up0.conf:4: ListenPort: port 5555 is in use"),
        (
            full("").replace("10.98.0.0/16", "10.96.0.0/16, 10.77.0.0/16"),
            1,
            "route to 10.77.0.0/16 in table 254: File exists",
        ),
    ];
    for (text, code, message) in broken {
        write("up0", &text);
        let (found, said) = sh("dataplane reload /run/up0.conf");
        assert_eq!((found, said.contains(message)), (code, true), "{said}");
        assert_eq!(state(), before, "{message}");
    }
    // What is remembered is written aside first, and there is something in the way.
    ok("mkdir /run/wireguard/up0.state.json.tmp");
    write("up0", &full("").replace("10.98.0.0/16", "10.96.0.0/16"));
    let (found, said) = sh("dataplane reload /run/up0.conf");
    assert_eq!((found, said.contains("up0.state.json: Is a directory")), (1, true), "{said}");
    assert_eq!(state(), before);
    ok("rmdir /run/wireguard/up0.state.json.tmp");
    let text = full("").replace("MTU = 1380", "MTU = 1300").replace("10.98.0.0/16", "10.97.0.0/16");
    write("up0", &(text.replace("10.99.0.1/24", "10.95.0.1/24") + &other));
    let said = ok("dataplane reload /run/up0.conf");
    assert!(said.contains("peers: 1 added, 0 removed, 1 changed; addresses and routes: "), "{said}");
    assert!(ok("wg show up0 allowed-ips").contains(&format!("{OTHER}\t10.98.0.0/16")));
    assert!(ok("wg show up0 endpoints").contains("198.51.100.9:9"), "the peer is left where it is");
    assert!(ok("ip link show up0").contains("mtu 1300"));
    let routes = ok("ip route show dev up0");
    assert!(
        routes.contains("10.97.0.0/16") && routes.contains("10.98.0.0/16") && routes.contains("10.95.0.0/24"),
        "{routes}"
    );
    assert!(!routes.contains("10.99.0.0/24"), "{routes}");
    ok("dataplane down /run/up0.conf");
    let (code, text) = sh("dataplane reload /run/up0.conf");
    assert_eq!((code, text.contains("was not brought up by")), (2, true), "{text}");
}

#[test]
fn status_shows_interfaces_or_says_why_it_cannot() {
    if !inside("status_shows_interfaces_or_says_why_it_cannot", &["wg"]) {
        return;
    }
    assert!(ok("dataplane status").contains("no interface is up"));
    let (code, text) = sh("dataplane status up0");
    assert_eq!(
        (code, text.contains("up0 has no management socket in /var/run/wireguard: bring it up")),
        (2, true),
        "{text}"
    );
    write("up0", &full(""));
    ok("dataplane up /run/up0.conf --workers 2 && dataplane-wg other");
    let page = ok("dataplane status up0");
    for part in [
        "up0  up\n",
        "port 51899, mark none, MTU 1380",
        "10.99.0.1/24, fd99::1/64",
        "/run/up0.conf",
        "backend     udp: ",
        "udp_gso on",
        PEER,
        "direct to 192.0.2.7:51820, keepalive 25 s",
        "no handshake yet",
        "\n       1 ",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    assert!(!page.contains('\u{1b}'), "no colour where there is no terminal");
    let json = ok("dataplane status --json");
    for part in ["\"schema_version\": 1", "\"name\": \"other\"", "\"mtu_bytes\": 1380", "\"tun_tso\": \"on\""]
    {
        assert!(json.contains(part), "{part}: {json}");
    }
    assert!(!json.contains(KEY) && !page.contains(KEY), "no secret");
    let (code, text) = sh("dataplane top up0");
    assert_eq!((code, text.contains("top needs a terminal: use `dataplane status`")), (1, true), "{text}");
    let (code, text) = sh("setpriv --reuid=65534 --clear-groups dataplane status up0");
    assert_eq!((code, text.contains("only its owner may ask it: run as root")), (4, true), "{text}");
    let (code, text) = sh("setpriv --reuid=65534 --clear-groups dataplane status --json");
    let said = |name: &str| text.contains(&format!("{name}: only its owner may ask it"));
    assert_eq!((code, said("up0"), said("other"), text.contains("schema")), (4, true, true, false), "{text}");
    ok("pkill -KILL -x dataplane; while pgrep -x dataplane; do sleep 0.02; done");
    let (code, text) = sh("dataplane status up0");
    assert_eq!(
        (code, text.contains("its process is gone; `dataplane down up0` takes back")),
        (1, true),
        "{text}"
    );
}

#[test]
fn a_saved_file_is_what_the_interface_has_become() {
    if !inside("a_saved_file_is_what_the_interface_has_become", &["wg"]) {
        return;
    }
    write("up0", &full("SaveConfig = true\nPostDown = true %i"));
    for end in ["dataplane down /run/up0.conf", "pkill -x dataplane"] {
        ok("dataplane up /run/up0.conf");
        ok(&format!("wg set up0 peer {OTHER} allowed-ips 10.55.0.0/16; ip addr add 10.66.0.1/32 dev up0"));
        ok(end);
        eventually(end, || !runs());
        let saved = std::fs::read_to_string("/run/up0.conf").unwrap();
        for line in [
            OTHER,
            "10.55.0.0/16",
            "Address = 10.66.0.1/32",
            "PostDown = true %i",
            "SaveConfig = true",
            "MTU = 1380",
        ] {
            assert!(saved.contains(line), "{line}: {saved}");
        }
        assert!(ok("stat -c %a /run/up0.conf").starts_with("600"));
        write("up0", &full("SaveConfig = true\nPostDown = true %i"));
    }
}

#[test]
fn logs_are_lines_or_json_as_asked() {
    if !inside("logs_are_lines_or_json_as_asked", &["script"]) {
        return;
    }
    write("up0", &full(""));
    let run = |options: &str| {
        sh(&format!("set -m; {options} & while [ ! -e /run/wireguard/up0.state.json ]; do sleep 0.02; done; sleep 0.5; kill $!; wait $!")).1
    };
    // On a terminal too, where there is nothing to say.
    assert_eq!(ok("script -qec 'dataplane up /run/up0.conf' /dev/null && dataplane down /run/up0.conf"), "");
    let json = run("dataplane up -f --log-format json /run/up0.conf");
    assert!(json.contains("\"message\":\"up0 is up\"") && json.starts_with('{'), "{json}");
    assert!(run("dataplane up -f /run/up0.conf").contains("INFO up0 is up"));
    let quiet = run("LOG_LEVEL=warn dataplane up -f /run/up0.conf");
    assert!(!quiet.contains("up0 is up") && !quiet.contains("PrivateKey"), "{quiet}");
    write("up0", &full("").replace(&format!("PrivateKey = {KEY}"), ""));
    let keyless = run("LOG_LEVEL=warn dataplane up -f /run/up0.conf");
    assert!(keyless.contains("/run/up0.conf: there is neither PrivateKey nor a credential"), "{keyless}");
    assert!(run("RUST_LOG=dataplane_gateway=debug dataplane up -f /run/up0.conf").contains("AddRoute"));
}

#[test]
fn resolvers_are_set_and_taken_back_and_names_of_endpoints_are_looked_up() {
    if !inside("resolvers_are_set_and_taken_back_and_names_of_endpoints_are_looked_up", &["wg"]) {
        return;
    }
    // Stands for resolvconf(8), whichever the machine has.
    std::fs::create_dir("/run/bin").unwrap();
    std::fs::write("/run/bin/resolvconf", "#!/bin/sh\n(echo \"$@\"; [ \"$1\" = -d ] || cat) >>/run/dns\n")
        .unwrap();
    ok("chmod +x /run/bin/resolvconf");
    let peers = format!("[Peer]\nPublicKey={OTHER}\nEndpoint = no-such-name.invalid:7\n");
    let text = full("DNS = 9.9.9.9, fd00::9, example.org\nPostUp = test ! -e /run/fail");
    write("up0", &(text.replace("192.0.2.7:51820", "localhost:7") + &peers));
    let run = "PATH=/run/bin:$PATH dataplane";
    let said = ok(&format!("{run} up /run/up0.conf"));
    assert!(said.contains("up0.conf:14: Endpoint no-such-name.invalid:7 has no address"), "{said}");
    let endpoints = ok("wg show up0 endpoints");
    assert!(endpoints.contains("127.0.0.1:7") || endpoints.contains("[::1]:7"), "{endpoints}");
    assert!(endpoints.contains(&format!("{OTHER}\t(none)")), "{endpoints}");
    let set = |log: &str| log.replace("tun.", "");
    let added = "-a up0 -m 0 -x\nnameserver 9.9.9.9\nnameserver fd00::9\nsearch example.org\n";
    assert_eq!(set(&ok("cat /run/dns")), added);
    assert!(ok(&format!("{run} reload /run/up0.conf")).contains("nothing has changed"));
    ok(&format!("{run} down /run/up0.conf"));
    assert_eq!(set(&ok("cat /run/dns; rm /run/dns")), format!("{added}-d up0 -f\n"));
    let (code, said) = sh(&format!("touch /run/fail; {run} up /run/up0.conf"));
    assert_eq!((code, said.contains("PostUp `test ! -e /run/fail` failed")), (1, true), "{said}");
    assert_eq!(set(&ok("cat /run/dns")), format!("{added}-d up0 -f\n"), "taken back");
}

/// Stands for a program of resolvers: writes down what it is told, and refuses what names bad.example.
fn stand_in(program: &str, reads: &str) {
    std::fs::create_dir_all("/run/bin").unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>/run/dns\n{reads}case \"$*\" in *bad.example*) echo no such domain >&2; exit 1;; esac\n"
    );
    std::fs::write(format!("/run/bin/{program}"), script).unwrap();
    ok(&format!("chmod +x /run/bin/{program}"));
}

#[test]
fn systemd_s_resolver_is_told_of_servers_and_domains_and_forgets_them() {
    if !inside("systemd_s_resolver_is_told_of_servers_and_domains_and_forgets_them", &["wg"]) {
        return;
    }
    if sh("command -v resolvconf").0 == 0 {
        eprintln!("SKIPPED: this machine has resolvconf, which is asked first");
        return;
    }
    stand_in("resolvectl", "");
    let told = || ok("cat /run/dns; rm -f /run/dns");
    let file = |dns: &str| write("up0", &full(&format!("DNS = {dns}")));
    let run = "PATH=/run/bin:$PATH dataplane";
    file("9.9.9.9, fd00::9, example.org");
    ok(&format!("{run} up /run/up0.conf"));
    let set = "dns up0 9.9.9.9 fd00::9\ndomain up0 example.org ~.\n";
    assert_eq!(told(), set);
    let state = ok("cat /run/wireguard/up0.state.json");
    file("8.8.8.8, bad.example");
    let (code, said) = sh(&format!("{run} reload /run/up0.conf"));
    let message = "cannot set DNS: resolvectl refused (exit status: 1): no such domain";
    assert_eq!((code, said.contains(message)), (1, true), "{said}");
    assert_eq!(told(), format!("dns up0 8.8.8.8\ndomain up0 bad.example ~.\n{set}"), "and back");
    assert_eq!(ok("cat /run/wireguard/up0.state.json"), state);
    file("8.8.8.8");
    assert!(ok(&format!("{run} reload /run/up0.conf")).contains("addresses and routes: 1 change"));
    assert_eq!(told(), "dns up0 8.8.8.8\ndomain up0 ~.\n");
    ok(&format!("{run} down /run/up0.conf"));
    assert_eq!(told(), "revert up0\n");

    let before = kernel();
    file("8.8.8.8, bad.example");
    let (code, said) = sh(&format!("{run} up /run/up0.conf"));
    assert_eq!((code, said.contains(message)), (1, true), "{said}");
    assert_eq!(told(), "dns up0 8.8.8.8\ndomain up0 bad.example ~.\nrevert up0\n");
    assert_eq!((kernel(), ok("ls -A /run/wireguard")), (before, String::new()));
}

/// FT-12: what goes from peer to peer is never nobody's, by the order in which it is asked for; and nothing else is touched.
#[test]
fn a_reload_moves_allowed_ips_between_peers_and_counts_what_it_did() {
    if !inside("a_reload_moves_allowed_ips_between_peers_and_counts_what_it_did", &["wg"]) {
        return;
    }
    let file = |first: &str, second: &str| {
        let peer = |key: &str, ips: &str| format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {ips}\n");
        write(
            "up0",
            &format!("[Interface]\nPrivateKey = {KEY}\n{}{}", peer(PEER, first), peer(OTHER, second)),
        );
    };
    let shown = || ok("wg show up0 allowed-ips | sort");
    let expected = |first: &str, second: &str| format!("{OTHER}\t{second}\n{PEER}\t{first}\n");
    file("10.1.0.0/16, 10.3.0.0/16", "10.2.0.0/16");
    ok("dataplane up /run/up0.conf");
    file("10.2.0.0/16, 10.3.0.0/16", "10.1.0.0/16");
    let said = ok("dataplane reload /run/up0.conf");
    assert!(said.contains("peers: 0 added, 0 removed, 2 changed; addresses and routes: 0 changes"), "{said}");
    assert_eq!(shown(), expected("10.2.0.0/16 10.3.0.0/16", "10.1.0.0/16"));
    // Another key for the same addresses.
    let new = ok("dataplane genkey | dataplane pubkey");
    ok(&format!("sed -i 's|{OTHER}|{}|' /run/up0.conf", new.trim()));
    let said = ok("dataplane reload /run/up0.conf");
    assert!(said.contains("peers: 1 added, 1 removed, 0 changed; addresses and routes: 0 changes"), "{said}");
    assert!(shown().contains(&format!("{}\t10.1.0.0/16", new.trim())), "{}", shown());
}
