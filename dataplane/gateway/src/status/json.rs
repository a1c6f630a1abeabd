//! The report as JSON. Names never change their meaning within a `schema_version`; new ones may come.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::InterfaceReport;
use crate::keys::{Base64, Secret};
use crate::uapi::{PeerSnapshot, WorkerStatus};

/// Counts changes after which a reader of the version before would err.
const SCHEMA_VERSION: u32 = 1;

/// All interfaces.
pub(super) fn document(reports: &[InterfaceReport]) -> Value {
    json!({
        "schema": "dataplane-status",
        "schema_version": SCHEMA_VERSION,
        "interfaces": reports.iter().map(interface).collect::<Vec<_>>(),
    })
}

fn interface(report: &InterfaceReport) -> Value {
    let device = &report.device;
    let public_key = device.private_key.as_ref().map(Secret::public);
    let link = report.link.as_ref();
    let status = report.status.as_ref();
    let offloads = status.map(|status| status.offloads.iter().cloned().collect::<BTreeMap<_, _>>());
    let drops: BTreeMap<String, u64> = report.drops().into_iter().collect();
    json!({
        "name": report.name,
        "time_unix_s": report.time.as_secs(),
        "config_file": report.config_file,
        "public_key": public_key.map(|key| Base64(&key.0).to_string()),
        "listen_port": device.listen_port,
        "fwmark": device.fwmark,
        "link_up": link.map(|link| link.up),
        "mtu_bytes": link.map(|link| link.mtu_bytes),
        "addresses": link.map(|link| link.addresses.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "program": status.map(|status| json!({
            "version": status.version,
            "cipher": status.cipher,
            "backend": status.backend,
            "backend_reason": status.backend_reason,
            "offloads": offloads,
        })),
        "peers": device.peers.iter().map(|one| peer(one, report.time.as_secs())).collect::<Vec<_>>(),
        "workers": status.map(|status| {
            status.workers.iter().enumerate().map(|(number, one)| worker(number, one)).collect::<Vec<_>>()
        }),
        "drops": drops,
    })
}

fn peer(peer: &PeerSnapshot, now_s: u64) -> Value {
    let handshake_s = Some(peer.last_handshake.as_secs()).filter(|seconds| *seconds > 0);
    json!({
        "public_key": Base64(&peer.public_key.0).to_string(),
        "has_preshared_key": peer.preshared_key.is_some(),
        "endpoint": peer.endpoint.map(|endpoint| endpoint.to_string()),
        "path": peer.endpoint.map_or("none", |_| "direct"),
        "allowed_ips": peer.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "latest_handshake_unix_s": handshake_s,
        "latest_handshake_age_s": handshake_s.map(|seconds| now_s.saturating_sub(seconds)),
        "rx_bytes": peer.rx_bytes,
        "tx_bytes": peer.tx_bytes,
        "persistent_keepalive_s": Some(peer.keepalive_s).filter(|seconds| *seconds > 0),
    })
}

fn worker(number: usize, worker: &WorkerStatus) -> Value {
    json!({
        "worker": number,
        "busy_ratio": worker.busy_ratio(),
        "counters": worker.counters.iter().cloned().collect::<BTreeMap<_, _>>(),
        "drops": worker.drops.iter().cloned().collect::<BTreeMap<_, _>>(),
    })
}
