use std::fmt::Write;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use dataplane_proto::IpPrefix;
use proptest::prelude::*;

use super::*;
use crate::keys::{KEY_LEN, PublicKey, Secret};

const KEY: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";

/// Everything that a parser says to a text, fed in pieces of `piece_len` bytes.
fn outcomes(text: &[u8], piece_len: usize) -> Vec<Result<Request, ParseError>> {
    let mut parser = Parser::new(zone_number);
    let mut outcomes = Vec::new();
    for mut piece in text.chunks(piece_len.max(1)) {
        while !piece.is_empty() {
            let (used, outcome) = parser.feed(piece);
            piece = &piece[used..];
            outcomes.extend(outcome);
        }
    }
    outcomes.extend(parser.finish().map(Err));
    outcomes
}

fn refused(text: &[u8]) -> (String, i32) {
    match outcomes(text, text.len()).as_slice() {
        [Err(error)] => (error.to_string(), error.errno()),
        other => panic!("{other:?}"),
    }
}

fn accepted(text: &str) -> SetRequest {
    match outcomes(text.as_bytes(), text.len()).as_slice() {
        [Ok(Request::Set(request))] => request.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn wg_58_every_key_of_a_set_is_read_in_its_section() {
    let request = accepted(&format!(
        "set=1\nprivate_key={KEY}\nlisten_port=51820\nfwmark=4294967295\nreplace_peers=true\n\
         public_key={KEY}\nprotocol_version=1\nupdate_only=true\npreshared_key={KEY}\n\
         endpoint=[fe80::1%3]:7\npersistent_keepalive_interval=65535\nreplace_allowed_ips=true\n\
         allowed_ip=10.1.2.3/8\nallowed_ip=-2001:db8::/32\n\
         public_key={}\nremove=true\n\n",
        KEY.to_uppercase()
    ));
    let key = crate::keys::parse_hex(KEY).unwrap();
    let expected = SetRequest {
        private_key: Some(Secret::new(key)),
        listen_port: Some(51820),
        fwmark: Some(u32::MAX),
        replace_peers: true,
        peers: vec![
            PeerRequest {
                public_key: PublicKey(key),
                remove: false,
                update_only: true,
                preshared_key: Some(Secret::new(key)),
                endpoint: Some(SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 3))),
                keepalive_s: Some(65535),
                replace_allowed_ips: true,
                allowed_ips: vec![
                    AllowedIp { prefix: "10.0.0.0/8".parse().unwrap(), remove: false },
                    AllowedIp { prefix: "2001:db8::/32".parse().unwrap(), remove: true },
                ],
            },
            PeerRequest { remove: true, ..PeerRequest::new(PublicKey(key)) },
        ],
    };
    assert_eq!(request, expected);
}

