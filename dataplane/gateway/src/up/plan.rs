//! A file with everything that it names, read and checked before anything is changed.

use std::collections::HashMap;
use std::path::PathBuf;

use super::UpError;
use super::names::{self, Answer};
use super::wanted::has_marked_default;
use crate::config::{Config, Endpoint, Located, load};
use crate::keys::{PublicKey, Secret};
use crate::net::{Firewall, Netlink, ResolverKind};
use crate::uapi::{AllowedIp, DeviceError, PeerRequest, SetRequest};

/// The first mark, and table, that is tried for default routes; as wg-quick has it.
const MARK_FIRST: u32 = 51820;

/// A file that nothing is wrong with.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) interface: String,
    /// The file, absolute.
    pub(super) path: PathBuf,
    pub(super) config: Config,
    pub(super) private_key: Option<Secret>,
    preshared_keys: HashMap<PublicKey, Secret>,
    /// Who is told of resolvers, where the file names any.
    pub(super) resolver: Option<ResolverKind>,
}

impl Plan {
    /// Reads the file and those of its keys, and makes sure that what it asks for can be had here.
    pub(super) fn read(located: &Located) -> Result<Self, UpError> {
        let path = std::path::absolute(&located.path)
            .map_err(UpError::system("cannot make the path of the file absolute"))?;
        let config = load(&located.path)?;
        let private_key = config.private_key(&path).map_err(UpError::Refused)?;
        let mut preshared_keys = HashMap::new();
        for peer in &config.peers {
            if let Some(source) = &peer.preshared_key {
                preshared_keys.insert(peer.public_key, source.read(&path).map_err(UpError::Refused)?);
            }
        }
        let mut plan = Self {
            interface: located.interface.clone(),
            path,
            config,
            private_key,
            preshared_keys,
            resolver: ResolverKind::find(),
        };
        plan.check_system()?;
        Ok(plan)
    }

    fn check_system(&mut self) -> Result<(), UpError> {
        let own = self.private_key.as_ref().map(Secret::public);
        // Only a key in a file of its own is news here.
        if let Some(peer) = self.config.peers.iter().find(|peer| Some(peer.public_key) == own) {
            return Err(UpError::Refused(format!(
                "{}:{}: this PublicKey is that of the interface itself: use the one of the other side",
                self.path.display(),
                peer.line
            )));
        }
        let interface = &self.config.interface;
        if interface.dns_servers.is_empty() {
            self.resolver = None;
        } else if self.resolver.is_none() {
            return Err(self.refused(
                "DNS",
                "there is neither resolvconf nor resolvectl to set DNS with: install openresolv or systemd-resolved, \
                 or take DNS out of the file",
            ));
        }
        if has_marked_default(&self.config) && !Firewall::is_possible() {
            let line = self.config.peers.iter().find(|peer| peer.allowed_ips.iter().any(|ip| ip.bits() == 0));
            return Err(UpError::Refused(format!(
                "{}:{}: AllowedIPs has a default route, which must be kept from leaking by nft, and there is no nft: \
                 install nftables, or set Table to off or a number",
                self.path.display(),
                line.map_or(0, |peer| peer.line)
            )));
        }
        let v6 = interface.addresses.iter().any(|address| address.address.is_ipv6());
        if v6 && interface.mtu.is_some_and(|mtu| mtu < 1280) {
            return Err(
                self.refused("MTU", "IPv6 needs 1280 at least: raise it, or take the IPv6 addresses out")
            );
        }
        Ok(())
    }

    /// An error that begins with the line of a key of `[Interface]`.
    fn refused(&self, key: &str, why: &str) -> UpError {
        let line = self.config.lines.get(key).copied().unwrap_or_default();
        UpError::Refused(format!("{}:{line}: {key}: {why}", self.path.display()))
    }

    /// What the interface says about the file, with the line that it is about.
    pub(super) fn device_error(&self, source: DeviceError) -> UpError {
        let key = if matches!(source, DeviceError::PortInUse(_)) { "ListenPort" } else { "" };
        let place = match self.config.lines.get(key) {
            Some(line) => format!("{}:{line}: {key}", self.path.display()),
            None => self.path.display().to_string(),
        };
        UpError::Device { place, source }
    }

    /// The mark of the tunnel's own datagrams: that of the file, else for a default route one whose table is empty,
    /// `current` before all others.
    pub(super) fn mark(&self, netlink: &mut Netlink, current: Option<u32>) -> Result<u32, UpError> {
        match self.config.interface.fwmark {
            Some(mark) if mark != 0 => return Ok(mark),
            _ if !has_marked_default(&self.config) => return Ok(0),
            _ => {}
        }
        if let Some(current) = current {
            return Ok(current);
        }
        let mut mark = MARK_FIRST;
        loop {
            let routes = netlink.routes(mark, None);
            if routes.map_err(UpError::system("cannot list routes"))?.is_empty() {
                return Ok(mark);
            }
            mark += 1;
        }
    }

    /// Looks the names of endpoints up, and tells of those that have no address yet.
    pub(super) fn look_up(&self, names: Vec<String>) -> HashMap<String, Answer> {
        let found = names::look_up_all(names, names::WAIT_MAX);
        for peer in &self.config.peers {
            if let Some(Endpoint::Name { host, port }) = &peer.endpoint
                && let Some(Err(error)) = found.get(&format!("{host}:{port}"))
            {
                let (path, line) = (self.path.display(), peer.line);
                tracing::warn!(
                    "{path}:{line}: Endpoint {host}:{port} has no address ({error}); it is looked up again until it has"
                );
            }
        }
        found
    }

    /// All of the file as one request to an interface that has nothing yet.
    pub(super) fn request(&self, mark: u32, found: &HashMap<String, Answer>) -> SetRequest {
        SetRequest { replace_peers: true, peers: self.peers(found), ..self.request_of_interface(mark) }
    }

    /// The `[Interface]` section as a request.
    pub(super) fn request_of_interface(&self, mark: u32) -> SetRequest {
        SetRequest {
            private_key: self.private_key.clone(),
            listen_port: self.config.interface.listen_port,
            fwmark: Some(mark).filter(|mark| *mark != 0),
            ..SetRequest::default()
        }
    }

    /// Each peer as the file has it.
    pub(super) fn peers(&self, found: &HashMap<String, Answer>) -> Vec<PeerRequest> {
        let request = |peer: &crate::config::PeerConfig| {
            let endpoint = match &peer.endpoint {
                Some(Endpoint::Address(address)) => Some(*address),
                Some(Endpoint::Name { host, port }) => {
                    found.get(&format!("{host}:{port}")).and_then(|answer| answer.as_ref().ok().copied())
                }
                None => None,
            };
            let allowed_ips =
                peer.allowed_ips.iter().map(|prefix| AllowedIp { prefix: *prefix, remove: false }).collect();
            PeerRequest {
                preshared_key: self.preshared_keys.get(&peer.public_key).cloned(),
                endpoint,
                keepalive_s: peer.keepalive_s,
                replace_allowed_ips: true,
                allowed_ips,
                ..PeerRequest::new(peer.public_key)
            }
        };
        self.config.peers.iter().map(request).collect()
    }

    /// The paths on which the tunnel's datagrams will go, by the addresses of its peers.
    pub(super) fn endpoints(peers: &[PeerRequest]) -> Vec<std::net::IpAddr> {
        let mut endpoints: Vec<_> = peers.iter().filter_map(|peer| Some(peer.endpoint?.ip())).collect();
        endpoints.sort();
        endpoints.dedup();
        endpoints
    }
}
