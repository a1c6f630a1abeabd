//! A gateway of the demo: a real `dataplane-wg` process with a real TUN interface, in a network of its own.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::DemoError;
use super::sandbox::{Networks, Side, ip, own_path};
use crate::keys::{PublicKey, Secret, random_private_key};
use crate::uapi::{AllowedIp, Client, ClientError, DeviceStatus, PeerRequest, PeerSnapshot, SetRequest};

/// The port of both gateways.
const PORT: u16 = 51820;
/// How long a gateway may take to start.
const START_TIME_MAX: Duration = Duration::from_secs(15);
/// Where the sockets are, in the /run of the demo alone.
const SOCKETS: &str = "/run/demo";

/// A running gateway. Killed when dropped.
pub(super) struct Gateway {
    pub(super) side: Side,
    process: Child,
    client: Client,
    key: Secret,
}

impl Side {
    fn interface(self) -> &'static str {
        match self {
            Self::Left => "wg-left",
            Self::Right => "wg-right",
        }
    }

    /// The address of its cable to the router.
    fn outer(self) -> Ipv4Addr {
        match self {
            Self::Left => Ipv4Addr::new(10, 77, 1, 2),
            Self::Right => Ipv4Addr::new(10, 77, 2, 2),
        }
    }

    /// Its address inside of the tunnel.
    pub(super) fn inner(self) -> Ipv4Addr {
        match self {
            Self::Left => Ipv4Addr::new(10, 78, 0, 1),
            Self::Right => Ipv4Addr::new(10, 78, 0, 2),
        }
    }
}

/// The program of a gateway, which lies beside this one.
fn program() -> Result<PathBuf, DemoError> {
    Ok(own_path()?.with_file_name("dataplane-wg"))
}

impl Gateway {
    /// Starts a gateway and waits until it is managed.
    pub(super) fn start(networks: &Networks, side: Side) -> Result<Self, DemoError> {
        let program = program()?;
        let mut command = Command::new(&program);
        command
            .args(["--foreground", "--socket-directory", SOCKETS, side.interface()])
            .env("LOG_LEVEL", "error")
            .env_remove("WG_TUN_FD")
            .env_remove("WG_UAPI_FD")
            // An interrupt from the terminal is for the demo, which ends its gateways by itself.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut process = networks.within(side, || command.spawn()).map_err(|source| DemoError::Program {
            program: program.display().to_string(),
            source,
            remedy: "build it with `cargo build --release -p dataplane-gateway`",
        })?;
        let socket = Path::new(SOCKETS).join(format!("{}.sock", side.interface()));
        let client = match connect(&socket, &mut process) {
            Ok(client) => client,
            Err(error) => {
                end(&mut process);
                return Err(error);
            }
        };
        let key = match random_private_key() {
            Ok(key) => key,
            Err(source) => {
                end(&mut process);
                return Err(DemoError::System { what: "cannot get randomness", source });
            }
        };
        Ok(Self { side, process, client, key })
    }

    /// The key by which the other gateway knows it.
    pub(super) fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    /// Tells it of itself and of the other gateway.
    pub(super) fn configure(&mut self, other: PublicKey, other_side: Side) -> Result<(), DemoError> {
        let prefix = dataplane::IpPrefix::new(other_side.inner().into(), 32);
        let allowed_ips = prefix.into_iter().map(|prefix| AllowedIp { prefix, remove: false }).collect();
        let endpoint = Some((other_side.outer(), PORT).into());
        let peer = PeerRequest { endpoint, allowed_ips, ..PeerRequest::new(other) };
        let request = SetRequest {
            private_key: Some(self.key.clone()),
            listen_port: Some(PORT),
            peers: vec![peer],
            ..SetRequest::default()
        };
        self.client.set(&request).map_err(|error| refused(self.side, &error))?;
        let (interface, inner) = (self.side.interface(), self.side.inner());
        ip(
            &["-n", self.side.name()],
            &format!(
                // Without addresses of its own making, which would send packets that nobody here has a route for.
                "link set {interface} addrgenmode none\naddr add {inner}/24 dev {interface}\nlink set {interface} up\n"
            ),
        )
    }

    /// What it counts.
    pub(super) fn status(&mut self) -> Result<DeviceStatus, DemoError> {
        self.client.status().map_err(|error| refused(self.side, &error))
    }

    /// What it knows of the other gateway.
    pub(super) fn peer(&mut self) -> Result<PeerSnapshot, DemoError> {
        let snapshot = self.client.snapshot().map_err(|error| refused(self.side, &error))?;
        let none = || DemoError::Gateway(format!("the {} gateway has lost its peer", self.side.name()));
        snapshot.peers.into_iter().next().ok_or_else(none)
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

fn refused(side: Side, error: &ClientError) -> DemoError {
    DemoError::Gateway(format!("the {} gateway: {error}", side.name()))
}

fn connect(socket: &Path, process: &mut Child) -> Result<Client, DemoError> {
    let deadline = Instant::now() + START_TIME_MAX;
    loop {
        if let Ok(client) = Client::connect(socket) {
            return Ok(client);
        }
        if let Ok(Some(status)) = process.try_wait() {
            // It has said why on standard error.
            return Err(DemoError::Gateway(format!("a gateway did not start ({status})")));
        }
        if Instant::now() > deadline {
            let what = "the start of a gateway".to_owned();
            return Err(DemoError::Late { what, seconds: START_TIME_MAX.as_secs() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
