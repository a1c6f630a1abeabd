//! Inner packets that know who they are: IP, UDP, a mark, a number, and bytes that follow from the number.
//!
//! What comes out at the other end is judged by what is written here alone, so this file shares nothing with the code under
//! test but the header that describes super-packets.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane_wire::offload::VnetHeader;

/// The first bytes of every payload.
const MARK: [u8; 8] = *b"\xc5sim\x00inn";
/// Mark and number.
const NAME_LEN: usize = 16;
const UDP_LEN: usize = 8;
/// The number of a host that nobody has an address of.
pub(crate) const NOBODY: u8 = 250;

/// What a packet must be like, wherever it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Number in the ledger.
    pub(crate) id: u64,
    /// Hosts whose inner addresses are source and destination.
    pub(crate) source: u8,
    pub(crate) destination: u8,
    /// Names the UDP ports, and so the flow.
    pub(crate) flow: u16,
    pub(crate) v6: bool,
    /// The two bits of ECN.
    pub(crate) ecn: u8,
    /// Bytes of the IP packet.
    pub(crate) len: u16,
}

/// The inner address of a host.
pub(crate) fn address(host: u8, v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd77, 0, 0, u16::from(host), 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(10, 77, host, 1).into()
    }
}

/// The prefixes of a host, as configuration spells them.
pub(crate) fn prefixes(host: u8) -> [String; 2] {
    [format!("10.77.{host}.0/24"), format!("fd77:0:0:{host:x}::/64")]
}

/// Bytes of the headers of a packet.
pub(crate) const fn headers_len(v6: bool) -> usize {
    if v6 { 40 + UDP_LEN } else { 20 + UDP_LEN }
}

/// Bytes of the shortest packet.
pub(crate) const fn len_min(v6: bool) -> usize {
    headers_len(v6) + NAME_LEN
}

impl Shape {
    fn payload(&self) -> impl Iterator<Item = u8> + use<> {
        let (id, len) = (self.id, usize::from(self.len) - headers_len(self.v6) - NAME_LEN);
        let filler = (0..len).map(move |at| (id as usize * 31 + at * 7) as u8);
        MARK.into_iter().chain(id.to_be_bytes()).chain(filler)
    }

    /// Writes an IP header for so many bytes.
    fn emit_ip(&self, len: usize, out: &mut Vec<u8>) {
        let (source, destination) = (address(self.source, self.v6), address(self.destination, self.v6));
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = [0_u8; 20];
                (header[0], header[1], header[8], header[9]) = (0x45, self.ecn, 64, 17);
                header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                header[4..6].copy_from_slice(&(self.id as u16).to_be_bytes());
                header[12..16].copy_from_slice(&source.octets());
                header[16..20].copy_from_slice(&destination.octets());
                let sum = !fold(words(&header));
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                out.extend_from_slice(&header);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                out.extend_from_slice(&[0x60, self.ecn << 4, 0, 0]);
                out.extend_from_slice(&((len - 40) as u16).to_be_bytes());
                out.extend_from_slice(&[17, 64]);
                out.extend_from_slice(&source.octets());
                out.extend_from_slice(&destination.octets());
            }
            _ => {}
        }
    }

    fn emit_udp(&self, len: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.flow.to_be_bytes());
        out.extend_from_slice(&4000_u16.to_be_bytes());
        out.extend_from_slice(&(len as u16).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
    }

    /// The packet as it leaves an inner side, complete.
    pub(crate) fn emit(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(usize::from(self.len));
        self.emit_ip(usize::from(self.len), &mut packet);
        let udp = packet.len();
        self.emit_udp(usize::from(self.len) - udp, &mut packet);
        packet.extend(self.payload());
        let sum = match !fold(pseudo(&packet) + words(&packet[udp..])) {
            0 => 0xffff,
            sum => sum,
        };
        packet[udp + 6..udp + 8].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// What is wrong with a packet that should be this one; only the ECN bits may have changed, and only to say that
    /// congestion was seen by one that could be told.
    pub(crate) fn fault(&self, packet: &[u8]) -> Option<&'static str> {
        let udp = headers_len(self.v6) - UDP_LEN;
        if packet.len() != usize::from(self.len) {
            return Some("another length");
        }
        let mut header = Vec::with_capacity(48);
        self.emit_ip(packet.len(), &mut header);
        let (class, fixed) = if self.v6 {
            (
                (packet[1] >> 4) & 3,
                packet[0] == 0x60 && packet[1] & 0xcf == 0 && packet[2..40] == header[2..40],
            )
        } else {
            // The identification counts up in what a super-packet is cut into.
            let fixed = packet[0] == 0x45
                && packet[1] & !3 == 0
                && packet[2..4] == header[2..4]
                && packet[6..10] == header[6..10]
                && packet[12..20] == header[12..20]
                && fold(words(&packet[..20])) == 0xffff;
            (packet[1] & 3, fixed)
        };
        if !fixed {
            return Some("another IP header");
        }
        if class != self.ecn && (self.ecn == 0 || class != 3) {
            return Some("another ECN mark");
        }
        let mut ports = Vec::with_capacity(8);
        self.emit_udp(packet.len() - udp, &mut ports);
        if packet[udp..udp + 6] != ports[..6] {
            return Some("another UDP header");
        }
        if fold(pseudo(packet) + words(&packet[udp..])) != 0xffff {
            return Some("a wrong checksum");
        }
        let same = packet[udp + UDP_LEN..].iter().copied().eq(self.payload());
        (!same).then_some("another payload")
    }
}

