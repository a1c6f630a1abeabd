//! How many handshake messages without a cookie the kernel should let through while strangers flood, and the rest not.
//!
//! Enters: what a gate has counted, the time. Leaves: a share. Never: a system call; the driver has a filter that applies it.
//!
//! A datagram that ends in the gate has been queued, waited for and copied by then, which costs more than the gate does. The
//! gate answers a bounded number of them ([`REPLIES_PER_SECOND`]) and withholds the rest, so the rest need not come.
//!
//! 1. Off, until more came in a period than would be answered, and the gate's replies were nearly used up, which are given only
//!    under load. The last matters: one source, however loud, uses up its own share only, and then others must come through.
//! 2. On: of those without a cookie a share comes through, such that about as many come as are answered. A stranger that is
//!    honest has the chance of an answer that it had before. Who shows a cookie always comes through, as data does.
//! 3. Each period anew, by what came. Off when the flood is over, or when the share does not help: trains pass whole.

use core::time::Duration;

use dataplane_wire::Instant;

use crate::gate::{GateStats, REPLIES_PER_SECOND};

/// Between two decisions: two windows of the gate's replies.
pub const PERIOD: Duration = Duration::from_millis(500);
/// How long a share that did not help is not tried again.
const HOLD: Duration = Duration::from_secs(10);
/// What may come in a period: as many as are answered in it.
const BUDGET: u64 = REPLIES_PER_SECOND / 2;
/// Replies of a period from which on they are nearly used up: even when as many come as there are replies, some sources meet in
/// one of the gate's groups and go without.
const USED_UP: u64 = BUDGET * 6 / 10;
/// Part of the budget by which a share may be off before it is changed: a change is a system call for each socket.
const SLACK: u64 = BUDGET / 4;

/// Which part of handshake messages without a cookie comes through: so many of 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// The largest random number of 32 bits with which a message comes through.
    pub const fn most(self) -> u32 {
        self.0
    }

    /// `part` of `whole`, less than all of it.
    fn of(part: u64, whole: u64) -> Self {
        let share = (u128::from(part) << 32) / u128::from(whole.max(1));
        Self(u32::try_from(share).unwrap_or(u32::MAX))
    }

    /// How many there were, if so many came through.
    fn all_of(self, came: u64) -> u64 {
        let all = (u128::from(came) << 32) / (u128::from(self.0) + 1);
        u64::try_from(all).unwrap_or(u64::MAX)
    }
}

/// The decision for one shard's sockets.
#[derive(Debug)]
pub struct Admission {
    share: Option<Share>,
    began: Instant,
    /// What the gate had counted then.
    before: GateStats,
    /// Periods in a row in which more than twice the budget came in spite of a share.
    unhelpful: u32,
    held_until: Instant,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            share: None,
            began: Instant::ZERO,
            before: GateStats::default(),
            unhelpful: 0,
            held_until: Instant::ZERO,
        }
    }
}

impl Admission {
    /// The share that holds; `None` for all.
    pub fn share(&self) -> Option<Share> {
        self.share
    }

    /// When to ask again at the latest: while there is a share, so that it ends with the flood even if nothing comes any more.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.share.map(|_| self.began + PERIOD)
    }

    /// Looks at what the gate has counted, and decides at the end of a period. Whether the share has changed.
    pub fn handle_stats(&mut self, now: Instant, stats: &GateStats) -> bool {
        let took = now.since(self.began);
        if took < PERIOD {
            return false;
        }
        // Counters of a gate that was made anew begin at zero.
        let replies = stats.cookie_replies.saturating_sub(self.before.cookie_replies);
        let withheld = stats.cookie_replies_withheld.saturating_sub(self.before.cookie_replies_withheld);
        let whole = |count: u64| u64::try_from(u128::from(count) * PERIOD.as_nanos() / took.as_nanos());
        let whole = |count| whole(count).unwrap_or(u64::MAX);
        let after = self.decide(now, whole(replies), whole(replies + withheld));
        (self.began, self.before) = (now, *stats);
        core::mem::replace(&mut self.share, after) != after
    }

    /// `replies` were given in a period, of `came` that wanted one.
    fn decide(&mut self, now: Instant, replies: u64, came: u64) -> Option<Share> {
        if replies < USED_UP || now < self.held_until {
            self.unhelpful = 0;
            return None;
        }
        let Some(share) = self.share else {
            return (came > BUDGET + SLACK).then(|| Share::of(BUDGET, came));
        };
        self.unhelpful = if came > 2 * BUDGET { self.unhelpful + 1 } else { 0 };
        if self.unhelpful == 3 {
            (self.unhelpful, self.held_until) = (0, now + HOLD);
            return None;
        }
        let all = share.all_of(came);
        if all <= BUDGET {
            return None;
        }
        Some(if came.abs_diff(BUDGET) <= SLACK { share } else { Share::of(BUDGET, all) })
    }
}