#[test]
fn wg_58_a_wrong_line_is_named_with_what_was_expected_and_its_errno() {
    let peer = format!("set=1\npublic_key={KEY}\n");
    let cases: &[(String, &str, i32)] = &[
        ("bar=1\n\n".into(), "line 1: expected `get=1`, `set=1` or `status=1`, found `bar=1`", 22),
        ("\n".into(), "line 1: expected `get=1`, `set=1` or `status=1`, found ``", 22),
        ("get=1\nx=1\n\n".into(), "line 2: expected an empty line after `get=1`", 22),
        ("status=1\nx=1\n\n".into(), "line 2: expected an empty line after `status=1`", 22),
        ("set=1\nfoo\n\n".into(), "line 2: expected `key=value`", 71),
        ("set=1\nfoo=1\n\n".into(), "line 2: unknown interface key `foo`: expected one of private_key", 22),
        (format!("{peer}fwmark=1\n\n"), "line 3: unknown peer key `fwmark`: expected one of public_key", 22),
        ("set=1\nallowed_ip=::/0\n\n".into(), "line 2: unknown interface key `allowed_ip`", 22),
        ("set=1\nlisten_port=65536\n\n".into(), "line 2: `listen_port` is `65536`: expected a number", 22),
        ("set=1\nlisten_port=+1\n\n".into(), "line 2: `listen_port` is `+1`", 22),
        ("set=1\nlisten_port=\n\n".into(), "line 2: `listen_port` is ``", 22),
        ("set=1\nfwmark=4294967296\n\n".into(), "line 2: `fwmark` is `4294967296`", 22),
        ("set=1\nreplace_peers=false\n\n".into(), "line 2: `replace_peers` is `false`: expected true", 22),
        ("set=1\nprivate_key=00\n\n".into(), "line 2: `private_key` is 2 characters: expected 64", 22),
        (format!("set=1\nprivate_key={KEY}0\n\n"), "line 2: `private_key` is 65 characters", 22),
        (format!("{peer}endpoint=1.2.3.4\n\n"), "line 3: `endpoint` is `1.2.3.4`: expected an address", 22),
        (format!("{peer}endpoint=host:1\n\n"), "line 3: `endpoint` is `host:1`", 22),
        (format!("{peer}endpoint=2001:db8::1:1\n\n"), "line 3: `endpoint` is", 22),
        (format!("{peer}endpoint=[::1%nowhere]:1\n\n"), "line 3: `endpoint` is", 22),
        (format!("{peer}allowed_ip=10.0.0.0/33\n\n"), "line 3: `allowed_ip` is `10.0.0.0/33`", 22),
        (format!("{peer}allowed_ip=--10.0.0.0/3\n\n"), "line 3: `allowed_ip` is `--10.0.0.0/3`", 22),
        (format!("{peer}protocol_version=2\n\n"), "line 3: `protocol_version` is `2`: expected 1", 22),
        (format!("{peer}protocol_version=0\n\n"), "line 3: `protocol_version` is `0`: expected 1", 22),
        (format!("{peer}persistent_keepalive_interval=off\n\n"), "line 3: `persistent_keepalive", 22),
        (format!("{peer}remove=1\n\n"), "line 3: `remove` is `1`: expected true", 22),
        ("set=1\nlisten_port=1\n".into(), "line 3: the request ends without an empty line", 71),
        ("set=1\nfoo=\u{1b}[31m\n\n".into(), "line 2: unknown interface key `foo`", 22),
    ];
    for (text, message, errno) in cases {
        let found = refused(text.as_bytes());
        assert!(found.0.starts_with(message), "{text:?}: {}", found.0);
        assert_eq!(found.1, *errno, "{text:?}");
        assert!(!found.0.contains('\u{1b}'), "escape sequences must not reach a terminal");
    }
    let found = refused(b"set=1\nlisten_port=\xff\n\n");
    assert_eq!(found, ("line 2: expected text in UTF-8".into(), 22));
}

#[test]
fn a_secret_that_is_wrong_is_not_repeated_in_the_error() {
    for key in ["private_key", "preshared_key"] {
        let text = format!("set=1\npublic_key={KEY}\n{key}={}\n\n", &KEY[1..]);
        let text = if key == "private_key" { text.replace(&format!("public_key={KEY}\n"), "") } else { text };
        assert!(!refused(text.as_bytes()).0.contains(&KEY[20..40]));
    }
}

#[test]
fn the_rest_of_a_wrong_request_is_skipped_and_the_next_one_is_read() {
    let text = format!("set=1\nfoo=1\nprivate_key={KEY}\nget=1\n\nget=1\n\nbar=1\n\nset=1\nfwmark=5\n\n");
    for piece_len in 1..text.len() {
        let found = outcomes(text.as_bytes(), piece_len);
        let set = SetRequest { fwmark: Some(5), ..SetRequest::default() };
        assert!(
            matches!(found.as_slice(), [Err(_), Ok(Request::Get), Err(_), Ok(Request::Set(found))] if *found == set),
            "{piece_len}: {found:?}"
        );
    }
}

#[test]
fn a_line_of_a_megabyte_is_refused_without_memory_for_it() {
    let mut parser = Parser::new(zone_number);
    let (used, outcome) = parser.feed(b"set=1\nprivate_key=");
    assert_eq!((used, outcome), (18, None));
    let mut errors = Vec::new();
    for _ in 0..1024 {
        let mut piece: &[u8] = &[b'a'; 1024];
        while !piece.is_empty() {
            let (used, outcome) = parser.feed(piece);
            piece = &piece[used..];
            errors.extend(outcome);
        }
    }
    let error = ParseError { line: 2, problem: Problem::LineTooLong };
    assert_eq!(error.errno(), 90);
    assert_eq!(errors, [Err(error)]);
    assert!(parser.held_bytes() <= LINE_LEN_MAX, "{}", parser.held_bytes());
    assert_eq!(parser.feed(b"\n\n").1, None);
    assert_eq!(parser.feed(b"get=1\n\n").1, Some(Ok(Request::Get)));
}

#[test]
fn a_line_as_long_as_allowed_is_read_and_one_byte_more_is_not() {
    let line = |len: usize| format!("set=1\n{}=\n\n", "k".repeat(len - 1));
    assert!(refused(line(LINE_LEN_MAX).as_bytes()).0.contains("unknown interface key"));
    assert_eq!(refused(line(LINE_LEN_MAX + 1).as_bytes()).0, "line 2: longer than 512 bytes");
}

