//! Asks management sockets.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dataplane_io::netlink::Links;

use super::StatusError;
use crate::config::InterfaceAddress;
use crate::net::Netlink;
use crate::uapi::{Client, ClientError, DeviceSnapshot, DeviceStatus};

/// Everything about an interface at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct InterfaceReport {
    pub(crate) name: String,
    /// When it was asked, since 1970.
    pub(crate) time: Duration,
    pub(crate) device: DeviceSnapshot,
    /// `None` where another program than ours is behind the socket.
    pub(crate) status: Option<DeviceStatus>,
    /// `None` where the interface is in another network namespace.
    pub(crate) link: Option<LinkReport>,
    /// The file that `dataplane up` was given.
    pub(crate) config_file: Option<String>,
}

/// What the kernel says of an interface.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkReport {
    pub(crate) up: bool,
    pub(crate) mtu_bytes: u32,
    pub(crate) addresses: Vec<InterfaceAddress>,
}

impl InterfaceReport {
    /// Drops of all workers by reason, the most frequent first.
    pub(crate) fn drops(&self) -> Vec<(String, u64)> {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        let workers = self.status.iter().flat_map(|status| &status.workers);
        for (reason, count) in workers.flat_map(|worker| &worker.drops) {
            *sums.entry(reason).or_default() += count;
        }
        let mut drops: Vec<(String, u64)> =
            sums.into_iter().map(|(r, count)| (r.to_owned(), count)).collect();
        drops.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        drops
    }
}

/// The interfaces that have a socket, by name.
pub(crate) fn interfaces(run_dir: &Path) -> Result<Vec<String>, StatusError> {
    let entries = match std::fs::read_dir(run_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(StatusError::system(format!("cannot list {}", run_dir.display())))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".sock")?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// Asks one interface.
pub(crate) fn collect_one(run_dir: &Path, interface: &str) -> Result<InterfaceReport, StatusError> {
    let socket = run_dir.join(format!("{interface}.sock"));
    let failed = |error: ClientError| match &error {
        ClientError::System(source) => match source.kind() {
            io::ErrorKind::NotFound => {
                StatusError::Unknown { interface: interface.to_owned(), run_dir: run_dir.to_owned() }
            }
            io::ErrorKind::ConnectionRefused => silent(
                interface,
                format!("its process is gone; `dataplane down {interface}` takes back what it may have left"),
                false,
            ),
            io::ErrorKind::PermissionDenied => {
                silent(interface, "only its owner may ask it: run as root".to_owned(), true)
            }
            _ => silent(interface, error.to_string(), false),
        },
        ClientError::Reply(_) => silent(interface, error.to_string(), false),
    };
    let mut client = Client::connect(&socket).map_err(failed)?;
    let device = client.snapshot().map_err(failed)?;
    // Other programs end the connection when they are asked what they have no word for.
    let status = client.status().ok();
    Ok(InterfaceReport {
        name: interface.to_owned(),
        time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        device,
        status,
        link: link(interface),
        config_file: crate::up::config_file(run_dir, interface),
    })
}

fn silent(interface: &str, why: String, forbidden: bool) -> StatusError {
    StatusError::Silent { interface: interface.to_owned(), why, forbidden }
}

fn link(interface: &str) -> Option<LinkReport> {
    let state = Links::open().ok()?.find(interface).ok()?;
    let addresses = Netlink::open().and_then(|mut netlink| netlink.addresses(state.index));
    Some(LinkReport { up: state.up, mtu_bytes: state.mtu, addresses: addresses.unwrap_or_default() })
}
