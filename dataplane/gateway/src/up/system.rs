//! Makes steps, and takes them back.

use std::io;

use dataplane_io::netlink::{LinkSettings, Links};

use super::UpError;
use super::wanted::{Guard, Step};
use crate::net::{Dns, Family, Firewall, Netlink, Resolver, ResolverKind, Rule};

/// Lets reverse-path filters ask for the way of a datagram by its mark.
const SRC_VALID_MARK: &str = "/proc/sys/net/ipv4/conf/all/src_valid_mark";

/// The kernel, for one interface.
pub(super) struct System {
    interface: String,
    index: u32,
    netlink: Netlink,
    links: Links,
    resolver: Option<ResolverKind>,
    /// What has been done, to be undone from the back.
    done: Vec<Step>,
}

impl System {
    /// For an interface of this network namespace, which may be gone where only that is left which outlives it.
    pub(super) fn open(interface: &str, resolver: Option<ResolverKind>) -> Result<Self, UpError> {
        let netlink = Netlink::open().map_err(UpError::system("cannot open a netlink socket"))?;
        let mut links = Links::open().map_err(UpError::system("cannot open a netlink socket"))?;
        let index = links.find(interface).map_or(0, |link| link.index);
        Ok(Self { interface: interface.to_owned(), index, netlink, links, resolver, done: Vec::new() })
    }

    /// Makes all steps, or none: those that were made are taken back when one is refused, with all that
    /// [`System::done`] made before.
    pub(super) fn make(&mut self, steps: Vec<Step>) -> Result<(), UpError> {
        for step in steps {
            if let Err(error) = self.step(&step) {
                let mut errors = vec![error];
                errors.extend(self.undo());
                return Err(UpError::of(errors).err().unwrap_or(UpError::Interrupted));
            }
            self.done.push(step);
        }
        Ok(())
    }

    /// Takes back what was made; goes on where something cannot be, and tells.
    pub(super) fn undo(&mut self) -> Vec<UpError> {
        let mut steps: Vec<Step> = std::mem::take(&mut self.done).iter().rev().map(Step::inverse).collect();
        // A rule that others may need goes when it is seen that nobody does.
        steps.sort_by_key(|step| matches!(step, Step::RemoveRule(rule) if is_shared(*rule)));
        steps.iter().filter_map(|step| self.step(step).err()).collect()
    }

    /// Makes each step that can be made, and tells of the others: what is gone already is none of them.
    pub(super) fn make_each(&mut self, steps: &[Step]) -> Vec<UpError> {
        let gone = |error: &UpError| match error {
            UpError::Kernel { source, .. } => {
                matches!(
                    source.raw_os_error(),
                    Some(libc::ENOENT | libc::ESRCH | libc::ENODEV | libc::EADDRNOTAVAIL)
                )
            }
            _ => false,
        };
        steps.iter().filter_map(|step| self.step(step).err()).filter(|error| !gone(error)).collect()
    }

    fn step(&mut self, step: &Step) -> Result<(), UpError> {
        tracing::debug!(?step, "step");
        let (index, interface) = (self.index, &self.interface);
        let refused = |what: String| {
            move |source: io::Error| {
                let hint = hint(step, &source);
                UpError::Kernel { what, source, hint }
            }
        };
        match step {
            Step::AddAddress(address) => self
                .netlink
                .add_address(index, *address)
                .map_err(refused(format!("{interface}: cannot add the address {address}"))),
            Step::RemoveAddress(address) => self
                .netlink
                .remove_address(index, *address)
                .map_err(refused(format!("{interface}: cannot remove the address {address}"))),
            // An interface that is being brought up has had none that was decided.
            Step::Mtu { to: 0, .. } => Ok(()),
            Step::Mtu { to, .. } => {
                let settings = LinkSettings { mtu: Some(*to), up: Some(true), ..LinkSettings::default() };
                self.links
                    .set(index, &settings)
                    .map_err(refused(format!("{interface}: cannot set the MTU to {to} and the link up")))
            }
            Step::Dns { from, to } => self.set_dns(to).inspect_err(|_| {
                // It may have been told half of it.
                let _ = self.set_dns(from);
            }),
            Step::AddRoute(route) => self.netlink.add_route(index, *route).map_err(refused(format!(
                "{interface}: cannot add the route to {} in table {}",
                route.prefix, route.table
            ))),
            Step::RemoveRoute(route) => self.netlink.remove_route(index, *route).map_err(refused(format!(
                "{interface}: cannot remove the route to {} in table {}",
                route.prefix, route.table
            ))),
            Step::AddRule(rule) => match self.netlink.add_rule(*rule) {
                // Another tunnel has made it, and needs it as much.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_shared(*rule) => Ok(()),
                added => added.map_err(refused(format!("cannot add the policy rule {}", describe(*rule)))),
            },
            Step::RemoveRule(rule) => self.remove_rule(*rule),
            Step::Firewall { from, to } => self.guard(from, to),
        }
    }

