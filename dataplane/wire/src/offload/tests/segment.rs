//! What each segment of a super-packet looks like, judged by etherparse.

use super::packets::{Shape, Tweak, payload};
use super::*;
use crate::DropReason;
use crate::ip::{Packet, Tcp, TcpFlags, Transport};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

const SHAPE: Shape = Shape {
    v6: false,
    tcp: true,
    port: 1000,
    class: 0,
    timestamp: Some(7),
    sequence: u32::MAX - 1000,
    identification: u16::MAX - 1,
    dont_fragment: true,
};

/// The byte in which the flags of TCP stand, in a packet of [`SHAPE`].
const FLAGS_AT: usize = 20 + 13;

fn shapes_of_all_kinds() -> [Shape; 4] {
    [(false, true), (true, true), (false, false), (true, false)].map(|(v6, tcp)| Shape { v6, tcp, ..SHAPE })
}

/// Checks every length and checksum of a packet.
fn assert_sound(packet: &[u8]) {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let transport = sliced.transport.unwrap();
    match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(usize::from(header.total_len), packet.len());
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            match transport {
                TransportSlice::Tcp(tcp) => {
                    let tcp_header = tcp.to_header();
                    assert_eq!(
                        tcp_header.checksum,
                        tcp_header.calc_checksum_ipv4(&header, tcp.payload()).unwrap()
                    );
                }
                TransportSlice::Udp(udp) => {
                    let udp_header = udp.to_header();
                    assert_eq!(usize::from(udp_header.length), packet.len() - header.header_len());
                    assert_eq!(
                        udp_header.checksum,
                        udp_header.calc_checksum_ipv4(&header, udp.payload()).unwrap()
                    );
                }
                other => panic!("{other:?}"),
            }
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            assert_eq!(usize::from(header.payload_length) + 40, packet.len());
            match transport {
                TransportSlice::Tcp(tcp) => {
                    let tcp_header = tcp.to_header();
                    assert_eq!(
                        tcp_header.checksum,
                        tcp_header.calc_checksum_ipv6(&header, tcp.payload()).unwrap()
                    );
                }
                TransportSlice::Udp(udp) => {
                    let udp_header = udp.to_header();
                    assert_eq!(usize::from(udp_header.length), 8 + udp.payload().len());
                    assert_eq!(
                        udp_header.checksum,
                        udp_header.calc_checksum_ipv6(&header, udp.payload()).unwrap()
                    );
                }
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

fn tcp_of(packet: &[u8]) -> Tcp<'_> {
    match Packet::parse(packet).unwrap().transport() {
        Ok(Transport::Tcp(tcp)) => tcp,
        other => panic!("{other:?}"),
    }
}

// EN-6
#[test]
fn every_segment_is_a_sound_packet_and_together_they_are_the_payload() {
    for shape in shapes_of_all_kinds() {
        for (payload_len, gso_size) in [
            (65_000, 1400),
            (65_000, 1000),
            (2800, 1400),
            (2801, 1400),
            (1, 1),
            (700, 1),
            (700, 1400),
            (0, 1400),
        ] {
            let packets = split(&shape.super_packet(payload_len, gso_size, false));
            assert_eq!(packets.len(), payload_len.div_ceil(gso_size).max(1), "{shape:?}");
            let mut carried = Vec::<u8>::new();
            for packet in &packets {
                assert_sound(packet);
                let payload_at = packet.len() - gso_size.min(payload_len - carried.len());
                carried.extend(&packet[payload_at..]);
            }
            assert_eq!(carried, payload(1, payload_len));
        }
    }
}

#[test]
fn sequence_numbers_and_identifications_count_on_and_wrap() {
    let packets = split(&SHAPE.super_packet(4200, 1400, false));
    let sequences: Vec<_> = packets.iter().map(|packet| tcp_of(packet).sequence()).collect();
    assert_eq!(sequences, [u32::MAX - 1000, 399, 1799]);
    let identifications: Vec<_> = packets.iter().map(|packet| packet[4..6].to_vec()).collect();
    assert_eq!(identifications, [[0xff, 0xfe], [0xff, 0xff], [0, 0]]);
}

#[test]
fn push_and_fin_are_on_the_last_segment_only_and_cwr_on_the_first() {
    for flags in 0..=255_u8 {
        // SYN, RST and URG are never offloaded, and so never seen here; they stay on every segment.
        let mut frame = SHAPE.super_packet(4200, 1400, false);
        frame[VnetHeader::LEN + FLAGS_AT] = flags;
        frame[1] |= VnetHeader::GSO_ECN;
        let seen: Vec<_> = split(&frame).iter().map(|packet| tcp_of(packet).flags().0).collect();
        let (last, first) = (TcpFlags::FIN.0 | TcpFlags::PSH.0, TcpFlags::CWR.0);
        assert_eq!(seen, [flags & !last, flags & !last & !first, flags & !first]);
    }
    let mut alone = SHAPE.super_packet(1400, 1400, false);
    alone[VnetHeader::LEN + FLAGS_AT] = 0xd9;
    assert_eq!(tcp_of(&split(&alone)[0]).flags().0, 0xd9, "one segment is first and last");
}

#[test]
fn every_other_header_byte_is_the_same_in_every_segment() {
    for shape in shapes_of_all_kinds() {
        let frame = Shape { class: 0x8a, ..shape }.super_packet(4200, 1400, false);
        let packets = split(&frame);
        let network = if shape.v6 { 40 } else { 20 };
        // Lengths, identification, sequence numbers and checksums.
        let changing = match (shape.v6, shape.tcp) {
            (false, true) => vec![2..6, 10..12, 24..28, 36..38],
            (false, false) => vec![2..6, 10..12, 24..28],
            (true, true) => vec![4..6, 44..48, 56..58],
            (true, false) => vec![4..6, 44..48],
        };
        let header_len = network + if shape.tcp { 32 } else { 8 };
        for packet in packets {
            for at in (0..header_len).filter(|at| !changing.iter().any(|range| range.contains(at))) {
                assert_eq!(packet[at], frame[VnetHeader::LEN + at], "byte {at} of {shape:?}");
            }
        }
    }
}

#[test]
fn ip_options_and_extension_headers_are_on_every_segment() {
    // An IPv4 header with four bytes of options, made of one without.
    let plain = SHAPE.super_packet(3000, 1400, false);
    let mut frame = plain[..VnetHeader::LEN + 20].to_vec();
    frame.extend([1; 4]);
    frame.extend(&plain[VnetHeader::LEN + 20..]);
    let total_len = (frame.len() - VnetHeader::LEN) as u16;
    frame[VnetHeader::LEN] = 0x46;
    frame[VnetHeader::LEN + 2..][..2].copy_from_slice(&total_len.to_be_bytes());
    frame[6..8].copy_from_slice(&24_u16.to_ne_bytes());
    for packet in split(&frame) {
        assert_eq!(packet[20..24], [1; 4]);
        assert_sound(&packet);
    }

    let plain = Shape { v6: true, ..SHAPE }.super_packet(3000, 1400, false);
    let mut frame = plain[..VnetHeader::LEN + 40].to_vec();
    frame.extend([6, 0, 1, 4, 0, 0, 0, 0]);
    frame.extend(&plain[VnetHeader::LEN + 40..]);
    let payload_len = (frame.len() - VnetHeader::LEN - 40) as u16;
    frame[VnetHeader::LEN + 4..][..2].copy_from_slice(&payload_len.to_be_bytes());
    frame[VnetHeader::LEN + 6] = 60;
    frame[6..8].copy_from_slice(&48_u16.to_ne_bytes());
    for packet in split(&frame) {
        assert_eq!(packet[40..48], [6, 0, 1, 4, 0, 0, 0, 0]);
        assert_sound(&packet);
    }
}

#[test]
fn a_plain_packet_passes_as_it_is_without_what_lies_behind_it() {
    let packet = SHAPE.packet(0, 0, Tweak::None, &payload(1, 100));
    let mut longer = packet.clone();
    longer.extend([9; 5]);
    let plan = Segmentation::plan(&VnetHeader::PLAIN, &longer).unwrap();
    assert_eq!((plan.count(), plan.header_len()), (1, 0));
    assert_eq!((plan.segment_len(), plan.last_len()), (packet.len(), packet.len()));
    assert_eq!(plan.emit_header(0, &longer, &mut []), Some((0, 0..packet.len())));
}

#[test]
fn the_checksum_of_a_plain_packet_is_completed() {
    for shape in shapes_of_all_kinds() {
        for len in [0, 1, 99, 100] {
            // As the kernel would hand it over: a super-packet's partial checksum, without the super-packet.
            let mut frame = shape.super_packet(len, 1, false);
            frame[1] = VnetHeader::GSO_NONE;
            let packets = split(&frame);
            assert_eq!(packets, [shape.packet(0, 0, Tweak::None, &payload(1, len))]);
        }
    }
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_spelt_ffff_and_one_of_tcp_is_not() {
    for shape in shapes_of_all_kinds() {
        let mut frame = shape.super_packet(4, 2, false);
        let payload_at = frame.len() - 4;
        // The checksum of a packet that ends in two zero bytes, put into their place, makes the sum all ones.
        for at in [payload_at, payload_at + 2] {
            frame[at..at + 2].copy_from_slice(&[0; 2]);
        }
        let field_at = if shape.v6 { 40 } else { 20 } + if shape.tcp { 16 } else { 6 };
        for (index, packet) in split(&frame).iter().enumerate() {
            let at = payload_at + 2 * index;
            frame[at..at + 2].copy_from_slice(&packet[field_at..field_at + 2]);
        }
        let expected = if shape.tcp { [0; 2] } else { [0xff; 2] };
        for packet in split(&frame) {
            assert_eq!(packet[field_at..field_at + 2], expected, "{shape:?}");
            assert_sound(&packet);
        }

        // The same of a packet that is not split.
        let mut frame = shape.super_packet(2, 2, false);
        let payload_at = frame.len() - 2;
        frame[1] = VnetHeader::GSO_NONE;
        frame[payload_at..].copy_from_slice(&[0; 2]);
        let checksum = split(&frame)[0][field_at..field_at + 2].to_vec();
        frame[payload_at..].copy_from_slice(&checksum);
        assert_eq!(split(&frame)[0][field_at..field_at + 2], expected, "{shape:?}");
    }
}

// EN-6
#[test]
fn what_is_not_what_its_virtio_header_says_is_refused() {
    let refused = |name: &str, change: &dyn Fn(&mut VnetHeader, &mut Vec<u8>)| {
        let frame = SHAPE.super_packet(3000, 1400, false);
        let (mut vnet, packet) = VnetHeader::parse(&frame).unwrap();
        let mut packet = packet.to_vec();
        change(&mut vnet, &mut packet);
        let got = Segmentation::plan(&vnet, &packet).map(|plan| plan.count());
        assert_eq!(got, Err(DropReason::OutboundMalformed), "{name}");
    };
    refused("fragments of one UDP datagram", &|vnet, _| vnet.gso_type = VnetHeader::GSO_UDP);
    refused("an unknown type", &|vnet, _| vnet.gso_type = 2);
    refused("the other version", &|vnet, _| vnet.gso_type = VnetHeader::GSO_TCPV6);
    refused("the other version, the other way round", &|vnet, packet| {
        *packet = Shape { v6: true, ..SHAPE }.super_packet(3000, 1400, false).split_off(VnetHeader::LEN);
        vnet.csum_start = 40;
    });
    refused("the other protocol", &|vnet, _| vnet.gso_type = VnetHeader::GSO_UDP_L4);
    refused("segments of nothing", &|vnet, _| vnet.gso_size = 0);
    refused("a checksum that begins elsewhere", &|vnet, _| vnet.csum_start = 24);
    refused("no packet", &|_, packet| packet.clear());
    refused("cut off", &|_, packet| packet.truncate(100));
    refused("a TCP header that ends behind the packet", &|vnet, packet| {
        packet.truncate(50);
        packet[2..4].copy_from_slice(&50_u16.to_be_bytes());
        vnet.gso_size = 1;
    });
    refused("a fragment", &|_, packet| packet[6] = 0x20);
    refused("a plain packet whose checksum lies behind it", &|vnet, packet| {
        *vnet = VnetHeader { gso_type: VnetHeader::GSO_NONE, csum_start: packet.len() as u16 - 17, ..*vnet };
    });
    refused("a plain packet whose checksum lies too deep", &|vnet, _| {
        *vnet = VnetHeader { gso_type: VnetHeader::GSO_NONE, csum_start: HEADER_LEN_MAX as u16, ..*vnet };
    });
    refused("a plain packet whose checksum lies across two words", &|vnet, _| {
        *vnet = VnetHeader { gso_type: VnetHeader::GSO_NONE, csum_offset: 7, ..*vnet };
    });
}

#[test]
fn a_wrong_call_writes_no_segment() {
    let frame = SHAPE.super_packet(3000, 1400, false);
    let (vnet, packet) = VnetHeader::parse(&frame).unwrap();
    let plan = Segmentation::plan(&vnet, packet).unwrap();
    let mut out = [0; HEADER_LEN_MAX];
    assert!(plan.emit_header(2, packet, &mut out).is_some());
    assert_eq!(plan.emit_header(3, packet, &mut out), None, "there are three");
    assert_eq!(plan.emit_header(2, &packet[..2000], &mut out), None, "another packet");
    assert_eq!(plan.emit_header(0, packet, &mut out[..51]), None, "no room");
    assert!(plan.payload(3).is_empty() && plan.payload(usize::MAX).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_frame_makes_a_plan_that_leaves_its_packet(
        shape in packets::shapes(),
        payload_len in 0..300_usize,
        changes in prop::collection::vec((0..90_usize, any::<u8>()), 0..6),
    ) {
        let mut frame = shape.super_packet(payload_len, 10, false);
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        let (vnet, packet) = VnetHeader::parse(&frame).unwrap();
        let Ok(plan) = Segmentation::plan(&vnet, packet) else { return Ok(()) };
        let mut end = plan.header_len();
        let mut out = [0; HEADER_LEN_MAX];
        for index in 0..plan.count() {
            let (header_len, range) = plan.emit_header(index, packet, &mut out).unwrap();
            prop_assert_eq!((header_len, range.start), (plan.header_len(), end), "no gap and no overlap");
            end = range.end;
            prop_assert!(range.len() + header_len <= plan.segment_len());
        }
        prop_assert_eq!(end, Packet::parse(packet).unwrap().as_bytes().len());
    }
}
