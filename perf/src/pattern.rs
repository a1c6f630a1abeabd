//! Which packets are sent: sizes, destinations, bursts. The same seed gives the same packets.

use std::str::FromStr;

use dataplane_benches::Numbers;

/// Bytes of UDP payload of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All alike.
    Fixed(usize),
    /// 7 of 64 bytes to 4 of 512 to 1 of 1,300, in an order drawn from the seed.
    Imix,
}

/// Longest payload that fits an inner MTU of 1,420 over IPv4.
pub const PAYLOAD_MAX: usize = 1392;
/// Room for the time that a request carries.
pub const PAYLOAD_MIN: usize = 16;

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(len @ PAYLOAD_MIN..=PAYLOAD_MAX) => Ok(Self::Fixed(len)),
            Err(_) if text == "imix" => Ok(Self::Imix),
            _ => Err(format!("{text:?} is neither imix nor a number from {PAYLOAD_MIN} to {PAYLOAD_MAX}")),
        }
    }
}

/// An endless sequence of packets.
pub struct Pattern {
    sizes: Sizes,
    /// Packets to a host before the next one is drawn.
    burst: usize,
    hosts: usize,
    numbers: Numbers,
    host: usize,
    left: usize,
}

impl Pattern {
    /// Bursts of so many packets, each to one of so many hosts.
    pub fn new(sizes: Sizes, burst: usize, hosts: usize, seed: u64) -> Self {
        let (burst, hosts) = (burst.max(1), hosts.max(1));
        Self { sizes, burst, hosts, numbers: Numbers::new(seed), host: 0, left: 0 }
    }

    /// The next packet: which host, how many bytes of payload.
    pub fn packet(&mut self) -> (usize, usize) {
        if self.left == 0 {
            self.host = self.numbers.below(self.hosts);
            self.left = self.burst;
        }
        self.left -= 1;
        (self.host, self.len())
    }

    fn len(&mut self) -> usize {
        match self.sizes {
            Sizes::Fixed(len) => len,
            Sizes::Imix => match self.numbers.below(12) {
                0..7 => 64,
                7..11 => 512,
                _ => 1300,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_stays_with_its_host() {
        let mut pattern = Pattern::new(Sizes::Fixed(64), 16, 1000, 1);
        let hosts: Vec<usize> = (0..160).map(|_| pattern.packet().0).collect();
        assert!(hosts.chunks(16).all(|burst| burst.iter().all(|host| *host == burst[0])));
        assert!(hosts.chunks(16).map(|burst| burst[0]).collect::<std::collections::BTreeSet<_>>().len() > 5);
    }

    #[test]
    fn imix_is_seven_to_four_to_one() {
        let mut pattern = Pattern::new(Sizes::Imix, 1, 1, 1);
        let lens: Vec<usize> = (0..120_000).map(|_| pattern.packet().1).collect();
        let share = |len| lens.iter().filter(|found| **found == len).count() as f64 / lens.len() as f64;
        for (len, parts) in [(64, 7.0), (512, 4.0), (1300, 1.0)] {
            assert!((share(len) - parts / 12.0).abs() < 0.01, "{len}: {}", share(len));
        }
    }

    #[test]
    fn sizes_that_fit_no_packet_are_refused() {
        assert_eq!("64".parse(), Ok(Sizes::Fixed(64)));
        assert_eq!("imix".parse(), Ok(Sizes::Imix));
        for wrong in ["0", "1500", "-1", "", "mix"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
    }
}
