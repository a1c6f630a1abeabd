//! Resolvers of an interface: by resolvconf(8), or by systemd-resolved, whichever the system has.

use std::net::IpAddr;

use super::{ProgramError, find_program, run_program};

/// Where openresolv's forerunner keeps the order of interfaces: a pattern in it names what comes first.
const INTERFACE_ORDER: &str = "/etc/resolvconf/interface-order";

/// What `DNS` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dns {
    pub(crate) servers: Vec<IpAddr>,
    /// Domains to search.
    pub(crate) search: Vec<String>,
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResolverKind {
    /// `resolvconf`, also where it is a name of systemd-resolved's.
    Resolvconf,
    /// `resolvectl`.
    Resolved,
}

impl ResolverKind {
    /// The first that there is.
    pub(crate) fn find() -> Option<Self> {
        [Self::Resolvconf, Self::Resolved].into_iter().find(|kind| find_program(kind.program()).is_some())
    }

    /// The program's name, by which the choice is also remembered.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Resolvconf => "resolvconf",
            Self::Resolved => "resolvectl",
        }
    }

    /// The kind whose program has this name.
    pub(crate) fn named(program: &str) -> Option<Self> {
        [Self::Resolvconf, Self::Resolved].into_iter().find(|kind| kind.program() == program)
    }
}

/// The resolvers of one interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolver<'a> {
    pub(crate) kind: ResolverKind,
    pub(crate) interface: &'a str,
}

impl Resolver<'_> {
    /// Sets them; they take the place of others.
    pub(crate) fn set(self, dns: &Dns) -> Result<(), ProgramError> {
        let program = self.kind.program();
        match self.kind {
            ResolverKind::Resolvconf => {
                let mut text: String =
                    dns.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
                if !dns.search.is_empty() {
                    text.push_str(&format!("search {}\n", dns.search.join(" ")));
                }
                // Metric 0 and exclusive: no query goes past the tunnel.
                run_program(program, &["-a", &self.entry(), "-m", "0", "-x"], &text)?;
            }
            ResolverKind::Resolved => {
                let servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
                run_program(program, &words("dns", self.interface, &servers), "")?;
                // `~.`: every name is asked of these servers.
                let domains: Vec<String> = dns.search.iter().cloned().chain(["~.".to_owned()]).collect();
                run_program(program, &words("domain", self.interface, &domains), "")?;
            }
        }
        Ok(())
    }

    /// Takes them away. The interface must still be there.
    pub(crate) fn unset(self) -> Result<(), ProgramError> {
        let program = self.kind.program();
        match self.kind {
            ResolverKind::Resolvconf => run_program(program, &["-d", &self.entry(), "-f"], "")?,
            ResolverKind::Resolved => run_program(program, &["revert", self.interface], "")?,
        };
        Ok(())
    }

    /// The name of the entry: on Debian, that of a class of interfaces stands before it.
    fn entry(self) -> String {
        let order = std::fs::read_to_string(INTERFACE_ORDER).unwrap_or_default();
        format!("{}{}", entry_prefix(&order), self.interface)
    }
}

fn words<'a>(command: &'a str, interface: &'a str, values: &'a [String]) -> Vec<&'a str> {
    [command, interface].into_iter().chain(values.iter().map(String::as_str)).collect()
}

/// The first class `NAME*` of an order, with a full stop behind it.
fn entry_prefix(order: &str) -> String {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let mut classes = order.lines().filter_map(|line| line.trim().strip_suffix('*'));
    classes.find(|name| is_name(name)).map_or_else(String::new, |name| format!("{name}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_class_of_the_order_names_the_entry() {
        assert_eq!(entry_prefix("lo.inet*\nlo.dnsmasq\ntun*\ntap*\n"), "tun.");
        assert_eq!(entry_prefix("lo\neth0\n"), "");
        assert_eq!(entry_prefix(""), "");
    }
}
