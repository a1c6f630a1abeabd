//! Every length, batch size and alignment, and random mixes of all.

use super::*;

/// Batches of neighbours in length, so that every length stands beside others.
#[test]
fn every_length_up_to_2048_is_sealed_and_opened() {
    let mut random = Random(2);
    let keys = random.keys(3);
    let providers = providers();
    let mut len = 0;
    while len <= 2048 {
        let packets: Vec<Packet> = (0..16)
            .map(|i| {
                let plain = random.bytes(len + i);
                let key = if len % 32 == 0 { 0 } else { random.below(3) };
                Packet::new(&keys, 0, key as u32, random.next(), &[], &plain)
            })
            .collect();
        let layout = Layout {
            first: random.below(64),
            gap: random.below(3),
            head: random.below(80),
            backwards: random.below(2) == 0,
        };
        for provider in &providers {
            check(&**provider, 0, &keys, layout, &packets);
        }
        len += 16;
    }
}

#[test]
fn every_length_up_to_2048_is_sealed_and_opened_alone() {
    let mut random = Random(3);
    let keys = random.keys(1);
    let providers = providers();
    for len in 0..=2048 {
        let packet = Packet::new(&keys, 0, 0, random.next(), &[], &random.bytes(len));
        for provider in &providers {
            check(&**provider, 0, &keys, PLAIN, std::slice::from_ref(&packet));
        }
    }
}

#[test]
fn the_longest_datagram_is_sealed_and_opened_alone_and_among_short_ones() {
    let mut random = Random(4);
    let keys = random.keys(2);
    let packets: Vec<Packet> = [65_535, 0, 1, 1_420, 64, 65_535, 63, 17, 15_000]
        .iter()
        .map(|len| Packet::new(&keys, 0, 1, random.next(), &[], &random.bytes(*len)))
        .collect();
    for provider in &providers() {
        for range in [0..1, 0..2, 0..9, 1..9] {
            check(&**provider, 0, &keys, PLAIN, &packets[range]);
        }
    }
}

#[test]
fn every_alignment_gives_the_same_bytes() {
    let mut random = Random(5);
    let keys = random.keys(1);
    let packets: Vec<Packet> =
        (0..9).map(|_| Packet::new(&keys, 0, 0, random.next(), &[], &random.bytes(333))).collect();
    for provider in &providers() {
        for first in 0..64 {
            let layout = Layout { first, gap: 64 - first, head: first, backwards: false };
            check(&**provider, 0, &keys, layout, &packets);
        }
    }
}

#[test]
fn batches_of_every_size_of_equal_and_of_mixed_packets_are_right() {
    let mut random = Random(6);
    let keys = random.keys(64);
    let providers = providers();
    for size in 1..=64 {
        for mixed in [false, true] {
            let packets: Vec<Packet> = (0..size)
                .map(|i| {
                    let len = if mixed { random.below(700) } else { 200 };
                    let key = if mixed { random.below(64) } else { size % 64 };
                    let aad = random.bytes(if mixed && i % 5 == 0 { 32 } else { 0 });
                    let mut plain = random.bytes(len);
                    let pad = random.below(16).min(len);
                    plain[len - pad..].fill(0);
                    Packet::new(&keys, 0, key as u32, random.next(), &aad, &plain)
                })
                .collect();
            let layout = Layout {
                first: random.below(64),
                gap: random.below(40),
                head: random.below(140),
                backwards: random.below(2) == 0,
            };
            for provider in &providers {
                check(&**provider, 0, &keys, layout, &packets);
            }
        }
    }
}

/// Long packets of equal length, whose sums are begun beside the blocks of others: batches that end within an eight or a four,
/// lengths with any number of blocks behind the last 64 bytes, and eights that are not even beside others that are.
#[test]
fn long_packets_of_equal_length_are_right_in_batches_of_every_size() {
    let mut random = Random(8);
    let keys = random.keys(64);
    let providers = providers();
    let lengths = [319, 320, 384, 512, 560, 607, 1_023, 1_024, 1_420, 1_440, 2_900, 9_000];
    for size in 1..=64 {
        for len in [lengths[size % 12], lengths[random.below(12)]] {
            let odd = random.below(3 * size);
            let packets: Vec<Packet> = (0..size)
                .map(|i| {
                    let aad = random.bytes(if i == odd { 32 } else { 0 });
                    let len = if i + 1 == odd { len - 1 } else { len };
                    let key = if size % 3 == 0 { random.below(64) } else { size % 64 };
                    Packet::new(&keys, 0, key as u32, random.next(), &aad, &random.bytes(len))
                })
                .collect();
            let layout = Layout {
                first: random.below(64),
                gap: random.below(40),
                head: random.below(140),
                backwards: random.below(2) == 0,
            };
            for provider in &providers {
                check(&**provider, 0, &keys, layout, &packets);
            }
        }
    }
}

/// Associated data of every length up to 130 beside text of another.
#[test]
fn associated_data_of_any_length_is_authenticated() {
    let mut random = Random(7);
    let keys = random.keys(2);
    let providers = providers();
    for base in (0..130).step_by(13) {
        let packets: Vec<Packet> = (0..13)
            .map(|i| {
                let (aad, plain) = (random.bytes(base + i), random.bytes((base * 7 + i) % 150));
                Packet::new(&keys, 0, (i % 2) as u32, random.next(), &aad, &plain)
            })
            .collect();
        for provider in &providers {
            check(&**provider, 0, &keys, PLAIN, &packets);
        }
    }
}
