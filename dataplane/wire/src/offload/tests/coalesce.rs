//! What is merged, what is not, and in which order it leaves.

use super::packets::{Shape, Tweak, payload};
use super::*;

const TCP: Shape = Shape {
    v6: false,
    tcp: true,
    port: 1000,
    class: 0,
    timestamp: Some(7),
    sequence: 1000,
    identification: 1,
    dont_fragment: true,
};

fn shapes_of_all_kinds() -> [Shape; 4] {
    [(false, true), (true, true), (false, false), (true, false)].map(|(v6, tcp)| Shape { v6, tcp, ..TCP })
}

/// Packets of one flow with payloads of these lengths, each tweaked.
fn flow(shape: Shape, packets: &[(usize, Tweak)]) -> Vec<Vec<u8>> {
    let mut offset = 0;
    packets
        .iter()
        .enumerate()
        .map(|(index, &(len, tweak))| {
            offset += len;
            shape.packet(index, offset - len, tweak, &payload(offset, len))
        })
        .collect()
}

/// How many packets each frame holds.
fn counts(packets: &[Vec<u8>]) -> Vec<usize> {
    merge(Offloads::ALL, packets).iter().map(|(_, count)| *count).collect()
}

fn counts_of(shape: Shape, packets: &[(usize, Tweak)]) -> Vec<usize> {
    counts(&flow(shape, packets))
}

// EN-6
#[test]
fn packets_that_continue_each_other_leave_as_one_until_a_shorter_one() {
    for shape in shapes_of_all_kinds() {
        let all = [100, 100, 100, 60, 100, 100, 100].map(|len| (len, Tweak::None));
        assert_eq!(counts_of(shape, &all), [4, 3], "{shape:?}");
        let longer = [100, 101, 101].map(|len| (len, Tweak::None));
        assert_eq!(counts_of(shape, &longer), [1, 2], "a longer packet begins a run of its own: {shape:?}");
    }
}

// EN-6
#[test]
fn a_packet_with_any_other_header_field_begins_a_run_of_its_own() {
    for shape in shapes_of_all_kinds() {
        let mut tweaks = vec![Tweak::HopLimit, Tweak::Class];
        if shape.tcp {
            tweaks.extend([Tweak::Window, Tweak::Acknowledgement, Tweak::Urgent]);
            tweaks.extend([Tweak::Sequence, Tweak::Timestamp]);
        }
        if !shape.v6 {
            tweaks.push(Tweak::Identification);
        }
        for tweak in tweaks {
            let packets =
                [Tweak::None, Tweak::None, tweak, tweak, Tweak::None, Tweak::None].map(|tweak| (100, tweak));
            assert_eq!(counts_of(shape, &packets), [2, 2, 2], "{tweak:?} of {shape:?}");
        }
    }
}

// EN-6
#[test]
fn a_packet_that_may_not_be_merged_leaves_alone_and_behind_its_flow() {
    for shape in shapes_of_all_kinds() {
        let mut tweaks = vec![Tweak::BadTransportChecksum, Tweak::OddChecksum];
        if shape.tcp {
            tweaks.extend([Tweak::Fin, Tweak::Ece, Tweak::Nonce, Tweak::NoAck]);
        }
        if !shape.v6 {
            tweaks.extend([Tweak::BadHeaderChecksum, Tweak::Fragment, Tweak::LastFragment, Tweak::Options]);
        }
        for tweak in tweaks {
            let packets =
                [Tweak::None, Tweak::None, tweak, tweak, Tweak::None, Tweak::None].map(|tweak| (100, tweak));
            let packets = flow(shape, &packets);
            let merged = merge(Offloads::ALL, &packets);
            let counts: Vec<_> = merged.iter().map(|(_, count)| *count).collect();
            assert_eq!(counts, [2, 1, 1, 2], "{tweak:?} of {shape:?}");
            assert_eq!(merged[1].0, [&[0; VnetHeader::LEN][..], &packets[2]].concat(), "untouched");
        }
    }
}

#[test]
fn a_wrong_checksum_of_the_first_packet_of_a_run_is_seen_too() {
    for shape in shapes_of_all_kinds() {
        let packets = [Tweak::BadTransportChecksum, Tweak::None, Tweak::None].map(|tweak| (100, tweak));
        assert_eq!(counts_of(shape, &packets), [1, 2], "{shape:?}");
    }
}

#[test]
fn a_congestion_mark_is_not_spread_over_other_packets() {
    for shape in shapes_of_all_kinds() {
        let marked = Shape { class: 0x03, ..shape };
        assert_eq!(counts_of(marked, &[(100, Tweak::None); 3]), [1, 1, 1], "{shape:?}");
        let capable = Shape { class: 0x02, ..shape };
        assert_eq!(counts_of(capable, &[(100, Tweak::None); 3]), [3]);
    }
}

