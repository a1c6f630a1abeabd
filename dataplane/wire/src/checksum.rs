//! The Internet checksum (RFC 1071) over long slices, while copying, and by difference (RFC 1624).
//!
//! Hot:
//! 1. Words of 64 bits are summed by halves: a loop so plain that the compiler makes vectors of it.
//! 2. Less than eight bytes are left, which are added one by one.
//! 3. The sum is folded to 16 bits once, when it is asked for.

/// A one's complement sum that is not folded yet.
///
/// Kept in the order in which the machine reads words, since a one's complement sum commutes with swapping bytes
/// (RFC 1071 §2 B). The sum of 64 KiB is below 2^46, so 2^18 of those may be added up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum of a slice. An odd one counts as if a zero byte followed.
    ///
    /// Cost: one pass, bound by loads; no allocation.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut halves = Halves::default();
        for word in words {
            halves.add(*word);
        }
        Self(halves.total() + tail(rest))
    }

    /// The sum of a header, whose length the compiler knows: no loop is left of it.
    #[inline(always)]
    pub fn of_header<const N: usize>(header: &[u8; N]) -> Self {
        const { assert!(N.is_multiple_of(4), "headers are made of words of 32 bits") }
        Self(header.as_chunks::<4>().0.iter().map(|words| u64::from(u32::from_ne_bytes(*words))).sum())
    }

    /// With the words of `other` beside one's own. Parts of a message may be added in any order, as long as each but the
    /// last has an even length.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// With one more word: a field of 16 bits, in its own value.
    #[inline]
    #[must_use]
    pub const fn and_word(self, word: u16) -> Self {
        Self(self.0 + word.to_be() as u64)
    }

    /// With two more words: a field of 32 bits, in its own value.
    #[inline]
    #[must_use]
    pub const fn and_double_word(self, words: u32) -> Self {
        Self(self.0 + words.to_be() as u64)
    }

    /// The sum in 16 bits, carries added in. Zero only where every byte was zero.
    #[inline]
    pub const fn fold(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be(sum as u16)
    }

    /// The checksum to write: the complement of the sum.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// Whether a message is intact whose checksum was summed with it.
    #[inline]
    pub const fn is_intact(self) -> bool {
        self.fold() == 0xffff
    }
}

/// Copies `src` to the front of `dst` and sums what was copied: as many bytes as both have.
#[inline]
pub fn copy_and_sum(dst: &mut [u8], src: &[u8]) -> Sum {
    let len = dst.len().min(src.len());
    let (to_words, to_rest) = dst[..len].as_chunks_mut::<8>();
    let (from_words, from_rest) = src[..len].as_chunks::<8>();
    let mut halves = Halves::default();
    for (to, from) in to_words.iter_mut().zip(from_words) {
        *to = *from;
        halves.add(*from);
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = *from;
    }
    Sum(halves.total() + tail(from_rest))
}

/// The checksum after one of the words it covers changed from `old` to `new` (RFC 1624 §3, equation 3).
#[inline]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::ZERO.and_word(!checksum).and_word(!old).and_word(new).checksum()
}

/// The upper halves of words of 64 bits, summed, and the words themselves, summed modulo 2^64.
///
/// The sum of the lower halves is `all - (high << 32)`, modulo 2^64 and so exactly, as it is smaller than that. To keep
/// the words whole saves an operation in each step against summing both halves apart: a shift and two additions are left.
#[derive(Default)]
struct Halves {
    all: u64,
    high: u64,
}

impl Halves {
    #[inline(always)]
    fn add(&mut self, word: [u8; 8]) {
        let word = u64::from_ne_bytes(word);
        self.all = self.all.wrapping_add(word);
        self.high += word >> 32;
    }

    /// A number that is the sum of all words of 16 bits, modulo 2^16 - 1.
    #[inline(always)]
    fn total(&self) -> u64 {
        self.all.wrapping_sub(self.high << 32) + self.high
    }
}

