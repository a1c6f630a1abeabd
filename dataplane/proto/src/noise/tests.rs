//! The handshake against two other implementations of it.

use super::*;
use dataplane_wire::wireguard::Message;

const TIMESTAMP: [u8; 12] = [0x40, 0, 0, 0, 0, 0, 0, 10, 1, 2, 3, 4];

fn initiation(bytes: &[u8]) -> Initiation<'_> {
    match Message::parse(bytes) {
        Ok(Message::Initiation(view)) => view,
        other => panic!("not an initiation: {other:?}"),
    }
}

fn response(bytes: &[u8]) -> Response<'_> {
    match Message::parse(bytes) {
        Ok(Message::Response(view)) => view,
        other => panic!("not a response: {other:?}"),
    }
}

#[test]
fn both_ends_of_a_handshake_derive_the_same_keys() {
    let (alice, bob) = (Identity::new(&[1; 32]), Identity::new(&[2; 32]));
    let psk = [9; 32];
    let shared = alice.static_static(bob.public()).unwrap();
    assert_eq!(*shared, *bob.static_static(alice.public()).unwrap());

    let (initiated, first) =
        create_initiation(&alice, bob.public(), &shared, &[3; 32], 7, &TIMESTAMP).unwrap();
    let claim = claim(&bob, &initiation(&first)).unwrap();
    assert_eq!(&claim.peer, alice.public());
    let verified = claim.verify(&shared, &initiation(&first)).unwrap();
    assert_eq!(verified.timestamp, TIMESTAMP);
    let (bobs, second) = verified.create_response(&[4; 32], &psk, 8, 7).unwrap();
    let alices = initiated.consume_response(&alice, &psk, &response(&second)).unwrap();
    assert_eq!(alices.send.bytes(), bobs.recv.bytes());
    assert_eq!(alices.recv.bytes(), bobs.send.bytes());
    assert_ne!(alices.recv.bytes(), alices.send.bytes());
}
