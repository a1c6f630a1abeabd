//! Namespaces of their own for tests that start the programs.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Set in the copy of the test program that runs inside.
const INSIDE: &str = "DATAPLANE_TEST_INSIDE";

/// Whether this is inside namespaces of network, mounts and processes of its own, with an empty /run and loopback up.
///
/// Outside, it runs the test of this name inside, with all that it starts ended afterwards, and says false. Where
/// namespaces are refused or a program is missing, the test is skipped, aloud.
pub(crate) fn inside(test: &str, programs: &[&str]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let skipped = |why: &str| {
        // Past the harness's capture: nobody shall take a skipped test for one that passed.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
        false
    };
    for program in ["unshare", "ip"].iter().chain(programs) {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
        if !found.status.success() {
            return skipped(&format!("{program} is not installed"));
        }
    }
    let namespaces: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["-Ur"] };
    let kinds = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(namespaces).args(kinds);
        command
    };
    let allowed = unshare().arg("true").output().unwrap();
    if !allowed.status.success() {
        return skipped(&format!(
            "it needs namespaces ({}): run as root, or allow unprivileged user namespaces",
            String::from_utf8_lossy(&allowed.stderr).trim()
        ));
    }
    // The shell stays: it is the first process of its namespace, and reaps what the programs leave.
    let script = "mount -t tmpfs tmpfs /run && ip link set lo up && \"$@\"; exit $?";
    let output = unshare()
        .args(["bash", "-c", script, "bash"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{test} inside:\n{}", show(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{test} is no test of this program: {text}");
    false
}

/// Everything that a program said.
pub(crate) fn show(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

/// Runs a line of shell, in which `dataplane-wg` and `dataplane` are the programs under test. Standard output and error come back as one
/// text, with the exit code (128 and more for signals).
pub(crate) fn sh(script: &str) -> (i32, String) {
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_dataplane-wg")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-c", &format!("exec 2>&1; {script}")])
        .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", programs.display()))
        .env_remove("LOG_LEVEL")
        .env_remove("DATAPLANE_CIPHER")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    (code, show(&output))
}

/// As [`sh`], for what must succeed.
pub(crate) fn ok(script: &str) -> String {
    let (code, text) = sh(script);
    assert_eq!(code, 0, "{script}\n{text}");
    text
}

/// Waits for something that happens soon.
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !happened() {
        assert!(Instant::now() < deadline, "did not happen in 20 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
