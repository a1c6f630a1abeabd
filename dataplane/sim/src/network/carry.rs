//! The ways of datagrams: up the links of the sender, through NATs, down the links of the receiver.

use core::hash::Hasher;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::rc::Rc;

use dataplane_wire::{Ecn, FourTuple, Instant, SocketId, TrafficClass};

use super::{Datagram, Event, Network};
use crate::host::{Outgoing, Received};
use crate::link::Loss;
use crate::model::Violation;
use crate::mutation::Mutation;
use crate::trace::What;

/// Datagrams that are remembered for those who replay them.
const CAPTURED_MAX: usize = 256;

/// What an IP packet has beside the bytes of the datagram.
fn headers_len(destination: SocketAddr) -> usize {
    if destination.is_ipv4() { 28 } else { 48 }
}

impl Network {
    /// A host sends a datagram.
    pub(super) fn emit(&mut self, host: u8, outgoing: &Outgoing) -> Result<(), Violation> {
        let Outgoing { core, tuple, class, bytes } = outgoing;
        let mut bytes = Rc::clone(bytes);
        if let (Some(Mutation::SendPlaintext), Some(shape), Some(4)) =
            (self.mutated(host), self.last_offer, bytes.first())
        {
            let packet = shape.emit();
            bytes = bytes[..16].iter().copied().chain(packet).collect();
        }
        if let Some(id) = self.ledger.readable(&bytes) {
            return Err(Violation::Plaintext { host: self.ledger.name_of(host), id });
        }
        let here = &mut self.hosts[usize::from(host)];
        let (address, refused) = here.source(tuple);
        if let (true, Some(engine)) = (refused, &mut here.engine) {
            engine.source_refused(*core, tuple);
        }
        let Some(address) = address else {
            if let Some(engine) = &mut here.engine {
                engine.count_unsent();
            }
            return Ok(());
        };
        let source = SocketAddr::new(address.ip, here.port);
        self.numbers += 1;
        let datagram = Datagram {
            number: self.numbers,
            origin: Some(host),
            intact: true,
            source,
            destination: tuple.remote,
            class: *class,
            bytes,
        };
        self.wire.sent += 1;
        self.wire.in_flight += 1;
        self.note(What::Sent(host), &datagram);
        self.hash_datagram(&datagram);
        self.carry(address.link, true, datagram);
        Ok(())
    }

    /// Puts a datagram on a link.
    fn carry(&mut self, link: usize, up: bool, mut datagram: Datagram) {
        let len = datagram.bytes.len() + headers_len(datagram.destination);
        let on = &mut self.links[link];
        let direction = if up { &mut on.up } else { &mut on.down };
        let carried = match direction.carry(self.now, len, &mut self.random) {
            Ok(carried) => carried,
            Err(loss) => return self.lose(loss, &datagram),
        };
        if carried.marked && datagram.class.ecn() != Ecn::NotEct {
            datagram.class = TrafficClass(datagram.class.0 | Ecn::Ce as u8);
        }
        if let Some(again) = carried.again {
            self.wire.duplicated += 1;
            self.wire.in_flight += 1;
            self.enter(again, link, up, datagram.clone());
        }
        if carried.corrupted && !datagram.bytes.is_empty() {
            self.corrupt(&mut datagram);
        }
        self.enter(carried.at, link, up, datagram);
    }

    fn enter(&mut self, at: Instant, link: usize, up: bool, datagram: Datagram) {
        let event = if up { Event::Above { link, datagram } } else { Event::Below { link, datagram } };
        self.agenda.enter(at, event);
    }

