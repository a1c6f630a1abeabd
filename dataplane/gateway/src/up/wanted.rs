//! What a file asks of the kernel, and the steps from one such state to another. No system call is made here.

use dataplane::IpPrefix;

use crate::config::{Config, InterfaceAddress, Table};
use crate::net::{Dns, Family, Route, Rule, TABLE_MAIN};

/// Everything beside the interface itself that a file brings about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) addresses: Vec<InterfaceAddress>,
    /// The interface's MTU in bytes; 0 where nothing has been decided.
    pub(crate) mtu: u32,
    pub(crate) dns: Dns,
    /// The most specific first.
    pub(crate) routes: Vec<Route>,
    pub(crate) rules: Vec<Rule>,
    /// Families whose default route needs the firewall's help, with the mark.
    pub(crate) firewall: Option<(u32, Vec<Family>)>,
}

/// One change, which can be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    AddAddress(InterfaceAddress),
    RemoveAddress(InterfaceAddress),
    Mtu {
        from: u32,
        to: u32,
    },
    Dns {
        from: Dns,
        to: Dns,
    },
    AddRoute(Route),
    RemoveRoute(Route),
    AddRule(Rule),
    RemoveRule(Rule),
    /// The tables of the firewall for these addresses, mark and families.
    Firewall {
        from: Guard,
        to: Guard,
    },
}

/// What the firewall is told; no family for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guard {
    pub(crate) addresses: Vec<InterfaceAddress>,
    pub(crate) mark: u32,
    pub(crate) families: Vec<Family>,
}

impl Step {
    /// Whether it makes the interface itself what it should be, before its sockets are opened.
    pub(crate) fn is_of_link(&self) -> bool {
        matches!(self, Self::AddAddress(_) | Self::Mtu { .. })
    }

    /// The change that takes this one back.
    pub(crate) fn inverse(&self) -> Self {
        match self.clone() {
            Self::AddAddress(address) => Self::RemoveAddress(address),
            Self::RemoveAddress(address) => Self::AddAddress(address),
            Self::Mtu { from, to } => Self::Mtu { from: to, to: from },
            Self::Dns { from, to } => Self::Dns { from: to, to: from },
            Self::AddRoute(route) => Self::RemoveRoute(route),
            Self::RemoveRoute(route) => Self::AddRoute(route),
            Self::AddRule(rule) => Self::RemoveRule(rule),
            Self::RemoveRule(rule) => Self::AddRule(rule),
            Self::Firewall { from, to } => Self::Firewall { from: to, to: from },
        }
    }
}

/// Whether a default route of this file goes by a mark, into a table of its own.
pub(crate) fn has_marked_default(config: &Config) -> bool {
    config.interface.table == Table::Auto
        && config.peers.iter().flat_map(|peer| &peer.allowed_ips).any(|prefix| prefix.bits() == 0)
}

impl Wanted {
    /// What a file asks for. `mark` is that of the tunnel's datagrams, and the number of the table for default routes.
    pub(crate) fn of(config: &Config, mark: u32, mtu: u32) -> Self {
        let interface = &config.interface;
        let mut addresses: Vec<InterfaceAddress> = Vec::new();
        for address in &interface.addresses {
            // Twice says the same thing twice.
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        let mut wanted = Self {
            addresses,
            mtu,
            dns: Dns { servers: interface.dns_servers.clone(), search: interface.dns_search.clone() },
            ..Self::default()
        };
        // A domain to search says nothing without a server that knows it.
        if wanted.dns.servers.is_empty() {
            wanted.dns = Dns::default();
        }
        let mut prefixes: Vec<IpPrefix> =
            config.peers.iter().flat_map(|peer| &peer.allowed_ips).copied().collect();
        prefixes.sort_by_key(|prefix| (std::cmp::Reverse(prefix.bits()), *prefix));
        prefixes.dedup();
        let mut families = Vec::new();
        for prefix in prefixes {
            let family = Family::of(prefix.address());
            match interface.table {
                Table::Off => {}
                Table::Number(table) => wanted.routes.push(Route { prefix, table }),
                Table::Auto if prefix.bits() == 0 => {
                    wanted.routes.push(Route { prefix, table: mark });
                    wanted.rules.extend([Rule::Unmarked(family, mark), Rule::MainButDefault(family)]);
                    families.push(family);
                }
                // The kernel has a route already by the address.
                Table::Auto if wanted.addresses.iter().any(|address| reaches(*address, prefix)) => {}
                Table::Auto => wanted.routes.push(Route { prefix, table: TABLE_MAIN }),
            }
        }
        wanted.firewall = (!families.is_empty()).then_some((mark, families));
        wanted
    }

    fn guard(&self) -> Guard {
        match &self.firewall {
            None => Guard::default(),
            Some((mark, families)) => {
                Guard { addresses: self.addresses.clone(), mark: *mark, families: families.clone() }
            }
        }
    }

    /// The steps from this state to another: what is new comes before what goes, so that no packet is without a way
    /// meanwhile.
    pub(crate) fn steps_to(&self, next: &Self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        steps.extend(added(&self.addresses, &next.addresses).map(Step::AddAddress));
        if self.mtu != next.mtu {
            steps.push(Step::Mtu { from: self.mtu, to: next.mtu });
        }
        if self.dns != next.dns {
            steps.push(Step::Dns { from: self.dns.clone(), to: next.dns.clone() });
        }
        steps.extend(added(&self.routes, &next.routes).map(Step::AddRoute));
        steps.extend(added(&self.rules, &next.rules).map(Step::AddRule));
        let (from, to) = (self.guard(), next.guard());
        if from != to && (!from.families.is_empty() || !to.families.is_empty()) {
            steps.push(Step::Firewall { from, to });
        }
        steps.extend(added(&next.rules, &self.rules).map(Step::RemoveRule));
        steps.extend(added(&next.routes, &self.routes).map(Step::RemoveRoute));
        steps.extend(added(&next.addresses, &self.addresses).map(Step::RemoveAddress));
        steps
    }

    /// What outlives the interface, and so has to be taken back by hand.
    pub(crate) fn without_device(&self) -> Self {
        Self { addresses: Vec::new(), routes: Vec::new(), mtu: 0, ..self.clone() }
    }
}

/// What is in `after` and not in `before`, in its order.
fn added<'a, T: Copy + Ord>(before: &[T], after: &'a [T]) -> impl Iterator<Item = T> + 'a {
    let before: std::collections::BTreeSet<T> = before.iter().copied().collect();
    after.iter().copied().filter(move |item| !before.contains(item))
}

/// Whether the kernel has a route to all of `prefix` by an address on the same interface. An IPv4 address alone makes none.
fn reaches(address: InterfaceAddress, prefix: IpPrefix) -> bool {
    let shorter = address.prefix_len <= prefix.bits();
    let alone = address.address.is_ipv4() && address.prefix_len == 32;
    let network = IpPrefix::new(address.address, address.prefix_len);
    shorter && !alone && network.is_some_and(|network| network.contains(prefix.address()))
}

/// What the outer header, UDP and WireGuard add to a packet: 40, 8 and 32 bytes, of which IPv4 takes 20 less.
const OVERHEAD_MAX: u32 = 80;

/// The MTU of a tunnel whose datagrams take paths of these MTUs: the largest counts, as wg-quick has it.
pub(crate) fn tunnel_mtu(paths: impl IntoIterator<Item = u32>) -> u32 {
    let path = paths.into_iter().max().unwrap_or(1500);
    path.saturating_sub(OVERHEAD_MAX).clamp(576, 65_535)
}