#[cfg(test)]
mod tests {
    use dataplane_wire::CoreId;
    use dataplane_wire::wireguard::{INITIATION_LEN, Initiation, Message, write_mac1};

    use super::*;
    use crate::cookie::InterfaceKeys;
    use crate::gate::{Gate, Verdict};
    use crate::noise::hash::mac;

    /// A gate under a flood, as far as it is counted.
    struct Flood {
        now: Instant,
        admission: Admission,
        stats: GateStats,
    }

    impl Flood {
        fn new() -> Self {
            let now = Instant::ZERO + Duration::from_secs(1000);
            let mut admission = Admission::default();
            admission.handle_stats(now, &GateStats::default());
            Self { now, admission, stats: GateStats::default() }
        }

        /// A period of so many a second, of which the filter lets its share through if it can, and which are answered if they
        /// are of many sources. Returns how many came through, a second.
        fn period(&mut self, rate: u64, filtered: bool, spread: bool) -> u64 {
            let sent = rate / 2;
            let came = match self.admission.share() {
                Some(share) if filtered => (sent * (u64::from(share.most()) + 1)) >> 32,
                _ => sent,
            };
            let replies = came.min(if spread { BUDGET * 8 / 10 } else { BUDGET / 5 });
            self.stats.cookie_replies += replies;
            self.stats.cookie_replies_withheld += came - replies;
            self.now += PERIOD;
            self.admission.handle_stats(self.now, &self.stats);
            came * 2
        }
    }

    #[test]
    fn of_a_flood_as_much_comes_as_is_answered_whatever_its_rate() {
        for rate in [20_000, 50_000, 200_000, 1_000_000, 10_000_000] {
            let mut flood = Flood::new();
            assert_eq!(flood.period(rate, true, true), rate, "the first period shows what comes");
            for _ in 0..20 {
                let came = flood.period(rate, true, true);
                assert!(came.abs_diff(REPLIES_PER_SECOND) <= 2 * SLACK, "{came} of {rate}");
            }
        }
    }

    #[test]
    fn the_share_follows_a_flood_that_grows_and_shrinks() {
        let mut flood = Flood::new();
        for rate in [100_000, 400_000, 30_000, 1_000_000, 60_000] {
            for _ in 0..4 {
                flood.period(rate, true, true);
            }
            let came = flood.period(rate, true, true);
            assert!(came.abs_diff(REPLIES_PER_SECOND) <= 2 * SLACK, "{came} of {rate}");
        }
    }

    #[test]
    fn without_load_or_below_what_is_answered_all_comes_through() {
        let mut flood = Flood::new();
        for rate in [0, 100, 5_000, REPLIES_PER_SECOND] {
            flood.period(rate, true, true);
            assert_eq!(flood.admission.share(), None, "{rate}");
        }
        assert_eq!(flood.admission.poll_timeout(), None);
    }

    #[test]
    fn one_loud_source_takes_nobody_s_way() {
        let mut flood = Flood::new();
        for _ in 0..10 {
            flood.period(400_000, true, false);
            assert_eq!(flood.admission.share(), None);
        }
    }