#[test]
fn nothing_follows_a_push_and_acknowledgements_alone_are_not_merged() {
    let packets = [Tweak::None, Tweak::Push, Tweak::None, Tweak::None].map(|tweak| (100, tweak));
    assert_eq!(counts_of(TCP, &packets), [2, 2]);
    let packets = [Tweak::Push, Tweak::None, Tweak::None].map(|tweak| (100, tweak));
    assert_eq!(counts_of(TCP, &packets), [1, 2]);
    let packets = [100, 100, 0, 0, 100, 100].map(|len| (len, Tweak::None));
    for shape in shapes_of_all_kinds() {
        assert_eq!(counts_of(shape, &packets), [2, 1, 1, 2], "{shape:?}");
    }
}

#[test]
fn a_run_holds_at_most_64_packets_and_65535_bytes() {
    for shape in shapes_of_all_kinds() {
        assert_eq!(counts_of(shape, &[(10, Tweak::None); 130]), [64, 64, 2]);
        let header_len = shape.packet(0, 0, Tweak::None, &[]).len();
        let fits = 65_535 - header_len - 63 * 1000;
        let mut packets = [(1000, Tweak::None); 64];
        packets[63].0 = fits.min(1000);
        assert_eq!(counts_of(shape, &packets), [64], "{shape:?}");
        let rest = 65_535 - header_len - 40_000;
        assert_eq!(counts_of(shape, &[(40_000, Tweak::None), (rest, Tweak::None)]), [2]);
        assert_eq!(counts_of(shape, &[(40_000, Tweak::None), (rest + 1, Tweak::None)]), [1, 1]);
    }
}

#[test]
fn a_merged_header_leaves_the_checksum_to_the_kernel_and_says_where() {
    for shape in shapes_of_all_kinds() {
        let (frame, count) = &merge(Offloads::ALL, &flow(shape, &[(100, Tweak::None); 3]))[0];
        let (vnet, packet) = VnetHeader::parse(frame).unwrap();
        let network = if shape.v6 { 40 } else { 20 };
        let transport = if shape.tcp { 32 } else { 8 };
        assert_eq!((*count, packet.len()), (3, network + transport + 300));
        let gso_type = match (shape.tcp, shape.v6) {
            (true, false) => 1,
            (true, true) => 4,
            (false, _) => 5,
        };
        let csum_offset = if shape.tcp { 16 } else { 6 };
        let expected = VnetHeader {
            flags: 1,
            gso_type,
            hdr_len: (network + transport) as u16,
            gso_size: 100,
            csum_start: network as u16,
            csum_offset,
        };
        assert_eq!(vnet, expected);
        // What the kernel would do for a packet that is not split: complete the checksum.
        let plain = VnetHeader { gso_type: VnetHeader::GSO_NONE, ..vnet };
        let mut completed = [0; HEADER_LEN_MAX];
        let plan = Segmentation::plan(&plain, packet).unwrap();
        let (header_len, rest) = plan.emit_header(0, packet, &mut completed).unwrap();
        let whole = [&completed[..header_len], &packet[rest]].concat();
        let ip = crate::ip::Packet::parse(&whole).unwrap();
        assert_eq!(ip.as_bytes().len(), whole.len());
        let payload = ip.payload().unwrap();
        let sum = ip.pseudo_sum(payload.protocol, payload.bytes().len());
        assert!(sum.and(crate::checksum::Sum::of(payload.bytes())).is_intact(), "{shape:?}");
    }
}

#[test]
fn interleaved_flows_merge_each_for_itself() {
    let flows: Vec<_> = (0..RUNS_OPEN_MAX as u16)
        .map(|port| {
            let shape = shapes_of_all_kinds()[usize::from(port % 4)];
            flow(Shape { port: port / 4, ..shape }, &[(100, Tweak::None); 5])
        })
        .collect();
    let interleaved: Vec<_> =
        (0..5).flat_map(|index| flows.iter().map(move |flow| flow[index].clone())).collect();
    assert_eq!(counts(&interleaved), [5; RUNS_OPEN_MAX]);
}

