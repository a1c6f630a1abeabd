//! The four messages of WireGuard (the WireGuard paper §5.4), all integers little endian.
//!
//! Enters: a datagram. Leaves: a view of it whose length and type were checked, or bytes in a caller's array. Never: a key.
//!
//! | message | bytes | layout: offset, length, field |
//! |---|---|---|
//! | initiation | 148 | 0 4 type = 1; 4 4 sender; 8 32 ephemeral; 40 48 static, sealed; 88 28 timestamp, sealed; 116 16 mac1; 132 16 mac2 |
//! | response | 92 | 0 4 type = 2; 4 4 sender; 8 4 receiver; 12 32 ephemeral; 44 16 nothing, sealed; 60 16 mac1; 76 16 mac2 |
//! | cookie reply | 64 | 0 4 type = 3; 4 4 receiver; 8 24 nonce; 32 32 cookie, sealed |
//! | data | 32 or more | 0 4 type = 4; 4 4 receiver; 8 8 counter; 16 n packet, sealed; the last 16 are its tag |
//!
//! The type is a byte and three reserved zero bytes; they are read as one number, so that a reserved byte that is not zero
//! is an unknown type.

use core::ops::Range;

use crate::DropReason;
use crate::bytes::{field, field_mut};

/// Type of [`Initiation`].
pub const TYPE_INITIATION: u32 = 1;
/// Type of [`Response`].
pub const TYPE_RESPONSE: u32 = 2;
/// Type of [`CookieReply`].
pub const TYPE_COOKIE_REPLY: u32 = 3;
/// Type of [`Data`].
pub const TYPE_DATA: u32 = 4;

/// Bytes of an initiation.
pub const INITIATION_LEN: usize = 148;
/// Bytes of a response.
pub const RESPONSE_LEN: usize = 92;
/// Bytes of a cookie reply.
pub const COOKIE_REPLY_LEN: usize = 64;
/// Bytes before the sealed packet of a data message.
pub const DATA_HEADER_LEN: usize = 16;
/// Bytes of the tag behind every sealed field.
pub const TAG_LEN: usize = 16;
/// Bytes that a data message has beside the padded packet: also the least length of one, which is a keepalive.
pub const DATA_OVERHEAD: usize = DATA_HEADER_LEN + TAG_LEN;
/// Bytes of mac1, and of mac2.
pub const MAC_LEN: usize = 16;

