//! One direction of a link: how long a datagram is on its way, and whether it arrives.

use core::time::Duration;

use dataplane_wire::Instant;

use crate::random::{Ppm, Random};

/// What a link does to datagrams. The default is a good link: 5 ms, 1,500 bytes, nothing lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Whether anything passes at all.
    pub up: bool,
    /// Time on the way, without what `rate` adds.
    pub delay: Duration,
    /// Up to so much more, drawn anew for each datagram; order stays.
    pub jitter: Duration,
    /// Bits per second; `None` for no limit.
    pub rate: Option<u64>,
    /// How long a datagram waits for its turn at most; what would wait longer is dropped.
    pub queue: Duration,
    /// How many do not arrive.
    pub loss: Ppm,
    /// How many arrive twice.
    pub duplication: Ppm,
    /// How many are overtaken by those behind them.
    pub reordering: Ppm,
    /// By how much those come later, at most.
    pub reordering_delay: Duration,
    /// How many arrive with other bytes than they left with.
    pub corruption: Ppm,
    /// How many ECN-capable ones are marked as having seen congestion.
    pub marking: Ppm,
    /// Bytes of the largest IP packet; larger ones are dropped, as with the bit that forbids fragments.
    pub mtu: u16,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            up: true,
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            rate: None,
            queue: Duration::from_millis(200),
            loss: 0,
            duplication: 0,
            reordering: 0,
            reordering_delay: Duration::from_millis(50),
            corruption: 0,
            marking: 0,
            mtu: 1500,
        }
    }
}

impl Conditions {
    /// A good link on which a datagram is so long on its way.
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// A good link that loses so many of a hundred.
    pub fn loss_percent(percent: u32) -> Self {
        Self { loss: percent * 10_000, ..Self::default() }
    }

    /// A link over which nothing passes.
    pub fn down() -> Self {
        Self { up: false, ..Self::default() }
    }

    /// Bad in some way, or in several: what the storm of the whole-network scenario draws.
    pub(crate) fn drawn(random: &mut Random) -> Self {
        let millis = Duration::from_millis;
        let mut drawn = Self::delay(random.between(millis(1), millis(150)));
        for _ in 0..1 + random.below(3) {
            match random.below(8) {
                0 => drawn.jitter = random.between(millis(1), millis(300)),
                1 => drawn.rate = Some(20_000 + random.below(2_000_000)),
                2 => drawn.loss = 10_000 + random.below(400_000) as Ppm,
                3 => drawn.duplication = 10_000 + random.below(300_000) as Ppm,
                4 => {
                    drawn.reordering = 10_000 + random.below(300_000) as Ppm;
                    drawn.reordering_delay = random.between(millis(1), millis(3000));
                }
                5 => drawn.corruption = 10_000 + random.below(300_000) as Ppm,
                6 => drawn.mtu = 300 + random.below(1200) as u16,
                _ => drawn.marking = 10_000 + random.below(500_000) as Ppm,
            }
        }
        drawn
    }
}

/// Why the network did not carry a datagram on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The link was down.
    Down,
    /// It was larger than the link's MTU.
    TooBig,
    /// It would have waited too long for its turn.
    QueueFull,
    /// By chance.
    Chance,
    /// Nobody has the address.
    NoRoute,
    /// The two ends are in different parts of a partitioned network.
    Partition,
    /// The NAT has no mapping for the port.
    NoMapping,
    /// The NAT has a mapping, but not for this sender.
    Filtered,
    /// The NAT has no port left.
    NatFull,
    /// The host was off or asleep.
    HostOff,
    /// The port is none that the host has bound.
    NoPort,
}

impl Loss {
    /// How many reasons there are.
    pub const COUNT: usize = 11;

    /// The words in a trace.
    pub fn name(self) -> &'static str {
        match self {
            Self::Down => "link down",
            Self::TooBig => "larger than the MTU",
            Self::QueueFull => "queue full",
            Self::Chance => "by chance",
            Self::NoRoute => "nobody has the address",
            Self::Partition => "partition",
            Self::NoMapping => "no mapping",
            Self::Filtered => "filtered",
            Self::NatFull => "no port left",
            Self::HostOff => "host off",
            Self::NoPort => "port not bound",
        }
    }
}

/// What becomes of a datagram that a link carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) at: Instant,
    /// When it arrives once more.
    pub(crate) again: Option<Instant>,
    pub(crate) corrupted: bool,
    pub(crate) marked: bool,
}

