//! Every inner packet there ever was, and what became of it.

use std::collections::BTreeMap;

use dataplane_wire::Instant;

use super::Violation;
use crate::packet::{Shape, id_of};

/// What is known of the datagram that a packet came out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) datagram: u64,
    /// Whether its bytes are those that a host sent.
    pub(crate) intact: bool,
    pub(crate) order: Order,
}

/// How datagrams of one host came in at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Behind all that were sent before.
    Kept,
    /// Behind one that was sent later, or again: the network's doing.
    Late,
}

#[derive(Clone, Copy)]
struct Record {
    shape: Shape,
    /// Who handed it in: not who its source says where that is a lie.
    sender: u8,
    offered: Instant,
    delivered: Option<Instant>,
}

/// All packets by number, and the last that was delivered of each flow.
#[derive(Default)]
pub(crate) struct Ledger {
    records: Vec<Record>,
    newest: BTreeMap<(u8, u8, u16), u64>,
    counts: BTreeMap<(u8, u8), (u64, u64)>,
    names: Vec<String>,
}

impl Ledger {
    pub(crate) fn name(&mut self, host: &str) {
        self.names.push(host.to_owned());
    }

    pub(crate) fn name_of(&self, host: u8) -> String {
        self.names.get(usize::from(host)).cloned().unwrap_or_else(|| "nobody".to_owned())
    }

    /// Enters a packet that `sender` hands to its inner side, and gives it its number.
    pub(crate) fn offer(&mut self, now: Instant, sender: u8, shape: Shape) -> Shape {
        let shape = Shape { id: self.records.len() as u64, ..shape };
        self.records.push(Record { shape, sender, offered: now, delivered: None });
        self.counts.entry((sender, shape.destination)).or_default().0 += 1;
        shape
    }

    /// Packets that one host sent to another, and how many of them were delivered.
    pub(crate) fn between(&self, from: u8, to: u8) -> (u64, u64) {
        self.counts.get(&(from, to)).copied().unwrap_or_default()
    }

    /// All packets, and how many of them were delivered.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.counts.values().fold((0, 0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1))
    }

    /// Judges a packet that the inner side of `host` is given as one of `claimed`; its number if all is well.
    pub(crate) fn deliver(
        &mut self,
        now: Instant,
        host: u8,
        claimed: u8,
        packet: &[u8],
        arrival: Arrival,
    ) -> Result<u64, Violation> {
        let known = id_of(packet).and_then(|id| Some((id, *self.records.get(id as usize)?)));
        let Some((id, record)) = known else {
            return Err(Violation::Invented { host: self.name_of(host) });
        };
        let Record { shape, sender, .. } = record;
        if !arrival.intact {
            return Err(Violation::Forged { id, datagram: arrival.datagram });
        }
        if let Some(fault) = shape.fault(packet) {
            return Err(Violation::Altered { id, fault });
        }
        if shape.destination != host {
            let (host, wanted) = (self.name_of(host), self.name_of(shape.destination));
            return Err(Violation::WrongHost { id, host, wanted });
        }
        if sender != claimed || shape.source != sender {
            let (sender, claimed) = (self.name_of(sender), self.name_of(claimed));
            return Err(Violation::WrongPeer { id, sender, claimed });
        }
        if record.delivered.is_some() {
            return Err(Violation::Twice { id });
        }
        let flow = (sender, host, shape.flow);
        let newest = self.newest.entry(flow).or_insert(id);
        if *newest > id && arrival.order == Order::Kept {
            return Err(Violation::Overtaken { id, before: *newest });
        }
        *newest = id.max(*newest);
        self.records[id as usize].delivered = Some(now);
        self.counts.entry((sender, host)).or_default().1 += 1;
        Ok(id)
    }

    /// Whether a datagram is an inner packet with a header before it: the number of that packet.
    pub(crate) fn readable(&self, datagram: &[u8]) -> Option<u64> {
        [0, 16].iter().find_map(|&at| id_of(datagram.get(at..)?)).filter(|id| *id < self.records.len() as u64)
    }

    /// When the first packet of `from` reached `to` that was sent at `since` or later.
    pub(crate) fn first_through(&self, from: u8, to: u8, since: Instant) -> Option<Instant> {
        let sent = self.since(since).filter(|record| (record.sender, record.shape.destination) == (from, to));
        sent.filter_map(|record| record.delivered).min()
    }

    /// A packet of `from` to `to`, sent from `since` on and before `until`, that was not delivered.
    pub(crate) fn missing(&self, from: u8, to: u8, since: Instant, until: Instant) -> Option<u64> {
        let mut sent =
            self.since(since).filter(|record| (record.sender, record.shape.destination) == (from, to));
        sent.find(|record| {
            record.offered < until && record.delivered.is_none() && record.shape.source == from
        })
        .map(|record| record.shape.id)
    }

    fn since(&self, since: Instant) -> impl Iterator<Item = &Record> {
        let first = self.records.partition_point(|record| record.offered < since);
        self.records[first..].iter()
    }
}
