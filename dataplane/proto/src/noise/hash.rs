//! BLAKE2s as a hash, a keyed MAC, an HMAC and a key derivation (the WireGuard paper §5.4).

use blake2::digest::{FixedOutput, KeyInit, Mac, consts::U16};
use blake2::{Blake2s256, Blake2sMac, Digest};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a BLAKE2s block, to which HMAC pads its key (RFC 7693 §2.1).
const BLOCK_LEN: usize = 64;

/// `HASH`: BLAKE2s of the parts, one behind the other.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Blake2s256::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

/// `MAC`: keyed BLAKE2s with 16 bytes of output over the parts. Keys are 16 or 32 bytes long here.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    // A key longer than 32 bytes cannot happen: all callers pass arrays of 16 or 32.
    let mut state = <Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("a key of at most 32 bytes");
    for part in parts {
        Mac::update(&mut state, part);
    }
    state.finalize_fixed().into()
}

/// `HMAC` over BLAKE2s (RFC 2104), erasing its pads.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut pad = Zeroizing::new([0x36; BLOCK_LEN]);
    for (pad, key) in pad.iter_mut().zip(key) {
        *pad ^= key;
    }
    let mut inner = Blake2s256::new();
    Digest::update(&mut inner, &pad[..]);
    for part in parts {
        Digest::update(&mut inner, part);
    }
    let mut inner: [u8; 32] = inner.finalize().into();
    for pad in pad.iter_mut() {
        *pad ^= 0x36 ^ 0x5c;
    }
    let out = hash(&[&pad[..], &inner]);
    inner.zeroize();
    Zeroizing::new(out)
}

/// `KDF1` to `KDF3`: as many keys from a chaining key and an input as asked for, at most 255.
pub(crate) fn kdf<const N: usize>(key: &[u8; 32], input: &[u8]) -> [Zeroizing<[u8; 32]>; N] {
    let secret = hmac(key, &[input]);
    let mut previous: Option<Zeroizing<[u8; 32]>> = None;
    core::array::from_fn(|index| {
        let counter = [index as u8 + 1];
        let next = match &previous {
            None => hmac(&secret, &[&counter]),
            Some(previous) => hmac(&secret, &[&previous[..], &counter]),
        };
        previous = Some(next.clone());
        next
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blake2s_gives_the_sample_of_its_rfc() {
        // RFC 7693 appendix B: BLAKE2s-256 of "abc".
        let expected = [
            0x50, 0x8c, 0x5e, 0x8c, 0x32, 0x7c, 0x14, 0xe2, 0xe1, 0xa7, 0x2b, 0xa3, 0x4e, 0xeb, 0x45, 0x2f,
            0x37, 0x45, 0x8b, 0x20, 0x9e, 0xd6, 0x3a, 0x29, 0x4d, 0x99, 0x9b, 0x4c, 0x86, 0x67, 0x59, 0x82,
        ];
        assert_eq!(hash(&[b"a", b"", b"bc"]), expected);
    }

    #[test]
    fn derived_keys_are_prefixes_of_each_other_and_differ() {
        let [first] = kdf::<1>(&[1; 32], b"input");
        let [one, two, three] = kdf::<3>(&[1; 32], b"input");
        assert_eq!(*first, *one);
        assert!(*one != *two && *two != *three && *one != *three);
        assert!(*kdf::<1>(&[2; 32], b"input")[0] != *one);
    }
}
