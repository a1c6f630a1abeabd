//! Congestion marks of inner packets.

use crate::checksum;
use crate::{DropReason, Ecn};

/// The mark that a packet has when it leaves the tunnel, by the marks that it had outside and inside.
///
/// RFC 6040 §4.2, figure 4, whose cells marked as potentially dangerous are forwarded as it says. The other direction needs no table:
/// outside stands what stands inside (the normal mode of §4.1).
///
/// # Errors
/// [`DropReason::CongestionNotCapable`]: the sender would never learn of the congestion by a mark, so it learns by a loss.
#[inline]
pub const fn decapsulate_ecn(outer: Ecn, inner: Ecn) -> Result<Ecn, DropReason> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => Err(DropReason::CongestionNotCapable),
        (Ecn::NotEct, _) => Ok(Ecn::NotEct),
        (Ecn::Ce, _) | (_, Ecn::Ce) => Ok(Ecn::Ce),
        (Ecn::Ect0, Ecn::Ect1) => Ok(Ecn::Ect1),
        (inner, _) => Ok(inner),
    }
}

/// Writes the congestion mark of an IP packet, and makes the header checksum of IPv4 fit. DSCP stays. Bytes that begin no
/// IP packet stay as they are.
///
/// Cost: touches the first twelve bytes.
#[inline]
pub fn set_ecn(packet: &mut [u8], ecn: Ecn) {
    let Some(header) = packet.first_chunk_mut::<12>() else { return };
    match header[0] >> 4 {
        4 => {
            let old = u16::from_be_bytes([header[0], header[1]]);
            let new = old & !0b11 | ecn as u16;
            let checksum = u16::from_be_bytes([header[10], header[11]]);
            header[1] = new as u8;
            [header[10], header[11]] = checksum::update(checksum, old, new).to_be_bytes();
        }
        // The traffic class lies across two bytes: its lower half is the upper half of the second.
        6 => header[1] = header[1] & !0b0011_0000 | (ecn as u8) << 4,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::Packet;
    use etherparse::{NetSlice, PacketBuilder};
    use std::vec::Vec;

    const ALL: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce];

    // WG-53
    #[test]
    fn marks_leave_the_tunnel_as_figure_4_of_rfc_6040_says() {
        let drop = Err(DropReason::CongestionNotCapable);
        let (not, ect0, ect1, ce) = (Ok(Ecn::NotEct), Ok(Ecn::Ect0), Ok(Ecn::Ect1), Ok(Ecn::Ce));
        let rows = [[not, not, not, drop], [ect0, ect0, ect1, ce], [ect1, ect1, ect1, ce], [ce, ce, ce, ce]];
        for (inner, row) in ALL.into_iter().zip(rows) {
            for (outer, expected) in ALL.into_iter().zip(row) {
                assert_eq!(decapsulate_ecn(outer, inner), expected, "outer {outer:?}, inner {inner:?}");
            }
        }
    }

    fn packets() -> [Vec<u8>; 2] {
        [
            PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
            PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 64),
        ]
        .map(|builder| {
            let mut bytes = Vec::new();
            builder.udp(1, 2).write(&mut bytes, b"payload").unwrap();
            bytes
        })
    }

    // WG-53
    #[test]
    fn a_mark_changes_nothing_but_itself_and_the_header_checksum() {
        for bytes in packets() {
            for class in 0..=255 {
                let expected = with_class(&bytes, class);
                for before in ALL {
                    let mut ours = expected.clone();
                    set_ecn(&mut ours, before);
                    assert_eq!(Packet::parse(&ours).unwrap().class().0, class & !3 | before as u8);
                    assert_eq!(ours, with_class(&bytes, class & !3 | before as u8));
                    set_ecn(&mut ours, Ecn::from_bits(class));
                    assert_eq!(ours, expected);
                }
            }
        }
    }

    /// The packet with another class, written by etherparse, so that the place of the bits is not ours to know.
    fn with_class(packet: &[u8], class: u8) -> Vec<u8> {
        let mut out = Vec::new();
        match etherparse::SlicedPacket::from_ip(packet).unwrap().net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let mut header = ip.header().to_header();
                header.dscp = (class >> 2).try_into().unwrap();
                header.ecn = (class & 3).try_into().unwrap();
                header.header_checksum = header.calc_header_checksum();
                header.write(&mut out).unwrap();
            }
            NetSlice::Ipv6(ip) => {
                let mut header = ip.header().to_header();
                header.traffic_class = class;
                header.write(&mut out).unwrap();
            }
            other => panic!("{other:?}"),
        }
        let header_len = out.len();
        out.extend(&packet[header_len..]);
        out
    }

    #[test]
    fn what_is_no_packet_is_not_marked() {
        for bytes in [&mut [0x45; 11][..], &mut [0x55; 40]] {
            let before = bytes.to_vec();
            set_ecn(bytes, Ecn::Ce);
            assert_eq!(bytes, before);
        }
    }
}
