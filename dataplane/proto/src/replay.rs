//! The replay window: which counters of a session were accepted already.
//!
//! Hot:
//! 1. Before the tag is known, [`Replay::may_accept`] tells what cannot be new; it changes nothing (WG-46).
//! 2. After the tag was right, [`Replay::accept`] checks once more, since the same counter may stand twice in one batch, and
//!    marks it.
//!
//! A bitmap is used as a ring of words: the bit of a counter never moves. When the highest counter reaches a new word, the
//! words between are cleared, so the usable window is the bitmap less one word. The word that the highest counter lies in
//! stands in the head, and only goes to the bitmap when that counter leaves it: packets that come in order touch the bitmap
//! once in 64, and the head shares a cache line with the rest of its session.

/// Bits of the bitmap (as the Linux kernel's implementation has; WG-45).
pub const BITMAP_BITS: u64 = 8192;
/// How far behind the highest counter one may lie and still be accepted: the bitmap less one word. (A counter exactly this
/// far behind is accepted, as the kernel's self-test has it: its word is the last that is not in use again.)
pub const WINDOW: u64 = BITMAP_BITS - 64;
/// Counters from here on are refused, sent or received: 2^64 − 2^13 − 1 (the WireGuard paper §6.1; WG-36).
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

const WORDS: usize = (BITMAP_BITS / 64) as usize;

/// The bits of one session: 1 KiB.
pub type Bitmap = [u64; WORDS];

/// An empty bitmap.
pub const EMPTY: Bitmap = [0; WORDS];

/// The head of a replay window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The number after the highest counter that was accepted, 0 for none yet.
    next: u64,
    /// The word of the highest counter; what the bitmap has in its place is of no meaning.
    newest: u64,
}

impl Replay {
    /// Whether nothing was accepted so far.
    pub const fn is_fresh(&self) -> bool {
        self.next == 0
    }

    /// Whether a counter is judged by the bitmap, and not by the head alone.
    #[inline]
    pub const fn needs_bitmap(&self, counter: u64) -> bool {
        counter / 64 < self.next.saturating_sub(1) / 64
    }

    /// Whether a packet with this counter could be new. Cost: at most one word of the bitmap read.
    #[inline]
    pub const fn may_accept(&self, bitmap: &Bitmap, counter: u64) -> bool {
        if counter >= REJECT_AFTER_MESSAGES {
            return false;
        }
        if counter >= self.next {
            return true;
        }
        let marked = if self.needs_bitmap(counter) { bitmap[word(counter)] } else { self.newest };
        self.next - 1 - counter <= WINDOW && marked & bit(counter) == 0
    }

    /// Marks a counter whose packet was authentic; `false` if it is not new. Cost: for the newest 64 counters nothing of the
    /// bitmap; for others one word read and written; and one written for every 64 counters that the highest one moves on, at
    /// most all of them.
    #[inline]
    pub fn accept(&mut self, bitmap: &mut Bitmap, counter: u64) -> bool {
        if !self.may_accept(bitmap, counter) {
            return false;
        }
        if counter >= self.next {
            self.advance(bitmap, counter);
        }
        let marked = if self.needs_bitmap(counter) { &mut bitmap[word(counter)] } else { &mut self.newest };
        *marked |= bit(counter);
        true
    }

    /// Makes `counter` the highest, and clears the words that it is the first to reach.
    #[inline]
    fn advance(&mut self, bitmap: &mut Bitmap, counter: u64) {
        // Before the first packet the word of counter 0 is clear like all others, so it counts as reached.
        let reached = self.next.saturating_sub(1) / 64;
        let steps = counter / 64 - reached;
        if steps > 0 {
            bitmap[(reached % WORDS as u64) as usize] = core::mem::take(&mut self.newest);
            // The word that is reached now is written when it is left. All of them, where the jump goes over all.
            for step in 1..steps.min(WORDS as u64 + 1) {
                bitmap[((reached + step) % WORDS as u64) as usize] = 0;
            }
        }
        self.next = counter + 1;
    }
}

