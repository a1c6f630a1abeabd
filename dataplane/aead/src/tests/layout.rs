//! Where plaintext may appear, and where it may not.

use super::*;
use crate::batch::Aead;

#[test]
fn plaintext_is_gathered_from_head_body_and_padding() {
    let mut random = Random(8);
    let keys = random.keys(1);
    let gather = random.bytes(200);
    let source = random.bytes(3_000);
    for (head, body, pad) in [
        (0, 0, 0),
        (0, 0, 16),
        (40, 1_380, 4),
        (64, 64, 64),
        (100, 0, 100),
        (1, 1, 1),
        (63, 2_048, 15),
        (127, 1, 300),
    ] {
        let plain = [&gather[3..3 + head], &source[5..5 + body], &vec![0; pad][..]].concat();
        let want = Packet::new(&keys, 0, 0, 77, &[], &plain).sealed;
        for provider in providers() {
            let mut arena = vec![GUARD; plain.len() + 48];
            let desc = SealDesc {
                key: 0,
                counter: 77,
                aad: Span::default(),
                head: span(3, head),
                body: span(5, body),
                pad: pad as u32,
                dst: 16,
            };
            provider.seal(0, &keys, &gather, &source, &mut arena, &[desc]);
            let name = provider.label();
            assert_eq!(arena[..16], [GUARD; 16], "{name}");
            assert_eq!(arena[16..][..want.len()], want, "{name} {head} {body} {pad}");
            assert_eq!(arena[16 + want.len()..], [GUARD; 16], "{name}");
        }
    }
}

/// One bit of text, tag, counter, key or associated data is wrong in one packet of a batch.
#[test]
fn a_wrong_packet_shows_no_plaintext_and_touches_no_neighbour() {
    let mut random = Random(9);
    let keys = random.keys(2);
    for (size, len) in [(1, 100), (3, 1), (8, 0), (9, 1_420), (16, 64), (17, 257)] {
        let packets: Vec<Packet> = (0..size)
            .map(|_| {
                let aad = random.bytes(4);
                Packet::new(&keys, 0, 0, random.next(), &aad, &random.bytes(len))
            })
            .collect();
        for provider in providers() {
            for wrong in 0..size {
                for part in ["text", "tag", "counter", "key", "aad"] {
                    if part == "text" && len == 0 {
                        continue;
                    }
                    let flip = random.next() as usize;
                    spoil(&*provider, &keys, &packets, wrong, part, flip);
                }
            }
        }
    }
}

fn spoil(provider: &dyn Provider, keys: &[Key], packets: &[Packet], wrong: usize, part: &str, flip: usize) {
    let layout = Layout { gap: 5, ..PLAIN };
    let (places, _) = places(layout, packets);
    let mut arena = sealed_arena(layout, packets);
    let mut gather = Vec::new();
    let mut opens: Vec<OpenDesc> = packets
        .iter()
        .zip(&places)
        .map(|(packet, place)| OpenDesc {
            key: 0,
            counter: packet.counter,
            aad: put(&mut gather, &packet.aad),
            text: span(*place, packet.plain.len()),
            opened: true,
        })
        .collect();
    let len = packets[wrong].plain.len();
    match part {
        "text" => arena[places[wrong] + flip % len] ^= 1 << (flip % 8),
        "tag" => arena[places[wrong] + len + flip % TAG_LEN] ^= 1 << (flip % 8),
        "counter" => opens[wrong].counter ^= 1 << (flip % 64),
        "key" => opens[wrong].key = 1,
        _ => gather[wrong * 4 + flip % 4] ^= 1 << (flip % 8),
    }
    let before = arena.clone();
    let opened = provider.open_batch(keys, &gather, &mut arena, &mut opens).unwrap();
    let name = provider.label();
    assert_eq!(opened, packets.len() - 1, "{name} {part}");
    let mut want = before.clone();
    for (i, (packet, place)) in packets.iter().zip(&places).enumerate() {
        assert_eq!(opens[i].opened, i != wrong, "{name} {part} {i}");
        if i != wrong {
            want[*place..][..len].copy_from_slice(&packet.plain);
        }
    }
    let refused = places[wrong]..places[wrong] + len;
    let zeroed = arena[refused.clone()].iter().all(|byte| *byte == 0);
    let untouched = arena[refused.clone()] == before[refused.clone()];
    assert!(zeroed || untouched, "{name} {part}: bytes of a refused packet");
    want[refused.clone()].copy_from_slice(&arena[refused]);
    assert_same(name, layout, &arena, &want);
}

#[test]
fn a_nonce_is_four_zero_bytes_and_the_counter() {
    let keys = Random(10).keys(1);
    for cipher in Cipher::available() {
        let mut arena = vec![1; 80];
        let text = span(0, 64);
        let desc = SealInPlaceDesc { counter: 0x0102_0304_0506_0708, text, ..SealInPlaceDesc::default() };
        cipher.seal_in_place(&keys, &[], &mut arena, &[desc]).unwrap();
        let nonce = Nonce::from([0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
        let mut want = vec![1; 64];
        let tag = ChaCha20Poly1305::new(keys[0].bytes().into())
            .encrypt_inout_detached(&nonce, &[], want.as_mut_slice().into())
            .unwrap();
        want.extend_from_slice(&tag);
        assert_eq!(arena, want, "{}", cipher.name());
    }
}
