//! Files of wg-quick.

use std::fmt::{self, Write};
use std::path::Path;

use dataplane_gateway::config::{Config, Endpoint, KeySource, Table, parse};
use dataplane_gateway::keys::Base64;

use super::applied;

/// Between two files in one input: a byte that is not in UTF-8.
const BETWEEN: u8 = 0xff;

/// One file or two: each is refused with the lines that are wrong, or says the same when it is written again; and an interface
/// that has had the first is, with the second, as one that has had the second alone.
pub fn config(data: &[u8]) {
    let files: Vec<Option<Config>> = data.split(|byte| *byte == BETWEEN).take(2).map(read).collect();
    if let [Some(first), Some(second)] = &files[..] {
        applied::reload(&applied::of_config(first), &applied::of_config(second));
        applied::reload(&applied::of_config(second), &applied::of_config(first));
    }
}

fn read(bytes: &[u8]) -> Option<Config> {
    let path = Path::new("wg0.conf");
    let config = match parse(path, bytes) {
        Ok(config) => config,
        Err(error) => {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            assert!(!error.problems.is_empty());
            assert!(error.problems.iter().all(|problem| problem.line <= lines), "{error}");
            return None;
        }
    };
    let mut text = String::new();
    write(&config, &mut text).expect("a string takes everything");
    let again =
        parse(path, text.as_bytes()).unwrap_or_else(|error| panic!("{error}, of what was written: {text}"));
    assert_eq!(without_lines(again), without_lines(config.clone()), "{text}");
    let _ = config.nested_allowed_ips();
    Some(config)
}

/// A configuration but for where its peers stand in the file.
fn without_lines(mut config: Config) -> Config {
    config.peers.iter_mut().for_each(|peer| peer.line = 0);
    config
}

fn write(config: &Config, out: &mut String) -> fmt::Result {
    let interface = &config.interface;
    out.write_str("[Interface]\n")?;
    match &interface.private_key {
        Some(KeySource::Inline(key)) => writeln!(out, "PrivateKey = {}", Base64(key.bytes()))?,
        Some(KeySource::File(path)) => writeln!(out, "PrivateKeyFile = {}", path.display())?,
        None => {}
    }
    if let Some(port) = interface.listen_port {
        writeln!(out, "ListenPort = {port}")?;
    }
    if let Some(mark) = interface.fwmark {
        writeln!(out, "FwMark = {mark:#x}")?;
    }
    for address in &interface.addresses {
        writeln!(out, "Address = {address}")?;
    }
    for server in &interface.dns_servers {
        writeln!(out, "DNS = {server}")?;
    }
    for domain in &interface.dns_search {
        writeln!(out, "DNS = {domain}")?;
    }
    if let Some(mtu) = interface.mtu {
        writeln!(out, "MTU = {mtu}")?;
    }
    match interface.table {
        Table::Auto => {}
        Table::Off => out.write_str("Table = off\n")?,
        Table::Number(number) => writeln!(out, "Table = {number}")?,
    }
    for (key, commands) in [
        ("PreUp", &interface.pre_up),
        ("PostUp", &interface.post_up),
        ("PreDown", &interface.pre_down),
        ("PostDown", &interface.post_down),
    ] {
        for command in commands {
            writeln!(out, "{key} = {command}")?;
        }
    }
    writeln!(out, "SaveConfig = {}", interface.save_config)?;
    config.peers.iter().try_for_each(|peer| write_peer(peer, out))
}

fn write_peer(peer: &dataplane_gateway::config::PeerConfig, out: &mut String) -> fmt::Result {
    writeln!(out, "[Peer]\nPublicKey = {}", Base64(&peer.public_key.0))?;
    if let Some(key) = &peer.preshared_key {
        writeln!(out, "PresharedKey = {}", Base64(key.bytes()))?;
    }
    match &peer.endpoint {
        Some(Endpoint::Address(address)) => writeln!(out, "Endpoint = {address}")?,
        Some(Endpoint::Name { host, port }) => writeln!(out, "Endpoint = {host}:{port}")?,
        None => {}
    }
    for prefix in &peer.allowed_ips {
        writeln!(out, "AllowedIPs = {prefix}")?;
    }
    if let Some(seconds) = peer.keepalive_s {
        writeln!(out, "PersistentKeepalive = {seconds}")?;
    }
    Ok(())
}