#[test]
fn a_mapped_ipv4_endpoint_becomes_plain_ipv4() {
    let request = accepted(&format!("set=1\npublic_key={KEY}\nendpoint=[::ffff:192.0.2.1]:5\n\n"));
    assert_eq!(request.peers[0].endpoint, Some("192.0.2.1:5".parse().unwrap()));
}

#[test]
fn replacing_allowed_ips_late_in_a_section_forgets_the_earlier_ones() {
    let text = format!(
        "set=1\npublic_key={KEY}\nallowed_ip=10.0.0.0/8\nreplace_allowed_ips=true\nallowed_ip=::/0\n\n"
    );
    let peer = accepted(&text).peers.remove(0);
    assert!(peer.replace_allowed_ips);
    assert_eq!(peer.allowed_ips, [AllowedIp { prefix: "::/0".parse().unwrap(), remove: false }]);
}

#[test]
fn ten_thousand_peers_with_a_hundred_thousand_allowed_ips_are_read_at_once() {
    let mut text = String::from("set=1\nreplace_peers=true\n");
    for peer in 0..10_000_u32 {
        writeln!(text, "public_key={peer:064x}\nreplace_allowed_ips=true").unwrap();
        for ip in 0..10 {
            writeln!(text, "allowed_ip=10.{}.{}.{ip}/32", peer >> 8, peer & 255).unwrap();
        }
    }
    text.push('\n');
    let start = Instant::now();
    let request = accepted(&text);
    assert_eq!(request.peers.len(), 10_000);
    assert!(request.peers.iter().all(|peer| peer.allowed_ips.len() == 10));
    // Some 30 ms; the bound only tells a quadratic parser from a linear one on a busy machine.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_reply_of_any_size_is_written_through_one_small_buffer() {
    let mut snapshot = DeviceSnapshot { listen_port: 1, ..DeviceSnapshot::default() };
    for n in 0..1000 {
        let mut peer = PeerSnapshot::new(PublicKey([n as u8; KEY_LEN]));
        peer.allowed_ips =
            (0..50).map(|ip| IpPrefix::new([10, n as u8, 0, ip].into(), 32).unwrap()).collect();
        snapshot.peers.push(peer);
    }
    let (mut reply, mut whole, mut buffer) = (GetReply::new(snapshot.clone()), String::new(), String::new());
    loop {
        let more = reply.fill(&mut buffer, 4096);
        assert!(buffer.len() < 4096 + 512, "{}", buffer.len());
        whole.push_str(&buffer);
        buffer.clear();
        if !more {
            break;
        }
    }
    assert!(!reply.fill(&mut buffer, 4096) && buffer.is_empty(), "a reply that has ended stays ended");
    assert_eq!(parse_get_reply(&whole), Ok(snapshot));
}

#[test]
fn an_answer_that_is_an_error_or_cut_short_is_no_snapshot() {
    assert_eq!(parse_get_reply("errno=-22\n\n"), Err(ReplyError::Refused(22)));
    assert_eq!(parse_get_reply("errno=1\n\n"), Err(ReplyError::Refused(1)));
    assert_eq!(parse_get_reply("listen_port=5\n"), Err(ReplyError::Truncated));
    assert!(matches!(parse_get_reply("rubbish\nerrno=0\n"), Err(ReplyError::Line { line: 1, .. })));
    assert_eq!(
        parse_get_reply("listen_port=5\nnovelty=1\nerrno=0\n"),
        Ok(DeviceSnapshot { listen_port: 5, ..DeviceSnapshot::default() })
    );
}

#[test]
fn a_status_survives_being_written_and_read() {
    let worker = |n: u64| WorkerStatus {
        counters: vec![("rx_datagrams".into(), n), ("busy_ns".into(), u64::MAX)],
        drops: vec![("replay".into(), 3 * n)],
    };
    let status = DeviceStatus {
        version: "1.2".into(),
        cipher: "x".into(),
        backend: "udp".into(),
        backend_reason: "why not".into(),
        offloads: vec![("udp_gso".into(), "off (unsupported)".into())],
        workers: vec![worker(0), worker(7)],
    };
    let text = status.to_string();
    assert!(text.ends_with("drop_replay=21\nerrno=0\n\n"), "{text}");
    assert_eq!(parse_status_reply(&text), Ok(status.clone()));
    assert_eq!(status.sum("rx_datagrams"), 7);
    assert_eq!(parse_status_reply("errno=-22\n\n"), Err(ReplyError::Refused(22)));
    assert_eq!(parse_status_reply("version=1\n"), Err(ReplyError::Truncated));
    assert!(matches!(parse_status_reply("worker=0\nx=-1\n"), Err(ReplyError::Line { line: 2, .. })));
}

