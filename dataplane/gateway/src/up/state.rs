//! What is remembered of an interface beside it, in `INTERFACE.state.json` of the run directory: what has to be undone,
//! whoever undoes it and whatever became of the process. It holds no key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use serde_json::{Value, json};

use super::UpError;
use super::wanted::Wanted;
use crate::config::{Hook, InterfaceAddress};
use crate::net::{Dns, Family, ResolverKind, Route, Rule};

/// Told apart from what a later version may write.
const VERSION: u64 = 1;

/// How long another command for the same interface is waited for.
const LOCK_TIME_MAX: Duration = Duration::from_secs(10);

/// An endpoint as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// `HOST:PORT`.
    pub(super) endpoint: String,
    /// The line of its `[Peer]`.
    pub(super) line: usize,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The file, absolute.
    pub(super) config: PathBuf,
    /// The network namespace that it is in, as [`network_namespace`] names it.
    pub(super) namespace: String,
    pub(super) wanted: Wanted,
    pub(super) resolver: Option<ResolverKind>,
    pub(super) pre_down: Vec<Hook>,
    pub(super) post_down: Vec<Hook>,
    pub(super) save_config: bool,
    /// Endpoints by public key in base64.
    pub(super) endpoints: BTreeMap<String, Written>,
}

/// What names the network namespace of this process; empty where the system does not tell.
pub(super) fn network_namespace() -> String {
    std::fs::read_link("/proc/self/ns/net")
        .map_or_else(|_| String::new(), |link| link.to_string_lossy().into_owned())
}

/// Where it is.
pub(super) fn path(run_dir: &Path, interface: &str) -> PathBuf {
    run_dir.join(format!("{interface}.state.json"))
}

impl State {
    /// Reads it; `None` where there is none.
    pub(super) fn load(run_dir: &Path, interface: &str) -> Result<Option<Self>, UpError> {
        let path = path(run_dir, interface);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(UpError::system(format!("cannot read {}", path.display())))?,
        };
        let value: Option<Value> = serde_json::from_slice(&text).ok();
        let state = value.as_ref().and_then(read_state);
        let foreign = || {
            UpError::Refused(format!(
                "{}: expected what this version of dataplane writes: take the interface down with the version that \
                 brought it up, or remove the file",
                path.display()
            ))
        };
        state.map(Some).ok_or_else(foreign)
    }

    /// Writes it in the place of what was there.
    pub(super) fn store(&self, run_dir: &Path, interface: &str) -> Result<(), UpError> {
        let path = path(run_dir, interface);
        let text = format!("{:#}\n", self.to_json());
        replace(&path, text.as_bytes()).map_err(UpError::system(format!("cannot write {}", path.display())))
    }

    /// Refuses an interface of another network namespace: what has its name here is something else.
    pub(super) fn must_be_here(&self, interface: &str) -> Result<(), UpError> {
        if self.namespace == network_namespace() {
            return Ok(());
        }
        Err(UpError::Refused(format!(
            "{interface} is in another network namespace than this command: run it there (`ip netns exec NAME \
             dataplane ...`), or name the run directory of this one by --run-dir"
        )))
    }

    /// Forgets it.
    pub(super) fn remove(run_dir: &Path, interface: &str) -> Result<(), UpError> {
        let path = path(run_dir, interface);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(UpError::system(format!("cannot remove {}", path.display()))),
        }
    }

    fn to_json(&self) -> Value {
        let wanted = &self.wanted;
        let hooks = |hooks: &[Hook]| -> Vec<Value> {
            hooks.iter().map(|hook| json!({"line": hook.line, "command": hook.command})).collect()
        };
        let route = |route: &Route| json!({"prefix": route.prefix.to_string(), "table": route.table});
        let rule = |rule: &Rule| match rule {
            Rule::Unmarked(family, table) => json!({"family": number(*family), "unmarked_to_table": table}),
            Rule::MainButDefault(family) => json!({"family": number(*family)}),
        };
        let endpoints: BTreeMap<&String, Value> = self
            .endpoints
            .iter()
            .map(|(key, written)| (key, json!({"endpoint": written.endpoint, "line": written.line})))
            .collect();
        json!({
            "version": VERSION,
            "config": self.config.to_string_lossy(),
            "network_namespace": self.namespace,
            "addresses": wanted.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "mtu_bytes": wanted.mtu,
            "resolver": self.resolver.map(ResolverKind::program),
            "dns_servers": wanted.dns.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "dns_search": wanted.dns.search,
            "routes": wanted.routes.iter().map(route).collect::<Vec<_>>(),
            "rules": wanted.rules.iter().map(rule).collect::<Vec<_>>(),
            "firewall": wanted.firewall.as_ref().map(|(mark, families)| {
                json!({"mark": mark, "families": families.iter().map(|family| number(*family)).collect::<Vec<_>>()})
            }),
            "pre_down": hooks(&self.pre_down),
            "post_down": hooks(&self.post_down),
            "save_config": self.save_config,
            "endpoints": endpoints,
        })
    }
}

fn number(family: Family) -> u32 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

fn read_family(value: &Value) -> Option<Family> {
    Family::BOTH.into_iter().find(|family| value.as_u64() == Some(number(*family).into()))
}

fn read_list<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(read).collect()
}

