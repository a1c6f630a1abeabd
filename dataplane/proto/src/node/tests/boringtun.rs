//! A node against boringtun, an implementation of the whole protocol, in both roles and with cookies both ways.

use core::net::IpAddr;
use std::sync::Arc;

use ::boringtun::noise::rate_limiter::RateLimiter;
use ::boringtun::noise::{Tunn, TunnResult};
use ::boringtun::x25519;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use dataplane_aead::Key;
use dataplane_wire::wireguard::{Data, Message};

use super::*;
use crate::gate::{Gate, InterfaceKeys, Verdict};

const THEIR_KEY: [u8; 32] = [2; 32];
const OUR_ADDRESS: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));

/// Our end, our id of theirs, and theirs. `limit` handshakes are taken before theirs is under load.
fn ends(psk: Option<[u8; 32]>, limit: u64) -> (Host, PeerId, Tunn) {
    let mut ours = Host::new(1);
    let change = PeerChange {
        endpoint: Some(path(2).remote),
        preshared_key: psk.map(Secret::new),
        ..PeerChange::new(WG0, Secret::new(THEIR_KEY).public())
    };
    let peer = ours.node.apply(at(0.0), &[Change::Peer(change)]).unwrap()[0].unwrap();
    ours.set_path(at(0.0), peer, 1, Some(2));
    ours.commands();
    let secret = x25519::StaticSecret::from(THEIR_KEY);
    let limiter = Arc::new(RateLimiter::new(&x25519::PublicKey::from(&secret), limit));
    let theirs = Tunn::new(secret, ours.public().0.into(), psk, None, 0x1234, Some(limiter));
    (ours, peer, theirs)
}

/// What boringtun sends back to a datagram.
fn answer(theirs: &mut Tunn, datagram: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 2048];
    match theirs.decapsulate(Some(OUR_ADDRESS), datagram, &mut buffer) {
        TunnResult::WriteToNetwork(bytes) => bytes.to_vec(),
        TunnResult::Done => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn handshake(bytes: &[u8]) -> HandshakeBytes {
    HandshakeBytes::copy_from(bytes).expect("a handshake message")
}

/// An inner IPv4 packet of 20 bytes, which is a header alone.
fn inner() -> [u8; 32] {
    let mut packet = [0; 32];
    packet[..4].copy_from_slice(&[0x45, 0, 0, 20]);
    packet[12..16].copy_from_slice(&[10, 9, 9, 9]);
    packet
}

fn seal(keypair: &Keypair, counter: u64, text: &[u8]) -> Vec<u8> {
    let mut header = [0; 16];
    Data::emit_header(&mut header, keypair.remote_index, counter);
    let mut sealed = text.to_vec();
    let tag =
        cipher(&keypair.send).encrypt_inout_detached(&nonce(counter), &[], (&mut sealed[..]).into()).unwrap();
    [&header[..], &sealed, &tag].concat()
}

fn open(keypair: &Keypair, datagram: &[u8]) -> Vec<u8> {
    let Ok(Message::Data(data)) = Message::parse(datagram) else { panic!("not data: {datagram:?}") };
    assert_eq!(data.receiver(), keypair.local_index);
    let (text, tag) = data.sealed().split_at(data.sealed().len() - 16);
    let (mut text, tag) = (text.to_vec(), Tag::try_from(tag).unwrap());
    cipher(&keypair.recv)
        .decrypt_inout_detached(&nonce(data.counter()), &[], (&mut text[..]).into(), &tag)
        .expect("the right tag");
    text
}

fn cipher(key: &Key) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.bytes().into())
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// Packets go both ways under a session.
fn both_ways(keypair: &Keypair, theirs: &mut Tunn) {
    let mut buffer = [0; 2048];
    for counter in 0..3 {
        match theirs.decapsulate(Some(OUR_ADDRESS), &seal(keypair, counter, &inner()), &mut buffer) {
            TunnResult::WriteToTunnelV4(packet, from) => {
                assert_eq!((&*packet, from), (&inner()[..20], "10.9.9.9".parse().unwrap()));
            }
            other => panic!("{other:?}"),
        }
        let TunnResult::WriteToNetwork(sent) = theirs.encapsulate(&inner(), &mut buffer) else { panic!() };
        assert_eq!(open(keypair, sent)[..32], inner());
    }
}

// WG-5, WG-6
#[test]
fn we_initiate_and_boringtun_answers() {
    for psk in [None, Some([7; 32])] {
        let (mut ours, peer, mut theirs) = ends(psk, 100);
        ours.want(at(1.0), peer);
        let second = answer(&mut theirs, ours.messages().pop().unwrap().as_slice());
        ours.take(at(1.0), 2, &handshake(&second));
        let (keypair, ..) = keypairs(ours.commands()).pop().unwrap();
        both_ways(&keypair, &mut theirs);
    }
}

// WG-5, WG-6
#[test]
fn boringtun_initiates_and_we_answer() {
    for psk in [None, Some([7; 32])] {
        let (mut ours, _, mut theirs) = ends(psk, 100);
        let mut buffer = [0; 2048];
        let TunnResult::WriteToNetwork(first) = theirs.format_handshake_initiation(&mut buffer, false) else {
            panic!()
        };
        ours.take(at(1.0), 2, &handshake(first));
        let (keypair, _, second) = keypairs(ours.commands()).pop().unwrap();
        let confirmation = answer(&mut theirs, second.unwrap().as_slice());
        assert_eq!(open(&keypair, &confirmation), []);
        both_ways(&keypair, &mut theirs);
    }
}

// WG-17, WG-20, WG-21
#[test]
fn boringtun_under_load_takes_the_second_attempt_with_its_cookie() {
    let (mut ours, peer, mut theirs) = ends(None, 0);
    ours.want(at(1.0), peer);
    let reply = answer(&mut theirs, ours.messages().pop().unwrap().as_slice());
    assert_eq!(reply.len(), 64);
    ours.take(at(1.0), 2, &handshake(&reply));
    ours.run_until(at(7.0));
    let second = answer(&mut theirs, ours.messages().pop().unwrap().as_slice());
    assert_eq!(second.len(), 92);
    ours.take(at(7.0), 2, &handshake(&second));
    let (keypair, ..) = keypairs(ours.commands()).pop().unwrap();
    both_ways(&keypair, &mut theirs);
}

// WG-16, WG-18, WG-20
#[test]
fn boringtun_takes_our_cookie_and_passes_the_gate_with_it() {
    let (ours, _, mut theirs) = ends(None, 100);
    let mut gate = Gate::new(&[1; 32], CoreId(0), 16);
    let keys = InterfaceKeys::of(&ours.public().0);
    let mut check =
        |message: &[u8]| gate.check(at(1.0), &keys, path(2).remote, &Message::parse(message).unwrap(), 8, 16);
    let mut buffer = [0; 2048];
    let TunnResult::WriteToNetwork(first) = theirs.format_handshake_initiation(&mut buffer, false) else {
        panic!()
    };
    let Verdict::CookieReply(reply) = check(first) else { panic!("no cookie") };
    assert_eq!(answer(&mut theirs, &reply), []);
    let TunnResult::WriteToNetwork(first) = theirs.format_handshake_initiation(&mut buffer, true) else {
        panic!()
    };
    assert_eq!(check(first), Verdict::Pass);
}
