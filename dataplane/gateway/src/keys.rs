//! Keys as operators write them: 32 bytes as hexadecimal digits in the management protocol, as base64 everywhere else.
//!
//! Reading and writing takes the same time for every key: by arithmetic, without a branch or a table that depends on it.

use std::{fmt, io};

use zeroize::{Zeroize, Zeroizing};

pub use dataplane_proto::keys::{PublicKey, Secret};

/// Bytes of every key of the protocol: private, public and pre-shared.
pub const KEY_LEN: usize = 32;

/// Characters of a key in base64, the padding included.
const BASE64_LEN: usize = 44;

/// A new private key, in the form that X25519 brings every key to.
///
/// # Errors
/// What the system says where it has no randomness to give.
pub fn random_private_key() -> io::Result<Secret> {
    let mut bytes = random_bytes()?;
    // RFC 7748 §5, decodeScalar25519.
    bytes[0] &= 248;
    bytes[31] = (bytes[31] & 127) | 64;
    let key = Secret::new(*bytes);
    Ok(key)
}

/// A new pre-shared key.
///
/// # Errors
/// As [`random_private_key`].
pub fn random_preshared_key() -> io::Result<Secret> {
    random_bytes().map(|bytes| Secret::new(*bytes))
}

fn random_bytes() -> io::Result<Zeroizing<[u8; KEY_LEN]>> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    let mut filled = 0;
    while filled < KEY_LEN {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Shows bytes as lower-case hexadecimal digits.
pub struct Hex<'a>(pub &'a [u8; KEY_LEN]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 2 * KEY_LEN];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
        let shown = f.write_str(std::str::from_utf8(&text).unwrap_or_default());
        text.zeroize();
        shown
    }
}

/// Reads exactly 64 hexadecimal digits of either case; `None` for anything else.
pub fn parse_hex(text: &str) -> Option<[u8; KEY_LEN]> {
    let digits: &[u8; 2 * KEY_LEN] = text.as_bytes().try_into().ok()?;
    let mut key = [0; KEY_LEN];
    let mut wrong = 0;
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(hex_value);
        wrong |= (high | low) & 0x100;
        *byte = ((high << 4) | low) as u8;
    }
    if wrong == 0 {
        return Some(key);
    }
    key.zeroize();
    None
}

/// Shows bytes as base64 with padding (RFC 4648 §4), as `wg` does.
pub struct Base64<'a>(pub &'a [u8; KEY_LEN]);

impl fmt::Display for Base64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'='; BASE64_LEN];
        for (group, bytes) in text.chunks_exact_mut(4).zip(self.0.chunks(3)) {
            let [first, second, third] = [0, 1, 2].map(|at| u32::from(bytes.get(at).copied().unwrap_or(0)));
            let bits = (first << 16) | (second << 8) | third;
            // One more digit than there are bytes; the rest is padding.
            for (digit, shift) in group.iter_mut().zip([18, 12, 6, 0]).take(bytes.len() + 1) {
                *digit = base64_digit((bits >> shift) as u8 & 63);
            }
        }
        let shown = f.write_str(std::str::from_utf8(&text).unwrap_or_default());
        text.zeroize();
        shown
    }
}

/// Reads the 44 characters by which `wg` writes a key; `None` for anything else, bits behind the last byte included.
pub fn parse_base64(text: &str) -> Option<[u8; KEY_LEN]> {
    let text: &[u8; BASE64_LEN] = text.as_bytes().try_into().ok()?;
    let (digits, padding) = text.split_at(BASE64_LEN - 1);
    let mut key = [0; KEY_LEN];
    let mut wrong = u32::from(padding != b"=");
    for (bytes, group) in key.chunks_mut(3).zip(digits.chunks(4)) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| group.get(at).map_or(0, |digit| base64_value(*digit)));
        wrong |= (a | b | c | d) >> 6;
        let bits = (a << 18) | (b << 12) | (c << 6) | d;
        for (byte, shift) in bytes.iter_mut().zip([16, 8, 0]) {
            *byte = (bits >> shift) as u8;
        }
        // Of the last group, 16 of 18 bits are the key's; the other two say nothing and must be zero.
        wrong |= if bytes.len() == 2 { bits & 0xff } else { 0 };
    }
    if wrong == 0 {
        return Some(key);
    }
    key.zeroize();
    None
}

/// The digit of a value from 0 to 63.
fn base64_digit(value: u8) -> u8 {
    // All ones where the value is `from` or more.
    let reaches = |from: u8| ((i16::from(from) - 1 - i16::from(value)) >> 8) as u8;
    // The gaps between the ranges A-Z, a-z, 0-9, + and / are added one by one.
    let gaps = (reaches(26) & (b'a' - b'Z' - 1))
        .wrapping_sub(reaches(52) & (b'z' - b'0' + 1))
        .wrapping_sub(reaches(62) & (b'9' - b'+' + 1))
        .wrapping_add(reaches(63) & (b'/' - b'+' - 1));
    b'A'.wrapping_add(value).wrapping_add(gaps)
}

