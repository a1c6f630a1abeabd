use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::keys::{Base64, PublicKey, Secret, parse_base64};

const PRIVATE: &str = "QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXg=";
const PEER: &str = "iqc4h5/rFqUtdV9eYzsqBmgwzcEHPH7gra+4S0mgXk0=";
const OTHER: &str = "OBR9fdAY6QbNb1LZ8n3TjuN/IbnjpUTWH1xSfI+KTnA=";

fn read(text: &str) -> Result<Config, ConfigError> {
    parse(Path::new("wg0.conf"), text.as_bytes())
}

/// The problems of a text, a line each.
fn wrong(text: impl AsRef<[u8]>) -> String {
    match parse(Path::new("wg0.conf"), text.as_ref()) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_key_of_wg_quick_and_wg_is_read() {
    let config = read(&format!(
        "\u{feff}# a comment\n[interface]\r\nPRIVATEKEY={PRIVATE} # why not\nListenPort = 51820\nfwmark = 0xCA6c\n\
         Address = 10.0.0.1/24, fd00::1/64\naddress=10.0.1.1\nDNS = 9.9.9.9, 2620:fe::fe, example.org\nMTU=1380\n\
         Table = 1234\nPreUp = one %i\nPostUp = two\nPostUp = three; four\nPreDown = five\nPostDown = six\n\
         SaveConfig = true\n\n[Peer]\nPublicKey = {PEER}\nPresharedKey={OTHER}\nAllowedIPs = 10.1.2.3/16,fd01::/16\n\
         AllowedIPs = 0.0.0.0/0\nEndpoint = vpn.example.org:51820\nPersistentKeepalive = 25\n\
         [PEER]\nPublicKey = {OTHER}\nAllowedIPs =\nEndpoint = [2001:db8::1]:7\nPersistentKeepalive = off\n"
    ))
    .unwrap();
    let interface = &config.interface;
    let private = Secret::new(parse_base64(PRIVATE).unwrap());
    assert_eq!(interface.private_key, Some(KeySource::Inline(private.clone())));
    assert_eq!(config.private_key(Path::new("/x")), Ok(Some(private)));
    assert_eq!(
        (interface.listen_port, interface.fwmark, interface.mtu),
        (Some(51820), Some(0xca6c), Some(1380))
    );
    let addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1/24", "fd00::1/64", "10.0.1.1/32"]);
    assert_eq!(
        interface.dns_servers,
        ["9.9.9.9".parse::<std::net::IpAddr>().unwrap(), "2620:fe::fe".parse().unwrap()]
    );
    assert_eq!(interface.dns_search, ["example.org"]);
    assert_eq!(interface.table, Table::Number(1234));
    let hooks = |hooks: &[Hook]| {
        hooks.iter().map(|hook| format!("{}:{}", hook.line, hook.command)).collect::<Vec<_>>()
    };
    assert_eq!(hooks(&interface.pre_up), ["11:one %i"]);
    assert_eq!(hooks(&interface.post_up), ["12:two", "13:three; four"]);
    assert_eq!(
        (config.lines["DNS"], config.lines["SaveConfig"], config.lines.get("Endpoint")),
        (8, 16, None)
    );
    assert_eq!((interface.pre_down.len(), interface.post_down.len(), interface.save_config), (1, 1, true));

    let [first, second] = config.peers.as_slice() else { panic!("{:?}", config.peers) };
    assert_eq!((first.line, first.public_key), (18, PublicKey(parse_base64(PEER).unwrap())));
    assert!(first.preshared_key.is_some());
    assert_eq!(first.endpoint, Some(Endpoint::Name { host: "vpn.example.org".into(), port: 51820 }));
    let prefixes: Vec<String> = first.allowed_ips.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.1.0.0/16", "fd01::/16", "0.0.0.0/0"]);
    assert_eq!((first.keepalive_s, second.keepalive_s), (Some(25), Some(0)));
    assert_eq!(
        second.endpoint.as_ref().and_then(Endpoint::address),
        Some("[2001:db8::1]:7".parse().unwrap())
    );
    assert!(second.allowed_ips.is_empty());
}

#[test]
fn what_is_written_reads_as_what_was_read() {
    let text = format!(
        "[Interface]\nPrivateKey={PRIVATE}\nListenPort=7\nFwMark=0xca6c\nAddress=10.0.0.1/24,fd00::1/64\n\
         DNS=9.9.9.9,example.org\nMTU=1380\nTable=off\nPreUp=a\nPostUp=b;c\nPreDown=d %i\nPostDown=e\nSaveConfig=true\n\
         [Peer]\nPublicKey={PEER}\nPresharedKeyFile=/k\nAllowedIPs=10.1.0.0/16,::/0\nEndpoint=vpn.example.org:7\n\
         [Peer]\nPublicKey={OTHER}\nPresharedKey={PRIVATE}\nEndpoint=[fe80::1%2]:7\nPersistentKeepalive=25\n"
    );
    let config = read(&text).unwrap();
    let again = read(&emit(&config)).unwrap();
    assert_eq!(again.interface.pre_down[0].command, "d %i");
    // All but the lines.
    assert_eq!(*emit(&again), *emit(&config));
    assert_eq!((again.interface.addresses, again.interface.table), (config.interface.addresses, Table::Off));
    assert_eq!(again.peers[1].endpoint, config.peers[1].endpoint);
    assert_eq!(again.peers[1].preshared_key, config.peers[1].preshared_key);
}

#[test]
fn each_problem_is_named_with_its_line_what_was_expected_and_what_to_do() {
    let interface = "[Interface]\n";
    let peer = format!("[Interface]\n[Peer]\nPublicKey = {PEER}\n");
    let cases = [
        (String::new(), "wg0.conf: there is no [Interface] section: begin with one"),
        (
            "ListenPort = 1\n[Interface]".into(),
            "wg0.conf:1: expected [Interface] or [Peer] before the first key",
        ),
        (
            format!("{interface}[Pear]\nX = 1"),
            "wg0.conf:2: unknown section `[Pear]`: expected [Interface] or [Peer]",
        ),
        (
            format!("{interface}\n[Interface]"),
            "wg0.conf:3: a second [Interface] section: the first begins at line 1",
        ),
        (format!("{interface}ListenPort"), "wg0.conf:2: expected `Key = value`"),
        (
            format!("{interface}ListenPrt = 1"),
            "wg0.conf:2: unknown key `ListenPrt` in [Interface], perhaps `ListenPort`; keys",
        ),
        (
            format!("{interface}Colour = 1"),
            "wg0.conf:2: unknown key `Colour` in [Interface]; keys there are: PrivateKey, ",
        ),
        (
            format!("{interface}Endpoint = x:1"),
            "wg0.conf:2: `Endpoint` stands in [Interface], but belongs into [Peer]",
        ),
        (
            format!("{peer}DNS = 1.1.1.1"),
            "wg0.conf:4: `DNS` stands in [Peer], but belongs into [Interface]: move it",
        ),
        (
            format!("{interface}MTU=1400\nMTU=1400"),
            "wg0.conf:3: `MTU` was given at line 2 already: remove one of them",
        ),
        (
            format!("{interface}ListenPort=65536"),
            "wg0.conf:2: `ListenPort` is `65536`: expected a port from 0 to 65535",
        ),
        (format!("{interface}ListenPort=-1"), "wg0.conf:2: `ListenPort` is `-1`"),
        (
            format!("{interface}FwMark=0x100000000"),
            "wg0.conf:2: `FwMark` is `0x100000000`: expected off, or a mark",
        ),
        (format!("{interface}FwMark=0x"), "wg0.conf:2: `FwMark` is `0x`"),
        (
            format!("{interface}Address=10.0.0.1/33"),
            "wg0.conf:2: `Address` is `10.0.0.1/33`: expected an address",
        ),
        (format!("{interface}Address=10.0.0.1/24,"), "wg0.conf:2: `Address` is ``"),
        (
            format!("{interface}DNS=1.2.3"),
            "wg0.conf:2: `DNS` is `1.2.3`: expected addresses of servers and domains",
        ),
        (format!("{interface}MTU=575"), "wg0.conf:2: `MTU` is `575`: expected bytes from 576 to 65535"),
        (
            format!("{interface}Table=vpn"),
            "wg0.conf:2: `Table` is `vpn`: expected auto, off, main, or the number",
        ),
        (format!("{interface}PostUp="), "wg0.conf:2: `PostUp` is empty: expected a command of the shell"),
        (format!("{interface}SaveConfig=yes"), "wg0.conf:2: `SaveConfig` is `yes`: expected true or false"),
        (
            format!("{interface}PrivateKey=abc"),
            "wg0.conf:2: `PrivateKey` is 3 characters: expected a key of 44 char",
        ),
        (
            format!("{interface}PrivateKey={PRIVATE}\nPrivateKeyFile=k"),
            "wg0.conf:3: both `PrivateKeyFile` and `PrivateKey` (line 2): remove one of them",
        ),
        (
            format!("{interface}[Peer]\nAllowedIPs=::/0"),
            "wg0.conf:2: this peer has no PublicKey: add the one",
        ),
        (format!("{peer}AllowedIPs=10.0.0.0/8, ten"), "wg0.conf:4: `AllowedIPs` is `ten`: expected prefixes"),
        (format!("{peer}Endpoint=10.0.0.1"), "wg0.conf:4: `Endpoint` is `10.0.0.1`: expected HOST:PORT"),
        (format!("{peer}Endpoint=10.0.0.256:1"), "wg0.conf:4: `Endpoint` is `10.0.0.256:1`"),
        (format!("{peer}Endpoint=host:0"), "wg0.conf:4: `Endpoint` is `host:0`"),
        (format!("{peer}Endpoint=ho st:1"), "wg0.conf:4: `Endpoint` is `ho st:1`"),
        (
            format!("{peer}PersistentKeepalive=65536"),
            "wg0.conf:4: `PersistentKeepalive` is `65536`: expected off, or",
        ),
        (
            format!("{peer}[Peer]\nPublicKey={PEER}"),
            "wg0.conf:4: the peer with this PublicKey begins at line 2 already",
        ),
    ];
    for (text, message) in cases {
        let found = wrong(&text);
        assert!(found.starts_with(message), "{text:?}\n{found}\n{message}");
        assert_eq!(found.lines().count(), 1, "one slip is one problem: {found}");
    }
}

#[test]
fn an_allowed_ip_of_two_peers_is_refused_and_a_nested_one_is_noted() {
    let two = |one: &str, other: &str| {
        format!(
            "[Interface]\n[Peer]\nPublicKey={PEER}\nAllowedIPs={one}\n[Peer]\nPublicKey={OTHER}\nAllowedIPs={other}\n"
        )
    };
    assert_eq!(
        wrong(two("10.0.0.0/8", "fd00::/8, 10.9.9.9/8")),
        "wg0.conf:5: allowed IP 10.0.0.0/8 belongs to the peer at line 2 already: only one of them can have it"
    );
    let config = read(&two("0.0.0.0/0, 10.1.0.0/16, 10.1.0.0/16", "10.1.2.0/24, 10.2.0.0/16, ::/0")).unwrap();
    let nested: Vec<String> = config
        .nested_allowed_ips()
        .into_iter()
        .map(|(prefix, line, outer, outer_line)| format!("{prefix}@{line} in {outer}@{outer_line}"))
        .collect();
    assert_eq!(nested, ["10.1.2.0/24@5 in 10.1.0.0/16@2", "10.2.0.0/16@5 in 0.0.0.0/0@2"]);
}

#[test]
fn the_interfaces_own_key_is_refused_as_that_of_a_peer() {
    let own = Base64(&Secret::new(parse_base64(PRIVATE).unwrap()).public().0).to_string();
    let found = wrong(format!("[Interface]\nPrivateKey={PRIVATE}\n[Peer]\nPublicKey={own}\n"));
    assert!(found.starts_with("wg0.conf:3: this PublicKey is that of the interface itself"), "{found}");
}

#[test]
fn all_problems_are_named_in_the_order_of_their_lines_up_to_twenty() {
    let text = format!("[Interface]\nMTU=x\nTable=x\n[Peer]\n{}", "Nonsense=1\n".repeat(30));
    let found = wrong(text);
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 21);
    assert!(lines[0].starts_with("wg0.conf:2: ") && lines[1].starts_with("wg0.conf:3: "), "{found}");
    assert!(lines[2].starts_with("wg0.conf:4: this peer has no PublicKey"), "{found}");
    assert_eq!(lines[20], "wg0.conf: and 13 problems more");
}

