//! Inner packets, held against etherparse, and the answers to those that have nowhere to go.

use std::net::IpAddr;

use dataplane_wire::Ecn;
use dataplane_wire::ip::{
    Fragment, Packet, Transport, UNREACHABLE_LEN_MAX, Unreachable, set_ecn, unreachable,
};

use crate::slow_checksum;

/// Views agree with etherparse, marks change nothing but marks, and answers are packets whose checksums are right.
pub fn inner_ip(data: &[u8]) {
    let Ok(packet) = Packet::parse(data) else {
        assert!(unreachable(Unreachable::Route, data, &mut [0; UNREACHABLE_LEN_MAX]).is_none());
        return;
    };
    assert!(data.starts_with(packet.as_bytes()));
    agrees_with_etherparse(&packet);
    if let Ok(payload) = packet.payload() {
        assert!(payload.offset <= packet.as_bytes().len());
        let transport = packet.transport();
        assert!(payload.fragment != Fragment::Later || transport.is_ok(), "a later fragment is looked into");
    }
    marks(packet);
    for why in [Unreachable::Route, Unreachable::Address] {
        answer(why, packet);
    }
}

fn agrees_with_etherparse(packet: &Packet<'_>) {
    let (slice, stopped) = match etherparse::LaxIpSlice::from_slice(packet.as_bytes()) {
        Ok(parsed) => parsed,
        Err(error) => panic!("etherparse refuses what we take: {error}"),
    };
    let (source, destination) = match &slice {
        etherparse::LaxIpSlice::Ipv4(v4) => {
            (v4.header().source_addr().into(), v4.header().destination_addr().into())
        }
        etherparse::LaxIpSlice::Ipv6(v6) => {
            (IpAddr::from(v6.header().source_addr()), IpAddr::from(v6.header().destination_addr()))
        }
    };
    assert_eq!((packet.source(), packet.destination()), (source, destination));
    let Ok(ours) = packet.payload() else { return };
    let theirs = slice.payload();
    // It takes hop-by-hop options in their place only, does not know the later extensions of IPv6, and steps over
    // authentication in IPv4 and over what stands behind a fragment header too.
    if stopped.is_some() || is_extension(ours.protocol) || is_extension(theirs.ip_number.0) {
        return;
    }
    assert_eq!(theirs.fragmented, ours.fragment != Fragment::Whole);
    assert_eq!((theirs.ip_number.0, theirs.payload), (ours.protocol, ours.bytes()));
    if ours.fragment == Fragment::Whole {
        transports_agree(packet, theirs.payload);
    }
}

/// Whether a header of this number may be followed by another one.
fn is_extension(protocol: u8) -> bool {
    use dataplane_wire::ip::protocol::*;
    [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS, MOBILITY, HOST_IDENTITY, SHIM6]
        .contains(&protocol)
}

fn transports_agree(packet: &Packet<'_>, payload: &[u8]) {
    match packet.transport() {
        Ok(Transport::Tcp(tcp)) => {
            let theirs = etherparse::TcpHeaderSlice::from_slice(payload).expect("a TCP header");
            assert_eq!(theirs.slice().len(), tcp.header_len());
        }
        Ok(Transport::Udp(_)) => {
            etherparse::UdpHeaderSlice::from_slice(payload).expect("a UDP header");
        }
        _ => {}
    }
}

fn marks(packet: Packet<'_>) {
    for ecn in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
        let mut marked = packet.as_bytes().to_vec();
        set_ecn(&mut marked, ecn);
        let again = Packet::parse(&marked).expect("a mark does not make a packet malformed");
        assert_eq!(again.class().ecn(), ecn);
        assert_eq!(again.class().0 >> 2, packet.class().0 >> 2, "DSCP stays");
        assert_eq!((again.source(), again.destination()), (packet.source(), packet.destination()));
        if let Packet::V4(v4) = &packet {
            let header = |bytes: &[u8]| slow_checksum(&[&bytes[..v4.header_len()]]);
            if header(packet.as_bytes()) == 0 {
                assert_eq!(header(&marked), 0, "the header checksum follows the mark");
            }
        }
    }
}

fn answer(why: Unreachable, packet: Packet<'_>) {
    let mut out = [0; UNREACHABLE_LEN_MAX];
    let Some(len) = unreachable(why, packet.as_bytes(), &mut out) else { return };
    let bytes = &out[..len];
    let answer = Packet::parse(bytes).expect("an answer is a packet");
    assert_eq!(answer.as_bytes().len(), len);
    assert_eq!((answer.source(), answer.destination()), (packet.destination(), packet.source()));
    let (pseudo, icmp) = match &answer {
        Packet::V4(v4) => {
            assert_eq!(slow_checksum(&[&bytes[..v4.header_len()]]), 0, "header checksum");
            (Vec::new(), &bytes[20..])
        }
        Packet::V6(_) => {
            let len = (len - 40) as u32;
            ([&bytes[8..40], &len.to_be_bytes(), &[0, 0, 0, 58]].concat(), &bytes[40..])
        }
    };
    assert_eq!(slow_checksum(&[&pseudo, icmp]), 0, "checksum of the message");
    assert!(packet.as_bytes().starts_with(&icmp[8..]), "the answer quotes the packet");
    assert!(unreachable(why, bytes, &mut [0; UNREACHABLE_LEN_MAX]).is_none(), "an error is never answered");
}
