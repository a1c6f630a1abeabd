//! Streams of packets that often, and not always, continue each other; written by etherparse.

use super::*;
use crate::checksum::Sum;
use etherparse::{
    Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder, TcpHeader, TcpOptionElement, UdpHeader,
};

/// A flow, and the header fields that its packets share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub v6: bool,
    pub tcp: bool,
    pub port: u16,
    pub class: u8,
    pub timestamp: Option<u32>,
    pub sequence: u32,
    pub identification: u16,
    pub dont_fragment: bool,
}

/// What is odd about one packet of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tweak {
    None,
    Push,
    Fin,
    Ece,
    /// The bit beside the data offset that was ECN-nonce.
    Nonce,
    NoAck,
    /// An urgent pointer that no flag makes count.
    Urgent,
    Window,
    Acknowledgement,
    Sequence,
    Identification,
    HopLimit,
    Class,
    Timestamp,
    BadTransportChecksum,
    BadHeaderChecksum,
    /// All ones for TCP, and for UDP none.
    OddChecksum,
    Fragment,
    LastFragment,
    Options,
}

/// Payload that differs from place to place, so that exchanged bytes are seen.
pub(super) fn payload(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (seed.wrapping_mul(31) + at * 7 + at / 250) as u8).collect()
}

impl Shape {
    pub(super) fn is_tcp(&self) -> bool {
        self.tcp
    }

    /// Packet number `index` of the flow, which carries `payload`, the first byte of which is number `offset` of the flow.
    pub(super) fn packet(&self, index: usize, offset: usize, tweak: Tweak, payload: &[u8]) -> Vec<u8> {
        let mut transport = Vec::new();
        let sequence =
            self.sequence.wrapping_add(offset as u32).wrapping_add(u32::from(tweak == Tweak::Sequence));
        let mut tcp = TcpHeader::new(self.port, 443, sequence, if tweak == Tweak::Window { 7 } else { 500 });
        tcp.ack = tweak != Tweak::NoAck;
        tcp.ns = tweak == Tweak::Nonce;
        tcp.urgent_pointer = u16::from(tweak == Tweak::Urgent);
        tcp.acknowledgment_number = if tweak == Tweak::Acknowledgement { 6 } else { 5 };
        tcp.psh = tweak == Tweak::Push;
        tcp.fin = tweak == Tweak::Fin;
        tcp.ece = tweak == Tweak::Ece;
        if let Some(at) = self.timestamp {
            let at = at.wrapping_add(u32::from(tweak == Tweak::Timestamp));
            tcp.set_options(&[
                TcpOptionElement::Noop,
                TcpOptionElement::Noop,
                TcpOptionElement::Timestamp(at, 9),
            ])
            .unwrap();
        }
        let class = if tweak == Tweak::Class { self.class ^ 0x10 } else { self.class };
        let hop_limit = if tweak == Tweak::HopLimit { 63 } else { 64 };
        let len = payload.len() + if self.tcp { tcp.header_len() } else { 8 };
        let number = if self.tcp { etherparse::IpNumber::TCP } else { etherparse::IpNumber::UDP };
        let mut out = Vec::new();
        let mut udp =
            UdpHeader { source_port: self.port, destination_port: 443, length: len as u16, checksum: 0 };
        if self.v6 {
            let ip = Ipv6Header {
                traffic_class: class,
                flow_label: Ipv6FlowLabel::try_new(0xabcde).unwrap(),
                payload_length: len as u16,
                next_header: number,
                hop_limit,
                source: [0xfd; 16],
                destination: [0xfe; 16],
            };
            ip.write(&mut out).unwrap();
            tcp.checksum = tcp.calc_checksum_ipv6(&ip, payload).unwrap();
            udp.checksum = udp.calc_checksum_ipv6(&ip, payload).unwrap();
        } else {
            let mut ip =
                Ipv4Header::new(len as u16, hop_limit, number, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
            ip.dscp = (class >> 2).try_into().unwrap();
            ip.ecn = (class & 3).try_into().unwrap();
            ip.dont_fragment = self.dont_fragment;
            ip.identification = self.identification.wrapping_add(index as u16);
            if tweak == Tweak::Identification {
                ip.identification ^= 0x100;
            }
            if tweak == Tweak::Fragment {
                ip.more_fragments = true;
            }
            if tweak == Tweak::LastFragment {
                ip.fragment_offset = 2.try_into().unwrap();
            }
            if tweak == Tweak::Options {
                ip.options = [1, 1, 1, 1].into();
                ip.set_payload_len(len).unwrap();
            }
            ip.header_checksum = ip.calc_header_checksum();
            if tweak == Tweak::BadHeaderChecksum {
                ip.header_checksum ^= 1;
            }
            ip.write_raw(&mut out).unwrap();
            tcp.checksum = tcp.calc_checksum_ipv4(&ip, payload).unwrap();
            udp.checksum = udp.calc_checksum_ipv4(&ip, payload).unwrap();
        }
        match tweak {
            Tweak::BadTransportChecksum => {
                tcp.checksum ^= 1;
                udp.checksum ^= 1;
            }
            Tweak::OddChecksum => {
                tcp.checksum = 0xffff;
                udp.checksum = 0;
            }
            _ => {}
        }
        if self.tcp {
            tcp.write(&mut transport).unwrap();
        } else {
            udp.write(&mut transport).unwrap();
        }
        out.extend(transport);
        out.extend(payload);
        out
    }

    /// A frame of the device: a super-packet as the kernel hands it over.
    pub(super) fn super_packet(&self, payload_len: usize, gso_size: usize, push: bool) -> Vec<u8> {
        let tweak = if push { Tweak::Push } else { Tweak::None };
        let mut packet = self.packet(0, 0, tweak, &payload(1, payload_len));
        let start = if self.v6 { 40 } else { 20 };
        let header_len = packet.len() - payload_len;
        let csum_offset = if self.tcp { 16 } else { 6 };
        let addresses = if self.v6 { 8..40 } else { 12..20 };
        let pseudo = Sum::of(&packet[addresses])
            .and_word(if self.tcp { 6 } else { 17 })
            .and_word((packet.len() - start) as u16);
        packet[start + csum_offset..][..2].copy_from_slice(&pseudo.fold().to_be_bytes());
        let mut frame = vec![0; VnetHeader::LEN];
        VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            gso_type: match (self.tcp, self.v6) {
                (true, false) => VnetHeader::GSO_TCPV4,
                (true, true) => VnetHeader::GSO_TCPV6,
                (false, _) => VnetHeader::GSO_UDP_L4,
            },
            hdr_len: header_len as u16,
            gso_size: gso_size as u16,
            csum_start: start as u16,
            csum_offset: csum_offset as u16,
        }
        .emit(frame.first_chunk_mut().unwrap());
        frame.extend(packet);
        frame
    }
}