#[test]
fn long_lines_and_other_encodings_are_refused_with_their_line() {
    let found =
        wrong([b"[Interface]\nPostUp=".as_slice(), &vec![b'a'; 1 << 20], b"\nMTU=1400\xff\n"].concat());
    assert_eq!(
        found,
        "wg0.conf:2: the line is longer than 64 KiB: write several lines, AllowedIPs may be repeated\n\
         wg0.conf:3: expected text in UTF-8: save the file in that encoding"
    );
}

#[test]
fn a_private_key_is_never_repeated_whatever_is_wrong_around_it() {
    for line in [
        format!("PrivateKey {PRIVATE}"),
        format!("PrivateKey: {PRIVATE}"),
        PRIVATE.to_owned(),
        format!("PrivateKey = {PRIVATE}="),
        format!("PrivateKey = ={PRIVATE}"),
        format!("PresharedKey = {PRIVATE}"),
        format!("[{PRIVATE}]").replace('[', ""),
    ] {
        let found = wrong(format!("[Interface]\n{line}\n"));
        assert!(!found.contains(&PRIVATE[4..16]), "{line}: {found}");
    }
}

#[test]
fn the_file_of_a_private_key_is_found_beside_the_configuration() {
    let folder = std::env::temp_dir().join(format!("dataplane-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("key"), format!("{PRIVATE}\n")).unwrap();
    std::fs::write(folder.join("rubbish"), "\u{0}").unwrap();
    std::fs::write(folder.join("wg0.conf"), "[Interface]\nPrivateKeyFile = key\n").unwrap();
    let path = folder.join("wg0.conf");
    let config = load(&path).unwrap();
    assert_eq!(config.private_key(&path).unwrap(), Some(Secret::new(parse_base64(PRIVATE).unwrap())));
    let key =
        |file: &str| read(&format!("[Interface]\nPrivateKeyFile = {file}\n")).unwrap().private_key(&path);
    assert!(key("missing").unwrap_err().contains("missing cannot be read: No such file"));
    assert!(key("rubbish").unwrap_err().contains("wg0.conf:2: PrivateKeyFile"));
    assert!(key("rubbish").unwrap_err().contains("rubbish holds something else: expected a key of 44"));
    let shared = read(&format!("[Interface]\n[Peer]\nPublicKey={PEER}\nPresharedKeyFile = key\n")).unwrap();
    let shared = shared.peers[0].preshared_key.as_ref().map(|key| key.read(&path));
    assert_eq!(shared, Some(Ok(Secret::new(parse_base64(PRIVATE).unwrap()))));
    assert!(
        load(&folder.join("none.conf"))
            .unwrap_err()
            .to_string()
            .contains("none.conf: cannot be read: No such")
    );
    assert!(load(&folder).unwrap_err().to_string().contains("cannot be read: Is a directory"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn ten_thousand_peers_are_read_at_once() {
    let mut text = String::from("[Interface]\n");
    for peer in 0..10_000_u32 {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&peer.to_be_bytes());
        text.push_str(&format!(
            "[Peer]\nPublicKey = {}\nAllowedIPs = 10.{}.{}.0/28, fd00::{peer:x}/128\n",
            Base64(&key),
            peer >> 8,
            peer & 255
        ));
    }
    let start = std::time::Instant::now();
    let config = read(&text).unwrap();
    assert_eq!((config.peers.len(), config.nested_allowed_ips().len()), (10_000, 0));
    // Some 50 ms; the bound only tells a quadratic reader from a linear one on a busy machine.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_in_printable_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = [b"[Interface]\n[Peer]\n".as_slice(), &bytes].concat();
        for bytes in [&bytes, &text] {
            if let Err(error) = parse(Path::new("x"), bytes) {
                prop_assert!(!error.to_string().chars().any(|c| c.is_control() && c != '\n'));
            }
        }
    }
}
