//! What tests of kernel interfaces need: network namespaces of their own, or a loud word that they were skipped; and threads
//! without rights.
//!
//! Contains unsafe: unshare, setresuid.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;

use crate::netlink::{LinkSettings, Links};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with loopback up, and the thread that lives in it. It ends with this value, but for what is still open.
pub(crate) struct Namespace {
    jobs: mpsc::Sender<Job>,
}

impl Namespace {
    /// A fresh one. Without the right to make it, says so on standard error, past the test harness's capture.
    pub(crate) fn new() -> Option<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, made) = mpsc::channel();
        thread::spawn(move || {
            if ready.send(enter()).is_ok() {
                inbox.iter().for_each(|job| job());
            }
        });
        match made.recv().expect("the namespace's thread has died") {
            Ok(()) => Some(Self { jobs }),
            Err(error) => {
                let name = thread::current().name().unwrap_or("a test").to_owned();
                let _ = writeln!(
                    io::stderr(),
                    "SKIPPED {name}: it needs a network namespace ({error}): run as root, or under `unshare -Urn`"
                );
                None
            }
        }
    }

    /// Runs a job inside, and returns what it returns. What it opens may be used anywhere.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = move || drop(done.send(catch_unwind(AssertUnwindSafe(job))));
        self.jobs.send(Box::new(job)).expect("the namespace's thread has died");
        result.recv().expect("the namespace's thread has died").unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Runs a test in a fresh namespace, or skips it aloud.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if let Some(namespace) = Namespace::new() {
        namespace.run(test);
    }
}

/// Moves this thread to a fresh namespace.
fn enter() -> io::Result<()> {
    // SAFETY: takes no pointer, and concerns this thread alone.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut links = Links::open()?;
    let loopback = links.find("lo")?.index;
    links.set(loopback, &LinkSettings { up: Some(true), ..LinkSettings::default() })
}

/// Runs a test on a thread of its own that has no rights left. Where the process had none to begin with, it is the same.
pub(crate) fn without_rights(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(move || {
        const NOBODY: libc::c_long = 65_534;
        // SAFETY: takes no pointer. The bare system call, other than the C library's, changes this thread alone; where it is
        // refused, the rights it would give up are not there.
        unsafe { libc::syscall(libc::SYS_setresuid, -1, NOBODY, -1) };
        test();
    });
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}
