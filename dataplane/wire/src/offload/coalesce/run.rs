//! An open run: how it grows, and what it becomes.

use crate::bytes::field_mut;
use crate::checksum::Sum;
use crate::ip::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, Tcp, TcpFlags, Udp, protocol};
use crate::offload::{SEGMENTS_MAX, VnetHeader};
use crate::{InterfaceId, Span};

use super::candidate::{Candidate, Family};
use super::{Run, alone, same};

/// Most bytes of a merged packet, IP header included.
const TOTAL_LEN_MAX: usize = 65_535;
/// Most bytes of the headers of a run: IPv6, and TCP with all its options.
const HEAD_LEN_MAX: usize = VnetHeader::LEN + IPV6_HEADER_LEN + 60;

/// What became of a packet that came to an open run of its flow.
pub(super) enum Joined {
    /// It joined; more may follow.
    Open,
    /// It joined, and nothing can follow it.
    Complete,
    /// It does not continue the run.
    Not,
    /// It would, but its checksum is wrong.
    Corrupt,
}

/// Packets that continue each other, the first of which lies whole in the arena.
#[derive(Debug)]
pub(super) struct OpenRun {
    interface: InterfaceId,
    first: Span,
    family: Family,
    is_tcp: bool,
    /// Whether the checksums of the first packet were verified: not before there is a second one.
    verified: bool,
    push: bool,
    header_len: usize,
    /// Payload bytes of the first packet, which is what the others have, but the last, which may have less.
    segment_len: usize,
    /// Payload bytes of all packets.
    payload_len: usize,
    constants: [u64; 2],
    next_sequence: u32,
    next_identification: u16,
    gso_type: u8,
    csum_offset: u16,
    parts: [Span; SEGMENTS_MAX],
    count: usize,
}

impl OpenRun {
    pub(super) const CLOSED: Self = Self {
        interface: InterfaceId(0),
        first: Span { offset: 0, len: 0 },
        family: Family::V4,
        is_tcp: false,
        verified: false,
        push: false,
        header_len: 0,
        segment_len: 0,
        payload_len: 0,
        constants: [0; 2],
        next_sequence: 0,
        next_identification: 0,
        gso_type: VnetHeader::GSO_NONE,
        csum_offset: 0,
        parts: [Span { offset: 0, len: 0 }; SEGMENTS_MAX],
        count: 0,
    };

    /// Becomes the run of one packet.
    #[inline]
    pub(super) fn open(&mut self, interface: InterfaceId, span: Span, candidate: &Candidate<'_>) {
        self.interface = interface;
        self.first = span;
        self.family = candidate.family;
        self.is_tcp = candidate.is_tcp;
        self.verified = false;
        self.push = false;
        self.header_len = candidate.header_len;
        self.segment_len = candidate.payload_len;
        self.payload_len = 0;
        self.constants = candidate.constants;
        self.next_sequence = candidate.sequence;
        self.next_identification = candidate.identification;
        (self.gso_type, self.csum_offset) = candidate.offload();
        self.count = 0;
        self.append(span, candidate);
    }

    /// Takes the next packet of the flow, if it continues the run.
    #[inline]
    pub(super) fn join(
        &mut self,
        arena: &[u8],
        span: Span,
        packet: &[u8],
        candidate: &Candidate<'_>,
    ) -> Joined {
        if !self.continues(arena, candidate) {
            return Joined::Not;
        }
        if !self.verified {
            let first = arena.get(self.first.range()).unwrap_or_default();
            if !candidate.is_intact(first) {
                return Joined::Not;
            }
            self.verified = true;
        }
        if !candidate.is_intact(packet) {
            return Joined::Corrupt;
        }
        self.append(span, candidate);
        self.push |= candidate.push;
        if self.count == SEGMENTS_MAX || candidate.payload_len < self.segment_len || self.push {
            Joined::Complete
        } else {
            Joined::Open
        }
    }

    /// Whether splitting the run with this packet would give back this packet.
    #[inline]
    fn continues(&self, arena: &[u8], candidate: &Candidate<'_>) -> bool {
        let identified = match self.family {
            Family::V4 => candidate.identification == self.next_identification,
            Family::V6 => true,
        };
        identified
            && candidate.sequence == self.next_sequence
            && same(&candidate.constants, &self.constants)
            && candidate.payload_len <= self.segment_len
            && self.header_len + self.payload_len + candidate.payload_len <= TOTAL_LEN_MAX
            && (!self.is_tcp || same_words(candidate.options, self.options(arena)))
    }

