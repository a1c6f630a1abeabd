//! What the kernel is told about an interface: addresses, routes, policy rules, the firewall, resolvers.
//!
//! Enters: what shall be there. Leaves: a kernel that has it, or an error that names what was refused. Addresses, routes and
//! rules go by netlink: the typed messages of the rust-netlink project over a plain socket. The crate `rtnetlink` would bring
//! an async runtime; the program `ip` would be one process for each of ten thousand allowed IPs, and tell errors as prose.

mod dns;
mod firewall;
mod rtnl;

pub(crate) use dns::{Dns, Resolver, ResolverKind};
pub(crate) use firewall::Firewall;
pub(crate) use rtnl::{Family, Netlink, Route, Rule, TABLE_MAIN};

/// Where a program is, as a shell would find it.
pub(crate) fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    // A service may be started without the directories in which such programs are.
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(std::path::PathBuf::from);
    std::env::split_paths(&paths).chain(usual).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Why a program of the system did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not there, or cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Its name.
        program: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It failed.
    #[error("{program} refused ({status}): {said}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it wrote, on one line.
        said: String,
    },
}

/// Runs a program to its end with this text as its input.
pub(crate) fn run_program(
    program: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<String, ProgramError> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let start = |source| ProgramError::Start { program, source };
    let path = find_program(program).ok_or_else(|| start(std::io::ErrorKind::NotFound.into()))?;
    let mut child = Command::new(path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input says why by itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    Err(ProgramError::Refused { program, status: output.status, said: crate::text::shown(&said) })
}
