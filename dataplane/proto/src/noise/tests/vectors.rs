//! Handshakes recorded from two other implementations, in both roles, with a pre-shared key and without: `vectors.txt`.
//!
//! Our half of each was made with the ephemeral key that stands in it, and snow's with a fixed one too; boringtun draws its
//! own, which is in its message. Whatever made them need not be there to check them: all that we send must come out the same
//! today, and what they sent must lead to the keys under which both sides' first data was sealed.
//!
//! To record anew, take what this prints from its first `#` on:
//! `cargo test -q -p dataplane-proto --lib record_vectors_anew -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ::boringtun::noise::{Tunn, TunnResult};
use ::boringtun::x25519;
use ::snow::{Builder, HandshakeState};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use dataplane_wire::wireguard::{Data, write_mac1};

use super::*;
use crate::gate::InterfaceKeys;
use crate::noise::hash::mac;

const VECTORS: &str = include_str!("vectors.txt");
/// An inner packet: an IPv4 header alone, padded to 32 bytes.
const TEXT: [u8; 32] =
    [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 9, 9, 9, 10, 9, 9, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// One recorded handshake, by the names of its fields.
#[derive(Default)]
struct Vector(BTreeMap<String, String>);

impl Vector {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("vectors.txt: a vector lacks `{name}`"))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let hex = self.text(name);
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16);
        let all: Result<Vec<u8>, _> = (0..hex.len()).step_by(2).map(digit).collect();
        all.unwrap_or_else(|_| panic!("vectors.txt: `{name}` is not hexadecimal: {hex}"))
    }

    fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap_or_else(|_| panic!("vectors.txt: `{name}` has not {N} bytes"))
    }

    fn index(&self, name: &str) -> u32 {
        u32::from_le_bytes(self.array(name))
    }

    fn set(&mut self, name: &str, bytes: &[u8]) {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string");
            hex
        });
        self.0.insert(name.into(), hex);
    }

    fn we_initiated(&self) -> bool {
        self.text("initiator") == "ours"
    }
}

fn parse(text: &str) -> Vec<Vector> {
    let fields = |block: &str| {
        let lines = block.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split_once(": ").expect("name: value"))
            .map(|(n, v)| (n.into(), v.into()))
            .collect()
    };
    text.split("\n\n")
        .map(|block| Vector(fields(block.trim())))
        .filter(|vector| !vector.0.is_empty())
        .collect()
}

/// A data message with [`TEXT`] and counter 0.
fn sealed(key: &Key, receiver: u32) -> Vec<u8> {
    let mut message = [0; 64];
    Data::emit_header(message.first_chunk_mut().unwrap(), receiver, 0);
    message[16..48].copy_from_slice(&TEXT);
    let tag = ChaCha20Poly1305::new(key.bytes().into())
        .encrypt_inout_detached(&Nonce::default(), &[], (&mut message[16..48]).into())
        .unwrap();
    message[48..].copy_from_slice(&tag);
    message.to_vec()
}

/// Our half of a handshake, done again: our message, which must be the recorded one, and the keys.
fn again(vector: &Vector) -> SessionKeys {
    let ours = Identity::new(&vector.array("our private key"));
    let theirs = Identity::new(&vector.array("their private key"));
    let (psk, ephemeral) = (vector.array("psk"), vector.array("our ephemeral key"));
    let (our_index, their_index) = (vector.index("our index"), vector.index("their index"));
    let shared = ours.static_static(theirs.public()).unwrap();
    let (first, second) = (vector.bytes("initiation"), vector.bytes("response"));
    if vector.we_initiated() {
        let timestamp = vector.array("timestamp");
        let (initiated, made) =
            create_initiation(&ours, theirs.public(), &shared, &ephemeral, our_index, &timestamp).unwrap();
        assert_eq!(made[..116], first[..116], "our initiation");
        assert_eq!((response(&second).sender(), response(&second).receiver()), (their_index, our_index));
        initiated.consume_response(&ours, &psk, &response(&second)).expect("their response")
    } else {
        let claim = claim(&ours, &initiation(&first)).expect("their initiation");
        assert_eq!(&claim.peer, theirs.public());
        let verified = claim.verify(&shared, &initiation(&first)).expect("their timestamp");
        let (keys, made) = verified.create_response(&ephemeral, &psk, our_index, their_index).unwrap();
        assert_eq!(made[..60], second[..60], "our response");
        keys
    }
}

// WG-5, WG-6, WG-9
#[test]
fn recorded_handshakes_come_out_the_same_and_lead_to_the_same_data() {
    let vectors = parse(VECTORS);
    let mut seen = BTreeMap::new();
    for vector in &vectors {
        let keys = again(vector);
        assert_eq!(sealed(&keys.send, vector.index("their index")), vector.bytes("our data"));
        assert_eq!(sealed(&keys.recv, vector.index("our index")), vector.bytes("their data"));
        let with_psk = vector.array("psk") != [0; 32];
        *seen.entry((vector.text("from"), vector.text("initiator"), with_psk)).or_insert(0) += 1;
    }
    assert_eq!(
        (vectors.len(), seen.len()),
        (8, 8),
        "two implementations, both roles, with and without a key"
    );
}

