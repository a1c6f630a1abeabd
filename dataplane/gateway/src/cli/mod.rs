//! `dataplane`: the operator's program, a command for each thing that is done by hand.

mod check;
mod doctor;
mod generate;
mod keys;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{demo, status, top, up};

/// A data plane for gateways: WireGuard at the speed of the machine.
#[derive(Debug, Parser)]
#[command(name = "dataplane", version, subcommand_required = true, arg_required_else_help = true)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes a new private key to standard output.
    Genkey,
    /// Writes a new pre-shared key to standard output.
    Genpsk,
    /// Reads a private key from standard input and writes its public key to standard output.
    Pubkey,
    /// Brings an interface up by a configuration file of wg-quick(8).
    Up(up::Options),
    /// Takes down an interface that `up` has brought up, with everything that belongs to it.
    Down(up::Target),
    /// Reads the file of an interface that is up, and changes what differs: all of it, or nothing where the file is wrong.
    Reload(up::Target),
    /// Shows interfaces, their peers, and what the program behind them counts.
    Status(status::Options),
    /// Shows an interface at work: throughput, peers, workers, drops.
    Top(top::Options),
    /// Reads a configuration file and names everything that is wrong with it.
    Check {
        /// A file, or the name of an interface for /etc/wireguard/NAME.conf.
        file: String,
    },
    /// Examines this machine: what a gateway finds here, what it lacks, and what to do about that.
    Doctor(doctor::Options),
    /// Shows two gateways at work on this machine: traffic through a tunnel, and what it costs.
    Demo(demo::Options),
    /// Writes a script that completes command lines in a shell.
    Completions(generate::Completions),
    /// Writes a page for man(1).
    Man(generate::Man),
    /// Writes the version to standard output.
    Version,
}

/// Why a command failed: one line for standard error, and the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    message: String,
    exit_code: u8,
}

impl Failure {
    /// The system refused something: exit code 1.
    fn system(what: &str, source: &io::Error) -> Self {
        Self { message: format!("{what}: {source}"), exit_code: 1 }
    }

    /// What was asked for cannot be had here: exit code 1.
    fn refused(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 1 }
    }

    /// What was given is wrong: exit code 2, as for a wrong command line.
    fn input(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 2 }
    }
}

impl From<status::StatusError> for Failure {
    fn from(error: status::StatusError) -> Self {
        Self { exit_code: error.exit_code(), message: error.to_string() }
    }
}

impl From<up::UpError> for Failure {
    fn from(error: up::UpError) -> Self {
        Self { exit_code: error.exit_code(), message: error.to_string() }
    }
}

/// Runs the program with the command line of this process.
pub fn main() -> ExitCode {
    match run(Options::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A message of several lines names its file in each.
            let prefix = if failure.message.contains('\n') { "" } else { "dataplane: " };
            let _ = writeln!(io::stderr(), "{prefix}{failure}");
            ExitCode::from(failure.exit_code)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Genkey => keys::generate(crate::keys::random_private_key),
        Command::Genpsk => keys::generate(crate::keys::random_preshared_key),
        Command::Pubkey => keys::derive_public(io::stdin().lock()),
        Command::Up(options) => Ok(up::up(&options)?),
        Command::Reload(target) => say(&format!("{}: {}", target.file, up::reload(&target)?)),
        Command::Status(options) => Ok(status::main(&options)?),
        Command::Top(options) => Ok(top::main(&options)?),
        Command::Down(target) => Ok(up::down(&target)?),
        Command::Check { file } => check::check(&file),
        Command::Doctor(options) => doctor::doctor(&options),
        Command::Demo(options) => demo::main(&options)
            .map_err(|error| Failure { exit_code: error.exit_code(), message: error.to_string() }),
        Command::Completions(options) => generate::completions(&options),
        Command::Man(options) => generate::man(&options),
        Command::Version => say(&format!("dataplane {}", env!("CARGO_PKG_VERSION"))),
    }
}

/// Writes a line to standard output.
fn say(line: &str) -> Result<(), Failure> {
    write_out(format!("{line}\n").as_bytes())
}

/// Writes bytes to standard output.
fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| Failure::system("cannot write to standard output", &error))
}
