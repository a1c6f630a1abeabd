//! Which sources the kernel should keep out for a moment: all that they send is refused, and it is very much.
//!
//! Enters: how many datagrams of a source were refused, the time. Leaves: a short list of sources. Never: an allocation after
//! construction, a system call; the driver has a filter that applies it.
//!
//! A datagram that is refused here has been queued, waited for and copied, which costs more than to refuse it. One source that
//! does nothing else can be kept out by its address and port, however its datagrams come: alone, or as trains of which a filter
//! sees neither the lengths nor where one ends.
//!
//! 1. Count what is refused by source, over [`WINDOW`]. A source that has most of a place's counts keeps the place, so one that
//!    sends very much is found among any number that send little.
//! 2. From [`REFUSED_MAX`] on it is shunned, unless it is where a peer is reached: the shard knows. Addresses can be forged, and
//!    whoever forges a peer's must not gain by it. A source that becomes a peer's while it is shunned is let in at once.
//! 3. After [`HOLD`] it is let in, and has to earn it again: an address that was forged is free for a part of every second at
//!    least, and a peer that moved there needs one datagram. Handshakes that show a cookie always come through, all others too
//!    unless they are what it was shunned for: a peer whose session was lost with a restart of this host sends under it until it
//!    has a new one. Where there are several shards, each knows its own peers only, so handshakes come through in any case.

use core::hash::BuildHasher;
use core::net::SocketAddr;
use core::time::Duration;

use arrayvec::ArrayVec;
use dataplane_wire::{CoreId, FourTuple, Instant, SocketId};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use crate::keyed::KeyedState;
use crate::noise::hash::hash;

/// Sources that are shunned at the same time.
pub const SHUNNED_MAX: usize = 8;
/// How long a source is shunned.
pub const HOLD: Duration = Duration::from_secs(1);
/// The time over which is counted.
pub const WINDOW: Duration = Duration::from_millis(100);
/// Refused datagrams of a source in a window from which on it is shunned. 10,000 a second cost about a hundredth of a core.
pub const REFUSED_MAX: u32 = 1000;
/// Places in which sources are counted.
const PLACES: usize = 256;
/// How often in a window the shard is asked whose a source is, which walks all peers.
const ASKED_MAX: u32 = SHUNNED_MAX as u32;

/// One end of a flow: the socket of ours, and who sends to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The socket that received.
    pub socket: SocketId,
    /// Address and port of the sender, as they say.
    pub remote: SocketAddr,
}

impl From<&FourTuple> for Source {
    fn from(tuple: &FourTuple) -> Self {
        Self { socket: tuple.socket, remote: tuple.remote }
    }
}

/// A source that is shunned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shunned {
    /// Which.
    pub source: Source,
    /// Most of what it sends are handshakes, so those count as well, unless they show a cookie.
    pub handshakes: bool,
}

/// Datagrams that were refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) datagrams: u32,
    /// How many of these are handshakes.
    pub(crate) handshakes: u32,
}

/// The count of the source that has most in a place.
#[derive(Clone, Copy)]
struct Count {
    window: u64,
    source: Source,
    refused: Refused,
}

/// The counts and the list of one shard.
pub(crate) struct Shun {
    hasher: KeyedState,
    places: Box<[Option<Count>]>,
    window: u64,
    /// How often the shard was asked in the window.
    asked: u32,
    shunned: ArrayVec<(Shunned, Instant), SHUNNED_MAX>,
}

impl Shun {
    /// Of the shard of `core`; the master seed keeps senders from choosing their places.
    pub(crate) fn new(master_seed: &[u8; 32], core: CoreId) -> Self {
        let mut random = ChaCha12Rng::from_seed(hash(&[b"shun", master_seed, &[core.0]]));
        let hasher = KeyedState::draw(&mut random);
        Self { hasher, places: vec![None; PLACES].into(), window: 0, asked: 0, shunned: ArrayVec::new() }
    }

    /// Counts refused datagrams. What is to be shunned if it is no peer's ([`Shun::add`]).
    pub(crate) fn note_refused(&mut self, now: Instant, source: Source, more: Refused) -> Option<Shunned> {
        let window = now.as_nanos() / WINDOW.as_nanos() as u64;
        if window != self.window {
            (self.window, self.asked) = (window, 0);
        }
        let place = &mut self.places[self.hasher.hash_one(source) as usize % PLACES];
        let fresh = Count { window, source, refused: Refused::default() };
        let count = place.get_or_insert(fresh);
        if count.window != window || (count.source != source && count.refused.datagrams < more.datagrams) {
            *count = fresh;
        } else if count.source != source {
            count.refused.datagrams -= more.datagrams;
            return None;
        }
        let before = count.refused.datagrams;
        let refused = &mut count.refused;
        refused.datagrams = before.saturating_add(more.datagrams);
        refused.handshakes = refused.handshakes.saturating_add(more.handshakes);
        let crossed = before < REFUSED_MAX && refused.datagrams >= REFUSED_MAX;
        if !crossed || self.asked == ASKED_MAX || self.shunned.is_full() {
            return None;
        }
        self.asked += 1;
        Some(Shunned { source, handshakes: refused.handshakes > refused.datagrams / 2 })
    }

