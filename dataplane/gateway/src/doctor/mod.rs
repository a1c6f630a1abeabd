//! Examines a machine: what a gateway finds here, what it misses, and what to do about that.
//!
//! Enters: the machine, by trying what a gateway would do. Leaves: findings, each with a remedy where one is needed. Never: a
//! change that outlives the look.

mod kernel;
mod machine;
mod release;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Value, json};

use crate::text::Counted;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing: nothing works less well by it.
    Note,
    /// A gateway works, but slower or less surely than it could.
    Warning,
    /// No gateway works here.
    Failure,
}

impl Level {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: a name that stays the same from version to version.
    pub check: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What there is.
    pub found: String,
    /// What to do; for everything that is not as it should be.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), remedy: None }
    }

    fn note(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Note, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn failure(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Failure, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// All findings about a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they were made.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many are of a level.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// Whether no gateway works here.
    pub fn has_failures(&self) -> bool {
        self.count(Level::Failure) > 0
    }

    /// The same for programs: `findings`, each with `check`, `level`, `found` and `remedy` (null where none is needed).
    pub fn to_json(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "check": finding.check,
                "level": finding.level.name(),
                "found": finding.found,
                "remedy": finding.remedy,
            })
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "failures": self.count(Level::Failure),
            "warnings": self.count(Level::Warning),
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { check, level, found, remedy } in &self.findings {
            writeln!(f, "{check:<11} {:<8} {found}", level.name())?;
            if let Some(remedy) = remedy {
                writeln!(f, "{:<20} -> {remedy}", "")?;
            }
        }
        let [failures, warnings, notes] = [Level::Failure, Level::Warning, Level::Note]
            .map(|level| Counted(self.count(level), level.name()));
        let checks = Counted(self.findings.len(), "check");
        write!(f, "\n{checks}: {failures}, {warnings}, {notes}")
    }
}

/// Looks at everything. Takes some milliseconds, and makes an interface that lives no longer than them.
pub fn examine() -> Report {
    let findings = vec![
        kernel::version(),
        kernel::tun(),
        kernel::udp_trains(),
        kernel::steering(),
        machine::buffers(),
        machine::open_files(),
        machine::locked_memory(),
        machine::workers(),
        machine::cipher(),
        machine::wg_quick(),
        machine::sockets(),
        kernel::io_uring(),
        kernel::af_xdp(),
    ];
    Report { findings }
}
