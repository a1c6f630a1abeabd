use super::*;
use crate::ip::Transport;
use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type, PacketBuilder};
use proptest::prelude::*;
use std::vec::Vec;

fn udp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
                .udp(1, 2)
                .write(&mut out, payload)
                .unwrap();
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), 64)
                .udp(1, 2)
                .write(&mut out, payload)
                .unwrap();
        }
        _ => panic!("two versions"),
    }
    out
}

fn answer(why: Unreachable, packet: &[u8]) -> Option<Vec<u8>> {
    let mut out = [0xee; UNREACHABLE_LEN_MAX];
    unreachable(why, packet, &mut out).map(|len| out[..len].to_vec())
}

#[test]
fn an_ipv4_packet_is_answered_host_unreachable_from_its_destination() {
    let packet = udp("10.0.0.1", "10.9.9.9", b"payload");
    for why in [Unreachable::Route, Unreachable::Address] {
        let out = answer(why, &packet).unwrap();
        let sliced = etherparse::SlicedPacket::from_ip(&out).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = sliced.net else { panic!("not IPv4") };
        let header = ip.header().to_header();
        assert_eq!((header.source, header.destination), ([10, 9, 9, 9], [10, 0, 0, 1]));
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert!(header.dont_fragment);
        let Some(etherparse::TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("not ICMP") };
        let host = etherparse::icmpv4::DestUnreachableHeader::Host;
        assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(host));
        assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
        assert_eq!(icmp.payload(), packet, "a short packet is quoted whole");
    }
}

#[test]
fn an_ipv6_packet_is_answered_by_its_reason_from_its_destination() {
    let packet = udp("fd00::1", "fd00::9", b"payload");
    for (why, code) in [
        (Unreachable::Route, etherparse::icmpv6::DestUnreachableCode::NoRoute),
        (Unreachable::Address, etherparse::icmpv6::DestUnreachableCode::Address),
    ] {
        let out = answer(why, &packet).unwrap();
        let sliced = etherparse::SlicedPacket::from_ip(&out).unwrap();
        let Some(etherparse::NetSlice::Ipv6(ip)) = sliced.net else { panic!("not IPv6") };
        let header = ip.header().to_header();
        assert_eq!((header.source[15], header.destination[15]), (9, 1));
        let Some(etherparse::TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("not ICMPv6") };
        assert_eq!(icmp.icmp_type(), Icmpv6Type::DestinationUnreachable(code));
        assert!(icmp.is_checksum_valid(header.source, header.destination));
        assert_eq!(icmp.payload(), packet);
    }
}

#[test]
fn a_long_packet_is_quoted_as_far_as_an_answer_may_go() {
    let v4 = udp("10.0.0.1", "10.9.9.9", &[7; 3000]);
    let out = answer(Unreachable::Route, &v4).unwrap();
    assert_eq!((out.len(), &out[28..]), (576, &v4[..548]));
    let v6 = udp("fd00::1", "fd00::9", &[7; 3000]);
    let out = answer(Unreachable::Route, &v6).unwrap();
    assert_eq!((out.len(), &out[48..]), (1280, &v6[..1232]));
}

#[test]
fn a_buffer_without_room_for_the_ports_is_not_written() {
    for (packet, least) in
        [(udp("10.0.0.1", "10.9.9.9", &[7; 99]), 28 + 28), (udp("fd00::1", "fd00::9", &[7; 99]), 48 + 48)]
    {
        for room in 0..least {
            let mut out = [0xee; 128];
            assert_eq!(unreachable(Unreachable::Route, &packet, &mut out[..room]), None);
            assert_eq!(out, [0xee; 128]);
        }
        let mut out = [0xee; 128];
        assert_eq!(unreachable(Unreachable::Route, &packet, &mut out[..least]), Some(least));
    }
}

#[test]
fn groups_and_those_who_are_no_single_host_get_no_answer() {
    for (source, destination) in [
        ("10.0.0.1", "224.0.0.1"),
        ("10.0.0.1", "255.255.255.255"),
        ("10.0.0.1", "240.0.0.1"),
        ("0.0.0.0", "10.0.0.2"),
        ("127.0.0.1", "10.0.0.2"),
        ("239.1.1.1", "10.0.0.2"),
        ("255.255.255.255", "10.0.0.2"),
        ("fd00::1", "ff02::1"),
        ("::", "fd00::2"),
        ("::1", "fd00::2"),
        ("ff05::2", "fd00::2"),
    ] {
        assert_eq!(
            answer(Unreachable::Route, &udp(source, destination, b"x")),
            None,
            "{source} to {destination}"
        );
    }
}