#[test]
fn more_flows_than_runs_push_each_other_out_and_lose_nothing() {
    let flows: Vec<_> = (0..40).map(|port| flow(Shape { port, ..TCP }, &[(100, Tweak::None); 3])).collect();
    let interleaved: Vec<_> =
        (0..3).flat_map(|index| flows.iter().map(move |flow| flow[index].clone())).collect();
    let merged = merge(Offloads::ALL, &interleaved);
    let mut back: Vec<_> = merged.iter().flat_map(|(frame, _)| split(frame)).collect();
    let mut expected = interleaved.clone();
    back.sort_by_key(|packet| packets::flow_of(packet));
    expected.sort_by_key(|packet| packets::flow_of(packet));
    assert_eq!(back, expected);
}

#[test]
fn a_fragment_waits_for_the_flows_between_its_ends_and_for_no_others() {
    let elsewhere = |mut packet: Vec<u8>| {
        // To another address, with the checksums of IPv4 and TCP made to fit.
        for at in [10, 36] {
            let old = u16::from_be_bytes([packet[at], packet[at + 1]]);
            let new = crate::checksum::update(old, 0x0002, 0x0003);
            packet[at..at + 2].copy_from_slice(&new.to_be_bytes());
        }
        packet[18..20].copy_from_slice(&[0, 3]);
        packet
    };
    let near = flow(TCP, &[(100, Tweak::None), (100, Tweak::None), (100, Tweak::Fragment)]);
    let far: Vec<_> = flow(TCP, &[(100, Tweak::None); 3]).into_iter().map(elsewhere).collect();
    let order = [&near[0], &far[0], &near[1], &far[1], &near[2], &far[2]].map(Clone::clone);
    assert_eq!(counts(&order), [2, 1, 3]);

    // A fragment of IPv6, which is one by its extension header.
    let near = flow(Shape { v6: true, ..TCP }, &[(100, Tweak::None); 3]);
    let mut fragment = near[2].clone();
    fragment[6] = crate::ip::protocol::FRAGMENT;
    let order = [near[0].clone(), near[1].clone(), fragment.clone()];
    let merged = merge(Offloads::ALL, &order);
    assert_eq!(merged.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(merged[1].0[VnetHeader::LEN..], fragment);
}

#[test]
fn a_packet_that_is_longer_than_it_says_is_not_merged() {
    for shape in shapes_of_all_kinds() {
        let mut packets = flow(shape, &[(100, Tweak::None); 3]);
        // The transport checksum is still that of the longer packet.
        for packet in &mut packets {
            let len_at = if shape.v6 { 4 } else { 2 };
            let old = u16::from_be_bytes([packet[len_at], packet[len_at + 1]]);
            packet[len_at..len_at + 2].copy_from_slice(&(old - 4).to_be_bytes());
            if !shape.v6 {
                let checksum = u16::from_be_bytes([packet[10], packet[11]]);
                packet[10..12]
                    .copy_from_slice(&crate::checksum::update(checksum, old, old - 4).to_be_bytes());
            }
        }
        assert_eq!(counts(&packets), [1, 1, 1], "{shape:?}");
    }
    // The same of the length of UDP, the checksum made to fit.
    for shape in shapes_of_all_kinds().into_iter().filter(|shape| !shape.tcp) {
        let mut packets = flow(shape, &[(100, Tweak::None); 3]);
        let at = if shape.v6 { 40 } else { 20 };
        for packet in &mut packets {
            let checksum = u16::from_be_bytes([packet[at + 6], packet[at + 7]]);
            packet[at + 4..at + 6].copy_from_slice(&104_u16.to_be_bytes());
            packet[at + 6..at + 8]
                .copy_from_slice(&crate::checksum::update(checksum, 108, 104).to_be_bytes());
        }
        assert_eq!(counts(&packets), [1, 1, 1], "{shape:?}");
    }
}

#[test]
fn a_zero_checksum_in_its_other_spelling_is_not_merged_as_it_would_not_come_back() {
    for shape in shapes_of_all_kinds() {
        let header_len = shape.packet(0, 0, Tweak::None, &[]).len();
        let field_at = if shape.v6 { 40 } else { 20 } + if shape.tcp { 16 } else { 6 };
        // A packet whose payload ends in its own checksum has a sum of all ones, and so a checksum of zero.
        let zero = |index: usize| {
            let mut carried = payload(index, 100);
            carried[98..].copy_from_slice(&[0; 2]);
            let packet = shape.packet(index, 100 * index, Tweak::None, &carried);
            carried[98..].copy_from_slice(&packet[field_at..field_at + 2]);
            shape.packet(index, 100 * index, Tweak::None, &carried)
        };
        let mut packets = [zero(0), zero(1)];
        let written = if shape.tcp { [0; 2] } else { [0xff; 2] };
        assert_eq!((packets[0].len(), &packets[0][field_at..field_at + 2]), (header_len + 100, &written[..]));
        assert_eq!(counts(&packets), [2], "{shape:?}");
        packets[1][field_at..field_at + 2].copy_from_slice(&[!written[0]; 2]);
        assert_eq!(counts(&packets), [1, 1], "{shape:?}");
        packets.swap(0, 1);
        assert_eq!(counts(&packets), [1, 1], "{shape:?}");
    }

    // The same of the header checksum of IPv4, by its identification.
    let plain = Shape { identification: 0, ..TCP }.packet(0, 0, Tweak::None, &payload(0, 100));
    let shape = Shape { identification: u16::from_be_bytes([plain[10], plain[11]]), ..TCP };
    let mut packets = flow(shape, &[(100, Tweak::None); 2]);
    assert_eq!((&packets[0][10..12], counts(&packets)), (&[0; 2][..], vec![2]));
    packets[0][10..12].copy_from_slice(&[0xff; 2]);
    assert_eq!(counts(&packets), [1, 1]);
}

#[test]
fn other_protocols_and_what_is_no_packet_leave_at_once() {
    let mut ping = Vec::new();
    etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .icmpv4_echo_request(1, 2)
        .write(&mut ping, b"ping")
        .unwrap();
    let data = flow(TCP, &[(100, Tweak::None); 2]);
    let packets =
        [data[0].clone(), ping.clone(), Vec::new(), vec![0x45; 19], vec![0x60; 39], data[1].clone()];
    let merged = merge(Offloads::ALL, &packets);
    let counts: Vec<_> = merged.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [1, 1, 1, 1, 2]);
    assert_eq!(merged[0].0[VnetHeader::LEN..], ping);
}

