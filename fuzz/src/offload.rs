//! Super-packets: split, merged, and split again.

use std::net::IpAddr;

use dataplane_wire::ip::{Packet, Tcp, Transport};
use dataplane_wire::offload::{Coalescer, HEADER_LEN_MAX, Offloads, Run, Segmentation, VnetHeader};
use dataplane_wire::{InterfaceId, Span};

use crate::slow_checksum;

/// A packet of the inner side with its `virtio_net_hdr`: each segment is a packet with right lengths and checksums, their
/// payloads are those of the super-packet, and merging them again loses and changes nothing.
pub fn vnet(data: &[u8]) {
    let Some((vnet, packet)) = VnetHeader::parse(data) else { return };
    let mut emitted = [0; VnetHeader::LEN];
    vnet.emit(&mut emitted);
    assert!(data.starts_with(&emitted));
    let Some(segments) = split(&vnet, packet) else { return };
    if vnet.gso_type & !VnetHeader::GSO_ECN != VnetHeader::GSO_NONE {
        for segment in &segments {
            assert_eq!(transport_checksum(segment), Some(0), "checksum of a segment");
        }
        let whole = Packet::parse(packet).expect("it was split");
        let joined: Vec<u8> = segments.iter().flat_map(|segment| payload(segment)).copied().collect();
        assert_eq!(joined, payload(whole.as_bytes()), "payload of all segments");
    }
    assert_same(merge(&segments), segments);
}

/// Any packets, one behind the other, each with two bytes of length before it: what the coalescer makes of them, split
/// again, are the same packets, and those of one flow in the same order.
pub fn coalesce(data: &[u8]) {
    let mut packets = Vec::new();
    let mut rest = data;
    while let Some((len, behind)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(behind.len());
        packets.push(behind[..len].to_vec());
        rest = &behind[len..];
    }
    let merged = merge(&packets);
    for flow in &packets {
        let of_flow =
            |all: &[Vec<u8>]| all.iter().filter(|p| ends(p) == ends(flow)).cloned().collect::<Vec<_>>();
        assert_eq!(of_flow(&merged), of_flow(&packets), "packets of a flow, in order");
    }
    assert_same(merged, packets);
}

/// Splits a packet as the sending side does; `None` where it is refused.
fn split(vnet: &VnetHeader, packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let plan = Segmentation::plan(vnet, packet).ok()?;
    let mut segments = Vec::new();
    for index in 0..plan.count() {
        let mut header = [0; HEADER_LEN_MAX];
        let (len, range) = plan.emit_header(index, packet, &mut header).expect("a segment that was planned");
        let segment = [&header[..len], &packet[range]].concat();
        let wanted = if index + 1 == plan.count() { plan.last_len() } else { plan.segment_len() };
        assert_eq!(segment.len(), wanted);
        assert_eq!(Packet::parse(&segment).map(|p| p.as_bytes().len()), Ok(wanted), "a segment is a packet");
        segments.push(segment);
    }
    assert!(plan.emit_header(plan.count(), packet, &mut [0; HEADER_LEN_MAX]).is_none());
    Some(segments)
}

/// Gives packets to a coalescer and splits again what it hands over.
fn merge(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let arena = packets.concat();
    let mut coalescer = Coalescer::new(Offloads::ALL);
    let mut frames = Vec::new();
    let mut take = |run: Run<'_>| {
        let parts = run.parts.iter().map(|part| &arena[part.range()]);
        let frame: Vec<u8> = std::iter::once(run.head).chain(parts).flatten().copied().collect();
        frames.push((frame, run.parts.len()));
    };
    let mut offset = 0;
    for packet in packets {
        let span = Span { offset, len: packet.len() as u32 };
        coalescer.push(InterfaceId(1), &arena, span, &mut take);
        offset += span.len;
    }
    coalescer.flush(&arena, &mut take);
    let mut merged = Vec::new();
    for (frame, parts) in frames {
        let (vnet, packet) = VnetHeader::parse(&frame).expect("a frame begins with its header");
        if vnet == VnetHeader::PLAIN {
            assert_eq!(parts, 1);
            merged.push(packet.to_vec());
            continue;
        }
        let again = split(&vnet, packet).expect("a merged packet can be split");
        assert_eq!(again.len(), parts, "as many packets as were merged");
        merged.extend(again);
    }
    merged
}

/// The same packets, in whatever order.
fn assert_same(mut left: Vec<Vec<u8>>, mut right: Vec<Vec<u8>>) {
    left.sort();
    right.sort();
    assert_eq!(left, right);
}

/// The two ends and the protocol of a packet, as far as they can be told.
fn ends(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, [u8; 4])> {
    let ip = Packet::parse(packet).ok()?;
    let payload = ip.payload().ok()?;
    let ports = match ip.transport().ok()? {
        Transport::Tcp(_) | Transport::Udp(_) => *payload.bytes().first_chunk()?,
        _ => [0; 4],
    };
    Some((ip.source(), ip.destination(), payload.protocol, ports))
}

/// What TCP or UDP carries.
fn payload(packet: &[u8]) -> &[u8] {
    let header_len = |tcp: &Tcp<'_>| tcp.header_len();
    let Ok(ip) = Packet::parse(packet) else { return &[] };
    let Ok(found) = ip.payload() else { return &[] };
    let skip = match ip.transport() {
        Ok(Transport::Tcp(tcp)) => header_len(&tcp),
        Ok(Transport::Udp(_)) => 8,
        _ => 0,
    };
    packet.get(found.offset + skip..ip.as_bytes().len()).unwrap_or_default()
}

/// The checksum of TCP or UDP over pseudo header, header and payload: 0 where it is right.
fn transport_checksum(packet: &[u8]) -> Option<u16> {
    let ip = Packet::parse(packet).ok()?;
    let payload = ip.payload().ok()?;
    let len = (payload.bytes().len() as u32).to_be_bytes();
    let addresses = match &ip {
        Packet::V4(_) => &packet[12..20],
        Packet::V6(_) => &packet[8..40],
    };
    Some(slow_checksum(&[addresses, &len, &[0, 0, 0, payload.protocol], payload.bytes()]))
}
