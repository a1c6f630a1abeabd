//! What a file says, as types.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use dataplane::IpPrefix;

use crate::keys::{PublicKey, Secret};

/// An interface and its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The `[Interface]` section.
    pub interface: InterfaceConfig,
    /// The `[Peer]` sections, in order.
    pub peers: Vec<PeerConfig>,
    /// The line on which each key of `[Interface]` stands first, from 1.
    pub lines: BTreeMap<&'static str, usize>,
}

/// The `[Interface]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// `PrivateKey` or `PrivateKeyFile`.
    pub private_key: Option<KeySource>,
    /// `ListenPort`; 0 lets the system choose.
    pub listen_port: Option<u16>,
    /// `FwMark`; 0 for `off`.
    pub fwmark: Option<u32>,
    /// `Address`, each with the prefix that is reached by it.
    pub addresses: Vec<InterfaceAddress>,
    /// The addresses of `DNS`.
    pub dns_servers: Vec<IpAddr>,
    /// The search domains of `DNS`.
    pub dns_search: Vec<String>,
    /// `MTU` in bytes.
    pub mtu: Option<u16>,
    /// `Table`.
    pub table: Table,
    /// `PreUp`.
    pub pre_up: Vec<Hook>,
    /// `PostUp`.
    pub post_up: Vec<Hook>,
    /// `PreDown`.
    pub pre_down: Vec<Hook>,
    /// `PostDown`.
    pub post_down: Vec<Hook>,
    /// `SaveConfig`: the file is written anew when the interface goes down.
    pub save_config: bool,
}

/// A command for the shell; `%i` stands for the name of the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Where it stands, from 1.
    pub line: usize,
    /// The command.
    pub command: String,
}

/// Where a private or pre-shared key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In the file itself.
    Inline(Secret),
    /// In a file of its own.
    File {
        /// The key that names it: `PrivateKeyFile` or `PresharedKeyFile`.
        key: &'static str,
        /// Absolute, or taken from where the configuration lies.
        path: PathBuf,
        /// The line that names it, from 1.
        line: usize,
    },
}

impl KeySource {
    /// The key itself, read from its file where it has one; a relative path is taken from where `config_path` lies.
    ///
    /// # Errors
    /// A text that names the line, the file and what is wrong with it.
    pub fn read(&self, config_path: &Path) -> Result<Secret, String> {
        match self {
            Self::Inline(key) => Ok(key.clone()),
            Self::File { key, path, line } => {
                let path = config_path.parent().unwrap_or(Path::new(".")).join(path);
                super::load::read_key(&path).map_err(|problem| {
                    format!("{}:{line}: {key} {} {problem}", config_path.display(), path.display())
                })
            }
        }
    }
}

/// An address of the interface and the length of the prefix on its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    /// The address, host bits included.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix_len: u8,
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Where routes to allowed IPs go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// Into the main table, and for a default route into one of its own, with rules by mark.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// Into this table.
    Number(u32),
}

/// A `[Peer]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The line of `[Peer]`, from 1.
    pub line: usize,
    /// `PublicKey`.
    pub public_key: PublicKey,
    /// `PresharedKey` or `PresharedKeyFile`.
    pub preshared_key: Option<KeySource>,
    /// `Endpoint`.
    pub endpoint: Option<Endpoint>,
    /// `AllowedIPs`.
    pub allowed_ips: Vec<IpPrefix>,
    /// `PersistentKeepalive` in seconds; 0 for `off`.
    pub keepalive_s: Option<u16>,
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// At an address.
    Address(SocketAddr),
    /// At whatever address this name has when the interface comes up.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Config {
    /// Prefixes of one peer that lie within a prefix of another: the longer one wins, which is allowed and yet often not
    /// meant. Each with the line of its peer, the prefix around it, and the line of that one's peer.
    pub fn nested_allowed_ips(&self) -> Vec<(IpPrefix, usize, IpPrefix, usize)> {
        super::validate::nested(self)
    }

    /// The private key, read from its file where it has one. Where the configuration names none, the credential `private-key` of
    /// a service manager (systemd's `LoadCredential`) is taken, and without that there is none.
    ///
    /// # Errors
    /// As [`KeySource::read`].
    pub fn private_key(&self, config_path: &Path) -> Result<Option<Secret>, String> {
        if let Some(source) = &self.interface.private_key {
            return source.read(config_path).map(Some);
        }
        let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(None) };
        let path = Path::new(&directory).join("private-key");
        if !path.exists() {
            return Ok(None);
        }
        let key = super::load::read_key(&path);
        key.map(Some).map_err(|problem| format!("the credential {} {problem}", path.display()))
    }
}
