//! Addresses, routes and policy rules by rtnetlink.

use std::io;
use std::net::IpAddr;

use dataplane::IpPrefix;
use dataplane_io::netlink::Links;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::config::InterfaceAddress;

/// The table that everybody's routes are in (RT_TABLE_MAIN).
pub(crate) const TABLE_MAIN: u32 = 254;

/// Stands in the header of a message for a table whose number takes more than a byte (RT_TABLE_COMPAT).
const TABLE_COMPAT: u8 = 252;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn number(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

/// A route to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) prefix: IpPrefix,
    pub(crate) table: u32,
}

/// The two policy rules of a default route through a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// What does not bear the mark of the tunnel's own datagrams looks into this table, whose number is the mark.
    Unmarked(Family, u32),
    /// Before that, everything looks into the main table, where default routes do not count.
    MainButDefault(Family),
}

impl Rule {
    pub(crate) fn family(self) -> Family {
        match self {
            Self::Unmarked(family, _) | Self::MainButDefault(family) => family,
        }
    }

    fn message(self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = self.family().number();
        message.header.action = RuleAction::ToTable;
        match self {
            Self::Unmarked(_, table) => {
                message.header.flags = RuleFlags::Invert;
                message.header.table = header_table(table);
                message.attributes.push(RuleAttribute::FwMark(table));
                message.attributes.push(RuleAttribute::Table(table));
            }
            Self::MainButDefault(_) => {
                message.header.table = TABLE_MAIN as u8;
                message.attributes.push(RuleAttribute::Table(TABLE_MAIN));
                message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
            }
        }
        message
    }

    /// The rule that a message of the kernel tells of, where it is one of these.
    fn read(message: &RuleMessage) -> Option<Self> {
        let family = match message.header.family {
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
            _ => return None,
        };
        let (mut table, mut mark, mut suppressed) = (u32::from(message.header.table), None, None);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Table(number) => table = *number,
                RuleAttribute::FwMark(number) => mark = Some(*number),
                RuleAttribute::SuppressPrefixLen(len) => suppressed = Some(*len),
                _ => {}
            }
        }
        if message.header.flags.contains(RuleFlags::Invert) && mark == Some(table) {
            return Some(Self::Unmarked(family, table));
        }
        (table == TABLE_MAIN && suppressed == Some(0)).then_some(Self::MainButDefault(family))
    }
}

fn header_table(table: u32) -> u8 {
    u8::try_from(table).unwrap_or(TABLE_COMPAT)
}

