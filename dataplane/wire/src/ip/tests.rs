use super::*;
use etherparse::{IpFragOffset, IpSlice, PacketBuilder, TcpSlice, UdpSlice};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const V4: ([u8; 4], [u8; 4]) = ([10, 0, 0, 1], [10, 0, 0, 2]);
const V6: ([u8; 16], [u8; 16]) = ([0xfd; 16], [0xfe; 16]);

fn udp_v4(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    PacketBuilder::ipv4(V4.0, V4.1, 64).udp(1000, 2000).write(&mut out, payload).unwrap();
    out
}

fn udp_v6(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    PacketBuilder::ipv6(V6.0, V6.1, 64).udp(1000, 2000).write(&mut out, payload).unwrap();
    out
}

fn tcp_v4(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    PacketBuilder::ipv4(V4.0, V4.1, 64)
        .tcp(1000, 2000, 0x0102_0304, 500)
        .ack(0x0506_0708)
        .psh()
        .options(&[etherparse::TcpOptionElement::Timestamp(1, 2)])
        .unwrap()
        .write(&mut out, payload)
        .unwrap();
    out
}

/// An IPv6 packet whose payload is `rest`, the first header of which is `next`.
fn v6_carrying(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut out = udp_v6(&[]);
    out.truncate(IPV6_HEADER_LEN);
    out[4..6].copy_from_slice(&(rest.len() as u16).to_be_bytes());
    out[6] = next;
    out.extend(rest);
    out
}

// EN-16
#[test]
fn a_packet_is_as_long_as_it_says_or_refused() {
    for bytes in [udp_v4(&[7; 30]), udp_v6(&[7; 30])] {
        for len in 1..bytes.len() {
            let expected = match (bytes[0] >> 4, len) {
                (4, ..20) | (6, ..40) => IpError::Truncated,
                _ => IpError::Length,
            };
            assert_eq!(Packet::parse(&bytes[..len]), Err(expected), "cut to {len}");
        }
        let mut padded = bytes.clone();
        padded.extend([0; 15]);
        assert_eq!(Packet::parse(&padded).unwrap().as_bytes(), bytes, "padding is trimmed");
    }
}

#[test]
fn what_is_neither_version_is_refused() {
    assert_eq!(Packet::parse(&[]), Err(IpError::Version));
    for version in (0..16).filter(|version| ![4, 6].contains(version)) {
        assert_eq!(Packet::parse(&[version << 4; 60]), Err(IpError::Version));
    }
}

// EN-16
#[test]
fn an_ipv4_header_holds_itself_and_fits_its_packet() {
    let mut bytes = udp_v4(&[7; 30]);
    for ihl in 0..16 {
        bytes[0] = 0x40 | ihl;
        let header_len = usize::from(ihl) * 4;
        let parsed = Packet::parse(&bytes).map(|packet| packet.payload().unwrap().offset);
        let fits = (20..=bytes.len()).contains(&header_len);
        assert_eq!(parsed, if fits { Ok(header_len) } else { Err(IpError::Truncated) });
    }
    let mut bytes = udp_v4(&[]);
    bytes[2..4].copy_from_slice(&19_u16.to_be_bytes());
    assert_eq!(Packet::parse(&bytes), Err(IpError::Truncated), "a total shorter than the header");
}

#[test]
fn fields_read_as_they_were_written() {
    let bytes = tcp_v4(b"payload");
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.source(), packet.destination()), (IpAddr::from(V4.0), IpAddr::from(V4.1)));
    assert_eq!((packet.hop_limit(), packet.class()), (64, TrafficClass(0)));
    let Ok(Transport::Tcp(tcp)) = packet.transport() else { panic!("not TCP") };
    assert_eq!((tcp.source_port(), tcp.destination_port()), (1000, 2000));
    assert_eq!((tcp.sequence(), tcp.acknowledgement(), tcp.window()), (0x0102_0304, 0x0506_0708, 500));
    assert_eq!(tcp.flags().0, TcpFlags::ACK.0 | TcpFlags::PSH.0);
    assert!(tcp.flags().contains(TcpFlags::PSH) && !tcp.flags().contains(TcpFlags::FIN));
    assert_eq!((tcp.header_len(), tcp.options().len(), tcp.payload()), (32, 12, &b"payload"[..]));

    let bytes = udp_v6(b"payload");
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.source(), packet.destination()), (IpAddr::from(V6.0), IpAddr::from(V6.1)));
    let Ok(Transport::Udp(udp)) = packet.transport() else { panic!("not UDP") };
    assert_eq!((udp.source_port(), udp.destination_port(), udp.payload()), (1000, 2000, &b"payload"[..]));
    assert_eq!(udp.checksum().to_be_bytes(), bytes[46..48]);
}

