//! `dataplane status`: what interfaces are and what they count, for people and as JSON.

mod collect;
mod human;
mod json;
mod units;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

pub(crate) use collect::{InterfaceReport, collect_one, interfaces};
pub(crate) use human::handshake_age;
pub(crate) use units::{bits_per_second, count, duration};

use crate::up::RunDir;

/// What `dataplane status` takes.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Writes JSON: names are stable and have their units in them; `schema_version` counts changes that are none.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub(crate) run_dir: RunDir,
    /// The interface; all where none is named.
    #[arg(value_name = "INTERFACE")]
    pub interface: Option<String>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// No such interface.
    #[error("{interface} has no management socket in {run_dir}: bring it up with `dataplane up`, or name its run directory by --run-dir", run_dir = run_dir.display())]
    Unknown {
        /// The name.
        interface: String,
        /// Where was looked.
        run_dir: PathBuf,
    },
    /// Nobody answers, or nobody may ask.
    #[error("{interface}: {why}")]
    Silent {
        /// The name.
        interface: String,
        /// What happened, and what to do.
        why: String,
        /// Whether the rights are missing.
        forbidden: bool,
    },
    /// There is nothing to draw on.
    #[error("top needs a terminal: use `dataplane status` instead")]
    NoTerminal,
    /// The run directory, the terminal, or standard output.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StatusError {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what: what.into(), source }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unknown { .. } => 2,
            Self::Silent { forbidden: true, .. } => 4,
            Self::System { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => 4,
            _ => 1,
        }
    }
}

/// Shows one interface or all.
///
/// # Errors
/// [`StatusError`]. Of several interfaces, those that answer are shown, and the others told of; it is an error where none does.
pub fn main(options: &Options) -> Result<(), StatusError> {
    let run_dir = options.run_dir.run_dir.as_path();
    let mut reports = Vec::new();
    match &options.interface {
        Some(interface) => reports.push(collect_one(run_dir, interface)?),
        None => {
            let mut failed = Vec::new();
            for interface in interfaces(run_dir)? {
                match collect_one(run_dir, &interface) {
                    Ok(report) => reports.push(report),
                    Err(error) => failed.push(error),
                }
            }
            // The caller tells of the one that is returned.
            let returned = if reports.is_empty() { failed.pop() } else { None };
            failed.iter().for_each(|error| eprintln!("dataplane: {error}"));
            if let Some(error) = returned {
                return Err(error);
            }
        }
    }
    let text = if options.json {
        format!("{:#}\n", json::document(&reports))
    } else if reports.is_empty() {
        format!("no interface is up (run directory {})\n", run_dir.display())
    } else {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        reports.iter().map(|report| human::page(report, colour)).collect::<Vec<_>>().join("\n")
    };
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(StatusError::system("cannot write to standard output"))
}

#[cfg(test)]
mod tests;