/// Asks and changes, one request at a time, in the network namespace of the thread that opened it.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Dumps of one table or one interface are filtered by the kernel (Linux 4.20), and again here.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self { socket, sequence: 0 })
    }

    pub(crate) fn add_address(&mut self, index: u32, address: InterfaceAddress) -> io::Result<()> {
        let message = RouteNetlinkMessage::NewAddress(address_message(index, address));
        self.change(message, NLM_F_CREATE | NLM_F_EXCL)
    }

    pub(crate) fn remove_address(&mut self, index: u32, address: InterfaceAddress) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelAddress(address_message(index, address)), 0)
    }

    /// The addresses of an interface, but for those that the kernel has given it (`fe80::/64`).
    pub(crate) fn addresses(&mut self, index: u32) -> io::Result<Vec<InterfaceAddress>> {
        let mut dump = AddressMessage::default();
        dump.header.index = index;
        let mut found = Vec::new();
        self.dump(RouteNetlinkMessage::GetAddress(dump), |message| {
            let RouteNetlinkMessage::NewAddress(message) = message else { return };
            if message.header.index != index {
                return;
            }
            let of = |want: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(want);
            // IPv4: the address is the local one, which the other end's stands beside on a point-to-point link.
            let local = of(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            let other = of(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            });
            let link_local =
                |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            if let Some(address) = local.or(other).filter(|address| !link_local(address)) {
                found.push(InterfaceAddress { address, prefix_len: message.header.prefix_len });
            }
        })?;
        Ok(found)
    }

    pub(crate) fn add_route(&mut self, index: u32, route: Route) -> io::Result<()> {
        let message = RouteNetlinkMessage::NewRoute(route_message(Some(index), route));
        self.change(message, NLM_F_CREATE | NLM_F_EXCL)
    }

    pub(crate) fn remove_route(&mut self, index: u32, route: Route) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelRoute(route_message(Some(index), route)), 0)
    }

    /// The destinations of a table's routes, of one interface or of all.
    pub(crate) fn routes(&mut self, table: u32, index: Option<u32>) -> io::Result<Vec<IpPrefix>> {
        let mut found = Vec::new();
        for family in Family::BOTH {
            let mut dump = RouteMessage::default();
            dump.header.address_family = family.number();
            dump.header.table = header_table(table);
            dump.attributes.push(RouteAttribute::Table(table));
            dump.attributes.extend(index.map(RouteAttribute::Oif));
            let dumped = self.dump(RouteNetlinkMessage::GetRoute(dump), |message| {
                let RouteNetlinkMessage::NewRoute(message) = message else { return };
                let (mut in_table, mut oif, mut address) = (u32::from(message.header.table), None, None);
                for attribute in &message.attributes {
                    match attribute {
                        RouteAttribute::Table(number) => in_table = *number,
                        RouteAttribute::Oif(number) => oif = Some(*number),
                        RouteAttribute::Destination(RouteAddress::Inet(to)) => {
                            address = Some(IpAddr::from(*to))
                        }
                        RouteAttribute::Destination(RouteAddress::Inet6(to)) => {
                            address = Some(IpAddr::from(*to))
                        }
                        _ => {}
                    }
                }
                let any = match family {
                    Family::V4 => IpAddr::from([0; 4]),
                    Family::V6 => IpAddr::from([0; 16]),
                };
                let len = message.header.destination_prefix_length;
                let prefix = IpPrefix::new(address.unwrap_or(any), len);
                if in_table == table && (index.is_none() || index == oif) {
                    found.extend(prefix);
                }
            });
            match dumped {
                // A table that has never had a route of this family.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                other => other?,
            }
        }
        Ok(found)
    }

    /// The MTUs of the ways to these addresses, or of the default route where there is none to ask for.
    pub(crate) fn path_mtus(&mut self, addresses: &[IpAddr]) -> Vec<u32> {
        let mtus: Vec<u32> = addresses.iter().filter_map(|address| self.path_mtu(*address).ok()?).collect();
        if !mtus.is_empty() {
            return mtus;
        }
        // An address that nobody has (RFC 5737) goes where everything else goes.
        self.path_mtu(IpAddr::from([192, 0, 2, 1])).ok().flatten().into_iter().collect()
    }

    /// What the route to an address says of its MTU, or the interface that it leads to.
    fn path_mtu(&mut self, address: IpAddr) -> io::Result<Option<u32>> {
        let mut get = RouteMessage::default();
        get.header.address_family = Family::of(address).number();
        get.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
        get.attributes.push(RouteAttribute::Destination(address.into()));
        let (mut mtu, mut oif) = (None, None);
        self.exchange(RouteNetlinkMessage::GetRoute(get), NLM_F_ACK, &mut |message| {
            let RouteNetlinkMessage::NewRoute(message) = message else { return };
            for attribute in &message.attributes {
                match attribute {
                    RouteAttribute::Oif(index) => oif = Some(*index),
                    RouteAttribute::Metrics(metrics) => {
                        let of = |metric: &RouteMetric| match metric {
                            RouteMetric::Mtu(mtu) => Some(*mtu),
                            _ => None,
                        };
                        mtu = metrics.iter().find_map(of).filter(|mtu| *mtu > 0);
                    }
                    _ => {}
                }
            }
        })?;
        match (mtu, oif) {
            (None, Some(index)) => Ok(Some(Links::open()?.state(index)?.mtu)),
            _ => Ok(mtu),
        }
    }

    pub(crate) fn add_rule(&mut self, rule: Rule) -> io::Result<()> {
        self.change(RouteNetlinkMessage::NewRule(rule.message()), NLM_F_CREATE | NLM_F_EXCL)
    }

    pub(crate) fn remove_rule(&mut self, rule: Rule) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelRule(rule.message()), 0)
    }

    /// Those rules of the kernel that are [`Rule`]s, whoever made them.
    pub(crate) fn rules(&mut self) -> io::Result<Vec<Rule>> {
        let mut found = Vec::new();
        for family in Family::BOTH {
            let mut dump = RuleMessage::default();
            dump.header.family = family.number();
            self.dump(RouteNetlinkMessage::GetRule(dump), |message| {
                if let RouteNetlinkMessage::NewRule(message) = message {
                    found.extend(Rule::read(&message));
                }
            })?;
        }
        Ok(found)
    }

    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.exchange(message, NLM_F_ACK | flags, &mut |_| ())
    }

    fn dump(
        &mut self,
        message: RouteNetlinkMessage,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.exchange(message, NLM_F_DUMP, &mut each)
    }

    /// Sends a request and hands on what comes before its end.
    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        each: &mut dyn FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = match self.socket.recv_from_full() {
                // A signal handler has run: the answer is still to come.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received?,
            };
            let mut rest = answer.as_slice();
            while rest.len() >= HEADER_LEN {
                let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                if len < HEADER_LEN || len > rest.len() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                // What this crate cannot read is nothing that was asked for: a kind of route newer than it.
                if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..len])
                    && message.header.sequence_number == self.sequence
                {
                    match message.payload {
                        NetlinkPayload::Done(done) if done.code == 0 => return Ok(()),
                        NetlinkPayload::Done(done) => return Err(io::Error::from_raw_os_error(-done.code)),
                        NetlinkPayload::Error(error) => {
                            return error
                                .code
                                .map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(-code.get())));
                        }
                        NetlinkPayload::InnerMessage(message) => each(message),
                        _ => {}
                    }
                }
                rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// Bytes of the header of every message (netlink(7), `struct nlmsghdr`).
const HEADER_LEN: usize = 16;

/// As `ip address add` has it: no broadcast address, and IPv6 addresses are tried for collisions where the kernel does that.
fn address_message(index: u32, address: InterfaceAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = Family::of(address.address).number();
    message.header.prefix_len = address.prefix_len;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address.address));
    message.attributes.push(AddressAttribute::Address(address.address));
    message
}

/// As `ip route add PREFIX dev INTERFACE` has it.
fn route_message(index: Option<u32>, route: Route) -> RouteMessage {
    let Route { prefix, table } = route;
    let mut message = RouteMessage::default();
    message.header.address_family = Family::of(prefix.address()).number();
    message.header.destination_prefix_length = prefix.bits();
    message.header.table = header_table(table);
    message.header.protocol = RouteProtocol::Boot;
    message.header.kind = RouteType::Unicast;
    message.header.scope = if prefix.address().is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
    message.attributes.push(RouteAttribute::Destination(prefix.address().into()));
    message.attributes.push(RouteAttribute::Table(table));
    message.attributes.extend(index.map(RouteAttribute::Oif));
    message
}
