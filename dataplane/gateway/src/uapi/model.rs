//! An interface in memory: the plainest thing that does what requests ask.

use std::collections::BTreeMap;

use super::device::{Device, DeviceError};
use super::status::DeviceStatus;
use super::types::{DeviceSnapshot, PeerRequest, PeerSnapshot, SetRequest};
use crate::keys::{PublicKey, Secret};

/// The interface, and a port that it does not get.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) state: DeviceSnapshot,
    pub(super) port_in_use: Option<u16>,
}

impl Device for Model {
    fn snapshot(&mut self) -> Result<DeviceSnapshot, DeviceError> {
        Ok(self.state.clone())
    }

    fn status(&mut self) -> Result<DeviceStatus, DeviceError> {
        Ok(DeviceStatus { version: "model".into(), ..DeviceStatus::default() })
    }

    fn set(&mut self, request: SetRequest) -> Result<(), DeviceError> {
        if let Some(port) = request.listen_port.filter(|port| Some(*port) == self.port_in_use) {
            return Err(DeviceError::PortInUse(format!("port {port} is in use")));
        }
        let state = &mut self.state;
        if let Some(key) = request.private_key {
            state.private_key = Some(key).filter(|key| !key.is_zero());
        }
        state.listen_port = request.listen_port.unwrap_or(state.listen_port);
        state.fwmark = request.fwmark.unwrap_or(state.fwmark);
        let mut peers: BTreeMap<PublicKey, PeerSnapshot> =
            state.peers.drain(..).map(|peer| (peer.public_key, peer)).collect();
        if request.replace_peers {
            peers.clear();
        }
        for change in request.peers {
            change_peer(&mut peers, change);
        }
        state.peers = peers.into_values().collect();
        Ok(())
    }
}

fn change_peer(peers: &mut BTreeMap<PublicKey, PeerSnapshot>, change: PeerRequest) {
    let key = change.public_key;
    if change.remove {
        peers.remove(&key);
        return;
    }
    if change.update_only && !peers.contains_key(&key) {
        return;
    }
    let peer = peers.entry(key).or_insert_with(|| PeerSnapshot::new(key));
    if let Some(psk) = change.preshared_key {
        peer.preshared_key = Some(psk).filter(|psk: &Secret| !psk.is_zero());
    }
    peer.endpoint = change.endpoint.or(peer.endpoint);
    peer.keepalive_s = change.keepalive_s.unwrap_or(peer.keepalive_s);
    if change.replace_allowed_ips {
        peer.allowed_ips.clear();
    }
    for ip in change.allowed_ips {
        if ip.remove {
            peers.entry(key).and_modify(|peer| peer.allowed_ips.retain(|prefix| *prefix != ip.prefix));
            continue;
        }
        // A prefix has one owner (WG-60).
        for peer in peers.values_mut() {
            peer.allowed_ips.retain(|prefix| *prefix != ip.prefix);
        }
        peers.entry(key).and_modify(|peer| peer.allowed_ips.push(ip.prefix));
    }
}
