//! What the gate promises, message by message. Whole floods: `node/tests/flood.rs`.

use super::*;
use crate::cookie::HeldCookie;
use crate::noise::hash::mac;
use dataplane_wire::wireguard::{
    CookieReply, INITIATION_LEN, Initiation, RESPONSE_LEN, Response, write_mac1, write_mac2,
};

const CAPACITY: usize = 64;

fn keys() -> InterfaceKeys {
    InterfaceKeys::of(&[1; 32])
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn source(host: u8) -> SocketAddr {
    ([192, 0, 2, host], 1000).into()
}

fn source_of_flood() -> SocketAddr {
    source(1)
}

fn gate(core: u8) -> Gate {
    Gate::new(&[9; 32], CoreId(core), 64)
}

/// An initiation with a right mac1 and no mac2.
fn initiation(sender: u32) -> Vec<u8> {
    let mut message = [0; INITIATION_LEN];
    Initiation::emit(&mut message, sender, &[2; 32], &[3; 48], &[4; 28]);
    write_mac1(&mut message, |covered| mac(&keys().mac1, &[covered]));
    message.to_vec()
}

fn response(sender: u32) -> Vec<u8> {
    let mut message = [0; RESPONSE_LEN];
    Response::emit(&mut message, sender, 1, &[2; 32], &[3; 16]);
    write_mac1(&mut message, |covered| mac(&keys().mac1, &[covered]));
    message.to_vec()
}

fn check(gate: &mut Gate, now: Instant, from: SocketAddr, message: &[u8], queued: usize) -> Verdict {
    let message = Message::parse(message).unwrap();
    gate.check(now, &keys(), from, &message, queued, CAPACITY)
}

/// The message again, with the cookie that a verdict gave it.
fn with_cookie(now: Instant, message: &[u8], verdict: Verdict) -> Vec<u8> {
    let Verdict::CookieReply(reply) = verdict else { panic!("no cookie: {verdict:?}") };
    let Ok(Message::CookieReply(reply)) = Message::parse(&reply) else { panic!("no cookie reply") };
    let mac1: [u8; 16] = message[message.len() - 32..][..16].try_into().unwrap();
    let held = HeldCookie::open(now, &keys(), &mac1, &reply).unwrap();
    let mut again = message.to_vec();
    write_mac2(&mut again, |covered| held.mac2(now, covered).unwrap());
    again
}

// WG-16
#[test]
fn a_wrong_mac1_is_dropped_whatever_else_is_right() {
    for (message, load) in [(initiation(1), 0), (initiation(1), CAPACITY), (response(1), 0)] {
        let mut gate = gate(0);
        for bit in 0..128 {
            let mut bent = message.clone();
            let mac1 = bent.len() - 32;
            bent[mac1 + bit / 8] ^= 1 << (bit % 8);
            let verdict = check(&mut gate, at(0), source(1), &bent, load);
            assert_eq!(verdict, Verdict::Drop(DropReason::BadMac1), "bit {bit}");
        }
        // Neither load nor replies come of them.
        assert_eq!(gate.stats(at(0)), GateStats::default());
    }
    let mut gate = gate(0);
    for at_byte in 8..116 {
        let mut bent = initiation(1);
        bent[at_byte] ^= 1;
        let verdict = check(&mut gate, at(0), source(1), &bent, 0);
        assert_eq!(verdict, Verdict::Drop(DropReason::BadMac1), "byte {at_byte}");
    }
}

// WG-25
#[test]
fn load_begins_at_an_eighth_of_the_queue_lasts_a_second_and_shows() {
    let mut gate = gate(0);
    assert_eq!(check(&mut gate, at(0), source(1), &initiation(1), 7), Verdict::Pass);
    assert_eq!(gate.stats(at(0)), GateStats::default());
    let verdict = check(&mut gate, at(10), source(1), &initiation(1), 8);
    assert!(matches!(verdict, Verdict::CookieReply(_)), "{verdict:?}");
    assert_eq!((gate.stats(at(10)).under_load, gate.stats(at(10)).load_episodes), (true, 1));
    // The queue is empty again, but load sticks.
    assert!(matches!(check(&mut gate, at(1009), source(2), &initiation(1), 0), Verdict::CookieReply(_)));
    assert_eq!(check(&mut gate, at(1010), source(3), &initiation(1), 0), Verdict::Pass);
    assert!(!gate.under_load(at(1010)));
    assert!(matches!(check(&mut gate, at(1011), source(4), &initiation(1), 9), Verdict::CookieReply(_)));
    assert_eq!(gate.stats(at(1011)).load_episodes, 2);
    assert_eq!(gate.stats(at(1011)).cookie_replies, 3);
}

// WG-18, WG-23
#[test]
fn under_load_initiations_and_responses_pass_with_a_cookie_of_their_own_source_only() {
    for message in [initiation(5), response(5)] {
        let mut gate = gate(0);
        let again = with_cookie(at(0), &message, check(&mut gate, at(0), source(1), &message, 8));
        assert_eq!(check(&mut gate, at(1), source(1), &again, 8), Verdict::Pass);
        let moved = check(&mut gate, at(1), source(2), &again, 8);
        assert!(matches!(moved, Verdict::CookieReply(_)), "{moved:?}");
        // A mac2 of zeros, as of who holds no cookie, and one that is wrong.
        for mac2 in [[0; 16], [1; 16]] {
            let mut without = message.clone();
            write_mac2(&mut without, |_| mac2);
            assert!(matches!(check(&mut gate, at(1), source(1), &without, 8), Verdict::CookieReply(_)));
        }
    }
}

// WG-18
#[test]
fn gates_of_one_engine_take_each_others_cookies() {
    let (mut first, mut second) = (gate(0), gate(1));
    let message = initiation(5);
    let again = with_cookie(at(0), &message, check(&mut first, at(0), source(1), &message, 8));
    assert_eq!(check(&mut second, at(1), source(1), &again, 8), Verdict::Pass);
}

// WG-20
#[test]
fn every_reply_has_a_nonce_of_its_own_on_every_core() {
    let mut nonces = std::collections::BTreeSet::new();
    for core in 0..4 {
        let mut gate = gate(core);
        for host in 0..50 {
            let verdict = check(&mut gate, at(0), source(host), &initiation(1), 8);
            let Verdict::CookieReply(reply) = verdict else { panic!("{verdict:?}") };
            let Ok(Message::CookieReply(reply)) = Message::parse(&reply) else { panic!() };
            assert!(nonces.insert(*reply.nonce()));
        }
    }
}

// WG-26
#[test]
fn under_load_a_source_with_a_cookie_is_held_to_its_rate() {
    let mut gate = gate(0);
    let message = initiation(5);
    let again = with_cookie(at(0), &message, check(&mut gate, at(0), source(1), &message, 8));
    let passed = (0..1000).filter(|ms| check(&mut gate, at(*ms), source(1), &again, 8) == Verdict::Pass);
    assert_eq!(passed.count(), 5 + 19);
    assert_eq!(
        check(&mut gate, at(1000 - 1), source(1), &again, 8),
        Verdict::Drop(DropReason::HandshakeRate)
    );
    // Without load there is no rate.
    assert_eq!(check(&mut gate, at(3000), source(1), &again, 0), Verdict::Pass);
    assert!((0..100).all(|_| check(&mut gate, at(3000), source(1), &again, 0) == Verdict::Pass));
}

#[test]
fn cookie_replies_of_others_find_half_of_the_queue_and_a_full_queue_takes_nothing() {
    let mut gate = gate(0);
    let mut reply = [0; COOKIE_REPLY_LEN];
    CookieReply::emit(&mut reply, 1, &[0; 24], &[0; 32]);
    let full = Verdict::Drop(DropReason::HandshakeQueueFull);
    assert_eq!(check(&mut gate, at(0), source(1), &reply, CAPACITY / 2 - 1), Verdict::Pass);
    assert_eq!(check(&mut gate, at(0), source(1), &reply, CAPACITY / 2), full);
    let message = initiation(5);
    let again = with_cookie(at(0), &message, check(&mut gate, at(0), source(1), &message, 8));
    assert_eq!(check(&mut gate, at(1), source(1), &again, CAPACITY), full);
}

#[test]
fn who_is_owed_no_reply_costs_no_hash_and_a_cookie_passes_all_the_same() {
    let mut gate = gate(0);
    let message = initiation(1);
    let again = with_cookie(at(0), &message, check(&mut gate, at(0), source(1), &message, 8));
    // Junk with a wrong mac1 takes nobody's share.
    let mut bent = message.clone();
    bent[120] ^= 1;
    for _ in 0..10_000 {
        assert_eq!(check(&mut gate, at(0), source(2), &bent, 8), Verdict::Drop(DropReason::BadMac1));
    }
    while matches!(check(&mut gate, at(0), source(1), &message, 8), Verdict::CookieReply(_)) {}
    let withheld = gate.stats(at(0)).cookie_replies_withheld;
    let verdict = check(&mut gate, at(0), source(1), &bent, 8);
    assert_eq!(verdict, Verdict::Drop(DropReason::NeedsCookie), "its mac1 was not looked at");
    assert_eq!(gate.stats(at(0)).cookie_replies_withheld, withheld + 1);
    assert_eq!(check(&mut gate, at(0), source(1), &again, 8), Verdict::Pass);
    // The next window begins with new shares.
    assert!(matches!(check(&mut gate, at(250), source(1), &message, 8), Verdict::CookieReply(_)));
}

// WG-27
#[test]
fn a_flood_that_is_owed_cookies_without_end_leaves_the_replies_of_others() {
    let mut gate = gate(0);
    let answered = |verdict: Verdict| matches!(verdict, Verdict::CookieReply(_));
    let (mut flood, mut withheld) = (0, Vec::new());
    for ms in 0..1000 {
        for _ in 0..100 {
            flood += u64::from(answered(check(&mut gate, at(ms), source_of_flood(), &initiation(1), 8)));
        }
        let honest = SocketAddr::from(([198, 51, (ms / 250) as u8, (ms % 250) as u8], 51820));
        if !answered(check(&mut gate, at(ms), honest, &initiation(1), 8)) {
            withheld.push(honest);
        }
    }
    // One in 1,024 shares a group with the flood, and a few with two others; but not again when they try again.
    assert!(withheld.len() <= 15, "{withheld:?}");
    let honest = withheld.len() as u64;
    let stats = gate.stats(at(999));
    for source in withheld {
        for _ in 0..3_000 {
            check(&mut gate, at(6000), source_of_flood(), &initiation(1), 8);
        }
        assert!(answered(check(&mut gate, at(6000), source, &initiation(1), 8)));
    }
    // 100,000 messages of the flood; 512 replies and a share of 2 in each quarter of a second.
    assert!((4 * 500..=4 * 514).contains(&flood), "{flood}");
    assert_eq!(stats.cookie_replies_withheld, 100_000 - flood + honest);
}