fn read_u32(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

fn read_state(value: &Value) -> Option<State> {
    if value["version"].as_u64() != Some(VERSION) {
        return None;
    }
    let text = |value: &Value| Some(value.as_str()?.to_owned());
    let hook = |value: &Value| {
        Some(Hook { line: value["line"].as_u64()? as usize, command: text(&value["command"])? })
    };
    let route = |value: &Value| {
        Some(Route { prefix: value["prefix"].as_str()?.parse().ok()?, table: read_u32(&value["table"])? })
    };
    let rule = |value: &Value| {
        let family = read_family(&value["family"])?;
        Some(match &value["unmarked_to_table"] {
            Value::Null => Rule::MainButDefault(family),
            table => Rule::Unmarked(family, read_u32(table)?),
        })
    };
    let firewall = match &value["firewall"] {
        Value::Null => None,
        firewall => Some((read_u32(&firewall["mark"])?, read_list(&firewall["families"], read_family)?)),
    };
    let written = |(key, value): (&String, &Value)| {
        let written = Written { endpoint: text(&value["endpoint"])?, line: value["line"].as_u64()? as usize };
        Some((key.clone(), written))
    };
    Some(State {
        config: text(&value["config"])?.into(),
        namespace: text(&value["network_namespace"])?,
        wanted: Wanted {
            addresses: read_list(&value["addresses"], |value| read_address(value.as_str()?))?,
            mtu: read_u32(&value["mtu_bytes"])?,
            dns: Dns {
                servers: read_list(&value["dns_servers"], |value| value.as_str()?.parse().ok())?,
                search: read_list(&value["dns_search"], text)?,
            },
            routes: read_list(&value["routes"], route)?,
            rules: read_list(&value["rules"], rule)?,
            firewall,
        },
        resolver: value["resolver"].as_str().and_then(ResolverKind::named),
        pre_down: read_list(&value["pre_down"], hook)?,
        post_down: read_list(&value["post_down"], hook)?,
        save_config: value["save_config"].as_bool()?,
        endpoints: value["endpoints"].as_object()?.iter().map(written).collect::<Option<_>>()?,
    })
}

fn read_address(text: &str) -> Option<InterfaceAddress> {
    let (address, len) = text.split_once('/')?;
    Some(InterfaceAddress { address: address.parse().ok()?, prefix_len: len.parse().ok()? })
}

/// Writes a file in the place of another: a reader finds the old one or the new one, whatever happens meanwhile.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let replaced = written.and_then(|()| std::fs::rename(&temporary, path));
    if replaced.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    replaced
}

/// The right to change an interface: one command at a time has it. Given back when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits for the right, for ten seconds at most.
    pub(super) fn take(run_dir: &Path, interface: &str) -> Result<Self, UpError> {
        let deadline = Instant::now() + LOCK_TIME_MAX;
        loop {
            if let Some(lock) = Self::attempt(run_dir, interface)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(UpError::InUse(format!(
                    "{interface}: another command is changing it, and was not done within {} s; wait for it",
                    LOCK_TIME_MAX.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The right, unless somebody has it.
    pub(super) fn attempt(run_dir: &Path, interface: &str) -> Result<Option<Self>, UpError> {
        let path = run_dir.join(format!("{interface}.lock"));
        let failed = |source| UpError::System { what: format!("cannot lock {}", path.display()), source };
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            locked => locked.map_err(|error| failed(error.into()))?,
        }
        // Whoever had it before has removed the file with it: then this one is nobody's.
        let mine = file.metadata().map_err(failed)?;
        let there = std::fs::metadata(&path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (mine.dev(), mine.ino()));
        Ok(there.then_some(Self { path, _file: file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Nobody is left to be told; an empty file that stays does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("dataplane-state-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn what_is_stored_is_loaded_and_what_is_not_understood_is_refused() {
        let folder = folder("round");
        assert_eq!(State::load(&folder, "wg0").unwrap(), None);
        let hook = |line, command: &str| Hook { line, command: command.into() };
        let state = State {
            config: "/etc/wireguard/wg0.conf".into(),
            namespace: network_namespace(),
            wanted: Wanted {
                addresses: vec![read_address("10.0.0.1/24").unwrap(), read_address("fd00::1/64").unwrap()],
                mtu: 1420,
                dns: Dns { servers: vec!["9.9.9.9".parse().unwrap()], search: vec!["example.org".into()] },
                routes: vec![Route { prefix: "0.0.0.0/0".parse().unwrap(), table: 51820 }],
                rules: vec![Rule::Unmarked(Family::V4, 51820), Rule::MainButDefault(Family::V6)],
                firewall: Some((51820, vec![Family::V4])),
            },
            resolver: Some(ResolverKind::Resolved),
            pre_down: vec![hook(3, "echo \"%i\"")],
            post_down: vec![hook(4, "true"), hook(5, "false")],
            save_config: true,
            endpoints: [("key".to_owned(), Written { endpoint: "vpn.example.org:7".into(), line: 9 })].into(),
        };
        state.store(&folder, "wg0").unwrap();
        assert_eq!(State::load(&folder, "wg0").unwrap(), Some(state.clone()));
        let text = std::fs::read_to_string(path(&folder, "wg0")).unwrap();
        std::fs::write(path(&folder, "wg0"), text.replace("\"version\": 1", "\"version\": 2")).unwrap();
        let error = State::load(&folder, "wg0").unwrap_err().to_string();
        assert!(error.contains("wg0.state.json: expected what this version"), "{error}");
        State::remove(&folder, "wg0").unwrap();
        State::remove(&folder, "wg0").unwrap();
        std::fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn only_one_has_the_right_to_change_an_interface() {
        let folder = folder("lock");
        let lock = Lock::attempt(&folder, "wg0").unwrap().unwrap();
        assert!(Lock::attempt(&folder, "wg0").unwrap().is_none());
        assert!(Lock::attempt(&folder, "wg1").unwrap().is_some());
        drop(lock);
        assert!(Lock::take(&folder, "wg0").is_ok());
        std::fs::remove_dir(&folder).unwrap();
    }
}