#[test]
fn only_the_first_of_several_fragments_is_answered() {
    let mut v4 = udp("10.0.0.1", "10.9.9.9", &[7; 64]);
    for (flags, answered) in
        [(0x0000_u16, true), (0x4000, true), (0x2000, true), (0x2001, false), (0x0001, false)]
    {
        v4[6..8].copy_from_slice(&flags.to_be_bytes());
        assert_eq!(answer(Unreachable::Route, &v4).is_some(), answered, "{flags:#x}");
    }
    let mut v6 = udp("fd00::1", "fd00::9", &[7; 64]);
    v6[6] = protocol::FRAGMENT;
    for (fields, answered) in [(0x0001_u16, true), (0x0009, false), (0x0008, false)] {
        // The UDP header becomes a fragment header; what it says beside these fields is not looked at.
        v6[40..44].copy_from_slice(&[protocol::UDP, 0, (fields >> 8) as u8, fields as u8]);
        assert_eq!(answer(Unreachable::Route, &v6).is_some(), answered, "{fields:#x}");
    }
}

#[test]
fn an_icmp_error_is_never_answered_and_a_question_is() {
    let echo = IcmpEchoHeader { id: 1, seq: 2 };
    let mut v4 = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.icmpv4(Icmpv4Type::EchoRequest(echo)).write(&mut v4, b"ping").unwrap();
    for kind in 0..=255_u8 {
        v4[20] = kind;
        let question = matches!(kind, 0 | 8 | 9 | 10 | 13..=18 | 42 | 43);
        assert_eq!(answer(Unreachable::Address, &v4).is_some(), question, "ICMP type {kind}");
    }
    let mut v6 = Vec::new();
    let builder = PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 64);
    builder.icmpv6(Icmpv6Type::EchoRequest(echo)).write(&mut v6, b"ping").unwrap();
    for kind in 0..=255_u8 {
        v6[40] = kind;
        assert_eq!(
            answer(Unreachable::Address, &v6).is_some(),
            kind >= 128 && kind != 137,
            "ICMPv6 type {kind}"
        );
    }
    // Behind an extension header it is still an error.
    v6[6] = protocol::DESTINATION_OPTIONS;
    v6[40..49].copy_from_slice(&[protocol::ICMPV6, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(answer(Unreachable::Address, &v6), None);
    // Behind more of them than we look at, nobody knows.
    v6[4..6].copy_from_slice(&800_u16.to_be_bytes());
    v6.truncate(40);
    v6.resize(840, 0);
    v6[6] = protocol::HOP_BY_HOP;
    assert_eq!(answer(Unreachable::Address, &v6), None);
    // One that is cut off before its type is answered to nobody either.
    v4.truncate(20);
    v4[2..4].copy_from_slice(&20_u16.to_be_bytes());
    assert_eq!(answer(Unreachable::Address, &v4), None);
}

proptest! {
    #[test]
    fn an_answer_is_a_packet_that_would_not_be_answered(
        start in prop_oneof![Just([0x45, 0]), Just([0x60, 0]), any::<[u8; 2]>()],
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut packet = [&start[..], &rest].concat();
        let len = packet.len() as u16;
        if let (4, Some(total)) = (packet[0] >> 4, packet.get_mut(2..4)) {
            total.copy_from_slice(&len.to_be_bytes());
        } else if let Some(payload_len) = packet.get_mut(4..6) {
            payload_len.copy_from_slice(&len.saturating_sub(40).to_be_bytes());
        }
        if let Some(answered) = answer(Unreachable::Route, &packet) {
            let ip = Packet::parse(&answered).unwrap();
            prop_assert_eq!(ip.as_bytes().len(), answered.len());
            prop_assert!(matches!(ip.transport(), Ok(Transport::Icmp(_))));
            prop_assert_eq!(answer(Unreachable::Route, &answered), None);
        }
    }
}
