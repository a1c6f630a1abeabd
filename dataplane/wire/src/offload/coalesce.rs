//! Plain packets of many flows merged to super-packets, on their way to the inner side.
//!
//! Hot:
//! 1. Read the packet's flow, and whether it may be merged at all ([`candidate`]).
//! 2. Find the open run of that flow. Where the packet continues it, and its checksum is right, the run grows by a range of
//!    the arena. Where it does not, the run leaves, and the packet begins another.
//! 3. A run leaves when it is full, when its last packet was short or pushed, when its place is needed, and at the end.
//! 4. A run that leaves gets one header; one of a single packet is that packet, untouched.
//!
//! Packets of one flow leave in the order in which they came. Nothing is copied but one header for each run.

mod candidate;
mod run;

use crate::offload::VnetHeader;
use crate::{InterfaceId, Span};

use candidate::{Candidate, Family, Flow};
use run::{Joined, OpenRun};

/// Most runs that are open at a time. Derived: receive batches of a few hundred packets hold few busy flows, and each run
/// takes half a KiB, so that the table stays in the first cache.
pub const RUNS_OPEN_MAX: usize = 16;

/// What the inner side takes merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Segments of TCP.
    pub tcp: bool,
    /// Datagrams of UDP (USO: Linux 6.2 and later).
    pub udp: bool,
}

impl Offloads {
    /// All that there is.
    pub const ALL: Self = Self { tcp: true, udp: true };
    /// Nothing: every packet leaves alone.
    pub const NONE: Self = Self { tcp: false, udp: false };
}

/// One write to the inner side: `head`, and behind it the `parts` of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// The interface that the packets came for.
    pub interface: InterfaceId,
    /// A `virtio_net_hdr`, and the headers of the merged packet behind it. The `virtio_net_hdr` alone for a packet that
    /// leaves as it came.
    pub head: &'a [u8],
    /// Ranges of the arena; one for each packet of the run, at least one.
    pub parts: &'a [Span],
}

/// Merges packets that continue each other.
///
/// Packets are given in order, one by one, as ranges of an arena; runs are handed to a function as they leave. Between the
/// first packet and [`Coalescer::flush`] it must be the same arena, unchanged.
#[derive(Debug)]
pub struct Coalescer {
    offloads: Offloads,
    flows: Flows,
    runs: [OpenRun; RUNS_OPEN_MAX],
}

impl Coalescer {
    /// A coalescer without open runs. About 10 KiB, which is all it ever takes.
    pub const fn new(offloads: Offloads) -> Self {
        Self { offloads, flows: Flows::NONE, runs: [const { OpenRun::CLOSED }; RUNS_OPEN_MAX] }
    }

    /// Changes what is merged. Open runs leave as they are.
    pub const fn set_offloads(&mut self, offloads: Offloads) {
        self.offloads = offloads;
    }