    /// A rule that several tunnels share goes with the last of them.
    fn remove_rule(&mut self, rule: Rule) -> Result<(), UpError> {
        let what = || format!("cannot remove the policy rule {}", describe(rule));
        let failed = |source| UpError::Kernel { what: what(), source, hint: "" };
        if is_shared(rule) {
            let rules = self.netlink.rules().map_err(failed)?;
            if rules.iter().any(|other| !is_shared(*other) && other.family() == rule.family()) {
                return Ok(());
            }
        }
        self.netlink.remove_rule(rule).map_err(failed)
    }

    fn set_dns(&self, dns: &Dns) -> Result<(), UpError> {
        let Some(kind) = self.resolver else { return Ok(()) };
        if kind == ResolverKind::Resolved && self.index == 0 && dns.servers.is_empty() {
            // systemd-resolved forgets a link with the link.
            return Ok(());
        }
        let resolver = Resolver { kind, interface: &self.interface };
        if dns.servers.is_empty() {
            resolver.unset().map_err(|source| UpError::Program { what: "cannot take DNS back", source })
        } else {
            resolver.set(dns).map_err(|source| UpError::Program { what: "cannot set DNS", source })
        }
    }

    fn guard(&mut self, from: &Guard, to: &Guard) -> Result<(), UpError> {
        let failed = |source| UpError::Program { what: "cannot change the firewall", source };
        for family in &to.families {
            let firewall = Firewall { interface: &self.interface, addresses: &to.addresses, mark: to.mark };
            if let Err(error) = firewall.add(*family) {
                // What this step has done of itself goes with it.
                if from.families.is_empty() {
                    let _ = Firewall::remove(&self.interface, *family);
                }
                return Err(failed(error));
            }
        }
        for family in from.families.iter().filter(|family| !to.families.contains(family)) {
            Firewall::remove(&self.interface, *family).map_err(failed)?;
        }
        if to.families.contains(&Family::V4) {
            // It is for all interfaces, and stays: others may have come to need it.
            std::fs::write(SRC_VALID_MARK, "1")
                .map_err(UpError::system(format!("cannot set {SRC_VALID_MARK}")))?;
        }
        Ok(())
    }
}

/// Whether every tunnel with a default route needs the same rule.
fn is_shared(rule: Rule) -> bool {
    matches!(rule, Rule::MainButDefault(_))
}

fn describe(rule: Rule) -> String {
    let family = if rule.family() == Family::V4 { "IPv4" } else { "IPv6" };
    match rule {
        Rule::Unmarked(_, table) => format!("`not fwmark {table} table {table}` ({family})"),
        Rule::MainButDefault(_) => format!("`table main suppress_prefixlength 0` ({family})"),
    }
}

/// What to do about a refusal, where it is known.
fn hint(step: &Step, error: &io::Error) -> &'static str {
    let v6 = match step {
        Step::AddAddress(address) => address.address.is_ipv6(),
        Step::AddRoute(route) => route.prefix.address().is_ipv6(),
        Step::AddRule(rule) => rule.family() == Family::V6,
        _ => false,
    };
    let disabled = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    if v6 && disabled.map_or(true, |text| text.trim() == "1") {
        return "; IPv6 is disabled here: take it out of the file, or set net.ipv6.conf.all.disable_ipv6=0";
    }
    match (step, error.raw_os_error()) {
        (_, Some(libc::EPERM | libc::EACCES)) => "; run as root, or with CAP_NET_ADMIN",
        (Step::AddRoute(_), Some(libc::EEXIST)) => {
            "; another interface has it: take it out of AllowedIPs, or give Table another number or off"
        }
        (Step::AddAddress(_), Some(libc::EADDRNOTAVAIL | libc::EINVAL)) => {
            "; IPv6 needs an MTU of 1280 at least"
        }
        _ => "",
    }
}
