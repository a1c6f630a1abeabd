//! Types to text.

use std::fmt::Write;

use zeroize::Zeroizing;

use super::types::{Config, Endpoint, Hook, KeySource, Table};
use crate::keys::Base64;

/// Writes a file that reads as this configuration; comments of the file that it came from are lost.
pub fn emit(config: &Config) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::from("[Interface]\n"));
    let interface = &config.interface;
    let mut put = |key: &str, value: &str| {
        // Formatting into a string does not fail.
        let _ = writeln!(text, "{key} = {value}");
    };
    if let Some(source) = &interface.private_key {
        put_key("PrivateKey", source, &mut put);
    }
    if let Some(port) = interface.listen_port {
        put("ListenPort", &port.to_string());
    }
    match interface.fwmark {
        Some(0) => put("FwMark", "off"),
        Some(mark) => put("FwMark", &format!("{mark:#x}")),
        None => {}
    }
    for address in &interface.addresses {
        put("Address", &address.to_string());
    }
    for server in &interface.dns_servers {
        put("DNS", &server.to_string());
    }
    for domain in &interface.dns_search {
        put("DNS", domain);
    }
    if let Some(mtu) = interface.mtu {
        put("MTU", &mtu.to_string());
    }
    match interface.table {
        Table::Auto => {}
        Table::Off => put("Table", "off"),
        Table::Number(table) => put("Table", &table.to_string()),
    }
    let hooks: [(&str, &[Hook]); 4] = [
        ("PreUp", &interface.pre_up),
        ("PostUp", &interface.post_up),
        ("PreDown", &interface.pre_down),
        ("PostDown", &interface.post_down),
    ];
    for (key, hooks) in hooks {
        for hook in hooks {
            put(key, &hook.command);
        }
    }
    if interface.save_config {
        put("SaveConfig", "true");
    }
    for peer in &config.peers {
        text.push_str("\n[Peer]\n");
        let mut put = |key: &str, value: &str| {
            let _ = writeln!(text, "{key} = {value}");
        };
        put("PublicKey", &Base64(&peer.public_key.0).to_string());
        if let Some(source) = &peer.preshared_key {
            put_key("PresharedKey", source, &mut put);
        }
        // Lines have a greatest length: a prefix takes 43 characters at most.
        for prefixes in peer.allowed_ips.chunks(64) {
            let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
            put("AllowedIPs", &prefixes.join(", "));
        }
        match &peer.endpoint {
            Some(Endpoint::Address(address)) => put("Endpoint", &address.to_string()),
            Some(Endpoint::Name { host, port }) => put("Endpoint", &format!("{host}:{port}")),
            None => {}
        }
        if let Some(seconds) = peer.keepalive_s {
            put("PersistentKeepalive", &seconds.to_string());
        }
    }
    text
}

fn put_key(key: &str, source: &KeySource, put: &mut impl FnMut(&str, &str)) {
    match source {
        KeySource::Inline(secret) => put(key, &Zeroizing::new(Base64(secret.bytes()).to_string())),
        KeySource::File { key, path, .. } => put(key, &path.to_string_lossy()),
    }
}
