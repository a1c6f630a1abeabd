//! Worlds with a name. Each is a function of a seed, so `scripts/sim` can run any of them for as many seeds as it likes.

use core::time::Duration;

use crate::network::{Failure, HostId, Network};

mod floods;
mod paths;
mod sessions;
mod storm;
mod whole;

/// What a scenario gives: nothing, or what did not hold.
pub type Verdict = Result<(), Box<Failure>>;

/// A name, and what happens under it.
pub type Scenario = (&'static str, fn(&mut Network) -> Verdict);

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    ("whole", whole::whole),
    ("roaming", paths::roaming),
    ("rebinding", paths::rebinding),
    ("restricted", paths::restricted),
    ("partition", paths::partition),
    ("restart", sessions::restart),
    ("crossing", sessions::crossing),
    ("rekey", sessions::rekey),
    ("suspend", sessions::suspend),
    ("clock", sessions::clock),
    ("stall", sessions::stall),
    ("replay", sessions::replay),
    ("window", sessions::window),
    ("floods", floods::floods),
];

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Over all traffic.
    pub hash: u64,
    /// Virtual time.
    pub time: Duration,
    /// Datagrams that hosts sent.
    pub datagrams: u64,
    /// Inner packets handed in, and delivered.
    pub packets: (u64, u64),
    /// The longest that two hosts took to reach each other, both ways, after nothing was in their way any more; where the
    /// scenario measures it.
    pub reached_after: Duration,
}

/// Runs a scenario; `None` if none has this name. `live` prints every event.
///
/// # Errors
/// [`Failure`]: what did not hold, how to see it again, and the last events before.
pub fn run(name: &str, seed: u64, live: bool) -> Option<Result<Summary, Box<Failure>>> {
    let (name, scenario) = SCENARIOS.iter().find(|(known, _)| *known == name)?;
    let mut net = Network::new(name, seed);
    if live {
        net.trace_live();
    }
    Some(scenario(&mut net).map(|()| net.summary()))
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Two hosts on the open network who know each other.
fn pair(net: &mut Network) -> (HostId, HostId) {
    let (alice, bob) = (net.host_with("alice", 2, None), net.host("bob"));
    net.peers(alice, bob);
    (alice, bob)
}

/// Both send to each other every second, for so many seconds.
fn talk(net: &mut Network, one: HostId, other: HostId, count: u64) -> Verdict {
    for _ in 0..count {
        net.send(one, other)?;
        net.send(other, one)?;
        net.run_for(seconds(1))?;
    }
    Ok(())
}
