//! Batches through every cipher, which must all do what the reference does.

use dataplane_aead::{
    Aead, BATCH_MAX, Cipher, Key, OpenDesc, Reference, SealDesc, SealInPlaceDesc, Span, TAG_LEN,
};

use crate::input::Input;

/// A batch that the input describes, with its arenas.
struct Batch {
    keys: Vec<Key>,
    gather: Vec<u8>,
    source: Vec<u8>,
    arena: Vec<u8>,
    seals: Vec<SealDesc>,
}

/// Bytes that differ from place to place.
fn fill(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(151) ^ (i >> 8) as u8 ^ seed).collect()
}

fn span(offset: usize, len: usize) -> Span {
    Span { offset: offset as u32, len: len as u32 }
}

impl Batch {
    fn of(input: &mut Input<'_>) -> Self {
        let keys: Vec<Key> = (0..1 + input.below(4)).map(|_| Key::new([input.byte(); 32])).collect();
        let (gather, source) = (fill(1_024, input.byte()), fill(8_192, input.byte()));
        // One length for all, as in a train, or one for each.
        let (mixed, common) = (input.byte() & 1 == 1, input.below(4_096));
        let mut seals = Vec::new();
        let mut at = input.below(64);
        // Short inputs make few and short packets, so that the sweep of every length stays cheap.
        let (most, longest) = (1 + input.len() / 12, 64 + 2 * input.len());
        for _ in 0..input.below(BATCH_MAX + 1).min(most) {
            let body = if mixed { input.below(4_096) } else { common }.min(longest);
            let (head, aad) = if mixed { (input.below(200), input.below(64)) } else { (40, 0) };
            let pad = usize::from(input.byte() & 15);
            seals.push(SealDesc {
                key: input.below(keys.len()) as u32,
                counter: u64::from(input.byte()) << 56 | u64::from(input.byte()),
                aad: span(input.below(900), aad),
                head: span(input.below(800), head),
                body: span(input.below(4_096), body),
                pad: pad as u32,
                dst: at as u32,
            });
            at += head + body + pad + TAG_LEN + input.below(3);
        }
        if input.byte() & 1 == 1 {
            seals.reverse();
        }
        let arena = fill(at + 64, input.byte());
        Self { keys, gather, source, arena, seals }
    }

    fn text(desc: &SealDesc) -> Span {
        Span { offset: desc.dst, len: desc.head.len + desc.body.len + desc.pad }
    }
}

/// Sealed from elsewhere, sealed in place, opened, and opened with one bit wrong: the same bytes by every cipher.
pub fn aead(data: &[u8]) {
    let mut input = Input::new(data);
    let batch = Batch::of(&mut input);
    let mut sealed = batch.arena.clone();
    let seal = Reference.seal_batch(&batch.keys, &batch.gather, &batch.source, &mut sealed, &batch.seals);
    if input.byte() & 3 == 0 {
        spoiled_descriptions(&batch, &mut input);
    }
    assert_eq!(seal, Ok(()));
    let flip = input.below(sealed.len());
    let bit = 1 << (input.byte() & 7);
    for cipher in Cipher::available().chain(Cipher::undiluted()) {
        let name = cipher.name();
        let mut arena = batch.arena.clone();
        let seal = cipher.seal_batch(&batch.keys, &batch.gather, &batch.source, &mut arena, &batch.seals);
        assert_eq!(seal, Ok(()), "{name}");
        assert!(arena == sealed, "{name} seals otherwise");
        let opens: Vec<OpenDesc> = batch
            .seals
            .iter()
            .map(|desc| OpenDesc {
                key: desc.key,
                counter: desc.counter,
                aad: desc.aad,
                text: Batch::text(desc),
                opened: false,
            })
            .collect();
        opens_as_the_reference(&cipher, &batch, &sealed, &opens);
        arena[flip] ^= bit;
        opens_as_the_reference(&cipher, &batch, &arena, &opens);
        seals_in_place(&cipher, &batch, &sealed);
    }
}

fn opens_as_the_reference(cipher: &Cipher, batch: &Batch, sealed: &[u8], opens: &[OpenDesc]) {
    let run = |aead: &dyn Aead| {
        let (mut arena, mut opens) = (sealed.to_vec(), opens.to_vec());
        let count = aead.open_batch(&batch.keys, &batch.gather, &mut arena, &mut opens);
        assert_eq!(count, Ok(opens.iter().filter(|desc| desc.opened).count()));
        // What a refused packet leaves is the cipher's to choose: its bytes as they were, or zeroes.
        for desc in opens.iter().filter(|desc| !desc.opened) {
            let text = desc.text.offset as usize..(desc.text.offset + desc.text.len) as usize;
            let zeroed = arena[text.clone()].iter().all(|byte| *byte == 0);
            assert!(zeroed || arena[text.clone()] == sealed[text.clone()]);
            arena[text].fill(0);
        }
        (arena, opens)
    };
    assert!(run(cipher) == run(&Reference), "{} opens otherwise", cipher.name());
}

fn seals_in_place(cipher: &Cipher, batch: &Batch, sealed: &[u8]) {
    let mut arena = batch.arena.clone();
    let mut heres = Vec::new();
    for desc in &batch.seals {
        let text = Batch::text(desc);
        let (head, body) = (desc.head, desc.body);
        let to = &mut arena[text.offset as usize..][..text.len as usize];
        let (to_head, rest) = to.split_at_mut(head.len as usize);
        let (to_body, pad) = rest.split_at_mut(body.len as usize);
        to_head.copy_from_slice(&batch.gather[head.offset as usize..][..head.len as usize]);
        to_body.copy_from_slice(&batch.source[body.offset as usize..][..body.len as usize]);
        pad.fill(0);
        heres.push(SealInPlaceDesc { key: desc.key, counter: desc.counter, aad: desc.aad, text });
    }
    assert_eq!(cipher.seal_in_place(&batch.keys, &batch.gather, &mut arena, &heres), Ok(()));
    assert!(arena == sealed, "{} seals otherwise in place", cipher.name());
}

/// A batch with one wrong description is refused, and nothing is written.
fn spoiled_descriptions(batch: &Batch, input: &mut Input<'_>) {
    let mut seals = batch.seals.clone();
    let Some(at) = seals.len().checked_sub(1).map(|last| input.below(last + 1)) else {
        return;
    };
    match input.byte() % 4 {
        0 => seals[at].key = batch.keys.len() as u32,
        1 => seals[at].dst = u32::MAX,
        2 => seals[at].body = span(8_192, 1),
        _ => seals.push(seals[at]),
    }
    for cipher in Cipher::available() {
        let mut arena = batch.arena.clone();
        let seal = cipher.seal_batch(&batch.keys, &batch.gather, &batch.source, &mut arena, &seals);
        assert!(seal.is_err(), "{} takes a wrong batch", cipher.name());
        assert!(arena == batch.arena, "{} writes a wrong batch", cipher.name());
    }
}