pub(super) fn shapes() -> impl Strategy<Value = Shape> {
    (
        any::<(bool, bool)>(),
        1..4_u16,
        prop_oneof![4 => Just(0_u8), 1 => Just(0x02), 1 => Just(0x88)],
        prop::option::of(0..4_u32),
        prop_oneof![Just(1000_u32), Just(u32::MAX - 2000), any::<u32>()],
        prop_oneof![Just(1_u16), Just(u16::MAX - 2), any::<u16>()],
        any::<bool>(),
    )
        .prop_map(|((v6, tcp), port, class, timestamp, sequence, identification, dont_fragment)| Shape {
            v6,
            tcp,
            port,
            class,
            timestamp,
            sequence,
            identification,
            dont_fragment,
        })
}

fn tweaks() -> impl Strategy<Value = Tweak> {
    prop_oneof![
        40 => Just(Tweak::None),
        1 => Just(Tweak::Push),
        1 => Just(Tweak::Fin),
        1 => Just(Tweak::Ece),
        1 => Just(Tweak::Nonce),
        1 => Just(Tweak::NoAck),
        1 => Just(Tweak::Urgent),
        1 => Just(Tweak::Window),
        1 => Just(Tweak::Acknowledgement),
        1 => Just(Tweak::Sequence),
        1 => Just(Tweak::Identification),
        1 => Just(Tweak::HopLimit),
        1 => Just(Tweak::Class),
        1 => Just(Tweak::Timestamp),
        1 => Just(Tweak::BadTransportChecksum),
        1 => Just(Tweak::BadHeaderChecksum),
        1 => Just(Tweak::OddChecksum),
        1 => Just(Tweak::Fragment),
        1 => Just(Tweak::Options),
    ]
}

/// Interleaved packets of several flows, and some that belong to none.
pub(super) fn streams() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let sizes =
        prop_oneof![20 => Just(100_usize), 1 => 0..3_usize, 2 => 90..110_usize, 1 => Just(40_000_usize)];
    (
        prop::collection::vec(shapes(), 1..24),
        prop::collection::vec((0..24_usize, 1..12_usize, tweaks(), sizes), 1..40),
    )
        .prop_map(|(shapes, bursts)| {
            let mut sent = vec![(0, 0); shapes.len()];
            let mut packets = Vec::new();
            for (flow, burst, tweak, size) in bursts {
                let flow = flow % shapes.len();
                for number in 0..burst {
                    let (index, offset) = sent[flow];
                    let tweak = if number + 1 == burst { tweak } else { Tweak::None };
                    packets.push(shapes[flow].packet(index, offset, tweak, &payload(offset, size)));
                    sent[flow] = (index + 1, offset + size);
                }
            }
            let mut ping = Vec::new();
            PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
                .icmpv4_echo_request(1, 2)
                .write(&mut ping, b"ping")
                .unwrap();
            packets.insert(packets.len() / 2, ping);
            packets.insert(packets.len() / 3, vec![0x45; 7]);
            packets
        })
}

/// What names the flow of a packet: version, protocol, addresses, ports. Fragments of UDP and TCP have ports here, as all are first ones.
pub(super) fn flow_of(packet: &[u8]) -> Vec<u8> {
    let Some(ip) = crate::ip::Packet::parse(packet).ok() else { return Vec::new() };
    let payload = ip.payload().unwrap();
    let mut key = vec![packet[0] >> 4, payload.protocol];
    if payload.protocol == 6 || payload.protocol == 17 {
        key.extend(&payload.bytes()[..4]);
    }
    key
}