// WG-16
#[test]
fn the_macs_of_recorded_messages_are_what_we_would_write() {
    for vector in parse(VECTORS).iter().filter(|vector| vector.text("from").starts_with("boringtun")) {
        let ours = Identity::new(&vector.array("our private key"));
        let keys = InterfaceKeys::of(ours.public());
        let (first, second) = (vector.bytes("initiation"), vector.bytes("response"));
        let theirs = if vector.we_initiated() { response(&second).macs() } else { initiation(&first).macs() };
        assert!(keys.verify_mac1(&theirs));
        assert_eq!(theirs.mac2, &[0; 16], "they held no cookie");
    }
}

/// What is the same in all vectors.
fn begun(from: &str, initiator: &str, psk: &[u8; 32]) -> Vector {
    let mut vector = Vector::default();
    vector.0.insert("from".into(), from.into());
    vector.0.insert("initiator".into(), initiator.into());
    vector.set("our private key", &[0x71; 32]);
    vector.set("their private key", &[0x72; 32]);
    vector.set("psk", psk);
    vector.set("our ephemeral key", &[0x73; 32]);
    vector.set("our index", &0x0102_0304_u32.to_le_bytes());
    vector.set("timestamp", &TIMESTAMP);
    vector
}

/// Our initiation, with a mac1 for the other end.
fn our_initiation(vector: &mut Vector) -> (Initiated, [u8; INITIATION_LEN]) {
    let ours = Identity::new(&vector.array("our private key"));
    let theirs = Identity::new(&vector.array("their private key"));
    let shared = ours.static_static(theirs.public()).unwrap();
    let (ephemeral, index) = (vector.array("our ephemeral key"), vector.index("our index"));
    let (initiated, mut first) =
        create_initiation(&ours, theirs.public(), &shared, &ephemeral, index, &TIMESTAMP).unwrap();
    write_mac1(&mut first, |covered| mac(&InterfaceKeys::of(theirs.public()).mac1, &[covered]));
    vector.set("initiation", &first);
    (initiated, first)
}

/// Our response to their initiation, with a mac1, and our keys.
fn our_response(vector: &mut Vector, first: &[u8]) -> (SessionKeys, [u8; RESPONSE_LEN]) {
    let ours = Identity::new(&vector.array("our private key"));
    let claim = claim(&ours, &initiation(first)).unwrap();
    let theirs = claim.peer;
    let shared = ours.static_static(&theirs).unwrap();
    let verified = claim.verify(&shared, &initiation(first)).unwrap();
    let (ephemeral, index) = (vector.array("our ephemeral key"), vector.index("our index"));
    let receiver = initiation(first).sender();
    let (keys, mut second) =
        verified.create_response(&ephemeral, &vector.array("psk"), index, receiver).unwrap();
    write_mac1(&mut second, |covered| mac(&InterfaceKeys::of(&theirs).mac1, &[covered]));
    vector.set("initiation", first);
    vector.set("response", &second);
    vector.set("their index", &receiver.to_le_bytes());
    (keys, second)
}

fn their_response(vector: &mut Vector, initiated: &Initiated, second: &[u8]) -> SessionKeys {
    let ours = Identity::new(&vector.array("our private key"));
    vector.set("response", second);
    vector.set("their index", &response(second).sender().to_le_bytes());
    initiated.consume_response(&ours, &vector.array("psk"), &response(second)).unwrap()
}

/// A message of snow's with what WireGuard puts around it.
fn framed<const N: usize>(kind: u8, indices: &[u8], body: &[u8]) -> [u8; N] {
    let mut message = [0; N];
    message[0] = kind;
    message[4..4 + indices.len()].copy_from_slice(indices);
    message[4 + indices.len()..][..body.len()].copy_from_slice(body);
    message
}