/// One super-packet of UDP that stands for all of these: equal but for their numbers, and for the last, which may be
/// shorter.
pub(crate) fn super_packet(shapes: &[Shape]) -> Option<(VnetHeader, Vec<u8>)> {
    let first = shapes.first()?;
    let headers = headers_len(first.v6);
    let payload: usize = shapes.iter().map(|shape| usize::from(shape.len) - headers).sum();
    let mut packet = Vec::with_capacity(headers + payload);
    first.emit_ip(headers + payload, &mut packet);
    let udp = packet.len();
    first.emit_udp(UDP_LEN + payload, &mut packet);
    // As a kernel leaves it: the sum of the pseudo header, for the one who cuts it to complete.
    let sum = fold(pseudo_of(&packet, (UDP_LEN + payload) as u64));
    packet[udp + 6..udp + 8].copy_from_slice(&sum.to_be_bytes());
    shapes.iter().for_each(|shape| packet.extend(shape.payload()));
    let vnet = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: VnetHeader::GSO_UDP_L4,
        hdr_len: headers as u16,
        gso_size: first.len - headers as u16,
        csum_start: udp as u16,
        csum_offset: 6,
    };
    Some((vnet, packet))
}

/// The number of a packet, if it is one of ours.
pub(crate) fn id_of(packet: &[u8]) -> Option<u64> {
    let v6 = match packet.first()? >> 4 {
        4 => false,
        6 => true,
        _ => return None,
    };
    let (mark, rest) = packet.get(headers_len(v6)..)?.split_first_chunk::<8>()?;
    let id = rest.first_chunk::<8>()?;
    (*mark == MARK).then(|| u64::from_be_bytes(*id))
}

fn words(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(word).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of the pseudo header of UDP (RFC 768, RFC 8200 §8.1).
fn pseudo(packet: &[u8]) -> u64 {
    let transport = packet.len() - if packet[0] >> 4 == 4 { 20 } else { 40 };
    pseudo_of(packet, transport as u64)
}

fn pseudo_of(packet: &[u8], transport_len: u64) -> u64 {
    let addresses = if packet[0] >> 4 == 4 { 12..20 } else { 8..40 };
    words(&packet[addresses]) + 17 + transport_len
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_wire::offload::Segmentation;

    fn shape(id: u64, v6: bool, len: u16) -> Shape {
        Shape { id, source: 1, destination: 2, flow: 9, v6, ecn: 1, len }
    }

    #[test]
    fn a_packet_is_itself_and_no_byte_of_it_can_change_unseen() {
        for v6 in [false, true] {
            let shape = shape(77, v6, 101);
            let packet = shape.emit();
            assert_eq!((packet.len(), id_of(&packet), shape.fault(&packet)), (101, Some(77), None));
            for at in 0..packet.len() {
                // Identification, which cutting may change, stands in the checksum of the header all the same.
                let mut other = packet.clone();
                other[at] ^= 0x40;
                assert!(shape.fault(&other).is_some(), "byte {at}");
            }
            assert!(shape.fault(&packet[..100]).is_some());
        }
    }

    #[test]
    fn a_super_packet_is_cut_into_the_packets_that_it_stands_for() {
        for v6 in [false, true] {
            let shapes: Vec<_> = (0..5).map(|id| shape(id, v6, if id == 4 { 80 } else { 200 })).collect();
            let (vnet, packet) = super_packet(&shapes).unwrap();
            let plan = Segmentation::plan(&vnet, &packet).unwrap();
            assert_eq!(plan.count(), 5);
            for (index, shape) in shapes.iter().enumerate() {
                let mut header = [0; 192];
                let (len, payload) = plan.emit_header(index, &packet, &mut header).unwrap();
                let cut = [&header[..len], &packet[payload]].concat();
                assert_eq!(shape.fault(&cut), None, "{index}");
            }
        }
    }
}
