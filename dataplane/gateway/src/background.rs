//! Going to the background, and telling the foreground how that went.
//!
//! The background process is this program started again with its standard output piped to the first. Through it goes one
//! word, or the line that says what is wrong; then the pipe is given up.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal};

use crate::signals::Termination;

/// Tells the background process that somebody waits for word on its standard output.
pub(crate) const VARIABLE: &str = "DATAPLANE_READY_ON_STDOUT";

/// The word.
const READY: &str = "ready\n";

/// Most bytes of a message of the background process: some lines.
const MESSAGE_LEN_MAX: u64 = 64 * 1024;

/// Why there is no background process.
#[derive(Debug, thiserror::Error)]
pub enum BackgroundError {
    /// What it said before it ended.
    #[error("{message}")]
    Failed {
        /// Its words.
        message: String,
        /// Its exit code.
        exit_code: u8,
    },
    /// It ended without a word.
    #[error("the background process was not ready yet when {how}; start with --foreground to see more")]
    Died {
        /// What ended it.
        how: String,
    },
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl BackgroundError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Starts this program again in the background and waits until it is ready. What it writes to standard error goes to
/// `stderr`. A signal that comes meanwhile is passed on, and what becomes of it is waited for.
///
/// # Errors
/// [`BackgroundError`]: there is no background process then.
pub fn start(stderr: Stdio, termination: Option<&Termination>) -> Result<(), BackgroundError> {
    let failed = |source| BackgroundError::System { what: "cannot start the background process", source };
    let mut arguments = std::env::args_os();
    // By this path the same program is found even if its file has been replaced or the working directory has changed.
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let mut child = command
        .args(arguments)
        .env(VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(failed)?;
    let mut message = String::new();
    if let Some(stdout) = child.stdout.take() {
        if let Some(termination) = termination
            && signal_comes_first(&stdout, termination).map_err(failed)?
        {
            let _ = rustix::process::kill_process(Pid::from_child(&child), Signal::TERM);
        }
        stdout.take(MESSAGE_LEN_MAX).read_to_string(&mut message).map_err(failed)?;
    }
    if message == READY {
        return Ok(());
    }
    let status = child.wait().map_err(failed)?;
    Err(match (message.trim_end(), status.code()) {
        ("", _) => BackgroundError::Died { how: describe(status) },
        (message, code) => BackgroundError::Failed {
            message: message.to_owned(),
            exit_code: code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        },
    })
}

/// Waits for a word or a signal; says whether it was the signal.
fn signal_comes_first(stdout: &ChildStdout, termination: &Termination) -> io::Result<bool> {
    loop {
        let mut fds = [PollFd::new(stdout, PollFlags::IN), PollFd::new(termination, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) if fds.iter().any(|fd| !fd.revents().is_empty()) => return Ok(fds[0].revents().is_empty()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn describe(status: std::process::ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("signal {signal} ended it"),
        None => format!("it ended with {status}"),
    }
}

/// The background process's end: somebody waits, or nobody does.
#[derive(Debug)]
pub struct Readiness {
    /// The name by which the process is listed, and under which it complains.
    name: &'static str,
    awaited: bool,
}

impl Readiness {
    /// Whether somebody waits, as the environment says.
    pub fn inherited(name: &'static str) -> Self {
        Self { name, awaited: std::env::var_os(VARIABLE).is_some() }
    }

    /// Whether this is the background process, which somebody waits for.
    pub fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// Leaves the terminal and the working directory of whoever started this, where this is the background.
    ///
    /// # Errors
    /// [`BackgroundError::System`].
    pub fn detach(&self) -> Result<(), BackgroundError> {
        if !self.awaited {
            return Ok(());
        }
        // It would be listed as `exe`, by the path that it was started by.
        let _ = std::fs::write("/proc/self/comm", self.name);
        let leave = BackgroundError::system("cannot leave the terminal");
        rustix::process::setsid().map_err(|error| leave(error.into()))?;
        // Absolute from here on: a background process must not keep a file system from being unmounted.
        std::env::set_current_dir("/").map_err(BackgroundError::system("cannot change to /"))
    }

    /// Says that everything stands.
    ///
    /// # Errors
    /// [`BackgroundError::System`].
    pub fn ready(&self) -> Result<(), BackgroundError> {
        if !self.awaited {
            return Ok(());
        }
        // A waiter that has gone away is no reason to end.
        let _ = io::stdout().write_all(READY.as_bytes()).and_then(|()| io::stdout().flush());
        let leave = BackgroundError::system("cannot leave the pipe");
        rustix::stdio::dup2_stdout(null()?).map_err(|error| leave(error.into()))
    }

    /// Gives up the standard error of whoever started this, where this is the background.
    ///
    /// # Errors
    /// [`BackgroundError::System`].
    pub fn silence(&self) -> Result<(), BackgroundError> {
        if !self.awaited {
            return Ok(());
        }
        let leave = BackgroundError::system("cannot leave standard error");
        rustix::stdio::dup2_stderr(null()?).map_err(|error| leave(error.into()))
    }

    /// Says why nothing stands: to whoever waits, else on standard error.
    pub fn failed(&self, error: &dyn std::fmt::Display) {
        let message = error.to_string();
        if self.awaited {
            let _ = writeln!(io::stdout(), "{message}");
        } else if message.contains('\n') {
            // Several lines are problems of a file, which each of them names.
            let _ = writeln!(io::stderr(), "{message}");
        } else {
            let _ = writeln!(io::stderr(), "{}: {message}", self.name);
        }
    }
}

fn null() -> Result<File, BackgroundError> {
    File::options().write(true).open("/dev/null").map_err(BackgroundError::system("cannot open /dev/null"))
}
