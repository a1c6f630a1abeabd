//! What is said when a rule does not hold.

use core::fmt;

use dataplane_wire::Instant;

use super::Network;
use crate::model::Violation;

/// Lines of the trace that are shown with a failure; the rest is in it, and all of it in what `--trace` prints.
const LINES_SHOWN: usize = 60;

/// A violation, where it was found, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The scenario, as `scripts/sim` knows it.
    pub scenario: String,
    /// The seed of the run; `None` where its choices were read from a tape.
    pub seed: Option<u64>,
    /// When in virtual time.
    pub at: Instant,
    /// What does not hold.
    pub violation: Violation,
    /// The last that happened before.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, seed, at, violation, trace } = self;
        for line in &trace[trace.len().saturating_sub(LINES_SHOWN)..] {
            writeln!(f, "{line}")?;
        }
        let seconds = at.as_nanos() as f64 / 1e9;
        match seed {
            Some(seed) => {
                writeln!(f, "{scenario}, seed {seed}, {seconds:.6} s: {violation}")?;
                write!(f, "see it again: scripts/sim {scenario} --seed {seed} --trace")
            }
            None => write!(f, "{scenario}, {seconds:.6} s: {violation}"),
        }
    }
}

impl Network {
    /// Makes a failure of a violation.
    pub(crate) fn failure(&self, violation: Violation) -> Box<Failure> {
        Box::new(Failure {
            scenario: self.scenario.clone(),
            seed: self.seed,
            at: self.now,
            violation,
            trace: self.trace.lines(),
        })
    }

    /// Fails unless something holds that the scenario relies on.
    ///
    /// # Errors
    /// [`Failure`] with what was expected.
    pub fn expect(&self, holds: bool, what: &str) -> Result<(), Box<Failure>> {
        if holds { Ok(()) } else { Err(self.failure(Violation::Unexpected(what.to_owned()))) }
    }
}
