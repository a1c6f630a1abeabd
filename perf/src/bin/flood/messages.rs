//! The messages of a flood, made before it begins.

use std::fs;

use blake2::digest::{FixedOutput, KeyInit, Mac, consts::U16};
use blake2::{Blake2s256, Blake2sMac, Digest};
use dataplane_wire::wireguard::{self, Data, INITIATION_LEN, Initiation};

use super::{Arguments, Kind};

/// Different messages of a flood; they come again and again.
const POOL: usize = 4096;
/// Longest junk, and the text of data that nobody can open.
const JUNK_MAX: usize = 512;
/// How many of one length follow each other, so that they make a train.
const JUNK_RUN: usize = 32;
const TEXT_LEN: usize = 96;

/// Numbers that look random (SplitMix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn fill<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }
}

/// All messages of the kind that is asked for; at least one.
///
/// # Errors
/// What is missing on the command line, or which line of the samples is none.
pub(crate) fn messages(arguments: &Arguments) -> Result<Vec<Vec<u8>>, String> {
    let mut numbers = Numbers(7);
    let made = match arguments.kind {
        Kind::Initiations | Kind::Spoofed => {
            if arguments.kind == Kind::Spoofed && arguments.sources.is_none() {
                return Err("spoofed sources need --sources".into());
            }
            let key = mac1_key(&arguments.key)?;
            (0..POOL).map(|_| initiation(&mut numbers, &key)).collect()
        }
        Kind::Junk => (0..POOL / JUNK_RUN).flat_map(|_| junk(&mut numbers)).collect(),
        Kind::Unknown => (0..POOL).map(|_| unknown(&mut numbers)).collect(),
        Kind::Replays => samples(&arguments.samples)?,
    };
    Ok(made)
}

fn mac1_key(hex: &str) -> Result<[u8; 32], String> {
    let public = bytes(hex).filter(|key| key.len() == 32).ok_or("--key takes 64 hexadecimal digits")?;
    let mut state = Blake2s256::new();
    Digest::update(&mut state, b"mac1----");
    Digest::update(&mut state, &public);
    Ok(state.finalize().into())
}

fn initiation(numbers: &mut Numbers, key: &[u8; 32]) -> Vec<u8> {
    let mut message = [0; INITIATION_LEN];
    let (ephemeral, sealed_static, sealed_timestamp) = (numbers.fill(), numbers.fill(), numbers.fill());
    let sender = numbers.next() as u32;
    Initiation::emit(&mut message, sender, &ephemeral, &sealed_static, &sealed_timestamp);
    wireguard::write_mac1(&mut message, |covered| {
        let mut state = <Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("a key of 32 bytes");
        Mac::update(&mut state, covered);
        state.finalize_fixed().into()
    });
    message.to_vec()
}

fn junk(numbers: &mut Numbers) -> Vec<Vec<u8>> {
    let len = 1 + numbers.next() as usize % JUNK_MAX;
    let mut one = |number: usize| {
        let mut message: Vec<u8> = (0..len).map(|_| numbers.next() as u8).collect();
        if number.is_multiple_of(2)
            && let Some(head) = message.first_chunk_mut()
        {
            *head = [1 + (number / 2 % 4) as u8, 0, 0, 0];
        }
        message
    };
    (0..JUNK_RUN).map(&mut one).collect()
}

fn unknown(numbers: &mut Numbers) -> Vec<u8> {
    let mut header = [0; 16];
    Data::emit_header(&mut header, numbers.next() as u32, numbers.next() >> 32);
    let text: [u8; TEXT_LEN + wireguard::TAG_LEN] = numbers.fill();
    [&header[..], &text].concat()
}

fn samples(path: &str) -> Result<Vec<Vec<u8>>, String> {
    let text =
        fs::read_to_string(path).map_err(|error| format!("replays need --samples: {path}: {error}"))?;
    let read = |(number, line): (usize, &str)| {
        bytes(line).ok_or_else(|| format!("{path}:{}: not a datagram in hexadecimal", number + 1))
    };
    let all: Vec<Vec<u8>> = text.lines().enumerate().map(read).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(format!("{path} holds no datagram")) } else { Ok(all) }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (!digits.is_empty() && digits.len().is_multiple_of(2)).then(|| digits.chunks(2).map(byte).collect())?
}
