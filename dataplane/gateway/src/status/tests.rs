//! Both forms of a report, from one that is made up.

use std::time::Duration;

use super::collect::LinkReport;
use super::{InterfaceReport, human, json};
use crate::config::InterfaceAddress;
use crate::keys::{PublicKey, Secret};
use crate::uapi::{DeviceSnapshot, DeviceStatus, PeerSnapshot, WorkerStatus};

/// An interface with two peers, of which one has never been heard of.
fn report() -> InterfaceReport {
    let counters =
        |names: &[(&str, u64)]| names.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let address = |text: &str, prefix_len| InterfaceAddress { address: text.parse().unwrap(), prefix_len };
    InterfaceReport {
        name: "wg0".into(),
        time: Duration::from_secs(1_700_000_100),
        device: DeviceSnapshot {
            private_key: Some(Secret::new([7; 32])),
            listen_port: 51820,
            fwmark: 0xca6c,
            peers: vec![
                PeerSnapshot::new(PublicKey([1; 32])),
                PeerSnapshot {
                    endpoint: Some("[2001:db8:1234:5678:9abc:def0:1234:5678]:51820".parse().unwrap()),
                    last_handshake: Duration::from_secs(1_700_000_058),
                    rx_bytes: 123_456_789,
                    tx_bytes: 1000,
                    keepalive_s: 25,
                    allowed_ips: (0..20).map(|n| format!("10.{n}.0.0/16").parse().unwrap()).collect(),
                    ..PeerSnapshot::new(PublicKey([2; 32]))
                },
            ],
        },
        status: Some(DeviceStatus {
            version: "0.1.0".into(),
            cipher: "avx2".into(),
            backend: "udp".into(),
            backend_reason: "the only one of this build".into(),
            offloads: vec![("udp_gso".into(), "on".into()), ("tun_uso".into(), "off".into())],
            workers: vec![
                WorkerStatus {
                    counters: counters(&[
                        ("rx_datagrams", 1_234_567),
                        ("rx_bytes", 1 << 40),
                        ("busy_ns", 1),
                        ("idle_ns", 3),
                    ]),
                    drops: counters(&[("replay", 3), ("allowed_source", 70_000)]),
                },
                WorkerStatus {
                    counters: counters(&[("tx_datagrams", 9)]),
                    drops: counters(&[("replay", 4)]),
                },
            ],
        }),
        link: Some(LinkReport {
            up: true,
            mtu_bytes: 1420,
            addresses: vec![address("10.9.0.1", 24), address("fd09::1", 64)],
        }),
        config_file: Some("/etc/wireguard/wg0.conf".into()),
    }
}

#[test]
fn the_page_is_aligned_within_80_columns_and_plain_without_a_terminal() {
    let page = human::page(&report(), false);
    let expected = "\
wg0  up
  public key  NjoEKc7wEZekpcp3Uj9bp+ER7ZU9V2h9hDo1gM6ohG4=
  listens on  port 51820, mark 0xca6c, MTU 1420
  addresses   10.9.0.1/24, fd09::1/64
  file        /etc/wireguard/wg0.conf
  program     dataplane 0.1.0, cipher avx2
  backend     udp: the only one of this build
  offloads    udp_gso on, tun_uso off

peers (2)
  AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=  handshake 42 s ago
    direct to [2001:db8:1234:5678:9abc:def0:1234:5678]:51820, keepalive 25 s
    received   118 MiB, sent    1000 B
    allowed  10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16 and 16 more
  AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=  no handshake yet
    no endpoint
    received       0 B, sent       0 B

workers
  number   busy  datagrams in  bytes in datagrams out bytes out     drops
       0 25.0 %        1.23 M  1.00 TiB             0       0 B    70.0 k
       1  0.0 %             0       0 B             9       0 B         4

dropped
     70.0 k  allowed_source
          7  replay
";
    let own = crate::keys::Base64(&Secret::new([7; 32]).public().0).to_string();
    let expected = expected.replace("NjoEKc7wEZekpcp3Uj9bp+ER7ZU9V2h9hDo1gM6ohG4=", &own);
    let expected = expected.replace("sent    1000 B", "sent  0.98 KiB");
    assert_eq!(page, expected);
    assert!(page.lines().all(|line| line.chars().count() <= 80));
    let painted = human::page(&report(), true);
    assert!(painted.contains("\x1b[32mup\x1b[0m") && painted.contains("\x1b[31mno handshake yet\x1b[0m"));
}

#[test]
fn the_json_has_its_version_units_in_its_names_and_no_secret() {
    let document = json::document(&[report()]);
    assert_eq!(
        (document["schema"].as_str(), document["schema_version"].as_u64()),
        (Some("dataplane-status"), Some(1))
    );
    let wg0 = &document["interfaces"][0];
    assert_eq!((wg0["mtu_bytes"].as_u64(), wg0["time_unix_s"].as_u64()), (Some(1420), Some(1_700_000_100)));
    assert_eq!(wg0["program"]["offloads"]["udp_gso"].as_str(), Some("on"));
    assert_eq!(wg0["workers"][0]["busy_ratio"].as_f64(), Some(0.25));
    assert_eq!(wg0["workers"][0]["counters"]["rx_bytes"].as_u64(), Some(1 << 40));
    assert_eq!(
        (wg0["drops"]["replay"].as_u64(), wg0["drops"]["allowed_source"].as_u64()),
        (Some(7), Some(70_000))
    );
    let peers = &wg0["peers"];
    assert_eq!(
        (peers[1]["latest_handshake_age_s"].as_u64(), peers[1]["path"].as_str()),
        (Some(42), Some("direct"))
    );
    assert!(peers[0]["latest_handshake_age_s"].is_null() && peers[0]["endpoint"].is_null());
    let text = document.to_string();
    assert!(!text.contains(&crate::keys::Base64(&[7; 32]).to_string()), "no private key");
    // Every name of the first version, so that none is lost unseen.
    for name in
        ["config_file", "public_key", "listen_port", "fwmark", "link_up", "addresses", "backend_reason"]
    {
        assert!(text.contains(&format!("\"{name}\":")), "{name}");
    }
}

#[test]
fn another_program_behind_the_socket_is_shown_for_what_it_tells() {
    let report = InterfaceReport { status: None, link: None, config_file: None, ..report() };
    let page = human::page(&report, false);
    assert!(
        page.contains("another than dataplane") && page.contains("in another network namespace"),
        "{page}"
    );
    assert!(json::document(&[report])["interfaces"][0]["program"].is_null());
}