/// A datagram that is a WireGuard message by type and length. Nothing in it is authenticated yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The first message of a handshake.
    Initiation(Initiation<'a>),
    /// The second message of a handshake.
    Response(Response<'a>),
    /// The answer of a peer under load.
    CookieReply(CookieReply<'a>),
    /// A sealed packet.
    Data(Data<'a>),
}

impl<'a> Message<'a> {
    /// Reads type and length of a datagram.
    ///
    /// # Errors
    /// The datagram is dropped: [`DropReason::Unclassified`] where the first four bytes are no type of WireGuard,
    /// [`DropReason::MalformedLength`] where that type cannot have this length.
    #[inline]
    pub fn parse(datagram: &'a [u8]) -> Result<Self, DropReason> {
        let kind = datagram.first_chunk().map(|kind| u32::from_le_bytes(*kind));
        let message = match kind {
            Some(TYPE_DATA) => Data::sized(datagram).map(Self::Data),
            Some(TYPE_INITIATION) => {
                datagram.try_into().ok().map(|bytes| Self::Initiation(Initiation { bytes }))
            }
            Some(TYPE_RESPONSE) => datagram.try_into().ok().map(|bytes| Self::Response(Response { bytes })),
            Some(TYPE_COOKIE_REPLY) => {
                datagram.try_into().ok().map(|bytes| Self::CookieReply(CookieReply { bytes }))
            }
            _ => return Err(DropReason::Unclassified),
        };
        message.ok_or(DropReason::MalformedLength)
    }
}

/// Reads receiver index and counter of a data message, and nothing else: `None` for every other datagram.
///
/// The cheap look of the hot path. Where it answers, [`Message::parse`] answers [`Message::Data`] with the same two numbers.
#[inline]
pub fn peek_data(datagram: &[u8]) -> Option<(u32, u64)> {
    let data = Data::sized(datagram)?;
    (u32::from_le_bytes(*field::<0, 4, _>(data.header())) == TYPE_DATA)
        .then(|| (data.receiver(), data.counter()))
}

/// A view of a handshake initiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initiation<'a> {
    bytes: &'a [u8; INITIATION_LEN],
}

impl<'a> Initiation<'a> {
    /// The index by which the sender wants to be answered.
    pub fn sender(&self) -> u32 {
        u32::from_le_bytes(*field::<4, 4, _>(self.bytes))
    }

    /// The sender's ephemeral public key.
    pub fn ephemeral(&self) -> &'a [u8; 32] {
        field::<8, 32, _>(self.bytes)
    }

    /// The sender's static public key, sealed, and its tag.
    pub fn sealed_static(&self) -> &'a [u8; 48] {
        field::<40, 48, _>(self.bytes)
    }

    /// The TAI64N timestamp, sealed, and its tag.
    pub fn sealed_timestamp(&self) -> &'a [u8; 28] {
        field::<88, 28, _>(self.bytes)
    }

    /// The two message authentication codes, and what they cover.
    pub fn macs(&self) -> Macs<'a> {
        Macs {
            message: self.bytes,
            mac1: field::<116, 16, _>(self.bytes),
            mac2: field::<132, 16, _>(self.bytes),
        }
    }

    /// The whole message.
    pub fn as_bytes(&self) -> &'a [u8; INITIATION_LEN] {
        self.bytes
    }

    /// Writes an initiation but for its macs, which are zero until [`write_mac1`] and [`write_mac2`].
    pub fn emit(
        out: &mut [u8; INITIATION_LEN],
        sender: u32,
        ephemeral: &[u8; 32],
        sealed_static: &[u8; 48],
        sealed_timestamp: &[u8; 28],
    ) {
        *field_mut::<0, 4, _>(out) = TYPE_INITIATION.to_le_bytes();
        *field_mut::<4, 4, _>(out) = sender.to_le_bytes();
        *field_mut::<8, 32, _>(out) = *ephemeral;
        *field_mut::<40, 48, _>(out) = *sealed_static;
        *field_mut::<88, 28, _>(out) = *sealed_timestamp;
        *field_mut::<116, 32, _>(out) = [0; 2 * MAC_LEN];
    }
}

/// A view of a handshake response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    bytes: &'a [u8; RESPONSE_LEN],
}

impl<'a> Response<'a> {
    /// The index by which the sender wants to be spoken to.
    pub fn sender(&self) -> u32 {
        u32::from_le_bytes(*field::<4, 4, _>(self.bytes))
    }

    /// The index that the initiation named as its sender.
    pub fn receiver(&self) -> u32 {
        u32::from_le_bytes(*field::<8, 4, _>(self.bytes))
    }

    /// The sender's ephemeral public key.
    pub fn ephemeral(&self) -> &'a [u8; 32] {
        field::<12, 32, _>(self.bytes)
    }

    /// The tag of the sealed empty payload.
    pub fn sealed_nothing(&self) -> &'a [u8; 16] {
        field::<44, 16, _>(self.bytes)
    }

    /// The two message authentication codes, and what they cover.
    pub fn macs(&self) -> Macs<'a> {
        Macs {
            message: self.bytes,
            mac1: field::<60, 16, _>(self.bytes),
            mac2: field::<76, 16, _>(self.bytes),
        }
    }

    /// The whole message.
    pub fn as_bytes(&self) -> &'a [u8; RESPONSE_LEN] {
        self.bytes
    }

    /// Writes a response but for its macs, which are zero until [`write_mac1`] and [`write_mac2`].
    pub fn emit(
        out: &mut [u8; RESPONSE_LEN],
        sender: u32,
        receiver: u32,
        ephemeral: &[u8; 32],
        sealed_nothing: &[u8; 16],
    ) {
        *field_mut::<0, 4, _>(out) = TYPE_RESPONSE.to_le_bytes();
        *field_mut::<4, 4, _>(out) = sender.to_le_bytes();
        *field_mut::<8, 4, _>(out) = receiver.to_le_bytes();
        *field_mut::<12, 32, _>(out) = *ephemeral;
        *field_mut::<44, 16, _>(out) = *sealed_nothing;
        *field_mut::<60, 32, _>(out) = [0; 2 * MAC_LEN];
    }
}