    /// Shuns a source from now on.
    pub(crate) fn add(&mut self, now: Instant, shunned: Shunned) {
        self.spare(shunned.source);
        let _ = self.shunned.try_push((shunned, now + HOLD));
    }

    /// Lets a source in: a peer's.
    pub(crate) fn spare(&mut self, source: Source) {
        self.shunned.retain(|(shunned, _)| shunned.source != source);
    }

    /// When the first of the list is let in.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.shunned.iter().map(|(_, until)| *until).min()
    }

    /// The list, without those whose time is over.
    pub(crate) fn list(&mut self, now: Instant) -> impl Iterator<Item = Shunned> + '_ {
        self.shunned.retain(|(_, until)| now < *until);
        self.shunned.iter().map(|(shunned, _)| *shunned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shun() -> Shun {
        Shun::new(&[1; 32], CoreId(0))
    }

    fn data(datagrams: u32) -> Refused {
        Refused { datagrams, handshakes: 0 }
    }

    fn shunned(number: u16) -> Shunned {
        Shunned { source: source(number), handshakes: false }
    }

    fn source(number: u16) -> Source {
        Source { socket: SocketId(0), remote: ([198, 51, 100, 1], number).into() }
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(100) + Duration::from_millis(ms)
    }

    #[test]
    fn a_source_is_due_once_it_has_had_so_much_refused_in_a_window_and_not_before() {
        let mut shun = shun();
        for _ in 0..REFUSED_MAX - 1 {
            assert_eq!(shun.note_refused(at(0), source(1), data(1)), None);
        }
        assert_eq!(shun.note_refused(at(99), source(1), data(1)), Some(shunned(1)));
        assert_eq!(shun.note_refused(at(99), source(1), data(1)), None, "once in a window");
        assert_eq!(
            shun.note_refused(at(100), source(1), data(REFUSED_MAX - 1)),
            None,
            "and from zero in the next"
        );
        assert!(shun.note_refused(at(101), source(1), data(1)).is_some());
    }

    #[test]
    fn handshakes_count_against_a_source_that_sends_little_else() {
        for (handshakes, all) in [(500, false), (501, true), (1000, true)] {
            let refused = Refused { datagrams: REFUSED_MAX, handshakes };
            let due = shun().note_refused(at(0), source(1), refused);
            assert_eq!(due, Some(Shunned { source: source(1), handshakes: all }));
        }
    }

    #[test]
    fn a_loud_source_is_found_among_many_that_send_little() {
        let mut shun = shun();
        let mut due = Vec::new();
        for round in 0..400 {
            for number in 0..60 {
                let quiet = source(2 + (round * 60 + number) % 20_000);
                assert_eq!(shun.note_refused(at(0), quiet, data(1)), None);
            }
            if shun.note_refused(at(0), source(1), data(8)).is_some() {
                due.push(round);
            }
        }
        assert_eq!(due.len(), 1);
        // Of 24,000 others about 94 fall on its place.
        assert!((125..150).contains(&due[0]), "{due:?}");
    }

    #[test]
    fn what_is_shunned_is_let_in_when_its_time_is_over() {
        let mut shun = shun();
        shun.add(at(0), shunned(1));
        shun.add(at(500), shunned(2));
        assert_eq!(shun.poll_timeout(), Some(at(1000)));
        assert_eq!(shun.list(at(999)).collect::<Vec<_>>(), [shunned(1), shunned(2)]);
        assert_eq!(shun.list(at(1000)).collect::<Vec<_>>(), [shunned(2)]);
        assert_eq!(shun.list(at(1500)).count(), 0);
        assert_eq!(shun.poll_timeout(), None);
    }

    #[test]
    fn the_list_and_the_questions_are_bounded() {
        let mut shun = shun();
        let due = |shun: &mut Shun, ms, numbers: core::ops::Range<u16>| {
            numbers
                .filter(|&number| shun.note_refused(at(ms), source(number), data(REFUSED_MAX)).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(due(&mut shun, 0, 0..100).len(), SHUNNED_MAX, "questions in a window");
        for number in 0..20 {
            shun.add(at(0), shunned(number));
        }
        assert_eq!(shun.list(at(0)).count(), SHUNNED_MAX);
        assert_eq!(due(&mut shun, 200, 0..100), [], "no question whose answer would change nothing");
        shun.spare(source(3));
        assert!(!shun.list(at(200)).any(|left| left == shunned(3)));
        assert!(!due(&mut shun, 300, 0..100).is_empty());
    }
}
