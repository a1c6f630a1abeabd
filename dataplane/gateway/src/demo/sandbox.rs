//! Namespaces: a place for the demo, two networks beside it, and work inside of them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::mount::MountFlags;
use rustix::thread::LinkNameSpaceType;

use super::{DemoError, Options};
use crate::signals::Termination;

/// Where a demo can run.
pub(super) enum Room {
    /// In namespaces, entered this way.
    Namespaces(Entry),
    /// Not in namespaces, for this reason.
    Refused(String),
}

/// A way into namespaces: the arguments of unshare(1) that this machine allows.
pub(super) struct Entry {
    arguments: Vec<&'static str>,
}

/// Networks, mounts and processes of its own; all of them end with the first process inside.
const KINDS: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
/// Beside those, for users without rights: they are root inside, and nowhere else.
const USER: [&str; 2] = ["--user", "--map-root-user"];

/// How often a process is looked at that is waited for.
const WAIT_INTERVAL: Duration = Duration::from_millis(50);
/// How long the inside may take to clean up by itself.
const GRACE: Duration = Duration::from_secs(1);

/// What to do about a missing program.
const REMEDY: &str =
    "install the packages util-linux and iproute2, as `scripts/demo` does, or add --loopback";

/// Looks for a way into namespaces.
pub(super) fn find() -> Result<Room, DemoError> {
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        return Ok(Room::Refused(format!("/dev/net/tun: {error}")));
    }
    let mut why = String::new();
    for user in [&[][..], &USER] {
        let arguments = [user, &KINDS].concat();
        let tried = Command::new("unshare").args(&arguments).arg("true").stdin(Stdio::null()).output();
        let tried = tried.map_err(missing("unshare"))?;
        if tried.status.success() {
            return Ok(Room::Namespaces(Entry { arguments }));
        }
        why = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
    }
    Ok(Room::Refused(why))
}

fn missing(program: &str) -> impl Fn(io::Error) -> DemoError {
    move |source| DemoError::Program { program: program.to_owned(), source, remedy: REMEDY }
}

impl Entry {
    /// Starts this program again inside, and waits for its end.
    pub(super) fn run(&self, options: &Options, termination: &Termination) -> Result<(), DemoError> {
        let mut command = Command::new("unshare");
        command.args(&self.arguments).arg("--").arg(own_path()?).args(["demo", "--inside"]);
        command.args(["--seconds", &options.seconds.to_string()]);
        if options.plain {
            command.arg("--plain");
        }
        let mut child = command.spawn().map_err(missing("unshare"))?;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(missing("unshare"))? {
                break status;
            }
            if termination.within(WAIT_INTERVAL) {
                // From a terminal, the signal has reached the inside as well, which now cleans up. From elsewhere it has not:
                // unshare(1) keeps it for itself, and its end is the end of everything inside.
                std::thread::sleep(GRACE);
                let _ = child.kill();
                let _ = child.wait();
                return Err(DemoError::Interrupted);
            }
        };
        match status.code() {
            Some(0) => Ok(()),
            // It has said why.
            code => {
                Err(DemoError::Inside { exit_code: code.and_then(|c| u8::try_from(c).ok()).unwrap_or(1) })
            }
        }
    }
}

/// Where this program lies.
pub(super) fn own_path() -> Result<PathBuf, DemoError> {
    std::env::current_exe().map_err(DemoError::system("cannot find this program's own file"))
}

/// The networks: this process's own, where the router stands, and one for each gateway.
pub(super) struct Networks {
    left: File,
    right: File,
}

/// Which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The one that begins.
    Left,
    /// The other.
    Right,
}

impl Side {
    /// Its name, as that of its namespace.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

/// Two cables from the router: 10.77.1.0/24 to the left, 10.77.2.0/24 to the right.
const LINKS: &str = "\
netns add left
netns add right
link set lo up
link add to-left type veth peer name outer netns left
link add to-right type veth peer name outer netns right
addr add 10.77.1.1/24 dev to-left
addr add 10.77.2.1/24 dev to-right
link set to-left up
link set to-right up
";

impl Networks {
    /// Makes the networks. Only inside of namespaces: it mounts an empty /run.
    pub(super) fn make() -> Result<Self, DemoError> {
        rustix::mount::mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None)
            .map_err(|e| DemoError::system("cannot mount an empty /run")(e.into()))?;
        ip(&[], LINKS)?;
        for (side, net) in [("left", 1), ("right", 2)] {
            let lines = format!(
                "link set lo up\naddr add 10.77.{net}.2/24 dev outer\nlink set outer up\n\
                 route add default via 10.77.{net}.1\n"
            );
            ip(&["-n", side], &lines)?;
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
            .map_err(DemoError::system("cannot make the router forward"))?;
        let open = |side: Side| {
            let path = PathBuf::from("/run/netns").join(side.name());
            File::open(path).map_err(DemoError::system("cannot open a namespace"))
        };
        Ok(Self { left: open(Side::Left)?, right: open(Side::Right)? })
    }

    /// Does something in a gateway's network, on a thread of its own. Sockets and processes made there stay there.
    pub(super) fn within<T: Send>(
        &self,
        side: Side,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let namespace = match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)?;
                work()
            });
            // A panic of ours is shown as one.
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Runs ip(8) over lines of commands.
pub(super) fn ip(arguments: &[&str], lines: &str) -> Result<(), DemoError> {
    let mut child = Command::new("ip")
        .args(arguments)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(missing("ip"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Where it ends early it says why.
        let _ = stdin.write_all(lines.as_bytes());
    }
    let output = child.wait_with_output().map_err(missing("ip"))?;
    if output.status.success() {
        return Ok(());
    }
    let command = format!("ip {} -batch -", arguments.join(" "));
    Err(DemoError::Command { command, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}
