//! A router that translates addresses, by the behaviours of RFC 4787.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use dataplane_wire::Instant;

use crate::link::Loss;
use crate::random::Random;

/// On what a mapping, or a filter, depends (RFC 4787 §4.1 and §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    /// On nothing of the remote end.
    Endpoint,
    /// On its address.
    Address,
    /// On its address and port.
    AddressAndPort,
}

impl Dependence {
    /// What of a remote end matters.
    fn key(self, remote: SocketAddr) -> Option<(IpAddr, u16)> {
        match self {
            Self::Endpoint => None,
            Self::Address => Some((remote.ip(), 0)),
            Self::AddressAndPort => Some((remote.ip(), remote.port())),
        }
    }
}

/// How a NAT behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// When two remote ends see the same outer port (RFC 4787 §4.1).
    pub mapping: Dependence,
    /// Who may answer: anybody, or only addresses, or ends, that were sent to (RFC 4787 §5).
    pub filtering: Dependence,
    /// How long a mapping lives that nothing goes out by (RFC 4787 §4.3, REQ-6).
    pub expiry: Duration,
    /// Whether the outer port is the inner one where that is free (RFC 4787 §4.2.1).
    pub preserves_port: bool,
    /// Whether two hosts inside reach each other by their outer addresses (RFC 4787 §6).
    pub hairpin: bool,
}

impl Behaviour {
    /// Anybody may answer ("full cone").
    pub const FULL_CONE: Self = Self {
        mapping: Dependence::Endpoint,
        filtering: Dependence::Endpoint,
        expiry: Duration::from_secs(120),
        preserves_port: true,
        hairpin: true,
    };
    /// Only an end that was sent to may answer.
    pub const PORT_RESTRICTED: Self =
        Self { filtering: Dependence::AddressAndPort, hairpin: false, ..Self::FULL_CONE };
    /// Another port for each remote end, and only that may answer.
    pub const SYMMETRIC: Self = Self {
        mapping: Dependence::AddressAndPort,
        filtering: Dependence::AddressAndPort,
        expiry: Duration::from_secs(60),
        preserves_port: false,
        hairpin: false,
    };

    pub(crate) fn drawn(random: &mut Random) -> Self {
        let dependence = |random: &mut Random| match random.below(3) {
            0 => Dependence::Endpoint,
            1 => Dependence::Address,
            _ => Dependence::AddressAndPort,
        };
        Self {
            mapping: dependence(random),
            filtering: dependence(random),
            expiry: random.between(Duration::from_secs(30), Duration::from_secs(300)),
            preserves_port: random.below(2) == 0,
            hairpin: random.below(2) == 0,
        }
    }
}

/// Most mappings of one NAT; the one that was used the longest time ago goes first.
const MAPPINGS_MAX: usize = 512;
/// Most remote ends that one mapping remembers.
const CONTACTED_MAX: usize = 64;
const FIRST_PORT: u64 = 1024;

struct Binding {
    inner: SocketAddr,
    of: Option<(IpAddr, u16)>,
    used: Instant,
    /// Whom datagrams went to, and when last.
    contacted: BTreeMap<SocketAddr, Instant>,
}

/// The translation of one router.
pub(crate) struct Nat {
    pub(crate) behaviour: Behaviour,
    pub(crate) outer: IpAddr,
    bindings: BTreeMap<u16, Binding>,
    ports: BTreeMap<(SocketAddr, Option<(IpAddr, u16)>), u16>,
}

impl Nat {
    pub(crate) fn new(behaviour: Behaviour, outer: IpAddr) -> Self {
        Self { behaviour, outer, bindings: BTreeMap::new(), ports: BTreeMap::new() }
    }

    /// Forgets every mapping, as a router does that is switched off and on.
    pub(crate) fn rebind(&mut self) {
        self.bindings.clear();
        self.ports.clear();
    }

    /// The outer source of a datagram from inside.
    pub(crate) fn outbound(
        &mut self,
        now: Instant,
        inner: SocketAddr,
        remote: SocketAddr,
        random: &mut Random,
    ) -> Result<SocketAddr, Loss> {
        if inner.is_ipv4() != self.outer.is_ipv4() {
            return Err(Loss::NoRoute);
        }
        let key = (inner, self.behaviour.mapping.key(remote));
        let live = self.ports.get(&key).copied().filter(|port| self.lives(now, *port));
        let port = match live {
            Some(port) => port,
            None => self.bind(now, key, random)?,
        };
        let binding = self.bindings.get_mut(&port).ok_or(Loss::NoMapping)?;
        binding.used = now;
        binding.contacted.insert(remote, now);
        if binding.contacted.len() > CONTACTED_MAX
            && let Some(oldest) = binding.contacted.iter().min_by_key(|(_, at)| **at).map(|(end, _)| *end)
        {
            binding.contacted.remove(&oldest);
        }
        Ok(SocketAddr::new(self.outer, port))
    }

    /// The inner destination of a datagram from outside.
    pub(crate) fn inbound(&self, now: Instant, port: u16, remote: SocketAddr) -> Result<SocketAddr, Loss> {
        let binding = self.bindings.get(&port).filter(|_| self.lives(now, port)).ok_or(Loss::NoMapping)?;
        let fresh = |at: &Instant| now.since(*at) < self.behaviour.expiry;
        let may = match self.behaviour.filtering {
            Dependence::Endpoint => true,
            Dependence::Address => {
                binding.contacted.iter().any(|(end, at)| end.ip() == remote.ip() && fresh(at))
            }
            Dependence::AddressAndPort => binding.contacted.get(&remote).is_some_and(fresh),
        };
        if may { Ok(binding.inner) } else { Err(Loss::Filtered) }
    }

