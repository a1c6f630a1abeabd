//! What cookies promise.

use super::*;
use dataplane_wire::wireguard::{INITIATION_LEN, Initiation, Message, RESPONSE_LEN, write_mac1, write_mac2};

fn at(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

fn source(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An initiation whose mac2 is made with a cookie.
fn with_cookie(cookie: &[u8; 16]) -> [u8; INITIATION_LEN] {
    let mut message = [0; INITIATION_LEN];
    Initiation::emit(&mut message, 1, &[2; 32], &[3; 48], &[4; 28]);
    write_mac1(&mut message, |_| [5; 16]);
    write_mac2(&mut message, |covered| mac(cookie, &[covered]));
    message
}

fn macs(message: &[u8]) -> Macs<'_> {
    match Message::parse(message) {
        Ok(Message::Initiation(initiation)) => initiation.macs(),
        other => panic!("{other:?}"),
    }
}

fn reply(bytes: &[u8; COOKIE_REPLY_LEN]) -> CookieReply<'_> {
    match Message::parse(bytes) {
        Ok(Message::CookieReply(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

// WG-18
#[test]
fn a_cookie_belongs_to_one_address_and_port() {
    let mut jar = CookieJar::new(&[7; 32]);
    let here = source("192.0.2.1:1000");
    let message = with_cookie(&jar.cookie(at(10), here));
    assert!(jar.verify_mac2(at(10), here, &macs(&message)));
    for other in ["192.0.2.1:1001", "192.0.2.2:1000", "[2001:db8::1]:1000"] {
        assert!(!jar.verify_mac2(at(10), source(other), &macs(&message)), "{other}");
    }
    assert!(jar.verify_mac2(at(10), source("[::ffff:192.0.2.1]:1000"), &macs(&message)));
}

// WG-18, WG-19
#[test]
fn a_cookie_holds_longer_than_its_holder_uses_it_and_not_past_the_second_change_of_secrets() {
    let mut jar = CookieJar::new(&[7; 32]);
    let here = source("[2001:db8::1]:1000");
    for made in [0, 1, 119] {
        let message = with_cookie(&jar.cookie(at(made), here));
        for then in [made, made + COOKIE_AGE.as_secs(), 239] {
            assert!(jar.verify_mac2(at(then), here, &macs(&message)), "{made} {then}");
        }
        assert!(!jar.verify_mac2(at(240), here, &macs(&message)));
    }
    assert_ne!(jar.cookie(at(119), here), jar.cookie(at(120), here));
}

#[test]
fn jars_with_one_master_seed_agree_and_others_do_not() {
    let here = source("192.0.2.1:1000");
    let message = with_cookie(&CookieJar::new(&[7; 32]).cookie(at(500), here));
    assert!(CookieJar::new(&[7; 32]).verify_mac2(at(500), here, &macs(&message)));
    assert!(!CookieJar::new(&[8; 32]).verify_mac2(at(500), here, &macs(&message)));
}

// WG-20
#[test]
fn a_reply_opens_only_with_the_right_key_and_the_mac1_that_it_answers() {
    let keys = InterfaceKeys::of(&[1; 32]);
    let sealed = seal_reply(&keys, 9, &[2; 24], &[3; 16], &[4; 16]);
    assert_eq!(reply(&sealed).receiver(), 9);
    let held = HeldCookie::open(at(0), &keys, &[3; 16], &reply(&sealed)).unwrap();
    assert_eq!(held.cookie, [4; 16]);
    assert!(HeldCookie::open(at(0), &keys, &[5; 16], &reply(&sealed)).is_none());
    assert!(HeldCookie::open(at(0), &InterfaceKeys::of(&[2; 32]), &[3; 16], &reply(&sealed)).is_none());
    for at_byte in 8..COOKIE_REPLY_LEN {
        let mut bent = sealed;
        bent[at_byte] ^= 1;
        assert!(HeldCookie::open(at(0), &keys, &[3; 16], &reply(&bent)).is_none(), "byte {at_byte}");
    }
}

// WG-20
#[test]
fn the_cipher_of_replies_gives_the_sample_of_its_draft() {
    // draft-irtf-cfrg-xchacha-03 appendix A.3.1.
    let key: [u8; 32] = core::array::from_fn(|at| 0x80 + at as u8);
    let nonce: [u8; 24] = core::array::from_fn(|at| 0x40 + at as u8);
    let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
    let mut text = *b"Ladies and Gentlemen of the class of '99: If I could offer you \
only one tip for the future, sunscreen would be it.";
    let tag = XChaCha20Poly1305::new(&key.into())
        .encrypt_inout_detached(&XNonce::from(nonce), &aad, (&mut text[..]).into())
        .unwrap();
    assert_eq!(text[..8], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
    assert_eq!(tag[..8], [0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79]);
}

// WG-19
#[test]
fn a_held_cookie_is_used_for_115_seconds() {
    let keys = InterfaceKeys::of(&[1; 32]);
    let sealed = seal_reply(&keys, 9, &[2; 24], &[3; 16], &[4; 16]);
    let held = HeldCookie::open(at(100), &keys, &[3; 16], &reply(&sealed)).unwrap();
    assert_eq!(held.mac2(at(100), b"message"), Some(mac(&[4; 16], &[b"message"])));
    assert!(held.mac2(at(214), b"message").is_some());
    assert_eq!(held.mac2(at(215), b"message"), None);
}

// WG-24
#[test]
fn a_cookie_reply_is_shorter_than_what_it_answers() {
    const { assert!(COOKIE_REPLY_LEN < RESPONSE_LEN && RESPONSE_LEN < INITIATION_LEN) }
}
