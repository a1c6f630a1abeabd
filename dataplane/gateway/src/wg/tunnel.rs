//! The interface: an engine with one interface, as its management sees it.

use std::sync::Arc;
use std::time::Duration;

use dataplane::{
    Change, Engine, InnerSide, Interface, InterfaceError, InterfaceHandle, InterfaceSnapshot, PeerChange,
    WorkerStats, Workers,
};
use dataplane_io::socket::{BindError, BindRequest, OffloadConfig, bind_group};
use dataplane_io::tun::TunError;
use dataplane_proto::node::ConfigProblem;

use super::watch::{Removal, Watch};
use super::{EngineOptions, WgError};
use crate::service::Subject;
use crate::uapi::{
    AllowedIp, Device, DeviceError, DeviceSnapshot, DeviceStatus, PeerRequest, PeerSnapshot, SetRequest,
    WorkerStatus,
};

/// The MTU of an interface that this program makes: 1500 less what WireGuard adds over IPv6.
const MTU: u16 = 1420;

/// An interface that carries packets for as long as this lives.
pub(crate) struct Tunnel {
    handle: InterfaceHandle,
    name: String,
    watch: Watch,
    engine: Arc<Engine>,
    /// What the kernel leaves to the reader of the interface.
    tun_offloads: Option<dataplane::Offloads>,
}

impl Tunnel {
    /// Makes the interface `name`, or takes over the one behind the inherited descriptor `tun_fd`. It has neither key nor
    /// peer, and sockets only while its link is up.
    ///
    /// One that was taken over cannot be made anew: the program ends with it, whatever `removal` says.
    pub(crate) fn open(
        name: &str,
        tun_fd: Option<i32>,
        options: &EngineOptions,
        removal: Removal,
    ) -> Result<Self, WgError> {
        let removal = tun_fd.map_or(removal, |_| Removal::Ends);
        let workers = options.workers.map_or(Workers::Auto, |count| Workers::Count(count.into()));
        let interface =
            match tun_fd {
                None => Interface::new(InnerSide::tun(name)).mtu(MTU),
                Some(number) => {
                    let fd = dataplane_io::inherit::inherited(number)
                        .map_err(|source| WgError::Descriptor { variable: "WG_TUN_FD", number, source })?;
                    Interface::new(InnerSide::tun_fd(fd))
                }
            };
        let mut builder = Engine::builder().workers(workers).backend(options.backend.into());
        if let Some(cipher) = &options.cipher {
            builder = builder.cipher(cipher);
        }
        let (engine, events) = builder.start()?;
        let handle = engine.add_interface(interface.down())?;
        let name = handle.device_name().unwrap_or(name).to_owned();
        let watch = Watch::start(&name, &handle, events, removal)?;
        let snapshot = handle.snapshot().and_then(|answer| answer.wait());
        let tun_offloads = snapshot.ok().and_then(Result::ok).map(|snapshot| snapshot.offloads);
        Ok(Self { handle, name, watch, engine: Arc::new(engine), tun_offloads })
    }

    /// The name of the interface, by the kernel's word.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Opens its sockets now that its link is up, so that whatever stands in the way is told to the caller.
    pub(crate) fn listen(&self) -> Result<(), WgError> {
        Ok(self.watch.link_is_up(&self.handle)?)
    }

    /// What is reported of it.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            name: self.name.clone(),
            engine: Arc::downgrade(&self.engine),
            handle: self.handle.clone(),
            health: self.watch.health(),
        }
    }

    /// What looks after the link and tells when it is gone.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl Device for Tunnel {
    fn snapshot(&mut self) -> Result<DeviceSnapshot, DeviceError> {
        let snapshot = self.handle.snapshot().and_then(|answer| answer.wait());
        let snapshot = snapshot.map_err(|_| DeviceError::Gone)?.map_err(device_error)?;
        Ok(device_snapshot(snapshot))
    }

    fn status(&mut self) -> Result<DeviceStatus, DeviceError> {
        let worker = |worker: &WorkerStats| WorkerStatus {
            counters: worker.named().map(|(name, count)| (name.to_owned(), count)).collect(),
            drops: worker.drops.nonzero().map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
        };
        let backend = self.engine.backend();
        Ok(DeviceStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cipher: self.engine.cipher().to_owned(),
            backend: backend.name.to_owned(),
            backend_reason: backend.reason.to_owned(),
            offloads: offloads(self.tun_offloads),
            workers: self.engine.stats().workers().iter().map(worker).collect(),
        })
    }

    fn set(&mut self, request: SetRequest) -> Result<(), DeviceError> {
        let port = request.listen_port;
        let closed = !self.watch.has_sockets();
        if let (Some(port), true) = (port, closed) {
            // The sockets are opened when the link comes up, and then there is nobody left to tell.
            probe(port)?;
        }
        let applied = self.handle.apply(change(request)).and_then(|answer| answer.wait());
        applied.map_err(|_| DeviceError::Gone)?.map_err(device_error)?;
        if port.is_some() && closed {
            self.watch.open_sockets(&self.handle).map_err(device_error)?;
        }
        Ok(())
    }
}