/// One direction of a link, and what it is busy with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direction {
    pub(crate) conditions: Conditions,
    free_at: Instant,
    last_at: Instant,
}

impl Direction {
    pub(crate) fn new(conditions: Conditions) -> Self {
        Self { conditions, free_at: Instant::ZERO, last_at: Instant::ZERO }
    }

    /// Carries an IP packet of so many bytes. Order stays, but for those that `reordering` says.
    pub(crate) fn carry(&mut self, now: Instant, len: usize, random: &mut Random) -> Result<Carried, Loss> {
        let Conditions { up, delay, jitter, rate, queue, mtu, .. } = self.conditions;
        if !up {
            return Err(Loss::Down);
        }
        if len > usize::from(mtu) {
            return Err(Loss::TooBig);
        }
        let mut left = now;
        if let Some(rate) = rate {
            let begins = self.free_at.max(now);
            if begins.since(now) > queue {
                return Err(Loss::QueueFull);
            }
            left = begins + Duration::from_nanos(len as u64 * 8 * 1_000_000_000 / rate.max(1));
            self.free_at = left;
        }
        let Conditions { loss, duplication, reordering, reordering_delay, corruption, marking, .. } =
            self.conditions;
        if random.chance(loss) {
            return Err(Loss::Chance);
        }
        let mut at = left + delay;
        if !jitter.is_zero() {
            at += random.between(Duration::ZERO, jitter);
        }
        if random.chance(reordering) {
            at += random.between(Duration::from_micros(1), reordering_delay);
        } else {
            at = at.max(self.last_at);
            self.last_at = at;
        }
        let again = random
            .chance(duplication)
            .then(|| at + random.between(Duration::ZERO, Duration::from_millis(20)));
        Ok(Carried { at, again, corrupted: random.chance(corruption), marked: random.chance(marking) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(conditions: Conditions, datagrams: u64) -> Vec<Result<Carried, Loss>> {
        let mut random = Random::seeded(1);
        let mut direction = Direction::new(conditions);
        let sent = |number| Instant::ZERO + Duration::from_millis(number);
        (0..datagrams).map(|number| direction.carry(sent(number), 100, &mut random)).collect()
    }

    #[test]
    fn a_link_keeps_order_in_spite_of_jitter_unless_it_is_told_to_reorder() {
        let in_order = |conditions| {
            let at: Vec<_> =
                arrivals(conditions, 300).into_iter().map(|carried| carried.unwrap().at).collect();
            at.is_sorted()
        };
        let jitter = Conditions { jitter: Duration::from_millis(100), ..Conditions::default() };
        assert!(in_order(jitter));
        assert!(!in_order(Conditions { reordering: 100_000, ..jitter }));
    }

    #[test]
    fn a_rate_spaces_datagrams_and_a_full_queue_drops_them() {
        // 100 bytes at 8 kbit/s: a tenth of a second each, one a millisecond.
        let carried = arrivals(Conditions { rate: Some(8000), ..Conditions::default() }, 10);
        let at: Vec<_> = carried.iter().flatten().map(|carried| carried.at.as_nanos() / 1_000_000).collect();
        assert_eq!(at, [105, 205, 305]);
        assert_eq!(carried[4], Err(Loss::QueueFull));
    }

    #[test]
    fn chances_come_out_as_often_as_they_say() {
        let part = |conditions, what: fn(&Result<Carried, Loss>) -> bool| {
            arrivals(conditions, 2000).iter().filter(|carried| what(carried)).count()
        };
        let good = Conditions::default();
        for (conditions, what) in [
            (
                Conditions { loss: 200_000, ..good },
                (|c| *c == Err(Loss::Chance)) as fn(&Result<Carried, Loss>) -> bool,
            ),
            (Conditions { duplication: 200_000, ..good }, |c| c.is_ok_and(|c| c.again.is_some())),
            (Conditions { corruption: 200_000, ..good }, |c| c.is_ok_and(|c| c.corrupted)),
            (Conditions { marking: 200_000, ..good }, |c| c.is_ok_and(|c| c.marked)),
        ] {
            let count = part(conditions, what);
            assert!((340..460).contains(&count), "{conditions:?} {count}");
            assert_eq!(part(good, what), 0);
        }
        assert_eq!(arrivals(Conditions { mtu: 99, ..good }, 1)[0], Err(Loss::TooBig));
        assert_eq!(arrivals(Conditions::down(), 1)[0], Err(Loss::Down));
    }
}