    /// Changes some bits, or cuts the end off.
    pub(super) fn corrupt(&mut self, datagram: &mut Datagram) {
        let mut bytes = datagram.bytes.to_vec();
        if self.random.chance(100_000) {
            bytes.truncate(self.random.below(bytes.len() as u64) as usize);
        } else {
            for _ in 0..1 + self.random.below(3) {
                let bit = self.random.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        datagram.intact = datagram.intact && bytes[..] == datagram.bytes[..];
        datagram.bytes = bytes.into();
    }

    pub(super) fn lose(&mut self, loss: Loss, datagram: &Datagram) {
        self.wire.lost[loss as usize] += 1;
        self.wire.in_flight -= 1;
        self.note(What::Lost(loss), datagram);
    }

    /// A datagram has come up a link, to a router from inside or to the open network.
    pub(super) fn reached_above(&mut self, link: usize, datagram: Datagram) {
        match self.links[link].parent {
            None => self.route(None, Some(self.links[link].side), datagram),
            Some(router) => self.translate_out(router, datagram),
        }
    }

    /// Sends a datagram down to whom its address belongs.
    fn route(&mut self, behind: Option<usize>, side: Option<u8>, datagram: Datagram) {
        let Some(&link) = self.places.get(&(behind, datagram.destination.ip())) else {
            return self.lose(Loss::NoRoute, &datagram);
        };
        if side.is_some_and(|side| side != self.links[link].side) {
            return self.lose(Loss::Partition, &datagram);
        }
        self.carry(link, false, datagram);
    }

    fn translate_out(&mut self, router: usize, mut datagram: Datagram) {
        // Two hosts on one side of a router need no translation.
        if self.places.contains_key(&(Some(router), datagram.destination.ip())) {
            return self.route(Some(router), None, datagram);
        }
        let (now, random) = (self.now, &mut self.random);
        let nat = &mut self.routers[router].nat;
        match nat.outbound(now, datagram.source, datagram.destination, random) {
            Ok(outer) => datagram.source = outer,
            Err(loss) => return self.lose(loss, &datagram),
        }
        if datagram.destination.ip() != nat.outer {
            return self.carry(self.routers[router].link, true, datagram);
        }
        match nat.behaviour.hairpin {
            true => self.reached_router(router, datagram),
            false => self.lose(Loss::NoRoute, &datagram),
        }
    }

    /// A datagram has come to a router from outside.
    pub(super) fn reached_router(&mut self, router: usize, mut datagram: Datagram) {
        let nat = &self.routers[router].nat;
        match nat.inbound(self.now, datagram.destination.port(), datagram.source) {
            Ok(inner) => datagram.destination = inner,
            Err(loss) => return self.lose(loss, &datagram),
        }
        self.route(Some(router), None, datagram);
    }

    /// A datagram has come to a host.
    pub(super) fn reached_host(&mut self, host: u8, link: usize, datagram: Datagram) {
        match self.mutated(host) {
            Some(Mutation::Isolate) => return self.lose(Loss::Chance, &datagram),
            Some(Mutation::LoseUnrecorded) => {
                self.wire.in_flight -= 1;
                return;
            }
            _ => {}
        }
        let here = &self.hosts[usize::from(host)];
        let to = datagram.destination;
        let has = |ip: IpAddr| here.addresses.iter().any(|a| a.up && a.ip == ip && a.link == link);
        let refusal = if !has(to.ip()) {
            Some(Loss::NoRoute)
        } else if here.engine.is_none() || self.now < here.asleep_until {
            Some(Loss::HostOff)
        } else if here.port != to.port() {
            Some(Loss::NoPort)
        } else {
            None
        };
        if let Some(loss) = refusal {
            return self.lose(loss, &datagram);
        }
        self.wire.arrived += 1;
        self.wire.in_flight -= 1;
        self.note(What::Arrived(host), &datagram);
        self.hash_datagram(&datagram);
        let received = Received {
            number: datagram.number,
            origin: datagram.origin,
            intact: datagram.intact,
            tuple: FourTuple { socket: SocketId(0), remote: datagram.source, local_ip: Some(to.ip()) },
            ecn: datagram.class.ecn(),
            bytes: Rc::clone(&datagram.bytes),
        };
        if datagram.intact {
            if self.captured.len() == CAPTURED_MAX {
                self.captured.pop_front();
            }
            self.captured.push_back((host, link, datagram));
        }
        if let Some(engine) = &mut self.hosts[usize::from(host)].engine {
            engine.receive(received, &mut self.random);
        }
        self.poke(host);
    }

    /// Puts a datagram of nobody's before a host, a millisecond from now.
    pub(super) fn enter_injected(&mut self, link: usize, datagram: Datagram, how: &'static str) {
        self.wire.injected += 1;
        self.wire.in_flight += 1;
        self.note(What::Injected(how), &datagram);
        self.enter(self.now + Duration::from_millis(1), link, false, datagram);
    }

    fn note(&mut self, what: What, datagram: &Datagram) {
        let ends = (datagram.source, datagram.destination);
        self.trace.datagram(self.now, what, ends, datagram.number, &datagram.bytes);
    }

    fn hash_datagram(&mut self, datagram: &Datagram) {
        self.hash.write_u64(self.now.as_nanos());
        for end in [datagram.source, datagram.destination] {
            match end.ip() {
                IpAddr::V4(ip) => self.hash.write(&ip.octets()),
                IpAddr::V6(ip) => self.hash.write(&ip.octets()),
            }
            self.hash.write_u16(end.port());
        }
        self.hash.write_u8(datagram.class.0);
        self.hash.write(&datagram.bytes);
    }
}
