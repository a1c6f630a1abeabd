//! Tells the kinds of datagram apart that share one port.
//!
//! Hot:
//! 1. The first four bytes say WireGuard: its lengths decide (DX-4).
//! 2. The first byte says channel: the length field decides (DX-2).
//! 3. The first two bits say STUN: cookie and length field decide (DX-3).
//! 4. Everything else is unknown.
//!
//! The kinds are disjoint, so the order is only for speed. The first byte tells a channel (0x40 to 0x4f) from the other two.
//! WireGuard begins with 1 to 4 and three zero bytes, which STUN would read as a message type and a length of zero; and
//! although a peer may choose the magic cookie for its index, which stands where STUN has it, a STUN message of length zero
//! has exactly 20 bytes, and no message of WireGuard has so few.

use crate::DropReason;
use crate::bytes::field;
use crate::wireguard;

/// The fixed word in every STUN header (RFC 8489 §5).
pub const MAGIC_COOKIE: u32 = 0x2112_A442;
/// Bytes of a STUN header; its length field does not count them.
pub const STUN_HEADER_LEN: usize = 20;
/// Bytes of a ChannelData header: channel number and length.
pub const CHANNEL_HEADER_LEN: usize = 4;
/// The lowest channel number (RFC 8656 §12).
pub const CHANNEL_MIN: u16 = 0x4000;
/// The highest channel number (RFC 8656 §12; RFC 5766 allowed up to 0x7FFF, which nobody may use any more).
pub const CHANNEL_MAX: u16 = 0x4FFF;
/// Most bytes behind the payload: over UDP padding is not needed, but may be there (RFC 8656 §12.5).
const CHANNEL_PADDING_MAX: usize = 3;

const _: () = assert!(
    STUN_HEADER_LEN < wireguard::DATA_OVERHEAD && wireguard::DATA_OVERHEAD < wireguard::COOKIE_REPLY_LEN
);

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class<'a> {
    /// A relayed datagram behind a channel number.
    ChannelData {
        /// The channel: [`CHANNEL_MIN`] to [`CHANNEL_MAX`].
        channel: u16,
        /// The relayed datagram, without padding.
        payload: &'a [u8],
    },
    /// A STUN or TURN message. Only its header was looked at.
    Stun(Stun<'a>),
    /// A message of WireGuard.
    WireGuard(wireguard::Message<'a>),
    /// Nothing of these: dropped for this reason.
    Unknown(DropReason),
}

/// Says what a datagram is. Total: every datagram has exactly one class.
#[inline]
pub fn classify(datagram: &[u8]) -> Class<'_> {
    let why = match wireguard::Message::parse(datagram) {
        Ok(message) => return Class::WireGuard(message),
        Err(why) => why,
    };
    if let Some((channel, payload)) = channel_data(datagram) {
        return Class::ChannelData { channel, payload };
    }
    match Stun::parse(datagram) {
        Some(stun) => Class::Stun(stun),
        None => Class::Unknown(why),
    }
}

/// Channel number and payload of a ChannelData message over UDP (RFC 8656 §12.4, §12.5).
#[inline]
pub fn channel_data(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let (header, rest) = datagram.split_first_chunk::<CHANNEL_HEADER_LEN>()?;
    let channel = u16::from_be_bytes(*field::<0, 2, _>(header));
    let len = usize::from(u16::from_be_bytes(*field::<2, 2, _>(header)));
    if !(CHANNEL_MIN..=CHANNEL_MAX).contains(&channel) {
        return None;
    }
    let (payload, padding) = rest.split_at_checked(len)?;
    (padding.len() <= CHANNEL_PADDING_MAX).then_some((channel, payload))
}

/// Writes the header of a ChannelData message. `payload_len` does not count padding.
#[inline]
pub fn emit_channel_header(out: &mut [u8; CHANNEL_HEADER_LEN], channel: u16, payload_len: u16) {
    let [a, b] = channel.to_be_bytes();
    let [c, d] = payload_len.to_be_bytes();
    *out = [a, b, c, d];
}

/// A view of a STUN message whose header is whole (RFC 8489 §5): the first two bits are zero, the cookie is right, and the
/// length is a multiple of 4 and names all that follows the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stun<'a> {
    header: &'a [u8; STUN_HEADER_LEN],
    attributes: &'a [u8],
}

