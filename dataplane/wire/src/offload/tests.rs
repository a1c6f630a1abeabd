//! What splitting and merging promise together.

use super::*;
use crate::{InterfaceId, Span};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

mod coalesce;
mod packets;
mod segment;

/// What the kernel would see of a run: the frame that a gather write of head and parts makes.
pub(super) fn frame_of(run: &Run<'_>, arena: &[u8]) -> Vec<u8> {
    let mut frame = run.head.to_vec();
    for part in run.parts {
        frame.extend(&arena[part.range()]);
    }
    frame
}

/// All frames that the coalescer makes of packets, with the number of packets in each.
pub(super) fn merge(offloads: Offloads, packets: &[Vec<u8>]) -> Vec<(Vec<u8>, usize)> {
    let mut arena = Vec::new();
    let mut spans = Vec::new();
    for packet in packets {
        arena.extend([0xaa; 16]);
        spans.push(Span { offset: arena.len() as u32, len: packet.len() as u32 });
        arena.extend(packet);
    }
    let mut frames = Vec::new();
    let mut coalescer = Coalescer::new(offloads);
    let mut sink = |run: Run<'_>| frames.push((frame_of(&run, &arena), run.parts.len()));
    for span in spans {
        coalescer.push(InterfaceId(1), &arena, span, &mut sink);
    }
    coalescer.flush(&arena, &mut sink);
    frames
}

/// The packets that a frame of the device stands for.
pub(super) fn split(frame: &[u8]) -> Vec<Vec<u8>> {
    let (vnet, packet) = VnetHeader::parse(frame).unwrap();
    let Ok(plan) = Segmentation::plan(&vnet, packet) else {
        assert_eq!(vnet, VnetHeader::PLAIN, "only what was never merged may be no packet");
        return vec![packet.to_vec()];
    };
    assert!(plan.count() > 1 || plan.segment_len() == plan.last_len());
    (0..plan.count())
        .map(|index| {
            let mut out = vec![0xee; plan.header_len()];
            let (header_len, payload) = plan.emit_header(index, packet, &mut out).unwrap();
            assert_eq!(header_len, out.len());
            out.extend(&packet[payload]);
            let expected = if index + 1 == plan.count() { plan.last_len() } else { plan.segment_len() };
            assert_eq!(out.len(), expected);
            out
        })
        .collect()
}

#[test]
fn a_virtio_header_reads_back_as_it_was_written() {
    let header = VnetHeader {
        flags: 1,
        gso_type: 0x81,
        hdr_len: 0x0203,
        gso_size: 0x0405,
        csum_start: 0x0607,
        csum_offset: 0x0809,
    };
    let mut out = [0; 12];
    header.emit(out.first_chunk_mut().unwrap());
    assert_eq!(VnetHeader::parse(&out), Some((header, &[0, 0][..])));
    assert_eq!(out[2..4], 0x0203_u16.to_ne_bytes());
    assert_eq!(VnetHeader::parse(&out[..9]), None);
    assert_eq!(VnetHeader::parse(&[0; 10]), Some((VnetHeader::PLAIN, &[][..])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    // EN-6
    #[test]
    fn splitting_what_was_merged_gives_back_every_packet_in_the_order_of_its_flow(
        packets in packets::streams(),
        tcp: bool,
        udp: bool,
    ) {
        let frames = merge(Offloads { tcp, udp }, &packets);
        let mut split_again = Vec::new();
        for (frame, count) in &frames {
            let parts = split(frame);
            prop_assert_eq!(parts.len(), *count);
            prop_assert!(*count <= SEGMENTS_MAX && frame.len() <= VnetHeader::LEN + 65_535);
            split_again.extend(parts);
        }
        // Stable, so the order within each flow is compared, and only that.
        let mut expected = packets.clone();
        expected.sort_by_key(|packet| packets::flow_of(packet));
        split_again.sort_by_key(|packet| packets::flow_of(packet));
        prop_assert_eq!(split_again, expected);
    }

    // EN-6
    #[test]
    fn merging_what_was_split_gives_back_the_super_packet(
        shape in packets::shapes(),
        segment_len in 1..1500_usize,
        count in 2..=SEGMENTS_MAX,
        last_len in 1..1500_usize,
        push: bool,
    ) {
        let last_len = last_len.min(segment_len);
        let payload_len = (segment_len * (count - 1) + last_len).min(65_000);
        let frame = shape.super_packet(payload_len, segment_len, push && shape.is_tcp());
        let packets = split(&frame);
        let merged = merge(Offloads::ALL, &packets);
        prop_assert_eq!(merged.len(), 1);
        prop_assert_eq!(&merged[0].0, &frame);
    }
}