// EN-6
#[test]
fn what_the_inner_side_does_not_take_merged_leaves_alone() {
    for shape in shapes_of_all_kinds() {
        let packets = flow(shape, &[(100, Tweak::None); 3]);
        for offloads in [Offloads::NONE, Offloads { tcp: !shape.tcp, udp: shape.tcp }] {
            let merged = merge(offloads, &packets);
            let expected = packets.iter().map(|packet| [&[0; VnetHeader::LEN][..], packet].concat());
            assert!(
                merged.iter().map(|(frame, _)| frame.clone()).eq(expected),
                "{shape:?} with {offloads:?}"
            );
        }
    }
}

#[test]
fn flows_of_two_interfaces_never_mix() {
    let packets = flow(TCP, &[(100, Tweak::None); 4]);
    let arena = packets.concat();
    let len = packets[0].len() as u32;
    let mut runs = Vec::new();
    let mut coalescer = Coalescer::new(Offloads::ALL);
    let mut sink = |run: Run<'_>| runs.push((run.interface.0, run.parts.len()));
    for index in 0..4 {
        let interface = InterfaceId((index / 2) as u16);
        coalescer.push(interface, &arena, Span { offset: index * len, len }, &mut sink);
    }
    coalescer.flush(&arena, &mut sink);
    coalescer.flush(&arena, &mut sink);
    runs.sort_unstable();
    assert_eq!(runs, [(0, 2), (1, 2)], "and a second flush finds nothing");
}

#[test]
fn a_range_outside_of_the_arena_is_no_packet() {
    let arena = TCP.packet(0, 0, Tweak::None, &[]);
    let mut coalescer = Coalescer::new(Offloads::ALL);
    let mut sink = |_: Run<'_>| panic!("nothing to hand over");
    for (offset, len) in [(1, arena.len() as u32), (u32::MAX, u32::MAX), (arena.len() as u32, 1)] {
        coalescer.push(InterfaceId(0), &arena, Span { offset, len }, &mut sink);
    }
    coalescer.flush(&arena, &mut sink);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_changes_lose_no_packet_and_no_byte(
        shape in packets::shapes(),
        changes in prop::collection::vec((0..8_usize, 0..90_usize, any::<u8>()), 0..12),
    ) {
        let mut packets = flow(shape, &[(30, Tweak::None); 8]);
        for (packet, at, byte) in changes {
            if let Some(place) = packets[packet].get_mut(at) {
                *place = byte;
            }
        }
        let mut back: Vec<_> = merge(Offloads::ALL, &packets).iter().flat_map(|(frame, _)| split_or_trim(frame)).collect();
        back.sort();
        packets.sort();
        prop_assert_eq!(back, packets);
    }
}

/// As [`split`], but a packet that was never merged comes back with whatever lies behind its IP length.
fn split_or_trim(frame: &[u8]) -> Vec<Vec<u8>> {
    let (vnet, packet) = VnetHeader::parse(frame).unwrap();
    if vnet == VnetHeader::PLAIN { vec![packet.to_vec()] } else { split(frame) }
}