/// The word of a bitmap that a counter lies in.
#[inline]
pub const fn word_of(bitmap: &Bitmap, counter: u64) -> &u64 {
    &bitmap[word(counter)]
}

const fn word(counter: u64) -> usize {
    (counter / 64 % WORDS as u64) as usize
}

const fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    struct Window(Replay, Box<Bitmap>);

    impl Window {
        fn new() -> Self {
            Self(Replay::default(), Box::new(EMPTY))
        }

        fn accept(&mut self, counter: u64) -> bool {
            let said = self.0.may_accept(&self.1, counter);
            let did = self.0.accept(&mut self.1, counter);
            assert_eq!(said, did, "check and commit differ on {counter}");
            did
        }
    }

    /// The rule in plain words: new, below the limit, and not more than the window behind the highest.
    #[derive(Default)]
    struct Model(BTreeSet<u64>);

    impl Model {
        fn accept(&mut self, counter: u64) -> bool {
            let near = self.0.last().is_none_or(|last| counter > *last || last - counter <= WINDOW);
            counter < u64::MAX - 8192 && near && self.0.insert(counter)
        }
    }

    // WG-45
    #[test]
    fn wg_45_edges_of_the_window() {
        let mut window = Window::new();
        assert!(window.accept(0));
        assert!(!window.accept(0));
        assert!(window.accept(1));
        assert!(window.accept(9));
        assert!(!window.accept(1));
        assert!(window.accept(8128 + 2));
        assert!(window.accept(2), "8128 behind");
        assert!(!window.accept(2));
        assert!(window.accept(8128 + 66));
        assert!(!window.accept(65), "8129 behind");
        assert!(window.accept(66), "8128 behind");
        assert!(!window.accept(66));
    }

    // WG-45
    #[test]
    fn wg_45_a_jump_over_the_whole_bitmap_forgets_all_of_it_and_nothing_else() {
        for jump in [8127, 8128, 8129, 8191, 8192, 8193, 3 * 8192 + 1, 1 << 40] {
            let mut window = Window::new();
            for counter in 0..8192 {
                assert!(window.accept(counter));
            }
            let high = 8191 + jump;
            assert!(window.accept(high));
            for counter in (high - WINDOW).max(8192)..high {
                assert!(window.accept(counter), "{counter} after a jump of {jump}");
            }
            for counter in 0..8192 {
                assert!(!window.accept(counter), "{counter} twice, after a jump of {jump}");
            }
        }
    }

    // WG-36, WG-45
    #[test]
    fn wg_36_the_last_counter_is_two_to_64_less_two_to_13_less_two() {
        let mut window = Window::new();
        let last = u64::MAX - 8192 - 1;
        assert!(window.accept(last));
        assert!(!window.accept(last));
        for beyond in [last + 1, last + 2, u64::MAX - 1, u64::MAX] {
            assert!(!window.accept(beyond));
        }
        assert!(window.accept(last - 8128));
        assert!(!window.accept(last - 8129));
    }

    // WG-46
    #[test]
    fn wg_46_checking_changes_nothing() {
        let mut window = Window::new();
        assert!(window.0.may_accept(&window.1, 1 << 30));
        assert!(window.0.is_fresh());
        assert!(window.accept(0), "a forged high counter did not move the window");
    }

    proptest! {
        // WG-45
        #[test]
        fn wg_45_the_bitmap_accepts_what_a_set_of_counters_would(
            base in prop_oneof![Just(0), Just(u64::MAX - 40_000), any::<u64>()],
            steps in prop::collection::vec(
                prop_oneof![4 => -200_i64..200, 2 => -8300_i64..-8000, 2 => 8000_i64..8300, 1 => -20_000_i64..20_000],
                1..600,
            ),
        ) {
            let (mut window, mut model) = (Window::new(), Model::default());
            let mut at = base;
            for step in steps {
                at = at.saturating_add_signed(step);
                prop_assert_eq!(window.accept(at), model.accept(at), "counter {}", at);
            }
        }
    }
}
