//! Going to the background, and telling the foreground how that went.
//!
//! The background process is this program started again with its standard output piped to the first. Through it goes one
//! word, or the line that says what is wrong; then the pipe is given up.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use super::{Environment, WgError};

/// Tells the background process that somebody waits for word on its standard output.
const VARIABLE: &str = "DATAPLANE_WG_READY_ON_STDOUT";

/// The name by which the process is listed.
const NAME: &str = "dataplane-wg";

/// The word.
const READY: &str = "ready\n";

/// Most bytes of a message of the background process: one line.
const MESSAGE_LEN_MAX: u64 = 64 * 1024;

/// Starts this program again in the background and waits until it is ready.
pub(super) fn start(environment: &Environment) -> Result<(), WgError> {
    let failed = |source| WgError::System { what: "cannot start the background process", source };
    let stderr = if environment.logs_in_background { Stdio::inherit() } else { Stdio::null() };
    let mut arguments = std::env::args_os();
    // By this path the same program is found even if its file has been replaced or the working directory has changed.
    let mut child = Command::new("/proc/self/exe")
        .arg0(arguments.next().unwrap_or_else(|| NAME.into()))
        .args(arguments)
        .env("WG_PROCESS_FOREGROUND", "1")
        .env(VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(failed)?;
    let mut message = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MESSAGE_LEN_MAX).read_to_string(&mut message).map_err(failed)?;
    }
    if message == READY {
        return Ok(());
    }
    let status = child.wait().map_err(failed)?;
    Err(match (message.trim_end(), status.code()) {
        ("", _) => WgError::BackgroundDied { how: describe(status) },
        (message, code) => WgError::BackgroundFailed {
            message: message.to_owned(),
            exit_code: code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        },
    })
}

fn describe(status: std::process::ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("signal {signal} ended it"),
        None => format!("it ended with {status}"),
    }
}

/// The background process's end: somebody waits, or nobody does.
#[derive(Debug)]
pub(super) struct Readiness {
    awaited: bool,
}

impl Readiness {
    /// Whether somebody waits, as the environment says.
    pub(super) fn inherited() -> Self {
        Self { awaited: std::env::var_os(VARIABLE).is_some() }
    }

    /// Leaves the terminal and the working directory of whoever started this, where this is the background.
    pub(super) fn detach(&self) -> Result<(), WgError> {
        if !self.awaited {
            return Ok(());
        }
        // It would be listed as `exe`, by the path that it was started by.
        let _ = std::fs::write("/proc/self/comm", NAME);
        rustix::process::setsid().map_err(|e| WgError::system("cannot leave the terminal")(e.into()))?;
        // Absolute from here on: a background process must not keep a file system from being unmounted.
        std::env::set_current_dir("/").map_err(WgError::system("cannot change to /"))
    }

    /// Says that everything stands.
    pub(super) fn ready(&self) -> Result<(), WgError> {
        if !self.awaited {
            return Ok(());
        }
        // A waiter that has gone away is no reason to end.
        let _ = io::stdout().write_all(READY.as_bytes()).and_then(|()| io::stdout().flush());
        let null = File::options().write(true).open("/dev/null");
        let null = null.map_err(WgError::system("cannot open /dev/null"))?;
        rustix::stdio::dup2_stdout(null).map_err(|e| WgError::system("cannot leave the pipe")(e.into()))
    }

    /// Says why nothing stands: to whoever waits, else on standard error.
    pub(super) fn failed(&self, error: &WgError) {
        if self.awaited {
            let _ = writeln!(io::stdout(), "{error}");
        } else {
            let _ = writeln!(io::stderr(), "dataplane-wg: {error}");
        }
    }
}