    fn lives(&self, now: Instant, port: u16) -> bool {
        self.bindings.get(&port).is_some_and(|binding| now.since(binding.used) < self.behaviour.expiry)
    }

    fn bind(
        &mut self,
        now: Instant,
        key: (SocketAddr, Option<(IpAddr, u16)>),
        random: &mut Random,
    ) -> Result<u16, Loss> {
        if let Some(port) = self.ports.remove(&key) {
            self.bindings.remove(&port);
        }
        if self.bindings.len() >= MAPPINGS_MAX
            && let Some(oldest) =
                self.bindings.iter().min_by_key(|(_, binding)| binding.used).map(|(port, _)| *port)
            && let Some(gone) = self.bindings.remove(&oldest)
        {
            self.ports.remove(&(gone.inner, gone.of));
        }
        let wished = key.0.port();
        let preserved = self.behaviour.preserves_port && !self.bindings.contains_key(&wished);
        let drawn = (FIRST_PORT + random.noise() % (65_536 - FIRST_PORT)) as u16;
        let port = if preserved { Some(wished) } else { self.free_port(drawn) }.ok_or(Loss::NatFull)?;
        let binding = Binding { inner: key.0, of: key.1, used: now, contacted: BTreeMap::new() };
        self.bindings.insert(port, binding);
        self.ports.insert(key, port);
        Ok(port)
    }

    /// The first free port from `from` on.
    fn free_port(&self, from: u16) -> Option<u16> {
        (from..=u16::MAX).chain(FIRST_PORT as u16..from).find(|port| !self.bindings.contains_key(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(198, 51, 100, 1));

    fn end(host: u8, port: u16) -> SocketAddr {
        ([203, 0, 113, host], port).into()
    }

    fn inside(port: u16) -> SocketAddr {
        ([192, 168, 0, 2], port).into()
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    // RFC 4787 §4.1 and §5: three behaviours of each.
    #[test]
    fn mappings_and_filters_depend_on_what_the_behaviour_says() {
        use Dependence::{Address, AddressAndPort, Endpoint};
        // Whether another port of the same host, and another host, see the same mapping; and whether they may answer.
        for (dependence, same_host, other_host) in
            [(Endpoint, true, true), (Address, true, false), (AddressAndPort, false, false)]
        {
            let mut random = Random::seeded(1);
            let behaviour = Behaviour { mapping: dependence, preserves_port: false, ..Behaviour::FULL_CONE };
            let mut nat = Nat::new(behaviour, OUTER);
            let mut mapped = |remote| nat.outbound(at(0), inside(1), remote, &mut random).unwrap();
            let first = mapped(end(1, 1));
            assert_eq!(mapped(end(1, 1)), first);
            assert_eq!(mapped(end(1, 2)) == first, same_host, "{dependence:?}");
            assert_eq!(mapped(end(2, 1)) == first, other_host, "{dependence:?}");

            let mut nat = Nat::new(Behaviour { filtering: dependence, ..Behaviour::FULL_CONE }, OUTER);
            let port = nat.outbound(at(0), inside(1), end(1, 1), &mut random).unwrap().port();
            let may = |remote| nat.inbound(at(1), port, remote);
            assert_eq!(may(end(1, 1)), Ok(inside(1)));
            for (remote, allowed) in [(end(1, 2), same_host), (end(2, 1), other_host)] {
                let expected = if allowed { Ok(inside(1)) } else { Err(Loss::Filtered) };
                assert_eq!(may(remote), expected, "{dependence:?} {remote}");
            }
        }
    }

    #[test]
    fn a_mapping_lives_as_long_as_something_goes_out_and_is_another_one_after_that() {
        let mut random = Random::seeded(1);
        let mut nat = Nat::new(Behaviour::SYMMETRIC, OUTER);
        let mut mapped = |seconds| nat.outbound(at(seconds), inside(1), end(1, 1), &mut random).unwrap();
        let first = mapped(0);
        assert_eq!([mapped(59), mapped(118)], [first, first]);
        assert_ne!(mapped(178), first);
        assert_eq!(nat.inbound(at(179), first.port(), end(1, 1)), Err(Loss::NoMapping));
        nat.rebind();
        assert_eq!(nat.bindings.len(), 0);
    }

    #[test]
    fn a_port_is_preserved_where_it_is_free_and_mappings_are_bounded() {
        let mut random = Random::seeded(1);
        let mut nat = Nat::new(Behaviour::FULL_CONE, OUTER);
        assert_eq!(nat.outbound(at(0), inside(7), end(1, 1), &mut random).unwrap().port(), 7);
        let other = SocketAddr::new([192, 168, 0, 3].into(), 7);
        assert_ne!(nat.outbound(at(0), other, end(1, 1), &mut random).unwrap().port(), 7);
        for port in 2000..4000 {
            nat.outbound(at(1), inside(port), end(1, 1), &mut random).unwrap();
        }
        assert_eq!((nat.bindings.len(), nat.ports.len()), (MAPPINGS_MAX, MAPPINGS_MAX));
    }
}