fn record_snow(psk: &[u8; 32], we_initiate: bool) -> Vector {
    let their_ephemeral = [0x74; 32];
    let mut vector = begun("snow 0.10", if we_initiate { "ours" } else { "theirs" }, psk);
    vector.set("their ephemeral key", &their_ephemeral);
    let ours = Identity::new(&vector.array("our private key"));
    let private: [u8; 32] = vector.array("their private key");
    let builder = Builder::new("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s".parse().unwrap())
        .prologue(b"WireGuard v1 zx2c4 Jason@zx2c4.com")
        .and_then(|builder| builder.local_private_key(&private))
        .and_then(|builder| builder.psk(2, psk))
        .and_then(|builder| builder.remote_public_key(ours.public()))
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&their_ephemeral);
    let mut body = [0; 256];
    let their_index = 0x0a0b_0c0d_u32.to_le_bytes();
    let (keys, snow): (SessionKeys, HandshakeState) = if we_initiate {
        let mut snow = builder.build_responder().unwrap();
        let (initiated, first) = our_initiation(&mut vector);
        snow.read_message(&first[8..116], &mut body).unwrap();
        let written = snow.write_message(&[], &mut body).unwrap();
        let indices = [their_index, vector.array("our index")].concat();
        let second: [u8; RESPONSE_LEN] = framed(2, &indices, &body[..written]);
        (their_response(&mut vector, &initiated, &second), snow)
    } else {
        let mut snow = builder.build_initiator().unwrap();
        let written = snow.write_message(&TIMESTAMP, &mut body).unwrap();
        let first: [u8; INITIATION_LEN] = framed(1, &their_index, &body[..written]);
        let (keys, second) = our_response(&mut vector, &first);
        snow.read_message(&second[12..60], &mut body).unwrap();
        (keys, snow)
    };
    let mut transport = snow.into_transport_mode().unwrap();
    let our_data = sealed(&keys.send, vector.index("their index"));
    let read = transport.read_message(&our_data[16..], &mut body).expect("snow opens our data");
    assert_eq!(body[..read], TEXT);
    let mut their_data = [0; 64];
    Data::emit_header(their_data.first_chunk_mut().unwrap(), vector.index("our index"), 0);
    transport.write_message(&TEXT, &mut their_data[16..]).unwrap();
    vector.set("our data", &our_data);
    vector.set("their data", &their_data);
    vector
}

fn record_boringtun(psk: &[u8; 32], we_initiate: bool) -> Vector {
    let mut vector = begun("boringtun 0.7", if we_initiate { "ours" } else { "theirs" }, psk);
    let ours = Identity::new(&vector.array("our private key"));
    let secret = x25519::StaticSecret::from(vector.array::<32>("their private key"));
    let psk = (*psk != [0; 32]).then_some(*psk);
    let mut tunn = Tunn::new(secret, (*ours.public()).into(), psk, None, 0x77, None);
    let mut buffer = [0; 2048];
    let sent = |result: TunnResult<'_>| match result {
        TunnResult::WriteToNetwork(bytes) => bytes.to_vec(),
        other => panic!("{other:?}"),
    };
    let keys = if we_initiate {
        let (initiated, first) = our_initiation(&mut vector);
        let second = sent(tunn.decapsulate(None, &first, &mut buffer));
        their_response(&mut vector, &initiated, &second)
    } else {
        let first = sent(tunn.format_handshake_initiation(&mut buffer, false));
        let (keys, second) = our_response(&mut vector, &first);
        // It confirms with a keepalive, which uses its counter 0: the vector's data is made as it would be by another.
        sent(tunn.decapsulate(None, &second, &mut buffer));
        keys
    };
    let our_data = sealed(&keys.send, vector.index("their index"));
    match tunn.decapsulate(None, &our_data, &mut buffer) {
        TunnResult::WriteToTunnelV4(packet, _) => assert_eq!(*packet, TEXT[..20]),
        other => panic!("{other:?}"),
    }
    let theirs = sent(tunn.encapsulate(&TEXT, &mut buffer));
    vector.set("our data", &our_data);
    vector.set("their data", &their_first_data(&keys, &vector, &theirs));
    vector
}

/// boringtun's data message, as it is with counter 0. Where its first counter went to a keepalive, the message that it did send
/// must open under the key, and stands in the vector sealed again with counter 0.
fn their_first_data(keys: &SessionKeys, vector: &Vector, theirs: &[u8]) -> Vec<u8> {
    let mut text = theirs[16..theirs.len() - 16].to_vec();
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&theirs[8..16]);
    let tag = theirs[theirs.len() - 16..].try_into().unwrap();
    ChaCha20Poly1305::new(keys.recv.bytes().into())
        .decrypt_inout_detached(&nonce, &[], (&mut text[..]).into(), &tag)
        .expect("their data opens");
    assert_eq!(text[..32], TEXT);
    sealed(&keys.recv, vector.index("our index"))
}

#[test]
#[ignore = "makes what the others are held by: scripts/vectors runs it"]
fn record_vectors_anew() {
    let mut text = String::from(
        "# Handshakes of other implementations with us, recorded by the test `record_vectors_anew`; all in hexadecimal.\n",
    );
    for psk in [[0; 32], [0x77; 32]] {
        for we_initiate in [true, false] {
            for vector in [record_snow(&psk, we_initiate), record_boringtun(&psk, we_initiate)] {
                for (name, value) in &vector.0 {
                    writeln!(text, "{name}: {value}").unwrap();
                }
                text.push('\n');
            }
        }
    }
    println!("{}", text.trim_end());
}
