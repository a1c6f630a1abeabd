//! Handshakes that were recorded from wireguard-go 0.0.20220316, each with the first message under its session.
//!
//! Recorded over loopback with the keys below: once it initiated, once it answered; our half was made with the ephemeral
//! keys below, so that it comes out the same today.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};

use super::*;
use crate::gate::InterfaceKeys;

const OUR_KEY: [u8; 32] = [0x11; 32];
const THEIR_KEY: [u8; 32] = [0x22; 32];
const PSK: [u8; 32] = [0x33; 32];

const THEIR_INITIATION: &str = "\
    010000008e4bd4036e83caf46b3ec6b8f8ebd03636f4ac9f01fb6c0684e2f10054aa3cc224aec170cd1414f1c0ecbc1015b8925214210aaa\
    a774614188c4441f3502b80de3ee353bfcf00654c6d398ce49ed194847ba7804c035c540a4776ee44b331a29fc8d31acfff848807efd05a3\
    d81bc72f2a595f465b8618fb32f8ab697c6f063b00000000000000000000000000000000";
/// Our ephemeral key when we answered, and our index.
const ANSWERED_WITH: ([u8; 32], u32) = ([0x44; 32], 0x0a0b_0c0d);
/// A keepalive of theirs under that session.
const THEIR_DATA_AS_INITIATOR: &str = "\
    040000000d0c0b0a000000000000000047bb0c6cd55102348f9f4e300aca89c5";

/// Our ephemeral key when we initiated, and our index; with [`TIMESTAMP`].
const INITIATED_WITH: ([u8; 32], u32) = ([0x55; 32], 0x0102_0304);
const THEIR_RESPONSE: &str = "\
    020000006db5b5d8040302019badec445bde1ffff01080f25c18ad43ac4742b8486c812022991ac18817a0547ee2529f9a41daff68a0cf38\
    548862ae00219c49a1130c88867dcda4ef721be700000000000000000000000000000000";
/// A keepalive of theirs under that session.
const THEIR_DATA_AS_RESPONDER: &str = "\
    04000000040302010000000000000000a52f744a464321b448fadb9625066fc5";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// Whether a recorded keepalive of counter 0 opens with a key.
fn opens(data: &str, key: &Key) -> bool {
    let data = bytes(data);
    let tag = Tag::try_from(&data[16..]).unwrap();
    ChaCha20Poly1305::new(key.bytes().into())
        .decrypt_inout_detached(&Nonce::default(), &[], (&mut [][..]).into(), &tag)
        .is_ok()
}

// WG-5, WG-9
#[test]
fn a_recorded_initiation_is_answered_with_the_session_that_its_sender_went_on_with() {
    let ours = Identity::new(&OUR_KEY);
    let first = bytes(THEIR_INITIATION);
    assert!(InterfaceKeys::of(ours.public()).verify_mac1(&initiation(&first).macs()));
    let claim = claim(&ours, &initiation(&first)).unwrap();
    assert_eq!(&claim.peer, Identity::new(&THEIR_KEY).public());
    let shared = ours.static_static(&claim.peer).unwrap();
    let verified = claim.verify(&shared, &initiation(&first)).unwrap();
    let (ephemeral, index) = ANSWERED_WITH;
    let receiver = initiation(&first).sender();
    let (keys, _) = verified.create_response(&ephemeral, &PSK, index, receiver).unwrap();
    assert!(opens(THEIR_DATA_AS_INITIATOR, &keys.recv));
    assert!(!opens(THEIR_DATA_AS_INITIATOR, &keys.send));
}

// WG-5, WG-9
#[test]
fn a_recorded_response_gives_the_session_that_its_sender_went_on_with() {
    let (ours, theirs) = (Identity::new(&OUR_KEY), Identity::new(&THEIR_KEY));
    let shared = ours.static_static(theirs.public()).unwrap();
    let (ephemeral, index) = INITIATED_WITH;
    let (initiated, _) =
        create_initiation(&ours, theirs.public(), &shared, &ephemeral, index, &TIMESTAMP).unwrap();
    let second = bytes(THEIR_RESPONSE);
    assert!(InterfaceKeys::of(ours.public()).verify_mac1(&response(&second).macs()));
    assert_eq!(response(&second).receiver(), index);
    let keys = initiated.consume_response(&ours, &PSK, &response(&second)).unwrap();
    assert!(opens(THEIR_DATA_AS_RESPONDER, &keys.recv));
}
