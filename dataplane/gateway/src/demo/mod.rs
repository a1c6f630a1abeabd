//! `dataplane demo`: two gateways and a router on this machine, traffic through the tunnel, and what became of it.
//!
//! Everything stands in namespaces of its own and ends with them: the program starts itself again as the first process of
//! a new process namespace, and when that one goes, by whatever cause, the kernel removes the rest.

mod gateway;
mod loopback;
mod run;
mod sample;
mod sandbox;
mod screen;
mod tcp;
mod udp;

use std::io;

use clap::Args;

use crate::signals::Termination;
use sandbox::Room;

/// What `dataplane demo` takes.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Seconds of traffic in all.
    #[arg(long, default_value_t = 13, value_parser = clap::value_parser!(u64).range(2..=3600))]
    pub seconds: u64,
    /// Writes plain lines even where standard output is a terminal.
    #[arg(long)]
    pub plain: bool,
    /// Stays on loopback, in one process, even where namespaces are to be had.
    #[arg(long)]
    pub loopback: bool,
    /// Set where the program has started itself inside of its namespaces.
    #[arg(long, hide = true)]
    pub inside: bool,
}

/// Why the demo came to no good end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Somebody asked for the end.
    #[error("interrupted; nothing is left behind")]
    Interrupted,
    /// A program that this one needs.
    #[error("cannot start `{program}`: {source}; {remedy}")]
    Program {
        /// Its name.
        program: String,
        /// What the system said.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A command failed.
    #[error("`{command}` failed: {said}")]
    Command {
        /// The command line.
        command: String,
        /// What it wrote to standard error.
        said: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s")]
    Late {
        /// What.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Traffic did not come through.
    #[error("nothing came through the tunnel: {0}")]
    NoTraffic(String),
    /// Anything else that the system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The demo inside of the namespaces failed, and has said why.
    #[error("the demo did not come to its end")]
    Inside {
        /// Its exit code.
        exit_code: u8,
    },
    /// A gateway refused its configuration.
    #[error("{0}")]
    Gateway(String),
}

impl DemoError {
    fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            // 128 and the number of SIGINT, as shells count.
            Self::Interrupted => 130,
            Self::Inside { exit_code } => *exit_code,
            _ => 1,
        }
    }
}

/// Runs the demo.
///
/// # Errors
/// [`DemoError`]; nothing is left behind.
pub fn main(options: &Options) -> Result<(), DemoError> {
    let termination = Termination::catch().map_err(DemoError::system("cannot catch signals"))?;
    if options.inside {
        return run::run(options, &termination);
    }
    if options.loopback {
        println!("On loopback, as asked: two gateways in one process, without TUN interfaces.");
        return loopback::run(options, &termination);
    }
    match sandbox::find()? {
        Room::Namespaces(entry) => entry.run(options, &termination),
        Room::Refused(why) => {
            println!("No namespaces here ({why}).");
            println!("Instead: two gateways in one process over loopback, without TUN interfaces.");
            loopback::run(options, &termination)
        }
    }
}