    /// Takes one packet, trimmed to its IP length, and hands over the runs that leave because of it.
    ///
    /// `span` lies in `arena`; if it does not, nothing happens.
    ///
    /// Cost: one pass over the packet for its checksum, where it may be merged with another; none where it may not.
    #[inline]
    pub fn push(&mut self, interface: InterfaceId, arena: &[u8], span: Span, sink: &mut impl FnMut(Run<'_>)) {
        let Some(packet) = arena.get(span.range()) else { return };
        let Some(family) = Family::of(packet) else { return alone(interface, span, sink) };
        // What was read stays where it is and is looked at in place: to move it would wait for its fields to be stored.
        let read = candidate::read(interface, family, packet);
        let Some((flow, candidate)) = &read else {
            // A fragment, or something strange: it may belong to any flow between its two ends.
            let fence = Flow::fence(interface, family, packet);
            while let Some(slot) = self.flows.find_fenced(&fence) {
                self.close(slot, arena, sink);
            }
            return alone(interface, span, sink);
        };
        let slot = self.flows.find(flow);
        let candidate = match candidate {
            Some(candidate) if self.merges(candidate) => candidate,
            _ => {
                if let Some(slot) = slot {
                    self.close(slot, arena, sink);
                }
                return alone(interface, span, sink);
            }
        };
        if let Some(slot) = slot {
            match self.runs[slot].join(arena, span, packet, candidate) {
                Joined::Open => return,
                Joined::Complete => return self.close(slot, arena, sink),
                Joined::Corrupt => {
                    self.close(slot, arena, sink);
                    return alone(interface, span, sink);
                }
                Joined::Not => self.close(slot, arena, sink),
            }
        }
        if candidate.push {
            return alone(interface, span, sink);
        }
        let slot = self.flows.free().unwrap_or_else(|| {
            let victim = self.flows.next_victim();
            self.close(victim, arena, sink);
            victim
        });
        self.flows.set(slot, flow);
        self.runs[slot].open(interface, span, candidate);
    }

    /// Hands over all open runs. To be called before the arena is used again.
    pub fn flush(&mut self, arena: &[u8], sink: &mut impl FnMut(Run<'_>)) {
        while let Some(slot) = self.flows.any() {
            self.close(slot, arena, sink);
        }
    }

    const fn merges(&self, candidate: &Candidate<'_>) -> bool {
        if candidate.is_tcp { self.offloads.tcp } else { self.offloads.udp }
    }

    fn close(&mut self, slot: usize, arena: &[u8], sink: &mut impl FnMut(Run<'_>)) {
        self.flows.clear(slot);
        self.runs[slot].emit(arena, sink);
    }
}

/// Whether two keys are equal, one number after the other: the comparison of whole arrays would load them as vectors, and
/// wait for the numbers of which they were just stored.
#[inline(always)]
fn same<const N: usize>(left: &[u64; N], right: &[u64; N]) -> bool {
    left.iter().zip(right).all(|(left, right)| left == right)
}

/// Hands over a packet that leaves as it came.
#[inline]
fn alone(interface: InterfaceId, span: Span, sink: &mut impl FnMut(Run<'_>)) {
    let mut head = [0; VnetHeader::LEN];
    VnetHeader::PLAIN.emit(&mut head);
    sink(Run { interface, head: &head, parts: &[span] });
}

/// The flows of the open runs. The short part of their keys is apart from the addresses, so that looking one up reads two
/// cache lines, and the addresses of one.
#[derive(Debug)]
struct Flows {
    tags: [u64; RUNS_OPEN_MAX],
    addresses: [[u64; 4]; RUNS_OPEN_MAX],
    victim: usize,
}

impl Flows {
    /// No version of IP is zero, so no flow has this tag.
    const FREE: u64 = 0;
    const NONE: Self =
        Self { tags: [Self::FREE; RUNS_OPEN_MAX], addresses: [[0; 4]; RUNS_OPEN_MAX], victim: 0 };

    #[inline]
    fn find(&self, flow: &Flow) -> Option<usize> {
        self.position(|slot| self.tags[slot] == flow.tag && same(&self.addresses[slot], &flow.addresses))
    }

    fn find_fenced(&self, fence: &Flow) -> Option<usize> {
        self.position(|slot| {
            self.tags[slot] & Flow::FENCE == fence.tag & Flow::FENCE
                && self.addresses[slot] == fence.addresses
        })
    }

    #[inline]
    fn free(&self) -> Option<usize> {
        self.position(|slot| self.tags[slot] == Self::FREE)
    }

    fn any(&self) -> Option<usize> {
        self.position(|slot| self.tags[slot] != Self::FREE)
    }

    #[inline(always)]
    fn position(&self, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        (0..RUNS_OPEN_MAX).find(|&slot| is_it(slot))
    }

    fn next_victim(&mut self) -> usize {
        self.victim = (self.victim + 1) % RUNS_OPEN_MAX;
        self.victim
    }

    #[inline]
    fn set(&mut self, slot: usize, flow: &Flow) {
        self.tags[slot] = flow.tag;
        self.addresses[slot] = flow.addresses;
    }

    #[inline]
    fn clear(&mut self, slot: usize) {
        self.tags[slot] = Self::FREE;
    }
}