// EN-16
#[test]
fn transport_lengths_hold_or_are_refused() {
    let udp = udp_v4(&[7; 30]);
    for claimed in 0..60_u16 {
        let mut bytes = udp.clone();
        bytes[24..26].copy_from_slice(&claimed.to_be_bytes());
        let got = Packet::parse(&bytes).unwrap().transport().map(|transport| match transport {
            Transport::Udp(udp) => udp.payload().len(),
            other => panic!("{other:?}"),
        });
        let expected = match claimed {
            ..8 => Err(IpError::Truncated),
            8..=38 => Ok(usize::from(claimed) - 8),
            _ => Err(IpError::Length),
        };
        assert_eq!(got, expected, "a UDP length of {claimed}");
    }
    let tcp = tcp_v4(&[]);
    for words in 0..16_u8 {
        let mut bytes = tcp.clone();
        bytes[32] = words << 4;
        let got = Packet::parse(&bytes).unwrap().transport().map(|transport| match transport {
            Transport::Tcp(tcp) => tcp.options().len(),
            other => panic!("{other:?}"),
        });
        let expected = match words {
            ..5 => Err(IpError::Truncated),
            5..=8 => Ok(usize::from(words) * 4 - 20),
            _ => Err(IpError::Length),
        };
        assert_eq!(got, expected, "a TCP header of {words} words");
    }
    for (number, least) in [(protocol::ICMPV6, 8), (protocol::UDP, 8), (protocol::TCP, 20)] {
        for len in 0..least {
            let bytes = v6_carrying(number, &vec![0; len]);
            assert_eq!(Packet::parse(&bytes).unwrap().transport(), Err(IpError::Truncated));
        }
    }
}

// EN-16
#[test]
fn extension_headers_are_stepped_over_whatever_they_say() {
    // Hop by hop of 8 bytes, destination options of 16, authentication of 24, routing, then ICMPv6.
    let mut rest = vec![protocol::DESTINATION_OPTIONS, 0, 9, 9, 9, 9, 9, 9];
    rest.extend([protocol::AUTHENTICATION, 1].into_iter().chain([9; 14]));
    rest.extend([protocol::ROUTING, 4].into_iter().chain([9; 22]));
    rest.extend([protocol::ICMPV6, 0].into_iter().chain([9; 6]));
    rest.extend([128, 0, 0, 0, 0, 0, 0, 0, 42]);
    let bytes = v6_carrying(protocol::HOP_BY_HOP, &rest);
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.payload().unwrap().offset, 40 + 8 + 16 + 24 + 8);
    let Ok(Transport::Icmp(icmp)) = packet.transport() else { panic!("not ICMPv6") };
    assert_eq!((icmp.kind(), icmp.code(), icmp.body()), (128, 0, &[42][..]));

    for len in 0..rest.len() - 9 {
        let cut = v6_carrying(protocol::HOP_BY_HOP, &rest[..len]);
        assert_eq!(Packet::parse(&cut).unwrap().transport(), Err(IpError::Truncated), "cut to {len}");
    }
}

#[test]
fn a_packet_of_nothing_but_extension_headers_ends_the_walk() {
    let bytes = v6_carrying(protocol::HOP_BY_HOP, &[0; 8 * 1000]);
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.payload().unwrap().offset, 40 + 8 * EXTENSIONS_MAX);
    assert_eq!(packet.transport(), Ok(Transport::Other(protocol::HOP_BY_HOP)));
}

