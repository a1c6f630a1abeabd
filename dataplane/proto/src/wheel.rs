//! A hierarchical timer wheel: many coarse timers, armed and cancelled in constant time.
//!
//! Enters: a small number that names a timer, and a deadline; the time. Leaves: names whose deadline has come. Never: an
//! allocation but in [`Wheel::grow`], a timer that fires early.
//!
//! Time is cut into ticks of 2^22 ns, about 4.2 ms; a timer fires in the tick at whose start its deadline has passed, so at
//! most one tick late. A timer lies on the level of the highest group of six bits in which its tick differs from the wheel's
//! own, so that each level has 64 slots and the seven levels reach over all of the clock: nothing overflows. Timers of an
//! upper level move down one at a time, and each move counts as work, so that one call has a bound however many share a
//! slot. What fires is a function of what was armed when, and of nothing else.

use dataplane_aead::prefetch;
use dataplane_wire::Instant;

const TICK_SHIFT: u32 = 22;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Groups of six bits that cover a tick of 64 − 22 bits.
const LEVELS: usize = 7;
/// The tick in which the clock ends.
const TICK_LAST: u64 = u64::MAX >> TICK_SHIFT;
const NIL: u32 = u32::MAX;
/// A timer that is not armed.
const IDLE: u16 = u16::MAX;

const _: () = assert!(LEVELS as u32 * SLOT_BITS >= u64::BITS - TICK_SHIFT);

#[derive(Clone, Copy)]
struct Timer {
    deadline: Instant,
    previous: u32,
    next: u32,
    /// Level and slot of the list that it is in, or [`IDLE`].
    list: u16,
}

#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

/// Timers that are named by small dense numbers, one deadline each.
pub struct Wheel {
    timers: Vec<Timer>,
    lists: Box<[List; LEVELS * SLOTS]>,
    /// A bit per slot that is not empty.
    occupied: [u64; LEVELS],
    /// All before this tick has fired.
    tick: u64,
    armed: usize,
}

