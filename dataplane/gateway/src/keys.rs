//! Keys as operators see them: 32 bytes, written as hexadecimal digits in the management protocol.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of every key of the protocol: private, public and pre-shared.
pub const KEY_LEN: usize = 32;

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; KEY_LEN]);

/// A private or pre-shared key: erased when dropped, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; KEY_LEN]);

impl SecretKey {
    /// The key that stands for "none" in the management protocol.
    pub const NONE: Self = Self([0; KEY_LEN]);

    /// Takes the bytes over.
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, for those who compute with them.
    pub const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Whether this is [`SecretKey::NONE`].
    pub fn is_none(&self) -> bool {
        self.0.iter().fold(0, |any, byte| any | byte) == 0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", Hex(&self.0))
    }
}

/// Shows bytes as lower-case hexadecimal digits, by arithmetic alone: no table look-up depends on a secret.
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

/// Reads exactly 64 hexadecimal digits of either case; `None` for anything else. Takes the same time for every key.
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
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", SecretKey::new([7; KEY_LEN])), "SecretKey(..)");
        assert!(SecretKey::NONE.is_none());
        assert!(!SecretKey::new([1; KEY_LEN]).is_none());
    }
}