// EN-16
#[test]
fn fragments_pass_without_a_look_at_layer_4() {
    for (offset, more, expected) in [
        (0_u16, true, Fragment::First),
        (1, true, Fragment::Later),
        (0x1fff, false, Fragment::Later),
        (0, false, Fragment::Whole),
    ] {
        // A length of UDP that would be refused: the fragment holds less.
        let mut bytes = udp_v4(&[7; 30]);
        bytes[24..26].copy_from_slice(&3000_u16.to_be_bytes());
        bytes[6..8].copy_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload().unwrap().fragment, expected);
        let whole = Err(IpError::Length);
        assert_eq!(
            packet.transport(),
            if expected == Fragment::Whole { whole } else { Ok(Transport::Fragment) }
        );

        let offset = IpFragOffset::try_new(offset).unwrap();
        let fragment = etherparse::Ipv6FragmentHeader::new(protocol::UDP.into(), offset, more, 7).to_bytes();
        let bytes = v6_carrying(protocol::FRAGMENT, &[&fragment[..], &udp_v4(&[7; 30])[20..]].concat());
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload().unwrap().fragment, expected);
        let udp = matches!(packet.transport(), Ok(Transport::Udp(_)));
        assert_eq!(udp, expected == Fragment::Whole, "an atomic fragment is a whole packet");
    }
}

// EN-16
#[test]
fn of_several_fragment_headers_one_that_claims_the_whole_packet_takes_nothing_back() {
    let header = |next: u8, more| {
        etherparse::Ipv6FragmentHeader::new(next.into(), IpFragOffset::ZERO, more, 7).to_bytes()
    };
    for (first, second, expected) in [
        (true, false, Fragment::First),
        (false, true, Fragment::First),
        (true, true, Fragment::First),
        (false, false, Fragment::Whole),
    ] {
        let headers = [header(protocol::FRAGMENT, first), header(protocol::UDP, second)].concat();
        let udp = udp_v4(&[7; 30]);
        let bytes = v6_carrying(protocol::FRAGMENT, &[&headers, &udp[20..]].concat());
        let payload = Packet::parse(&bytes).unwrap().payload().unwrap();
        assert_eq!((payload.fragment, payload.protocol), (expected, protocol::UDP), "{first} {second}");
    }
}

#[test]
fn a_pseudo_header_sums_what_etherparse_sums() {
    for (bytes, at) in [(udp_v4(&[7; 31]), 20), (udp_v6(&[7; 30]), 40)] {
        let packet = Packet::parse(&bytes).unwrap();
        let datagram = packet.payload().unwrap().bytes();
        assert_eq!(datagram.len(), bytes.len() - at);
        assert!(packet.pseudo_sum(protocol::UDP, datagram.len()).and(Sum::of(datagram)).is_intact());
    }
}

/// Packets that are valid but for some changed bytes, so that most paths of a parser are reached.
fn nearly_packets() -> impl Strategy<Value = Vec<u8>> {
    let payload = || prop::collection::vec(any::<u8>(), 0..60);
    let extension = prop_oneof![
        Just(protocol::HOP_BY_HOP),
        Just(protocol::ROUTING),
        Just(protocol::FRAGMENT),
        Just(protocol::AUTHENTICATION),
        Just(protocol::DESTINATION_OPTIONS),
        Just(protocol::UDP),
        Just(protocol::TCP),
    ];
    let extended = (prop::collection::vec((extension, 0..3_u8, any::<[u8; 6]>()), 1..5), payload()).prop_map(
        |(chain, payload)| {
            let mut rest = Vec::new();
            for pair in chain.windows(2) {
                let (_, len, body) = pair[0];
                rest.extend([pair[1].0, len].into_iter().chain(body).chain(vec![0; 8 * usize::from(len)]));
            }
            rest.extend(payload);
            v6_carrying(chain[0].0, &rest)
        },
    );
    let valid = prop_oneof![
        payload().prop_map(|payload| udp_v4(&payload)),
        payload().prop_map(|payload| udp_v6(&payload)),
        payload().prop_map(|payload| tcp_v4(&payload)),
        extended,
    ];
    let changes = prop::collection::vec((0..80_usize, any::<u8>()), 0..4);
    (valid, changes, -3..4_isize).prop_map(|(mut bytes, changes, grown)| {
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.resize(bytes.len().saturating_add_signed(grown), 0);
        bytes
    })
}