/// The sum of less than eight bytes. Not by a copy into a padded word: a copy of unknown length is a call.
#[inline(always)]
fn tail(bytes: &[u8]) -> u64 {
    let (doubles, rest) = bytes.as_chunks::<4>();
    let sum = doubles.iter().map(|double| u64::from(u32::from_ne_bytes(*double))).sum::<u64>();
    let (pairs, rest) = rest.as_chunks::<2>();
    let sum = sum + pairs.iter().map(|pair| u64::from(u16::from_ne_bytes(*pair))).sum::<u64>();
    sum + rest.iter().map(|&byte| u64::from(u16::from_ne_bytes([byte, 0]))).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// RFC 1071 §1 word by word, a carry at a time.
    fn naive(bytes: &[u8]) -> u16 {
        bytes.chunks(2).fold(0, |sum, pair| {
            let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            let (sum, carry) = u16::overflowing_add(sum, word);
            sum + u16::from(carry)
        })
    }

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!((sum.fold(), sum.checksum()), (0xddf2, 0x220d));
    }

    #[test]
    fn every_short_length_and_a_full_datagram_of_ones_sum_as_the_naive_way() {
        let bytes: Vec<u8> = (0..600_u32).map(|at| ((at * 193) >> 2) as u8).collect();
        for from in 0..9 {
            for to in from..bytes.len() {
                assert_eq!(Sum::of(&bytes[from..to]).fold(), naive(&bytes[from..to]), "{from}..{to}");
            }
            let header = bytes[from..].first_chunk::<40>().unwrap();
            assert_eq!(Sum::of_header(header).fold(), naive(header));
        }
        for len in [65_535, 1 << 20] {
            let ones = std::vec![0xff; len];
            assert_eq!(Sum::of(&ones).fold(), naive(&ones));
        }
    }

    #[test]
    fn a_sum_is_zero_only_where_every_byte_is() {
        assert_eq!(Sum::of(&[0; 100]).fold(), 0);
        assert_eq!(Sum::of(&[0xff; 100]).fold(), 0xffff);
        assert_eq!(Sum::of(&[0xff, 0xfe, 0, 1]).fold(), 0xffff);
        assert!(Sum::of(&[0xff, 0xfe, 0, 1]).is_intact());
    }

    proptest! {
        #[test]
        fn a_sum_equals_the_naive_one(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(Sum::of(&bytes).fold(), naive(&bytes));
        }

        #[test]
        fn parts_of_even_length_add_up(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0..150_usize) {
            let (front, back) = bytes.split_at((2 * cut).min(bytes.len() & !1));
            prop_assert_eq!(Sum::of(back).and(Sum::of(front)).fold(), naive(&bytes));
        }

        #[test]
        fn fields_add_up_like_their_bytes(word: u16, double: u32) {
            let mut bytes = word.to_be_bytes().to_vec();
            bytes.extend(double.to_be_bytes());
            prop_assert_eq!(Sum::ZERO.and_word(word).and_double_word(double).fold(), naive(&bytes));
        }

        #[test]
        fn copying_copies_what_both_hold_and_sums_it(
            src in prop::collection::vec(any::<u8>(), 0..300),
            room in 0..300_usize,
        ) {
            let mut dst = std::vec![0xee; room];
            let len = room.min(src.len());
            prop_assert_eq!(copy_and_sum(&mut dst, &src).fold(), naive(&src[..len]));
            prop_assert_eq!(&dst[..len], &src[..len]);
            prop_assert!(dst[len..].iter().all(|&byte| byte == 0xee));
        }

        #[test]
        fn an_update_gives_the_checksum_of_the_changed_message(
            mut words in prop::collection::vec(any::<u16>(), 4..20),
            at in 0..4_usize,
            new in prop_oneof![Just(0), Just(0xffff), any::<u16>()],
        ) {
            // A message that is not all zero, as RFC 1624 §3 presumes and every IP header is.
            words.push(0x4500);
            let sum = |words: &[u16]| words.iter().fold(Sum::ZERO, |sum, &word| sum.and_word(word));
            let before = sum(&words).checksum();
            let old = core::mem::replace(&mut words[at], new);
            prop_assert_eq!(update(before, old, new), sum(&words).checksum());
        }
    }
}
