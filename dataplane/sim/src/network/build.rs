//! Setting up a world, and what its hosts are told to send.

use core::hash::Hasher;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use dataplane_wire::offload::VnetHeader;

use super::{Child, Failure, HostId, Link, Network, Router, RouterId};
use crate::host::{Address, Host, MTU, Offer, Peer};
use crate::link::{Conditions, Direction};
use crate::mutation::Mutation;
use crate::nat::{Behaviour, Nat};
use crate::packet::{NOBODY, Shape, headers_len, len_min, super_packet};
use crate::trace::What;

/// Packets that an inner side is handed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The flow: its packets keep their order.
    pub flow: u16,
    /// Bytes of each IP packet, from the shortest that can be told up to the MTU.
    pub len: u16,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// The two bits of ECN.
    pub ecn: u8,
    /// Segments of one super-packet; 1 for a plain packet.
    pub segments: u16,
    /// Claims another host's inner address as its source.
    pub spoofed_as: Option<HostId>,
}

impl Default for Packet {
    fn default() -> Self {
        Self { flow: 1, len: 100, v6: false, ecn: 0, segments: 1, spoofed_as: None }
    }
}

impl Network {
    /// A host with one core on the open network.
    pub fn host(&mut self, name: &str) -> HostId {
        self.host_with(name, 1, None)
    }

    /// A host with one core behind a router.
    pub fn host_behind(&mut self, name: &str, router: RouterId) -> HostId {
        self.host_with(name, 1, Some(router))
    }

    /// A host with so many cores, on the open network or behind a router. It is switched on.
    pub fn host_with(&mut self, name: &str, cores: u8, router: Option<RouterId>) -> HostId {
        let number = self.hosts.len() as u8;
        self.trace.name(name);
        self.ledger.name(name);
        self.hosts.push(Host::new(name, number, cores.max(1)));
        let id = HostId(number);
        self.address(id, router);
        let seed = self.random.seed();
        self.hosts[usize::from(number)].boot(self.now, seed);
        id
    }

    /// Another address of a host, on the open network or behind a router. It is used where none before it can be.
    pub fn address(&mut self, host: HostId, router: Option<RouterId>) -> IpAddr {
        let count = self.hosts[usize::from(host.0)].addresses.len() as u8;
        let ip = match router {
            Some(RouterId(router)) => Ipv4Addr::new(192, 168, router as u8, host.0 + 1 + count * 64),
            None => Ipv4Addr::new(203, 0, 113 + count, host.0 + 1),
        };
        self.attach(host, router, ip.into())
    }

