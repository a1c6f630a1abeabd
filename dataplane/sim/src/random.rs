//! Where every choice of a run comes from: a seed, or a tape of bytes that a fuzzer wrote.

use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// One in a million, the unit of all probabilities here.
pub type Ppm = u32;

/// A source of choices: the same seed or tape gives the same choices.
pub struct Random {
    generator: ChaCha8Rng,
    tape: Vec<u8>,
    at: usize,
}

impl Random {
    /// Choices that follow from a seed.
    pub fn seeded(seed: u64) -> Self {
        Self { generator: ChaCha8Rng::seed_from_u64(seed), tape: Vec::new(), at: 0 }
    }

    /// Choices that are read from a tape, in as few bytes as each needs; where it ends, those of seed 0 go on.
    pub fn from_tape(tape: &[u8]) -> Self {
        Self { tape: tape.to_vec(), ..Self::seeded(0) }
    }

    /// Bytes of the tape that no choice has used yet.
    pub fn left(&self) -> usize {
        self.tape.len() - self.at
    }

    /// A number below `end`; 0 where `end` is.
    pub fn below(&mut self, end: u64) -> u64 {
        if end <= 1 {
            return 0;
        }
        if self.left() == 0 {
            return self.generator.next_u64() % end;
        }
        let wanted = (u64::BITS - (end - 1).leading_zeros()).div_ceil(8) as usize;
        let taken = wanted.min(self.left());
        let bytes = &self.tape[self.at..self.at + taken];
        self.at += taken;
        bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)) % end
    }

    /// Whether something happens that happens so often.
    pub fn chance(&mut self, often: Ppm) -> bool {
        match often {
            0 => false,
            // A fuzzer decides by a byte of its own, whatever the odds: rare things are what it is for.
            _ if self.left() > 0 => self.below(256) >= 192,
            _ => self.generator.next_u64() % 1_000_000 < u64::from(often),
        }
    }

    /// A time from `least` to `most`, in microseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros() as u64;
        least + Duration::from_micros(self.below(span + 1))
    }

    /// A number below `end` for what happens too often and matters too little to spend tape on: who is first, how long a
    /// thread takes to look up.
    pub(crate) fn small(&mut self, end: u64) -> u64 {
        self.generator.next_u64() % end.max(1)
    }

    /// A short time up to `most`, chosen as [`Random::small`] does.
    pub(crate) fn moment(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.small(most.as_nanos() as u64 + 1))
    }

    /// One of these; `None` if there are none.
    pub fn one_of<'a, T>(&mut self, these: &'a [T]) -> Option<&'a T> {
        let at = self.below(these.len() as u64) as usize;
        these.get(at)
    }

    /// The seed of a state machine. Never from the tape: keys are nothing that a fuzzer should have to spell.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.generator.fill_bytes(&mut seed);
        seed
    }

    /// A number that is as good as unique, never from the tape.
    pub fn noise(&mut self) -> u64 {
        self.generator.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_choices_and_another_gives_others() {
        let choices = |seed| {
            let mut random = Random::seeded(seed);
            [0; 20].map(|_| random.below(1000))
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
    }

    #[test]
    fn a_tape_is_read_in_few_bytes_and_goes_on_when_it_is_at_its_end() {
        let mut random = Random::from_tape(&[3, 1, 0, 200]);
        assert_eq!(random.below(10), 3);
        assert_eq!(random.below(1000), 256);
        assert!(random.chance(1));
        assert_eq!(random.left(), 0);
        assert!(random.below(10) < 10);
    }
}
