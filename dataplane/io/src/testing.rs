//! What tests of kernel interfaces need: a network namespace of their own, or a loud word that they were skipped.
//!
//! Contains unsafe: unshare.

use std::io::Write;
use std::panic::resume_unwind;
use std::thread;

/// Runs a test on a thread in a fresh network namespace, with loopback up. Without the right to make one, says so on standard
/// error, past the test harness's capture, and returns.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let thread = thread::spawn(move || {
        // SAFETY: takes no pointer, and concerns this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
        let mut links = crate::netlink::Links::open()?;
        let loopback = links.find("lo")?.index;
        links.set(loopback, &crate::netlink::LinkSettings { up: Some(true), ..Default::default() })?;
        test();
        Ok(())
    });
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED {name}: it needs a network namespace ({error}): run as root, or under `unshare -Urn`"
            );
        }
        Err(panic) => resume_unwind(panic),
    }
}
