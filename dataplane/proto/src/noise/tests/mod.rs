//! The handshake between our two ends; against other implementations in the files beside.

use super::*;
use dataplane_wire::wireguard::Message;
use zeroize::ZeroizeOnDrop;

mod recorded;
mod snow;
mod vectors;

pub(super) const TIMESTAMP: [u8; 12] = [0x40, 0, 0, 0, 0, 0, 0, 10, 1, 2, 3, 4];

/// The public keys of which every Diffie-Hellman result is zero: the points of low order on the curve and its twist, in
/// their canonical spelling and, where 255 bits hold another, in that.
pub(crate) const LOW_ORDER: [[u8; 32]; 7] = {
    let mut points = [[0; 32]; 7];
    points[1][0] = 1;
    // The two points of order 8 (Bernstein, "Curve25519", as curve25519-dalek lists them).
    points[2] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    points[3] = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ];
    // p - 1, p and p + 1, where p = 2^255 - 19.
    let mut at = 4;
    while at < 7 {
        points[at] = [0xff; 32];
        points[at][0] = 0xec + (at - 4) as u8;
        points[at][31] = 0x7f;
        at += 1;
    }
    points
};

pub(super) fn initiation(bytes: &[u8]) -> Initiation<'_> {
    match Message::parse(bytes) {
        Ok(Message::Initiation(view)) => view,
        other => panic!("not an initiation: {other:?}"),
    }
}

pub(super) fn response(bytes: &[u8]) -> Response<'_> {
    match Message::parse(bytes) {
        Ok(Message::Response(view)) => view,
        other => panic!("not a response: {other:?}"),
    }
}

/// Both ends of a handshake in which the initiator's message has come.
struct Begun {
    alice: Identity,
    bob: Identity,
    initiated: Initiated,
    first: [u8; INITIATION_LEN],
    shared: Zeroizing<[u8; 32]>,
}

fn begun() -> Begun {
    let (alice, bob) = (Identity::new(&[1; 32]), Identity::new(&[2; 32]));
    let shared = alice.static_static(bob.public()).unwrap();
    let (initiated, first) =
        create_initiation(&alice, bob.public(), &shared, &[3; 32], 7, &TIMESTAMP).unwrap();
    Begun { alice, bob, initiated, first, shared }
}

impl Begun {
    fn verify(&self, first: &[u8]) -> Result<Verified, NoiseError> {
        claim(&self.bob, &initiation(first))?.verify(&self.shared, &initiation(first))
    }
}

#[test]
fn both_ends_of_a_handshake_derive_the_same_keys() {
    let begun = begun();
    let psk = [9; 32];
    assert_eq!(*begun.shared, *begun.bob.static_static(begun.alice.public()).unwrap());

    let verified = begun.verify(&begun.first).unwrap();
    assert_eq!((&verified.peer, verified.timestamp), (begun.alice.public(), TIMESTAMP));
    let (bobs, second) = verified.create_response(&[4; 32], &psk, 8, 7).unwrap();
    let alices = begun.initiated.consume_response(&begun.alice, &psk, &response(&second)).unwrap();
    assert_eq!(alices.send.bytes(), bobs.recv.bytes());
    assert_eq!(alices.recv.bytes(), bobs.send.bytes());
    assert_ne!(alices.recv.bytes(), alices.send.bytes());
}

// WG-9
#[test]
fn every_byte_under_the_macs_is_authenticated() {
    let begun = begun();
    // The sender index is the only field that the transcript does not cover.
    for at in 8..116 {
        let mut bent = begun.first;
        bent[at] ^= 0x10;
        assert!(begun.verify(&bent).is_err(), "initiation, byte {at}");
    }
    let (_, second) = begun.verify(&begun.first).unwrap().create_response(&[4; 32], &[0; 32], 8, 7).unwrap();
    let consume = |second: &[u8]| begun.initiated.consume_response(&begun.alice, &[0; 32], &response(second));
    for at in 12..60 {
        let mut bent = second;
        bent[at] ^= 0x10;
        assert!(consume(&bent).is_err(), "response, byte {at}");
    }
    assert!(consume(&second).is_ok());
    let other_psk = begun.initiated.consume_response(&begun.alice, &[1; 32], &response(&second));
    assert_eq!(other_psk.err(), Some(NoiseError::Tag));
}

// WG-7
#[test]
fn a_low_order_key_aborts_every_step_that_it_takes_part_in() {
    let begun = begun();
    let (_, second) = begun.verify(&begun.first).unwrap().create_response(&[4; 32], &[0; 32], 8, 7).unwrap();
    for point in LOW_ORDER {
        assert_eq!(begun.alice.static_static(&point).err(), Some(NoiseError::LowOrder));
        let to_nobody = create_initiation(&begun.alice, &point, &[0; 32], &[3; 32], 7, &TIMESTAMP);
        assert_eq!(to_nobody.err(), Some(NoiseError::LowOrder));

        let mut first = begun.first;
        first[8..40].copy_from_slice(&point);
        assert_eq!(claim(&begun.bob, &initiation(&first)).err(), Some(NoiseError::LowOrder));

        let mut second = second;
        second[12..44].copy_from_slice(&point);
        let consumed = begun.initiated.consume_response(&begun.alice, &[0; 32], &response(&second));
        assert_eq!(consumed.err(), Some(NoiseError::LowOrder));
    }
}

// WG-37
#[test]
fn what_a_handshake_keeps_is_erased_when_it_is_dropped() {
    fn erased<T: ZeroizeOnDrop>() {}
    erased::<Symmetric>();
    erased::<StaticSecret>();
    erased::<Zeroizing<[u8; 32]>>();
    erased::<Key>();
    erased::<crate::keys::Secret>();
    erased::<crate::cookie::HeldCookie>();
}