impl<'a> Stun<'a> {
    /// Reads the header; `None` where the datagram is no STUN message.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (header, attributes) = datagram.split_first_chunk::<STUN_HEADER_LEN>()?;
        let len = usize::from(u16::from_be_bytes(*field::<2, 2, _>(header)));
        let right = header[0] & 0xc0 == 0
            && *field::<4, 4, _>(header) == MAGIC_COOKIE.to_be_bytes()
            && len % 4 == 0
            && len == attributes.len();
        right.then_some(Self { header, attributes })
    }

    /// Method and class, as they stand in the first 16 bits.
    pub fn message_type(&self) -> u16 {
        u16::from_be_bytes(*field::<0, 2, _>(self.header))
    }

    /// The transaction id.
    pub fn transaction(&self) -> &'a [u8; 12] {
        field::<8, 12, _>(self.header)
    }

    /// What follows the header. A multiple of 4 bytes; not looked at.
    pub fn attributes(&self) -> &'a [u8] {
        self.attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::Message;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// The rules as the specifications state them, each on its own, in plain arithmetic.
    fn rules(d: &[u8]) -> [bool; 3] {
        let at = |i: usize| d.get(i).copied().map_or(0, u64::from);
        let length_field = at(2) * 256 + at(3);
        let rest = |header: usize| (d.len() as u64).wrapping_sub(header as u64);
        let channel = d.len() >= 4
            && (0x40..=0x4f).contains(&at(0))
            && length_field <= rest(4)
            && rest(4) - length_field <= 3;
        let stun = d.len() >= 20
            && at(0) < 64
            && d[4..8] == [0x21, 0x12, 0xa4, 0x42]
            && length_field % 4 == 0
            && length_field + 20 == d.len() as u64;
        let wireguard = d.len() >= 4
            && d[1..4] == [0, 0, 0]
            && match d[0] {
                1 => d.len() == 148,
                2 => d.len() == 92,
                3 => d.len() == 64,
                4 => d.len() >= 32,
                _ => false,
            };
        [channel, stun, wireguard]
    }

    fn check(d: &[u8]) {
        let expected = rules(d);
        assert!(expected.iter().filter(|&&is| is).count() <= 1, "two kinds at once: {d:x?}");
        let class = classify(d);
        let got = [
            matches!(class, Class::ChannelData { .. }),
            matches!(class, Class::Stun(_)),
            matches!(class, Class::WireGuard(_)),
        ];
        assert_eq!(got, expected, "{d:x?} is {class:?}");
    }

    // DX-1, DX-4
    #[test]
    fn every_first_byte_length_and_cookie_has_exactly_the_class_of_its_rule() {
        for len in (0..=170_usize).chain([1200, 1499]) {
            let mut d: Vec<u8> = (0..len).map(|at| at as u8).collect();
            // Around each length that some rule could call right.
            let fields = [4, 20]
                .into_iter()
                .flat_map(|h: usize| (0..6).map(move |d| (len + 1).wrapping_sub(h + d) as u16));
            for field in fields.chain([0, 4, 128, u16::MAX]) {
                for (first, second) in
                    (0..=255).flat_map(|first| [0, 1, 0x40, 0xff].map(|second| (first, second)))
                {
                    for cookie in [[0x21, 0x12, 0xa4, 0x42], [0x42, 0xa4, 0x12, 0x21], [0; 4]] {
                        let [c, e] = field.to_be_bytes();
                        let head = [first, second, c, e, cookie[0], cookie[1], cookie[2], cookie[3]];
                        let n = len.min(8);
                        d[..n].copy_from_slice(&head[..n]);
                        check(&d);
                    }
                }
            }
        }
    }

    proptest! {
        // DX-1
        #[test]
        fn arbitrary_datagrams_have_exactly_one_class(d in prop::collection::vec(any::<u8>(), 0..300)) {
            check(&d);
        }
    }

    // DX-2
    #[test]
    fn a_channel_payload_is_what_the_length_field_says() {
        let d = [0x40, 0x00, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0];
        for padding in 0..=3 {
            let class = classify(&d[..9 + padding]);
            assert_eq!(class, Class::ChannelData { channel: 0x4000, payload: &[1, 2, 3, 4, 5] });
        }
        assert_eq!(classify(&d[..8]), Class::Unknown(DropReason::Unclassified), "cut off");
        let four_more = [0x4f, 0xff, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            classify(&four_more),
            Class::Unknown(DropReason::Unclassified),
            "four bytes are no padding"
        );
        assert_eq!(classify(&four_more[..4]), Class::ChannelData { channel: 0x4fff, payload: &[] });
        assert_eq!(classify(&[0x3f, 0xff, 0, 0]), Class::Unknown(DropReason::Unclassified));
        assert_eq!(classify(&[0x50, 0x00, 0, 0]), Class::Unknown(DropReason::Unclassified));
    }

    // DX-2
    #[test]
    fn a_channel_header_reads_back_as_it_was_written() {
        let mut out = [0; 7];
        emit_channel_header(out.first_chunk_mut().unwrap(), 0x4abc, 3);
        assert_eq!(channel_data(&out), Some((0x4abc, &[0; 3][..])));
    }

    // DX-3
    #[test]
    fn a_wireguard_index_equal_to_the_magic_cookie_is_still_wireguard() {
        for (kind, len) in [(1, 148), (2, 92), (3, 64), (4, 32), (4, 1452), (4, 20 + 0x400)] {
            let mut d = std::vec![0; len];
            d[0] = kind;
            d[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            assert!(matches!(classify(&d), Class::WireGuard(_)), "type {kind} of {len}");
        }
    }

    // DX-3
    #[test]
    fn a_bare_stun_header_that_begins_like_wireguard_is_stun() {
        for kind in 0..=5 {
            let mut d = [0; 20];
            d[0] = kind;
            d[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            assert!(matches!(classify(&d), Class::Stun(_)));
        }
    }

    // DX-3
    #[test]
    fn a_stun_message_shows_type_transaction_and_attributes() {
        let mut d = [7; 28];
        d[..8].copy_from_slice(&[0x01, 0x01, 0, 8, 0x21, 0x12, 0xa4, 0x42]);
        let Class::Stun(stun) = classify(&d) else { panic!("not STUN") };
        assert_eq!(
            (stun.message_type(), stun.transaction(), stun.attributes()),
            (0x0101, &[7; 12], &[7; 8][..])
        );
        for len in 0..28 {
            assert!(matches!(classify(&d[..len]), Class::Unknown(_)), "cut to {len}");
        }
    }

    #[test]
    fn a_message_of_wireguard_with_a_wrong_length_is_dropped_for_that() {
        assert_eq!(classify(&[4; 3]), Class::Unknown(DropReason::Unclassified));
        assert_eq!(classify(&[4, 0, 0, 0]), Class::Unknown(DropReason::MalformedLength));
        let mut d = [0; 149];
        d[0] = 1;
        assert_eq!(classify(&d), Class::Unknown(DropReason::MalformedLength));
        assert!(matches!(classify(&d[..148]), Class::WireGuard(Message::Initiation(_))));
    }
}