/// A view of a cookie reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieReply<'a> {
    bytes: &'a [u8; COOKIE_REPLY_LEN],
}

impl<'a> CookieReply<'a> {
    /// The index that the answered message named as its sender.
    pub fn receiver(&self) -> u32 {
        u32::from_le_bytes(*field::<4, 4, _>(self.bytes))
    }

    /// The nonce of XChaCha20-Poly1305.
    pub fn nonce(&self) -> &'a [u8; 24] {
        field::<8, 24, _>(self.bytes)
    }

    /// The cookie, sealed, and its tag.
    pub fn sealed_cookie(&self) -> &'a [u8; 32] {
        field::<32, 32, _>(self.bytes)
    }

    /// The whole message.
    pub fn as_bytes(&self) -> &'a [u8; COOKIE_REPLY_LEN] {
        self.bytes
    }

    /// Writes a cookie reply.
    pub fn emit(out: &mut [u8; COOKIE_REPLY_LEN], receiver: u32, nonce: &[u8; 24], sealed_cookie: &[u8; 32]) {
        *field_mut::<0, 4, _>(out) = TYPE_COOKIE_REPLY.to_le_bytes();
        *field_mut::<4, 4, _>(out) = receiver.to_le_bytes();
        *field_mut::<8, 24, _>(out) = *nonce;
        *field_mut::<32, 32, _>(out) = *sealed_cookie;
    }
}

/// A view of a data message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    header: &'a [u8; DATA_HEADER_LEN],
    /// Ciphertext and tag; at least [`TAG_LEN`] bytes.
    sealed: &'a [u8],
}

impl<'a> Data<'a> {
    /// A view of bytes that are long enough, whatever their type.
    #[inline]
    fn sized(datagram: &'a [u8]) -> Option<Self> {
        let (header, sealed) = datagram.split_first_chunk()?;
        (sealed.len() >= TAG_LEN).then_some(Self { header, sealed })
    }

    fn header(&self) -> &'a [u8; DATA_HEADER_LEN] {
        self.header
    }

    /// The index by which the receiver knows the session.
    #[inline]
    pub fn receiver(&self) -> u32 {
        u32::from_le_bytes(*field::<4, 4, _>(self.header))
    }

    /// The message counter, which is the nonce.
    #[inline]
    pub fn counter(&self) -> u64 {
        u64::from_le_bytes(*field::<8, 8, _>(self.header))
    }

    /// Ciphertext and tag.
    pub fn sealed(&self) -> &'a [u8] {
        self.sealed
    }

    /// Where in the datagram the ciphertext lies; its tag is directly behind it. Empty for a keepalive.
    #[inline]
    pub fn text(&self) -> Range<usize> {
        DATA_HEADER_LEN..DATA_HEADER_LEN + self.sealed.len() - TAG_LEN
    }

    /// Writes the header of a data message. The sealed packet follows directly behind it.
    #[inline]
    pub fn emit_header(out: &mut [u8; DATA_HEADER_LEN], receiver: u32, counter: u64) {
        *field_mut::<0, 4, _>(out) = TYPE_DATA.to_le_bytes();
        *field_mut::<4, 4, _>(out) = receiver.to_le_bytes();
        *field_mut::<8, 8, _>(out) = counter.to_le_bytes();
    }
}