    /// The options of TCP that all packets of the run have.
    #[inline]
    fn options<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        let header = arena.get(self.first.range()).and_then(|first| first.get(..self.header_len));
        header.and_then(|header| header.get(self.family.header_len() + Tcp::HEADER_LEN..)).unwrap_or_default()
    }

    #[inline]
    fn append(&mut self, span: Span, candidate: &Candidate<'_>) {
        let header_len = candidate.header_len as u32;
        if let Some(part) = self.parts.get_mut(self.count) {
            *part = Span { offset: span.offset + header_len, len: span.len - header_len };
            self.count += 1;
            self.payload_len += candidate.payload_len;
            self.next_identification = self.next_identification.wrapping_add(1);
            if self.is_tcp {
                self.next_sequence = self.next_sequence.wrapping_add(candidate.payload_len as u32);
            }
        }
    }

    /// Hands the run over.
    pub(super) fn emit(&self, arena: &[u8], sink: &mut impl FnMut(Run<'_>)) {
        let parts = self.parts.get(..self.count).unwrap_or_default();
        if parts.len() == 1 {
            return alone(self.interface, self.first, sink);
        }
        let mut head = [0; HEAD_LEN_MAX];
        if let Some(head) = self.emit_head(arena, &mut head) {
            sink(Run { interface: self.interface, head, parts });
        }
    }

    /// Writes the headers of the merged packet: those of the first one, with the lengths of all, and the transport checksum
    /// left to the kernel.
    fn emit_head<'a>(&self, arena: &[u8], head: &'a mut [u8; HEAD_LEN_MAX]) -> Option<&'a [u8]> {
        let first = arena.get(self.first.range())?.get(..self.header_len)?;
        let (vnet, rest) = head.split_first_chunk_mut::<{ VnetHeader::LEN }>()?;
        VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            gso_type: self.gso_type,
            hdr_len: self.header_len as u16,
            gso_size: self.segment_len as u16,
            csum_start: self.family.header_len() as u16,
            csum_offset: self.csum_offset,
        }
        .emit(vnet);
        let headers = rest.get_mut(..self.header_len)?;
        headers.copy_from_slice(first);
        let (network, transport) = headers.split_at_mut_checked(self.family.header_len())?;
        let transport_len = (transport.len() + self.payload_len) as u16;
        let addresses = patch_network(self.family, network, transport_len)?;
        let number = if self.is_tcp { protocol::TCP } else { protocol::UDP };
        let pseudo = addresses.and_word(u16::from(number)).and_word(transport_len).fold().to_be_bytes();
        if self.is_tcp {
            let header = transport.first_chunk_mut::<{ Tcp::HEADER_LEN }>()?;
            header[13] |= if self.push { TcpFlags::PSH.0 } else { 0 };
            *field_mut::<16, 2, _>(header) = pseudo;
        } else {
            let header = transport.first_chunk_mut::<{ Udp::HEADER_LEN }>()?;
            *field_mut::<4, 2, _>(header) = transport_len.to_be_bytes();
            *field_mut::<6, 2, _>(header) = pseudo;
        }
        head.get(..VnetHeader::LEN + self.header_len)
    }
}

/// Whether two slices are equal that are made of words of 32 bits. Options are: a few words, for which the comparison of
/// slices of unknown length costs more by its call.
#[inline]
fn same_words(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.as_chunks::<4>().0.iter().zip(right.as_chunks::<4>().0).all(|(l, r)| l == r)
}

/// Writes the length of the merged packet into its IP header, and returns the sum of its addresses.
fn patch_network(family: Family, header: &mut [u8], transport_len: u16) -> Option<Sum> {
    match family {
        Family::V4 => {
            let header = header.first_chunk_mut::<IPV4_HEADER_LEN>()?;
            *field_mut::<2, 2, _>(header) = (IPV4_HEADER_LEN as u16 + transport_len).to_be_bytes();
            *field_mut::<10, 2, _>(header) = [0; 2];
            *field_mut::<10, 2, _>(header) = Sum::of_header(header).checksum().to_be_bytes();
            Some(Sum::of_header(field_mut::<12, 8, _>(header)))
        }
        Family::V6 => {
            let header = header.first_chunk_mut::<IPV6_HEADER_LEN>()?;
            *field_mut::<4, 2, _>(header) = transport_len.to_be_bytes();
            Some(Sum::of_header(field_mut::<8, 32, _>(header)))
        }
    }
}
