//! `SaveConfig`: the file is written anew from what the interface has become.

use std::path::Path;

use dataplane_io::netlink::Links;

use super::UpError;
use super::state::{State, replace};
use crate::config::{Config, Endpoint, KeySource, PeerConfig, emit, load};
use crate::net::Netlink;
use crate::uapi::{Client, DeviceSnapshot};

/// Writes the file that an interface was brought up with, as the interface is now. Nothing happens where it is gone already.
pub(super) fn save(socket: &Path, state: &State, links: &mut Links) -> Result<(), UpError> {
    let interface = socket.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let Ok(link) = links.find(interface) else { return Ok(()) };
    let told = Client::connect(socket).and_then(|mut client| client.snapshot());
    let snapshot = told.map_err(|source| UpError::Client { interface: interface.to_owned(), source })?;
    let addresses = Netlink::open().and_then(|mut netlink| netlink.addresses(link.index));
    let addresses = addresses.map_err(UpError::system("cannot list addresses"))?;
    // What the interface does not know of itself is taken from the file: commands, the table, the name of a key's file.
    let mut config = load(&state.config)?;
    config.interface.addresses = addresses;
    config.interface.mtu = config.interface.mtu.map(|mtu| u16::try_from(link.mtu).unwrap_or(mtu));
    take_over(&mut config, snapshot);
    replace(&state.config, emit(&config).as_bytes())
        .map_err(UpError::system(format!("cannot write {}", state.config.display())))
}

/// Puts what an interface says of itself in the place of what its file said.
fn take_over(config: &mut Config, snapshot: DeviceSnapshot) {
    let interface = &mut config.interface;
    interface.listen_port = Some(snapshot.listen_port).filter(|port| *port != 0);
    // A mark that was only chosen for a default route is chosen again.
    interface.fwmark = interface.fwmark.map(|_| snapshot.fwmark);
    if !matches!(interface.private_key, Some(KeySource::File { .. })) {
        interface.private_key = snapshot.private_key.map(KeySource::Inline);
    }
    let mut before: std::collections::HashMap<_, _> =
        config.peers.drain(..).map(|peer| (peer.public_key, peer)).collect();
    let peer = |peer: crate::uapi::PeerSnapshot| {
        let old = before.remove(&peer.public_key);
        let (mut old_key, mut old_endpoint) = (None, None);
        if let Some(PeerConfig { preshared_key, endpoint, .. }) = old {
            old_key = preshared_key.filter(|key| matches!(key, KeySource::File { .. }));
            // A name still leads there when the address has changed.
            old_endpoint = endpoint.filter(|endpoint| matches!(endpoint, Endpoint::Name { .. }));
        }
        PeerConfig {
            line: 0,
            public_key: peer.public_key,
            preshared_key: peer.preshared_key.map(|key| old_key.unwrap_or(KeySource::Inline(key))),
            endpoint: old_endpoint.or(peer.endpoint.map(Endpoint::Address)),
            allowed_ips: peer.allowed_ips,
            keepalive_s: Some(peer.keepalive_s).filter(|seconds| *seconds != 0),
        }
    };
    config.peers = snapshot.peers.into_iter().map(peer).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::keys::{PublicKey, Secret};
    use crate::uapi::PeerSnapshot;

    #[test]
    fn names_files_and_commands_of_the_old_file_stay_and_the_rest_is_as_the_interface_is() {
        let key = |byte| crate::keys::Base64(&[byte; 32]).to_string();
        let text = format!(
            "[Interface]\nPrivateKeyFile = k\nPostUp = echo\nTable = off\n[Peer]\nPublicKey = {}\nPresharedKeyFile = p\n\
             Endpoint = vpn.example.org:7\n[Peer]\nPublicKey = {}\n",
            key(1),
            key(2)
        );
        let mut config = parse(Path::new("x"), text.as_bytes()).unwrap();
        let snapshot = DeviceSnapshot {
            private_key: Some(Secret::new([9; 32])),
            listen_port: 1234,
            fwmark: 51820,
            peers: vec![
                PeerSnapshot {
                    preshared_key: Some(Secret::new([5; 32])),
                    endpoint: Some("192.0.2.1:7".parse().unwrap()),
                    ..PeerSnapshot::new(PublicKey([1; 32]))
                },
                PeerSnapshot {
                    endpoint: Some("192.0.2.3:7".parse().unwrap()),
                    allowed_ips: vec!["10.0.0.0/8".parse().unwrap()],
                    keepalive_s: 25,
                    ..PeerSnapshot::new(PublicKey([3; 32]))
                },
            ],
        };
        take_over(&mut config, snapshot);
        let expected = format!(
            "[Interface]\nPrivateKeyFile = k\nListenPort = 1234\nTable = off\nPostUp = echo\n\n[Peer]\n\
             PublicKey = {}\nPresharedKeyFile = p\nEndpoint = vpn.example.org:7\n\n[Peer]\nPublicKey = {}\n\
             AllowedIPs = 10.0.0.0/8\nEndpoint = 192.0.2.3:7\nPersistentKeepalive = 25\n",
            key(1),
            key(3)
        );
        assert_eq!(emit(&config).as_str(), expected);
    }
}