/// The message authentication codes at the end of an initiation or response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macs<'a> {
    message: &'a [u8],
    /// Keyed by the receiver's public key.
    pub mac1: &'a [u8; MAC_LEN],
    /// Keyed by a cookie; zero where the sender holds none.
    pub mac2: &'a [u8; MAC_LEN],
}

impl<'a> Macs<'a> {
    /// What mac1 covers: everything before it.
    pub fn mac1_input(&self) -> &'a [u8] {
        &self.message[..self.message.len() - 2 * MAC_LEN]
    }

    /// What mac2 covers: everything before it, mac1 included.
    pub fn mac2_input(&self) -> &'a [u8] {
        &self.message[..self.message.len() - MAC_LEN]
    }
}

/// Writes mac1 of an initiation or response: `mac` is given the bytes that it covers.
///
/// `message` is one of the arrays that [`Initiation::emit`] and [`Response::emit`] take; shorter ones stay as they are.
pub fn write_mac1(message: &mut [u8], mac: impl FnOnce(&[u8]) -> [u8; MAC_LEN]) {
    write_mac(message, 2 * MAC_LEN, mac);
}

/// Writes mac2 of an initiation or response behind its mac1, as [`write_mac1`] does.
pub fn write_mac2(message: &mut [u8], mac: impl FnOnce(&[u8]) -> [u8; MAC_LEN]) {
    write_mac(message, MAC_LEN, mac);
}