/// The value of a digit, or a number of 64 or more for what is no digit.
fn base64_value(digit: u8) -> u32 {
    let digit = i32::from(digit);
    // All ones where the digit lies from `first` to `last`.
    let lies = |first: u8, last: u8| ((i32::from(first) - 1 - digit) & (digit - i32::from(last) - 1)) >> 31;
    let ranges = [(b'A', b'Z', 0), (b'a', b'z', 26), (b'0', b'9', 52), (b'+', b'+', 62), (b'/', b'/', 63)];
    let (mut value, mut any) = (0, 0);
    for (first, last, base) in ranges {
        let lies = lies(first, last);
        value |= lies & (digit - i32::from(first) + base);
        any |= lies;
    }
    (value | (!any & 0x40)) as u32
}

/// The digit of a value from 0 to 15.
fn hex_digit(value: u8) -> u8 {
    // Above 9, the gap between '9' and 'a' is added: the subtraction wraps to all ones exactly for 0..=9.
    let letter = (9_u8.wrapping_sub(value) as i8 >> 7) as u8;
    b'0' + value + (letter & (b'a' - b'9' - 1))
}

/// The value of a digit, or a number with bit 8 set for what is no digit.
fn hex_value(digit: u8) -> u16 {
    let digit = u16::from(digit);
    let number = digit.wrapping_sub(u16::from(b'0'));
    let letter = (digit | 0x20).wrapping_sub(u16::from(b'a'));
    // All ones where the value lies in its range, else zero.
    let is_number = 0_u16.wrapping_sub((number.wrapping_sub(10) >> 15) & !(number >> 15) & 1);
    let is_letter = 0_u16.wrapping_sub((letter.wrapping_sub(6) >> 15) & !(letter >> 15) & 1);
    (number & is_number) | (letter.wrapping_add(10) & is_letter) | (!(is_number | is_letter) & 0x100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_as_the_digit_that_it_is_or_refused() {
        for byte in 0..=255_u8 {
            let value = char::from(byte).to_digit(16).map_or(0x100, |v| v as u16);
            assert_eq!(hex_value(byte), value, "{byte:#x}");
        }
        for value in 0..16_u8 {
            assert_eq!(char::from(hex_digit(value)).to_digit(16), Some(u32::from(value)));
        }
    }

    #[test]
    fn a_key_survives_hex_and_other_lengths_are_refused() {
        let key: [u8; KEY_LEN] = std::array::from_fn(|i| (i * 37 + 5) as u8);
        let text = Hex(&key).to_string();
        assert_eq!(parse_hex(&text), Some(key));
        assert_eq!(parse_hex(&text.to_uppercase()), Some(key));
        assert_eq!(parse_hex(&text[1..]), None);
        assert_eq!(parse_hex(&format!("{text}0")), None);
        assert_eq!(parse_hex(&text.replace('0', "g")), None);
        assert_eq!(parse_hex(&format!("{}é", &text[..62])), None);
    }

    #[test]
    fn every_byte_is_read_as_the_base64_digit_that_it_is_or_refused() {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for byte in 0..=255_u8 {
            let value = DIGITS.iter().position(|digit| *digit == byte).unwrap_or(64);
            assert_eq!(base64_value(byte), value as u32, "{byte:#x}");
        }
        for (value, digit) in DIGITS.iter().enumerate() {
            assert_eq!(base64_digit(value as u8), *digit);
        }
    }

    #[test]
    fn a_key_survives_base64_and_only_its_one_spelling_is_read() {
        for seed in 0..=255_u8 {
            let key: [u8; KEY_LEN] = std::array::from_fn(|i| (i as u8).wrapping_mul(37).wrapping_add(seed));
            assert_eq!(parse_base64(&Base64(&key).to_string()), Some(key));
        }
        // From `wg genkey` and `wg pubkey`.
        let text = "QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXg=";
        let private = Secret::new(parse_base64(text).unwrap());
        let public = private.public();
        assert_eq!(Base64(private.bytes()).to_string(), text);
        assert_eq!(Base64(&public.0).to_string(), "WY5QRQx9N+/BZnMAYSa8JDLfu3ZylZM3EfEwf6RIvjU=");
        for wrong in [
            "QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXh=",
            "QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXgA",
            "QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXg",
            "QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXg==",
            "QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYC=g=",
            "QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYC g=",
            "QMVSYcTWXZcJNGk-cdNAxQqJPeVmoaT13CAWAWDYCXg=",
            "",
        ] {
            assert_eq!(parse_base64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn random_keys_differ_and_private_ones_are_clamped() {
        let (one, two) = (random_private_key().unwrap(), random_private_key().unwrap());
        assert_ne!(one, two);
        assert_eq!((one.bytes()[0] & 7, one.bytes()[31] >> 6), (0, 1));
        assert_ne!(random_preshared_key().unwrap(), random_preshared_key().unwrap());
    }
}