impl Wheel {
    /// An empty wheel at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            timers: Vec::new(),
            lists: Box::new([List { first: NIL, last: NIL }; LEVELS * SLOTS]),
            occupied: [0; LEVELS],
            tick: now.as_nanos() >> TICK_SHIFT,
            armed: 0,
        }
    }

    /// Makes room for the names `0..count`. Allocates; the other operations do not.
    pub fn grow(&mut self, count: usize) {
        let idle = Timer { deadline: Instant::FAR, previous: NIL, next: NIL, list: IDLE };
        if count > self.timers.len() {
            self.timers.resize(count, idle);
        }
    }

    /// How many timers are armed.
    pub fn armed(&self) -> usize {
        self.armed
    }

    /// The deadline of a timer; [`Instant::FAR`] if it is not armed.
    #[inline]
    pub fn deadline(&self, name: u32) -> Instant {
        self.timers.get(name as usize).map_or(Instant::FAR, |timer| timer.deadline)
    }

    /// Begins to load a timer.
    #[inline]
    pub fn prefetch(&self, name: u32) {
        if let Some(timer) = self.timers.get(name as usize) {
            prefetch(timer);
        }
    }

    /// Sets the deadline of a timer, whether it was armed or not. [`Instant::FAR`] cancels it. A name that was not made
    /// room for is ignored.
    pub fn arm(&mut self, name: u32, deadline: Instant) {
        self.cancel(name);
        if deadline == Instant::FAR || self.timers.get(name as usize).is_none() {
            return;
        }
        self.timers[name as usize].deadline = deadline;
        self.armed += 1;
        self.link(name);
    }

    /// Disarms a timer.
    pub fn cancel(&mut self, name: u32) {
        if self.timers.get(name as usize).is_some_and(|timer| timer.list != IDLE) {
            self.unlink(name);
            self.timers[name as usize].deadline = Instant::FAR;
            self.armed -= 1;
        }
    }

    /// Disarms and returns a timer whose deadline has come, in the order of their ticks. `work` is what the caller will
    /// have done at most: each timer that fires or moves down takes one; `None` with `work` at zero means call again.
    pub fn poll(&mut self, now: Instant, work: &mut u32) -> Option<u32> {
        let due = now.as_nanos() >> TICK_SHIFT;
        while *work > 0 {
            let Some((level, slot, start)) = self.next_slot() else {
                self.tick = self.tick.max(due);
                return None;
            };
            if start > due {
                self.tick = self.tick.max(due);
                return None;
            }
            *work -= 1;
            self.tick = start;
            let name = self.lists[level * SLOTS + slot].first;
            self.unlink(name);
            if level == 0 {
                self.timers[name as usize].deadline = Instant::FAR;
                self.armed -= 1;
                return Some(name);
            }
            self.link(name);
        }
        None
    }

    /// When to poll again: not later than the first deadline (rounded up to a tick). `None` without timers.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_slot().map(|(_, _, start)| Instant::from_nanos(start << TICK_SHIFT))
    }

    /// The slot that is next, and the first tick that it covers. Of two that begin together it is the one on the upper
    /// level, so that all timers of a tick are together before the first of them fires.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let mut next = None;
        for (level, &bits) in self.occupied.iter().enumerate().filter(|(_, bits)| **bits != 0) {
            let slot = bits.trailing_zeros() as usize;
            let shift = SLOT_BITS * level as u32;
            let above = self.tick >> shift >> SLOT_BITS << SLOT_BITS << shift;
            let start = above | (slot as u64) << shift;
            if next.is_none_or(|(_, _, earliest)| start <= earliest) {
                next = Some((level, slot, start));
            }
        }
        next
    }

    fn link(&mut self, name: u32) {
        let deadline = self.timers[name as usize].deadline;
        let tick = deadline.as_nanos().div_ceil(1 << TICK_SHIFT).clamp(self.tick, TICK_LAST.max(self.tick));
        let level = ((tick ^ self.tick) | 1).ilog2() / SLOT_BITS;
        let slot = (tick >> (SLOT_BITS * level)) as usize % SLOTS;
        let list = level as usize * SLOTS + slot;
        let last = self.lists[list].last;
        let timer = &mut self.timers[name as usize];
        (timer.previous, timer.next, timer.list) = (last, NIL, list as u16);
        match last {
            NIL => self.lists[list].first = name,
            last => self.timers[last as usize].next = name,
        }
        self.lists[list].last = name;
        self.occupied[level as usize] |= 1 << slot;
    }

    fn unlink(&mut self, name: u32) {
        let Timer { previous, next, list, .. } = self.timers[name as usize];
        self.timers[name as usize].list = IDLE;
        let list = usize::from(list);
        match previous {
            NIL => self.lists[list].first = next,
            previous => self.timers[previous as usize].next = next,
        }
        match next {
            NIL => self.lists[list].last = previous,
            next => self.timers[next as usize].previous = previous,
        }
        if self.lists[list].first == NIL {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;

    const TICK: u64 = 1 << TICK_SHIFT;

    fn fired(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        core::iter::from_fn(|| wheel.poll(now, &mut 1000)).collect()
    }

    #[test]
    fn a_timer_fires_once_and_never_early() {
        let mut wheel = Wheel::new(Instant::from_nanos(77));
        wheel.grow(3);
        let at = Instant::from_nanos(77) + Duration::from_secs(10);
        wheel.arm(2, at);
        assert_eq!(wheel.deadline(2), at);
        assert_eq!(fired(&mut wheel, at - Duration::from_nanos(1)), []);
        assert_eq!(fired(&mut wheel, at + Duration::from_nanos(TICK)), [2]);
        assert_eq!(fired(&mut wheel, at + Duration::from_secs(100)), []);
        assert_eq!((wheel.next_deadline(), wheel.deadline(2)), (None, Instant::FAR));
    }

    #[test]
    fn arming_again_moves_a_timer_and_cancelling_removes_it() {
        let mut wheel = Wheel::new(Instant::ZERO);
        wheel.grow(2);
        wheel.arm(0, Instant::from_nanos(5 * TICK));
        wheel.arm(1, Instant::from_nanos(5 * TICK));
        wheel.arm(0, Instant::from_nanos(9 * TICK));
        assert_eq!(fired(&mut wheel, Instant::from_nanos(8 * TICK)), [1]);
        wheel.cancel(0);
        assert_eq!((wheel.armed(), fired(&mut wheel, Instant::FAR)), (0, vec![]));
        wheel.arm(7, Instant::ZERO);
        assert_eq!(wheel.armed(), 0, "a name without room");
    }

    #[test]
    fn one_call_does_bounded_work_however_many_share_a_slot() {
        let mut wheel = Wheel::new(Instant::ZERO);
        wheel.grow(1000);
        for name in 0..1000 {
            wheel.arm(name, Instant::from_nanos(100 * TICK));
        }
        let mut work = 600;
        assert_eq!(
            wheel.poll(Instant::from_nanos(100 * TICK), &mut work),
            None,
            "all of it went into moving down"
        );
        assert_eq!((work, wheel.armed()), (0, 1000));
        assert!(wheel.next_deadline() <= Some(Instant::from_nanos(100 * TICK)));
        assert_eq!(fired(&mut wheel, Instant::from_nanos(100 * TICK)), (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn the_end_of_the_clock_fits() {
        let mut wheel = Wheel::new(Instant::ZERO);
        wheel.grow(1);
        let last = Instant::from_nanos(u64::MAX - TICK);
        wheel.arm(0, last);
        assert_eq!(fired(&mut wheel, last - Duration::from_nanos(TICK)), []);
        assert_eq!(fired(&mut wheel, Instant::FAR), [0]);
    }

    proptest! {
        #[test]
        fn the_wheel_fires_what_a_sorted_list_would(
            start in prop_oneof![Just(0), any::<u32>().prop_map(|n| u64::from(n) << 20)],
            steps in prop::collection::vec((0_u32..20, 0_u64..3, 0_u32..40, any::<bool>()), 1..300),
        ) {
            let mut now = Instant::from_nanos(start);
            let mut wheel = Wheel::new(now);
            wheel.grow(20);
            let mut list: Vec<(u64, u32)> = Vec::new();
            for (name, low, magnitude, advance) in steps {
                let span = (1_u64 << magnitude) + low;
                if !advance {
                    list.retain(|(_, of)| *of != name);
                    if low == 2 {
                        wheel.cancel(name);
                    } else {
                        let deadline = now + Duration::from_nanos(span);
                        wheel.arm(name, deadline);
                        // The tick at whose start the deadline has passed.
                        list.push((deadline.as_nanos().div_ceil(TICK), name));
                    }
                } else {
                    // Not always all the way: a driver may come early, or late.
                    now += Duration::from_nanos(span / 2);
                    let due = now.as_nanos() / TICK;
                    list.sort_unstable();
                    let split = list.partition_point(|(tick, _)| *tick <= due);
                    let expected: Vec<_> = list.drain(..split).collect();
                    let mut got = fired(&mut wheel, now);
                    let ticks: Vec<u64> =
                        got.iter().map(|name| expected.iter().find(|(_, of)| of == name).expect("early").0).collect();
                    prop_assert!(ticks.is_sorted(), "out of order: {:?}", ticks);
                    got.sort_unstable();
                    let mut names: Vec<u32> = expected.iter().map(|(_, name)| *name).collect();
                    names.sort_unstable();
                    prop_assert_eq!(got, names);
                }
                prop_assert_eq!(wheel.armed(), list.len());
                match list.iter().min() {
                    None => prop_assert_eq!(wheel.next_deadline(), None),
                    Some((tick, _)) => {
                        let next = wheel.next_deadline().expect("timers are armed").as_nanos() / TICK;
                        prop_assert!(next <= *tick, "sleeps past {} until {}", tick, next);
                    }
                }
            }
        }
    }
}
