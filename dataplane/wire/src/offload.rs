//! Super-packets: what a TUN device hands over and takes in one piece, although it is many packets.
//!
//! Enters: a `virtio_net_hdr` and a packet of up to 64 KiB from the inner side ([`Segmentation`]), or plain packets of many
//! flows from peers ([`Coalescer`]). Leaves: the headers of the single packets, or of the merged ones; payload stays where
//! it is. Splitting what was merged gives back the same bytes (EN-6).

mod coalesce;
mod segment;

use crate::bytes::{field, field_mut};

pub use coalesce::{Coalescer, Offloads, RUNS_OPEN_MAX, Run};
pub use segment::{HEADER_LEN_MAX, Segmentation};

/// Most packets that are merged to one: what the kernel takes for UDP (`UDP_MAX_SEGMENTS` of Linux before 6.10).
pub const SEGMENTS_MAX: usize = 64;

/// The header before every packet of a TUN device that was opened with `IFF_VNET_HDR` (VIRTIO 1.2 §5.1.6, without
/// `num_buffers`). All numbers are in the byte order of the machine, which is what the device speaks unless told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`VnetHeader::NEEDS_CSUM`], [`VnetHeader::DATA_VALID`].
    pub flags: u8,
    /// [`VnetHeader::GSO_NONE`] and the like; [`VnetHeader::GSO_ECN`] may be added.
    pub gso_type: u8,
    /// Bytes of all headers of the packet; a hint.
    pub hdr_len: u16,
    /// Bytes of payload of each segment but the last, which may have less.
    pub gso_size: u16,
    /// Where in the packet the checksum begins to cover it: the transport header.
    pub csum_start: u16,
    /// Where the checksum stands, from `csum_start` on. Until it is completed, the sum of the pseudo header stands there.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Bytes of the header.
    pub const LEN: usize = 10;

    /// Flag: the checksum is to be completed.
    pub const NEEDS_CSUM: u8 = 1;
    /// Flag: the checksum was verified.
    pub const DATA_VALID: u8 = 2;

    /// One plain packet.
    pub const GSO_NONE: u8 = 0;
    /// Segments of TCP over IPv4.
    pub const GSO_TCPV4: u8 = 1;
    /// Fragments of one UDP datagram. Not offered to the kernel, and refused.
    pub const GSO_UDP: u8 = 3;
    /// Segments of TCP over IPv6.
    pub const GSO_TCPV6: u8 = 4;
    /// Datagrams of UDP, over IPv4 or IPv6.
    pub const GSO_UDP_L4: u8 = 5;
    /// Bit beside the type: the TCP segment has CWR set.
    pub const GSO_ECN: u8 = 0x80;

    /// The header of a plain packet that needs nothing.
    pub const PLAIN: Self =
        Self { flags: 0, gso_type: Self::GSO_NONE, hdr_len: 0, gso_size: 0, csum_start: 0, csum_offset: 0 };

    /// Reads the header that a frame of the device begins with, and what follows it. `None` where it is cut off.
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (header, packet) = frame.split_first_chunk::<{ Self::LEN }>()?;
        let parsed = Self {
            flags: header[0],
            gso_type: header[1],
            hdr_len: u16::from_ne_bytes(*field::<2, 2, _>(header)),
            gso_size: u16::from_ne_bytes(*field::<4, 2, _>(header)),
            csum_start: u16::from_ne_bytes(*field::<6, 2, _>(header)),
            csum_offset: u16::from_ne_bytes(*field::<8, 2, _>(header)),
        };
        Some((parsed, packet))
    }

    /// Writes the header.
    #[inline]
    pub fn emit(&self, out: &mut [u8; Self::LEN]) {
        [out[0], out[1]] = [self.flags, self.gso_type];
        *field_mut::<2, 2, _>(out) = self.hdr_len.to_ne_bytes();
        *field_mut::<4, 2, _>(out) = self.gso_size.to_ne_bytes();
        *field_mut::<6, 2, _>(out) = self.csum_start.to_ne_bytes();
        *field_mut::<8, 2, _>(out) = self.csum_offset.to_ne_bytes();
    }
}

#[cfg(test)]
mod tests;