/// Each offload by name.
fn offloads(tun: Option<dataplane::Offloads>) -> Vec<(String, String)> {
    let udp = OffloadConfig::default().offloads();
    let tun = tun.unwrap_or(dataplane::Offloads::none());
    let on = |on| if on { "on" } else { "off" };
    [
        ("udp_gso", udp.gso.to_string()),
        ("udp_gro", udp.gro.to_string()),
        ("tun_tso", on(tun.tso).to_owned()),
        ("tun_uso", on(tun.uso).to_owned()),
    ]
    .map(|(name, state)| (name.to_owned(), state))
    .into()
}

/// Whether a port is free for both families at this moment.
fn probe(port: u16) -> Result<(), DeviceError> {
    let bound = bind_group(&BindRequest { port, workers: 1, ..BindRequest::default() });
    bound.map(drop).map_err(|error| device_error(error.into()))
}

fn change(request: SetRequest) -> Change {
    Change {
        private_key: request.private_key,
        listen_port: request.listen_port,
        mark: request.fwmark,
        replace_peers: request.replace_peers,
        peers: request.peers.into_iter().map(peer_change).collect(),
    }
}

fn peer_change(request: PeerRequest) -> PeerChange {
    let allowed_ip = |ip: AllowedIp| match ip.remove {
        false => dataplane::AllowedIp::Give(ip.prefix),
        true => dataplane::AllowedIp::Take(ip.prefix),
    };
    PeerChange {
        remove: request.remove,
        update_only: request.update_only,
        preshared_key: request.preshared_key,
        endpoint: request.endpoint,
        keepalive: request.keepalive_s.map(|seconds| Duration::from_secs(seconds.into())),
        replace_allowed_ips: request.replace_allowed_ips,
        allowed_ips: request.allowed_ips.into_iter().map(allowed_ip).collect(),
        // The engine fills the interface in.
        ..PeerChange::new(dataplane::InterfaceId::default(), request.public_key)
    }
}

fn device_snapshot(snapshot: InterfaceSnapshot) -> DeviceSnapshot {
    let peer = |peer: dataplane::PeerSnapshot| PeerSnapshot {
        public_key: peer.public_key,
        preshared_key: Some(peer.preshared_key).filter(|key| !key.is_zero()),
        endpoint: peer.endpoint,
        last_handshake: peer.last_handshake,
        rx_bytes: peer.rx_bytes,
        tx_bytes: peer.tx_bytes,
        // No longer interval can be configured.
        keepalive_s: u16::try_from(peer.keepalive.as_secs()).unwrap_or(u16::MAX),
        allowed_ips: peer.allowed_ips,
    };
    DeviceSnapshot {
        private_key: snapshot.device.private_key,
        listen_port: snapshot.listen_port,
        fwmark: snapshot.mark,
        peers: snapshot.device.peers.into_iter().map(peer).collect(),
    }
}

fn device_error(error: InterfaceError) -> DeviceError {
    let text = error.to_string();
    match error {
        InterfaceError::Stopped(_) | InterfaceError::Unknown => DeviceError::Gone,
        InterfaceError::Bind(BindError::PortInUse { .. }) => DeviceError::PortInUse(text),
        InterfaceError::Bind(BindError::Forbidden { .. })
        | InterfaceError::Mark(_)
        | InterfaceError::Tun(TunError::Rights { .. }) => DeviceError::NotPermitted(text),
        InterfaceError::Config(error) => match error.problem {
            ConfigProblem::PeersMax(_) | ConfigProblem::AllowedIpsMax(_) => DeviceError::TooMany(text),
            _ => DeviceError::Invalid(text),
        },
        InterfaceError::Io(source) => DeviceError::System { what: "the kernel refused".into(), source },
        _ => DeviceError::Invalid(text),
    }
}