/// Writes a code that stands `from_end` bytes before the end over everything before it.
fn write_mac(message: &mut [u8], from_end: usize, mac: impl FnOnce(&[u8]) -> [u8; MAC_LEN]) {
    let covered_len = message.len().saturating_sub(from_end);
    let (covered, rest) = message.split_at_mut(covered_len);
    if let Some(place) = rest.first_chunk_mut() {
        *place = mac(covered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn datagram(kind: [u8; 4], len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
        bytes[..4].copy_from_slice(&kind);
        bytes
    }

    // WG-1
    #[test]
    fn each_type_has_exactly_its_length_and_data_at_least_32() {
        for len in 4..2000 {
            let fits = |kind| Message::parse(&datagram([kind, 0, 0, 0], len)).is_ok();
            assert_eq!(fits(1), len == 148, "initiation of {len}");
            assert_eq!(fits(2), len == 92, "response of {len}");
            assert_eq!(fits(3), len == 64, "cookie reply of {len}");
            assert_eq!(fits(4), len >= 32, "data of {len}");
        }
        for len in 0..4 {
            assert_eq!(Message::parse(&[4, 0, 0, 0][..len]), Err(DropReason::Unclassified));
        }
        assert_eq!(Message::parse(&datagram([1, 0, 0, 0], 147)), Err(DropReason::MalformedLength));
    }

    // WG-2
    #[test]
    fn a_reserved_byte_that_is_not_zero_makes_the_type_unknown() {
        for (kind, len) in [(1, 148), (2, 92), (3, 64), (4, 32)] {
            assert!(Message::parse(&datagram([kind, 0, 0, 0], len)).is_ok());
            for reserved in 1..4 {
                for bit in 0..8 {
                    let mut head = [kind, 0, 0, 0];
                    head[reserved] = 1 << bit;
                    assert_eq!(Message::parse(&datagram(head, len)), Err(DropReason::Unclassified));
                    assert_eq!(peek_data(&datagram(head, len)), None);
                }
            }
            // Big endian would be a type in the last byte.
            assert_eq!(Message::parse(&datagram([0, 0, 0, kind], len)), Err(DropReason::Unclassified));
        }
    }

    #[test]
    fn peek_agrees_with_parse_for_every_first_byte_and_length() {
        for kind in 0..=255 {
            for len in 4..160 {
                let bytes = datagram([kind, 0, 0, 0], len);
                let parsed = match Message::parse(&bytes) {
                    Ok(Message::Data(data)) => Some((data.receiver(), data.counter())),
                    _ => None,
                };
                assert_eq!(peek_data(&bytes), parsed);
            }
        }
        assert_eq!(peek_data(&datagram([4, 0, 0, 0], 32)), Some((0x0706_0504, 0x0f0e_0d0c_0b0a_0908)));
    }

    #[test]
    fn an_initiation_reads_back_as_it_was_written() {
        let mut out = [0xee; INITIATION_LEN];
        Initiation::emit(&mut out, 0x0403_0201, &[5; 32], &[6; 48], &[7; 28]);
        write_mac1(&mut out, |covered| {
            assert_eq!(covered.len(), 116);
            [8; 16]
        });
        write_mac2(&mut out, |covered| {
            assert_eq!(covered.len(), 132);
            assert_eq!(covered[116..], [8; 16]);
            [9; 16]
        });
        assert_eq!(out[..8], [1, 0, 0, 0, 1, 2, 3, 4]);
        let Ok(Message::Initiation(view)) = Message::parse(&out) else { panic!("not an initiation") };
        assert_eq!((view.sender(), view.ephemeral()), (0x0403_0201, &[5; 32]));
        assert_eq!((view.sealed_static(), view.sealed_timestamp()), (&[6; 48], &[7; 28]));
        let macs = view.macs();
        assert_eq!((macs.mac1, macs.mac2), (&[8; 16], &[9; 16]));
        assert_eq!((macs.mac1_input(), macs.mac2_input()), (&out[..116], &out[..132]));
    }

    #[test]
    fn a_response_reads_back_as_it_was_written() {
        let mut out = [0xee; RESPONSE_LEN];
        Response::emit(&mut out, 0x0403_0201, 0x0807_0605, &[5; 32], &[6; 16]);
        assert_eq!(out[60..], [0; 32], "macs are zero until they are written");
        write_mac1(&mut out, |_| [8; 16]);
        assert_eq!(out[..12], [2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let Ok(Message::Response(view)) = Message::parse(&out) else { panic!("not a response") };
        assert_eq!((view.sender(), view.receiver()), (0x0403_0201, 0x0807_0605));
        assert_eq!((view.ephemeral(), view.sealed_nothing()), (&[5; 32], &[6; 16]));
        let macs = view.macs();
        assert_eq!((macs.mac1, macs.mac2), (&[8; 16], &[0; 16]));
        assert_eq!((macs.mac1_input(), macs.mac2_input()), (&out[..60], &out[..76]));
    }

    #[test]
    fn a_cookie_reply_reads_back_as_it_was_written() {
        let mut out = [0xee; COOKIE_REPLY_LEN];
        CookieReply::emit(&mut out, 0x0403_0201, &[5; 24], &[6; 32]);
        assert_eq!(out[..8], [3, 0, 0, 0, 1, 2, 3, 4]);
        let Ok(Message::CookieReply(view)) = Message::parse(&out) else { panic!("not a cookie reply") };
        assert_eq!((view.receiver(), view.nonce(), view.sealed_cookie()), (0x0403_0201, &[5; 24], &[6; 32]));
    }

    #[test]
    fn a_data_message_reads_back_as_it_was_written() {
        let mut out = [0xee; 16 + 48];
        Data::emit_header(out.first_chunk_mut().unwrap(), 0x0403_0201, 0x0c0b_0a09_0807_0605);
        assert_eq!(out[..16], [4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let Ok(Message::Data(view)) = Message::parse(&out) else { panic!("not data") };
        assert_eq!((view.receiver(), view.counter()), (0x0403_0201, 0x0c0b_0a09_0807_0605));
        assert_eq!((view.text(), view.sealed().len()), (16..48, 48));
        let Ok(Message::Data(keepalive)) = Message::parse(&out[..32]) else { panic!("not data") };
        assert!(keepalive.text().is_empty());
    }
}
