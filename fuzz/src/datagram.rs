//! Datagrams from the outer side: which kind they are, and what the messages of WireGuard say.

use dataplane_wire::classify::{CHANNEL_HEADER_LEN, MAGIC_COOKIE, emit_channel_header};
use dataplane_wire::wireguard::{self, CookieReply, Data, Initiation, Message, Response};
use dataplane_wire::{Class, DropReason, classify as class_of, peek_data};

/// A datagram has exactly one class, the one that the rules give it when they are read one by one.
pub fn classify(data: &[u8]) {
    let kinds = [is_channel_data(data), is_stun(data), is_wireguard(data)];
    assert!(kinds.iter().filter(|kind| **kind).count() <= 1, "two kinds claim the same bytes");
    let got = class_of(data);
    let as_expected = match &got {
        Class::ChannelData { .. } => kinds[0],
        Class::Stun(_) => kinds[1],
        Class::WireGuard(_) => kinds[2],
        Class::Unknown(_) => kinds == [false; 3],
    };
    assert!(as_expected, "classified as {got:?}, where the rules say {kinds:?}");
    match got {
        Class::ChannelData { channel, payload } => {
            let mut header = [0; CHANNEL_HEADER_LEN];
            emit_channel_header(&mut header, channel, payload.len() as u16);
            assert_eq!(data.get(..CHANNEL_HEADER_LEN), Some(&header[..]));
            assert_eq!(data.get(CHANNEL_HEADER_LEN..CHANNEL_HEADER_LEN + payload.len()), Some(payload));
        }
        Class::Stun(stun) => assert_eq!(stun.attributes().len() + 20, data.len()),
        Class::WireGuard(_) => {}
        Class::Unknown(why) => {
            assert!(matches!(why, DropReason::Unclassified | DropReason::MalformedLength));
        }
    }
}

/// RFC 8656 §12.4 and §12.5.
fn is_channel_data(data: &[u8]) -> bool {
    if data.len() < 4 {
        return false;
    }
    let number = u16::from_be_bytes([data[0], data[1]]);
    let len = usize::from(u16::from_be_bytes([data[2], data[3]]));
    (0x4000..=0x4fff).contains(&number) && (4 + len..=4 + len + 3).contains(&data.len())
}

/// RFC 8489 §5.
fn is_stun(data: &[u8]) -> bool {
    data.len() >= 20
        && data[0] < 0x40
        && data[4..8] == MAGIC_COOKIE.to_be_bytes()
        && data.len().is_multiple_of(4)
        && data.len() - 20 == usize::from(u16::from_be_bytes([data[2], data[3]]))
}

/// The WireGuard paper §5.4.
fn is_wireguard(data: &[u8]) -> bool {
    match data {
        [1, 0, 0, 0, ..] => data.len() == 148,
        [2, 0, 0, 0, ..] => data.len() == 92,
        [3, 0, 0, 0, ..] => data.len() == 64,
        [4, 0, 0, 0, ..] => data.len() >= 32,
        _ => false,
    }
}

/// What is read from a message of WireGuard, written again, gives the same bytes.
pub fn messages(data: &[u8]) {
    let parsed = Message::parse(data);
    let peeked = peek_data(data);
    match parsed {
        Err(_) => assert_eq!(peeked, None),
        Ok(Message::Initiation(message)) => {
            let mut again = [0; wireguard::INITIATION_LEN];
            Initiation::emit(
                &mut again,
                message.sender(),
                message.ephemeral(),
                message.sealed_static(),
                message.sealed_timestamp(),
            );
            with_macs(&mut again, &message.macs(), data);
        }
        Ok(Message::Response(message)) => {
            let mut again = [0; wireguard::RESPONSE_LEN];
            let (sender, receiver) = (message.sender(), message.receiver());
            Response::emit(&mut again, sender, receiver, message.ephemeral(), message.sealed_nothing());
            with_macs(&mut again, &message.macs(), data);
        }
        Ok(Message::CookieReply(message)) => {
            let mut again = [0; wireguard::COOKIE_REPLY_LEN];
            CookieReply::emit(&mut again, message.receiver(), message.nonce(), message.sealed_cookie());
            assert_eq!(again, data);
        }
        Ok(Message::Data(message)) => {
            assert_eq!(peeked, Some((message.receiver(), message.counter())));
            let mut again = [0; wireguard::DATA_HEADER_LEN];
            Data::emit_header(&mut again, message.receiver(), message.counter());
            assert_eq!([&again[..], message.sealed()].concat(), data);
            assert_eq!(message.text().end + wireguard::MAC_LEN, data.len());
        }
    }
}

/// Completes a handshake message with the codes of another and compares.
fn with_macs(again: &mut [u8], macs: &wireguard::Macs<'_>, data: &[u8]) {
    wireguard::write_mac1(again, |covered| {
        assert_eq!(covered, macs.mac1_input());
        *macs.mac1
    });
    wireguard::write_mac2(again, |covered| {
        assert_eq!(covered, macs.mac2_input());
        *macs.mac2
    });
    assert_eq!(again, data);
}
