//! The commands of a file, run by the shell.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::UpError;
use crate::background;
use crate::config::Hook;
use crate::net::find_program;
use crate::signals::Termination;

/// Runs each command to its end, with `%i` replaced by the interface's name; the first that fails ends it. What they
/// write goes to standard error. A signal ends the command that runs, and is reported.
pub(super) fn run(
    key: &'static str,
    hooks: &[Hook],
    interface: &str,
    config: &Path,
    termination: Option<&Termination>,
) -> Result<(), UpError> {
    for hook in hooks {
        let command = hook.command.replace("%i", interface);
        tracing::info!("{key}: {command}");
        let status = shell(&command, termination).map_err(UpError::system(format!("cannot run {key}")))?;
        match status {
            None => return Err(UpError::Interrupted),
            Some(status) if status.success() => {}
            Some(status) => {
                let (config, line) = (config.to_owned(), hook.line);
                return Err(UpError::Hook { config, line, key, command, status });
            }
        }
    }
    Ok(())
}

/// As [`run`], and goes on behind those that fail.
pub(super) fn run_all(key: &'static str, hooks: &[Hook], interface: &str, config: &Path) -> Vec<UpError> {
    hooks
        .iter()
        .filter_map(|hook| run(key, std::slice::from_ref(hook), interface, config, None).err())
        .collect()
}

/// How a command ended; `None` where a signal came first.
fn shell(command: &str, termination: Option<&Termination>) -> io::Result<Option<ExitStatus>> {
    // What people write for wg-quick is written for bash.
    let shell = find_program("bash").unwrap_or_else(|| "/bin/sh".into());
    let mut child = Command::new(shell)
        .args(["-c", command])
        .env_remove(background::VARIABLE)
        .stdin(Stdio::null())
        .stdout(io::stderr())
        // A group of its own can be ended as a whole.
        .process_group(0)
        .spawn()?;
    let Some(termination) = termination else { return child.wait().map(Some) };
    if ends_before(&child, termination)? {
        return child.wait().map(Some);
    }
    if let Some(group) = Pid::from_raw(child.id() as i32) {
        let _ = rustix::process::kill_process_group(group, Signal::TERM);
    }
    child.wait()?;
    Ok(None)
}

/// Waits for the end of a child or a signal; says whether it was the child.
fn ends_before(child: &Child, termination: &Termination) -> io::Result<bool> {
    let Some(pid) = Pid::from_raw(child.id() as i32) else { return Ok(true) };
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(termination, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) if fds.iter().any(|fd| !fd.revents().is_empty()) => {
                return Ok(!fds[0].revents().is_empty());
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
