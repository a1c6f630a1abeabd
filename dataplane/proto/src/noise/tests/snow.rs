//! The handshake against snow, an implementation of the Noise framework. WireGuard's identifier is the framework's prologue.

use ::snow::{Builder, HandshakeState};

use super::*;

const OUR_KEY: [u8; 32] = [0x61; 32];
const THEIR_KEY: [u8; 32] = [0x62; 32];
const EPHEMERAL: [[u8; 32]; 2] = [[0x63; 32], [0x64; 32]];

/// snow as either end; with a fixed ephemeral key, or one of its own.
fn theirs(initiator: bool, psk: &[u8; 32], ephemeral: Option<&[u8; 32]>) -> HandshakeState {
    let ours = Identity::new(&OUR_KEY);
    let mut builder = Builder::new("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s".parse().unwrap())
        .prologue(b"WireGuard v1 zx2c4 Jason@zx2c4.com")
        .and_then(|builder| builder.local_private_key(&THEIR_KEY))
        .and_then(|builder| builder.psk(2, psk))
        .unwrap();
    if let Some(ephemeral) = ephemeral {
        builder = builder.fixed_ephemeral_key_for_testing_only(ephemeral);
    }
    match initiator {
        true => builder.remote_public_key(ours.public()).unwrap().build_initiator().unwrap(),
        false => builder.build_responder().unwrap(),
    }
}

fn same_keys(ours: &SessionKeys, ours_first: bool, mut theirs: HandshakeState) {
    let (first, second) = theirs.dangerously_get_raw_split();
    let (send, recv) = if ours_first { (first, second) } else { (second, first) };
    assert_eq!((ours.send.bytes(), ours.recv.bytes()), (&send, &recv));
}

/// An initiation around what snow wrote: everything between the indices and the macs.
fn around<const N: usize>(kind: u8, from: usize, body: &[u8]) -> [u8; N] {
    let mut message = [0; N];
    message[0] = kind;
    message[from..from + body.len()].copy_from_slice(body);
    message
}

// WG-5, WG-6
#[test]
fn we_initiate_and_snow_answers() {
    for psk in [[0; 32], [0x77; 32]] {
        let ours = Identity::new(&OUR_KEY);
        let their_public = *Identity::new(&THEIR_KEY).public();
        let shared = ours.static_static(&their_public).unwrap();
        let (initiated, first) =
            create_initiation(&ours, &their_public, &shared, &[5; 32], 1, &TIMESTAMP).unwrap();

        let mut snow = theirs(false, &psk, None);
        let (mut payload, mut body) = ([0; 64], [0; 64]);
        let read = snow.read_message(&first[8..116], &mut payload).unwrap();
        assert_eq!(payload[..read], TIMESTAMP);
        assert_eq!(snow.get_remote_static(), Some(&ours.public()[..]));
        let written = snow.write_message(&[], &mut body).unwrap();

        let second: [u8; RESPONSE_LEN] = around(2, 12, &body[..written]);
        let keys = initiated.consume_response(&ours, &psk, &response(&second)).unwrap();
        same_keys(&keys, true, snow);
    }
}

// WG-5, WG-6
#[test]
fn snow_initiates_and_we_answer() {
    for psk in [[0; 32], [0x77; 32]] {
        let ours = Identity::new(&OUR_KEY);
        let mut snow = theirs(true, &psk, None);
        let mut body = [0; 128];
        let written = snow.write_message(&TIMESTAMP, &mut body).unwrap();
        let first: [u8; INITIATION_LEN] = around(1, 8, &body[..written]);

        let claim = claim(&ours, &initiation(&first)).unwrap();
        let shared = ours.static_static(&claim.peer).unwrap();
        let verified = claim.verify(&shared, &initiation(&first)).unwrap();
        assert_eq!(verified.timestamp, TIMESTAMP);
        let (keys, second) = verified.create_response(&[6; 32], &psk, 2, 1).unwrap();

        snow.read_message(&second[12..60], &mut body).unwrap();
        same_keys(&keys, false, snow);
    }
}

// WG-5, WG-9
#[test]
fn with_the_same_ephemeral_keys_our_messages_are_snows_byte_for_byte() {
    let psk = [0x77; 32];
    let (ours, other) = (Identity::new(&OUR_KEY), Identity::new(&THEIR_KEY));
    let mut body = [0; 128];

    // snow as the initiator with its key; the same initiation by us with that key.
    let mut snow = theirs(true, &psk, Some(&EPHEMERAL[0]));
    let written = snow.write_message(&TIMESTAMP, &mut body).unwrap();
    let shared = other.static_static(ours.public()).unwrap();
    let (_, first) = create_initiation(&other, ours.public(), &shared, &EPHEMERAL[0], 1, &TIMESTAMP).unwrap();
    assert_eq!(first[8..116], body[..written]);

    // snow as the responder with its key; the same response by us with that key.
    let (_, first) = create_initiation(&ours, other.public(), &shared, &EPHEMERAL[0], 1, &TIMESTAMP).unwrap();
    let mut snow = theirs(false, &psk, Some(&EPHEMERAL[1]));
    snow.read_message(&first[8..116], &mut [0; 64]).unwrap();
    let written = snow.write_message(&[], &mut body).unwrap();
    let verified = claim(&other, &initiation(&first)).unwrap().verify(&shared, &initiation(&first)).unwrap();
    let (_, second) = verified.create_response(&EPHEMERAL[1], &psk, 2, 1).unwrap();
    assert_eq!(second[12..60], body[..written]);
}