/// What etherparse says of a packet: addresses, protocol, payload, and whether it is a fragment. `None` where it refuses
/// the packet for its headers or lengths, which we do too.
fn by_etherparse(bytes: &[u8]) -> Option<(IpAddr, IpAddr, u8, Vec<u8>, bool)> {
    let (source, destination, payload) = match IpSlice::from_slice(bytes).ok()? {
        IpSlice::Ipv4(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload().clone())
        }
        IpSlice::Ipv6(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload().clone())
        }
    };
    Some((source, destination, payload.ip_number.0, payload.payload.to_vec(), payload.fragmented))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn packets_read_as_etherparse_reads_them(bytes in nearly_packets()) {
        let ours = Packet::parse(&bytes);
        // Known differences: etherparse takes an IPv6 payload length of 0 for "to the end", steps over an authentication
        // header in IPv4, refuses hop-by-hop options that do not come first, judges extension headers of fragments, and
        // knows no mobility, HIP and Shim6.
        let jumbo = bytes.len() > 40 && bytes[0] >> 4 == 6 && bytes[4..6] == [0, 0];
        let authenticated_v4 = bytes.len() > 20 && bytes[0] >> 4 == 4 && bytes[9] == protocol::AUTHENTICATION;
        if jumbo || authenticated_v4 {
            return Ok(());
        }
        match (ours, by_etherparse(&bytes)) {
            (Ok(packet), Some((source, destination, number, rest, fragmented))) => {
                prop_assert_eq!((packet.source(), packet.destination()), (source, destination));
                if matches!(number, protocol::MOBILITY | protocol::HOST_IDENTITY | protocol::SHIM6) {
                    return Ok(());
                }
                let payload = packet.payload().unwrap();
                prop_assert_eq!(payload.fragment != Fragment::Whole, fragmented);
                if !fragmented {
                    prop_assert_eq!((payload.protocol, payload.bytes()), (number, &rest[..]));
                }
            }
            (Err(_), Some(_)) => prop_assert!(false, "only etherparse takes it"),
            (Ok(packet), None) => {
                let extended = bytes[6] != protocol::UDP && bytes[6] != protocol::TCP;
                prop_assert!(matches!(packet, Packet::V6(_)) && extended, "only we take it");
            }
            (Err(_), None) => {}
        }
    }

    #[test]
    fn transports_read_as_etherparse_reads_them(bytes in nearly_packets()) {
        let Ok(payload) = Packet::parse(&bytes).and_then(|packet| packet.payload()) else { return Ok(()) };
        if payload.fragment != Fragment::Whole {
            return Ok(());
        }
        let ours = Packet::parse(&bytes).unwrap().transport();
        match payload.protocol {
            protocol::UDP => {
                // etherparse takes a length of 0 for "to the end".
                if payload.bytes().get(4..6) == Some(&[0, 0]) {
                    return Ok(());
                }
                let theirs = UdpSlice::from_slice(payload.bytes());
                let Ok(Transport::Udp(ours)) = ours else {
                    prop_assert!(theirs.is_err());
                    return Ok(());
                };
                let theirs = theirs.unwrap();
                prop_assert_eq!(ours.payload(), theirs.payload());
                prop_assert_eq!(ours.checksum(), theirs.checksum());
                prop_assert_eq!(ours.source_port(), theirs.source_port());
            }
            protocol::TCP => {
                let theirs = TcpSlice::from_slice(payload.bytes());
                let Ok(Transport::Tcp(ours)) = ours else {
                    prop_assert!(theirs.is_err());
                    return Ok(());
                };
                let theirs = theirs.unwrap();
                prop_assert_eq!((ours.payload(), ours.options()), (theirs.payload(), theirs.options()));
                prop_assert_eq!(ours.sequence(), theirs.sequence_number());
                prop_assert_eq!(ours.flags().contains(TcpFlags::FIN), theirs.fin());
                prop_assert_eq!(ours.flags().contains(TcpFlags::CWR), theirs.cwr());
            }
            _ => {}
        }
    }
}