fn key() -> impl Strategy<Value = [u8; KEY_LEN]> {
    any::<[u8; KEY_LEN]>()
}

fn secret() -> impl Strategy<Value = Secret> {
    prop_oneof![Just(Secret::default()), key().prop_map(Secret::new)]
}

fn prefix() -> impl Strategy<Value = IpPrefix> {
    let v4 = (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(ip, len)| IpPrefix::new(ip.into(), len).unwrap());
    let v6 = (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(ip, len)| IpPrefix::new(ip.into(), len).unwrap());
    prop_oneof![v4, v6]
}

fn endpoint() -> impl Strategy<Value = SocketAddr> {
    let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port));
    let v6 =
        (any::<[u8; 16]>(), any::<u16>(), any::<u32>()).prop_map(|(ip, port, scope)| {
            match IpAddr::from(ip).to_canonical() {
                IpAddr::V4(v4) => SocketAddr::new(v4.into(), port),
                IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, scope)),
            }
        });
    prop_oneof![v4, v6]
}

prop_compose! {
    fn peer_request()(
        public_key in key().prop_map(PublicKey),
        flags in any::<[bool; 3]>(),
        preshared_key in proptest::option::of(secret()),
        endpoint in proptest::option::of(endpoint()),
        keepalive_s in proptest::option::of(any::<u16>()),
        allowed_ips in proptest::collection::vec((prefix(), any::<bool>()), 0..8),
    ) -> PeerRequest {
        let [remove, update_only, replace_allowed_ips] = flags;
        let allowed_ips =
            allowed_ips.into_iter().map(|(prefix, remove)| AllowedIp { prefix, remove }).collect();
        PeerRequest {
            public_key, remove, update_only, preshared_key, endpoint, keepalive_s, replace_allowed_ips, allowed_ips,
        }
    }
}

prop_compose! {
    fn set_request()(
        private_key in proptest::option::of(secret()),
        listen_port in proptest::option::of(any::<u16>()),
        fwmark in proptest::option::of(any::<u32>()),
        replace_peers in any::<bool>(),
        peers in proptest::collection::vec(peer_request(), 0..6),
    ) -> SetRequest {
        SetRequest { private_key, listen_port, fwmark, replace_peers, peers }
    }
}

prop_compose! {
    fn peer_snapshot()(
        public_key in key().prop_map(PublicKey),
        preshared_key in proptest::option::of(key().prop_map(Secret::new)),
        endpoint in proptest::option::of(endpoint()),
        last_handshake in (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, ns)| Duration::new(s, ns)),
        rx_bytes in any::<u64>(),
        tx_bytes in any::<u64>(),
        keepalive_s in any::<u16>(),
        allowed_ips in proptest::collection::vec(prefix(), 0..8),
    ) -> PeerSnapshot {
        let preshared_key = preshared_key.filter(|key: &Secret| !key.is_zero());
        PeerSnapshot {
            public_key, preshared_key, endpoint, last_handshake, rx_bytes, tx_bytes, keepalive_s, allowed_ips,
        }
    }
}

proptest! {
    #[test]
    fn wg_58_a_request_survives_being_written_and_read(request in set_request(), piece_len in 1..300_usize) {
        let mut text = String::new();
        request.emit(&mut text).unwrap();
        let found = outcomes(text.as_bytes(), piece_len);
        prop_assert_eq!(found, [Ok(Request::Set(request))]);
    }

    #[test]
    fn wg_58_an_answer_survives_being_written_and_read(
        private_key in proptest::option::of(key().prop_map(Secret::new)),
        listen_port in any::<u16>(),
        fwmark in any::<u32>(),
        peers in proptest::collection::vec(peer_snapshot(), 0..5),
    ) {
        let private_key = private_key.filter(|key| !key.is_zero());
        let snapshot = DeviceSnapshot { private_key, listen_port, fwmark, peers };
        let mut text = String::new();
        prop_assert!(!GetReply::new(snapshot.clone()).fill(&mut text, usize::MAX));
        prop_assert_eq!(parse_get_reply(&text), Ok(snapshot));
    }

    #[test]
    fn any_bytes_are_read_alike_in_any_pieces(text in request_like(), piece_len in 1..64_usize) {
        prop_assert_eq!(outcomes(&text, piece_len), outcomes(&text, text.len()));
    }
}

/// Bytes that come close to requests, so that they get past the first line.
fn request_like() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"set=1\n".to_vec()),
        Just(b"get=1\n\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(format!("public_key={KEY}\n").into_bytes()),
        Just(b"allowed_ip=10.0.0.0/8\n".to_vec()),
        Just(b"listen_port=".to_vec()),
        Just(vec![b'x'; LINE_LEN_MAX - 1]),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}
