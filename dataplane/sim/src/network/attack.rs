//! What strangers can send: what they have seen, what they have changed, what they have made up.

use core::net::SocketAddr;
use std::rc::Rc;

use dataplane_wire::TrafficClass;
use dataplane_wire::wireguard::Message;

use super::{Datagram, HostId, Network};

impl Network {
    /// Sends a datagram to a host that it has received before, unchanged; from where it came, or from elsewhere. `false`
    /// where none is remembered.
    pub fn replay(&mut self, host: HostId, from: Option<SocketAddr>) -> bool {
        let Some((link, mut datagram)) = self.captured_of(host) else { return false };
        datagram.source = from.unwrap_or(datagram.source);
        self.enter_injected(link, datagram, "seen before");
        true
    }

    /// Sends a datagram to a host that it has received before, changed.
    pub fn replay_changed(&mut self, host: HostId) -> bool {
        let Some((link, mut datagram)) = self.captured_of(host) else { return false };
        if !datagram.bytes.is_empty() {
            self.corrupt(&mut datagram);
        }
        self.enter_injected(link, datagram, "changed");
        true
    }

    /// Sends any bytes to a host.
    pub fn inject(&mut self, host: HostId, source: SocketAddr, bytes: &[u8]) {
        let here = &self.hosts[usize::from(host.0)];
        let Some(address) = here.addresses.iter().find(|a| a.up && a.ip.is_ipv4() == source.is_ipv4()) else {
            return;
        };
        let (link, destination) = (address.link, SocketAddr::new(address.ip, here.port));
        self.numbers += 1;
        let datagram = Datagram {
            number: self.numbers,
            origin: None,
            intact: false,
            source,
            destination,
            class: TrafficClass::default(),
            bytes: Rc::from(bytes),
        };
        self.enter_injected(link, datagram, "made up");
    }

    /// An initiation that a host has received, whole: its mac1 is right. `None` where none is remembered.
    pub fn initiation_seen_by(&self, host: HostId) -> Option<Rc<[u8]>> {
        let mut of_host = self.captured.iter().filter(|(to, _, _)| *to == host.0);
        let initiation = |bytes: &[u8]| matches!(Message::parse(bytes), Ok(Message::Initiation(_)));
        of_host
            .find(|(_, _, datagram)| initiation(&datagram.bytes))
            .map(|(_, _, datagram)| Rc::clone(&datagram.bytes))
    }

    /// Sends noise that begins like a message of WireGuard.
    pub fn inject_noise(&mut self, host: HostId, source: SocketAddr) {
        let kind = self.random.below(5) as u8;
        let len = match kind {
            1 => 148,
            2 => 92,
            3 => 64,
            _ => 32 + self.random.below(200) as usize,
        };
        let mut bytes: Vec<u8> = (0..len).map(|_| self.random.noise() as u8).collect();
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        self.inject(host, source, &bytes);
    }

    /// One of the datagrams that a host has received.
    fn captured_of(&mut self, host: HostId) -> Option<(usize, Datagram)> {
        let of_host = |(to, _, _): &&(u8, usize, Datagram)| *to == host.0;
        let count = self.captured.iter().filter(of_host).count() as u64;
        let at = self.random.below(count) as usize;
        self.captured.iter().filter(of_host).nth(at).map(|(_, link, datagram)| (*link, datagram.clone()))
    }
}