    #[test]
    fn a_flood_that_is_over_ends_the_share_within_a_period() {
        let mut flood = Flood::new();
        for _ in 0..3 {
            flood.period(400_000, true, true);
        }
        let due = flood.admission.poll_timeout().expect("a share is asked after");
        assert_eq!(due, flood.now + PERIOD);
        // Nothing comes.
        assert!(!flood.admission.handle_stats(due - Duration::from_nanos(1), &flood.stats));
        assert!(flood.admission.handle_stats(due, &flood.stats));
        assert_eq!((flood.admission.share(), flood.admission.poll_timeout()), (None, None));
    }

    #[test]
    fn a_share_that_does_not_help_is_given_up_for_a_while() {
        let mut flood = Flood::new();
        for _ in 0..3 {
            flood.period(400_000, false, true);
        }
        assert!(flood.admission.share().is_some());
        for _ in 0..20 {
            flood.period(400_000, false, true);
            assert!(flood.admission.share().is_none());
        }
        flood.period(400_000, true, true);
        assert!(flood.admission.share().is_some(), "and then tried again");
    }

    #[test]
    fn a_gate_that_is_made_anew_counts_from_zero() {
        let mut flood = Flood::new();
        for _ in 0..3 {
            flood.period(400_000, true, true);
        }
        flood.stats = GateStats::default();
        flood.now += PERIOD;
        assert!(flood.admission.handle_stats(flood.now, &flood.stats));
        assert_eq!(flood.admission.share(), None);
    }

    /// A gate under a flood of so many a second from so many sources, for four periods. How many came to it in the last of them,
    /// and how many of 200 strangers that tried meanwhile were answered.
    fn strangers_beside(rate: u64, sources: u64, screened: bool) -> (u64, usize) {
        const STRANGERS: u64 = 200;
        let keys = InterfaceKeys::of(&[1; 32]);
        let mut message = [0; INITIATION_LEN];
        Initiation::emit(&mut message, 7, &[2; 32], &[3; 48], &[4; 28]);
        write_mac1(&mut message, |covered| mac(&keys.mac1, &[covered]));
        let message = Message::parse(&message).expect("an initiation");
        let (mut gate, mut admission) = (Gate::new(&[9; 32], CoreId(0), 4096), Admission::default());
        let mut random = 1_u64;
        let mut draw = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 32) as u32
        };
        let start = Instant::ZERO + Duration::from_secs(1000);
        let (mut came, mut answered) = (0, 0);
        for number in 0..2 * rate {
            let now = start + Duration::from_nanos(number * 1_000_000_000 / rate);
            admission.handle_stats(now, &gate.stats(now));
            let comes = |draw: u32| !screened || admission.share().is_none_or(|share| draw <= share.most());
            let last = number >= 2 * rate - rate / 2;
            if last && number % (rate / 2 / STRANGERS) == 0 && comes(draw()) {
                let stranger = ([203, 0, 113, 1], 1024 + (number % 60_000) as u16).into();
                let verdict = gate.check(now, &keys, stranger, &message, 64, 512);
                answered += usize::from(matches!(verdict, Verdict::CookieReply(_)));
            }
            if comes(draw()) {
                came += u64::from(last);
                let [_, _, a, b] = ((number % sources) as u32).to_be_bytes();
                gate.check(now, &keys, ([198, 18, a, b], 9).into(), &message, 64, 512);
            }
        }
        (came, answered)
    }

    // WG-27
    #[test]
    fn beside_a_flood_of_many_sources_strangers_are_answered_as_often_as_without_a_filter() {
        let (came, answered) = strangers_beside(100_000, 60_000, true);
        assert!(came.abs_diff(BUDGET) < SLACK, "{came} came");
        let (came, without) = strangers_beside(100_000, 60_000, false);
        assert_eq!(came, 50_000);
        assert!(answered * 4 >= without * 3, "{answered} of 200, {without} without a filter");
    }

    // WG-27
    #[test]
    fn beside_a_flood_of_few_sources_every_stranger_is_answered() {
        for sources in [1, 100] {
            let (_, answered) = strangers_beside(100_000, sources, true);
            assert!(answered > 170, "{answered} of 200 beside {sources}");
        }
    }
}
