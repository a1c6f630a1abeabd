//! `completions`, `man`: what shells and readers want to know of the command lines, from the command lines themselves.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::{Failure, write_out};

/// One of the programs.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum Program {
    /// The operator's program.
    #[default]
    Dataplane,
    /// The program in the place of wireguard-go.
    DataplaneWg,
}

impl Program {
    fn command(self) -> Command {
        match self {
            Self::Dataplane => super::Options::command(),
            Self::DataplaneWg => crate::wg::Options::command(),
        }
    }
}

/// What `completions` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
    /// The program to complete.
    #[arg(long, value_enum, default_value_t)]
    program: Program,
}

/// What `man` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Man {
    /// The command of this program to describe; the program itself where none is given.
    #[arg(conflicts_with = "program")]
    command: Option<String>,
    /// The program to describe.
    #[arg(long, value_enum, default_value_t)]
    program: Program,
    /// Writes the pages of all programs and commands into this directory instead.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["command", "program"])]
    directory: Option<PathBuf>,
}

/// Writes a script for a shell.
pub(super) fn completions(options: &Completions) -> Result<(), Failure> {
    let mut command = options.program.command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    write_out(&script)
}

/// Writes a page in man(7)'s format, or all of them.
pub(super) fn man(options: &Man) -> Result<(), Failure> {
    if let Some(directory) = &options.directory {
        return pages().into_iter().try_for_each(|command| {
            let path = directory.join(format!("{}.1", page_name(&command)));
            write_page(&path, command)
                .map_err(|error| Failure::system(&format!("cannot write {}", path.display()), &error))
        });
    }
    let wanted = match &options.command {
        None => page_name(&options.program.command()).to_owned(),
        Some(name) => format!("dataplane-{name}"),
    };
    let all = pages();
    let names: Vec<_> =
        all[PROGRAMS..].iter().filter_map(|page| page_name(page).strip_prefix("dataplane-")).collect();
    let names = names.join(", ");
    let page = all.into_iter().find(|page| page_name(page) == wanted).ok_or_else(|| {
        let given = crate::text::quoted(options.command.as_deref().unwrap_or_default());
        Failure::input(format!("there is no command {given}: expected one of {names}"))
    })?;
    let mut text = Vec::new();
    // Writing to memory does not fail.
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|error| Failure::system("cannot write the page", &error))?;
    write_out(&text)
}

/// Pages that are of programs: the first of all.
const PROGRAMS: usize = 2;

/// Every page: the two programs, and each command of the first under the name `dataplane-COMMAND`.
fn pages() -> Vec<Command> {
    let mut dataplane = Program::Dataplane.command().disable_help_subcommand(true);
    dataplane.build();
    let commands: Vec<Command> = dataplane
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.clone().version(env!("CARGO_PKG_VERSION")))
        .collect();
    [vec![dataplane, Program::DataplaneWg.command()], commands].concat()
}

/// What a page is called: clap has joined the names of program and command.
fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn write_page(path: &Path, command: Command) -> io::Result<()> {
    let mut file = File::create(path)?;
    clap_mangen::Man::new(command).render(&mut file)?;
    file.flush()
}
