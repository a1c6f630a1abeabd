//! `doctor`: what the machine has for a gateway, and what it lacks.

use super::{Failure, say};
use crate::doctor::examine;

/// What `doctor` is asked to do.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Writes the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Examines the machine and says what was found. Fails where no gateway would work.
pub(super) fn doctor(options: &Options) -> Result<(), Failure> {
    let report = examine();
    say(&if options.json { format!("{:#}", report.to_json()) } else { report.to_string() })?;
    if report.has_failures() {
        return Err(Failure::refused("no gateway works here before what is said above is mended"));
    }
    Ok(())
}