    /// An IPv6 address of a host on the open network.
    pub fn address_v6(&mut self, host: HostId) -> IpAddr {
        self.attach(host, None, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host.0) + 1).into())
    }

    fn attach(&mut self, host: HostId, router: Option<RouterId>, ip: IpAddr) -> IpAddr {
        let router = router.map(|RouterId(router)| router);
        let link = self.link(Child::Host(host.0), router);
        self.places.insert((router, ip), link);
        self.hosts[usize::from(host.0)].addresses.push(Address { ip, router, link, up: true });
        ip
    }

    fn link(&mut self, child: Child, parent: Option<usize>) -> usize {
        let direction = Direction::new(Conditions::default());
        self.links.push(Link { child, parent, up: direction, down: direction, side: 0 });
        self.links.len() - 1
    }

    /// A router with a NAT on the open network.
    pub fn router(&mut self, behaviour: Behaviour) -> RouterId {
        self.router_behind(behaviour, None)
    }

    /// A router with a NAT, behind another one where such is named.
    pub fn router_behind(&mut self, behaviour: Behaviour, parent: Option<RouterId>) -> RouterId {
        let number = self.routers.len();
        let parent = parent.map(|RouterId(parent)| parent);
        let link = self.link(Child::Router(number), parent);
        let outer = match parent {
            None => Ipv4Addr::new(198, 51, 100, number as u8 + 1),
            Some(parent) => Ipv4Addr::new(192, 168, parent as u8, 200 + number as u8),
        };
        self.places.insert((parent, outer.into()), link);
        self.routers.push(Router { nat: Nat::new(behaviour, outer.into()), link });
        RouterId(number)
    }

    /// Two hosts know each other's keys, inner prefixes, and where the other one is if that is on the open network.
    pub fn peers(&mut self, one: HostId, other: HostId) {
        for (host, of) in [(one, other), (other, one)] {
            let endpoint = self.endpoint(of);
            let peer = Peer { host: of.0, endpoint, keepalive: Duration::ZERO };
            self.hosts[usize::from(host.0)].add_peer(self.now, peer);
            self.wake(host.0);
        }
    }

    /// A host sends a persistent keepalive to another.
    pub fn keepalive(&mut self, host: HostId, to: HostId, interval: Duration) {
        let known = self.hosts[usize::from(host.0)].peers.iter().find(|peer| peer.host == to.0).cloned();
        if let Some(peer) = known {
            self.hosts[usize::from(host.0)].add_peer(self.now, Peer { keepalive: interval, ..peer });
            self.wake(host.0);
        }
    }

    /// A host that knows another reaches it at its IPv6 address from now on.
    pub fn prefer_v6(&mut self, host: HostId, to: HostId) {
        let there = &self.hosts[usize::from(to.0)];
        let v6 = there.addresses.iter().find(|address| address.ip.is_ipv6() && address.router.is_none());
        let endpoint = v6.map(|address| SocketAddr::new(address.ip, there.port));
        let known = self.hosts[usize::from(host.0)].peers.iter().find(|peer| peer.host == to.0).cloned();
        if let (Some(peer), Some(_)) = (known, endpoint) {
            self.hosts[usize::from(host.0)].add_peer(self.now, Peer { endpoint, ..peer });
            self.wake(host.0);
        }
    }

    /// Takes a peer away and gives it back, as an operator would who has made a mistake.
    pub fn replace_peer(&mut self, host: HostId, peer: HostId) {
        let here = &mut self.hosts[usize::from(host.0)];
        let Some(known) = here.peers.iter().find(|known| known.host == peer.0).cloned() else { return };
        here.remove_peer(self.now, peer.0);
        here.add_peer(self.now, known);
        self.trace.note(self.now, What::Note { host: host.0, text: "a peer is removed and added again" });
        self.wake(host.0);
    }

    /// Where a host can be reached from everywhere.
    fn endpoint(&self, host: HostId) -> Option<SocketAddr> {
        let host = &self.hosts[usize::from(host.0)];
        let open = host.addresses.iter().find(|address| address.router.is_none() && address.ip.is_ipv4());
        open.map(|address| SocketAddr::new(address.ip, host.port))
    }

    /// The outer address of a router.
    pub fn outer(&self, router: RouterId) -> IpAddr {
        self.routers[router.0].nat.outer
    }

    /// One small packet of a host to another.
    ///
    /// # Errors
    /// [`Failure`]: a rule does not hold.
    pub fn send(&mut self, from: HostId, to: HostId) -> Result<(), Box<Failure>> {
        self.send_packet(from, Some(to), Packet::default())
    }

    /// Hands a packet to the inner side of a host; `None` for a destination that nobody has. Nothing happens while the host
    /// is off or asleep.
    ///
    /// # Errors
    /// [`Failure`]: a rule does not hold.
    pub fn send_packet(
        &mut self,
        from: HostId,
        to: Option<HostId>,
        packet: Packet,
    ) -> Result<(), Box<Failure>> {
        let host = &self.hosts[usize::from(from.0)];
        if host.engine.is_none() || self.now < host.asleep_until {
            return Ok(());
        }
        // What an operator has said has taken effect before the answer came.
        if let Some(at) = host.control_at.filter(|at| *at <= self.now) {
            self.control_due(from.0, at)?;
        }
        let Packet { flow, v6, ecn, spoofed_as, .. } = packet;
        let len = packet.len.clamp(len_min(v6) as u16, MTU);
        let room = (65_000 - headers_len(v6)) / (usize::from(len) - headers_len(v6));
        let segments = usize::from(packet.segments).clamp(1, room.min(64));
        let shape = Shape {
            id: 0,
            source: spoofed_as.unwrap_or(from).0,
            destination: to.map_or(NOBODY, |to| to.0),
            flow,
            v6,
            ecn: ecn & 3,
            len,
        };
        let shapes: Vec<Shape> = (0..segments).map(|_| self.ledger.offer(self.now, from.0, shape)).collect();
        for shape in &shapes {
            self.trace.note(self.now, What::Offered { host: from.0, to: shape.destination, id: shape.id });
        }
        self.last_offer = shapes.last().copied();
        self.hash.write_u64(self.now.as_nanos());
        let (vnet, bytes) = match shapes.as_slice() {
            [one] => (VnetHeader::PLAIN, one.emit()),
            many => super_packet(many).unwrap_or_default(),
        };
        let mutated = self.mutated(from.0);
        let host = &mut self.hosts[usize::from(from.0)];
        host.books.offered += segments as u64;
        if let Some(engine) = host.engine.as_mut().filter(|_| mutated != Some(Mutation::SwallowOffered)) {
            engine.offer(flow, Offer { vnet, bytes, packets: segments as u64 });
        }
        self.work_host(from.0)
    }
}
