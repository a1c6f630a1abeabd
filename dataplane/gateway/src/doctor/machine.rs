//! What the machine and its administrator leave to a gateway: limits, processors, other programs.

use std::path::{Path, PathBuf};

use dataplane::{Engine, Workers};
use dataplane_io::socket::{BindRequest, bind_group};
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::text::Counted;
use crate::uapi::DIRECTORY;

/// Descriptors of a process beside those of its workers: standard ones, logs, events, the management socket and its clients.
const FILES_BASE: u64 = 64;
/// Descriptors of a worker for one interface: poller, waker, a socket of each family, a queue of the interface, and room.
const FILES_PER_WORKER: u64 = 8;

/// What a socket's buffers become of what a gateway asks for.
pub(super) fn buffers() -> Finding {
    let request = BindRequest::default();
    match bind_group(&request) {
        Ok(group) => judge_buffers(group.buffers, request.recv_buffer.min(request.send_buffer)),
        Err(error) => Finding::failure("buffers", error.to_string(), "see the finding `sockets`"),
    }
}

pub(super) fn judge_buffers((recv, send): (usize, usize), wanted: usize) -> Finding {
    let kib = |bytes: usize| bytes >> 10;
    let found = format!("receive {} KiB, send {} KiB of each socket", kib(recv), kib(send));
    if recv.min(send) >= wanted {
        return Finding::ok("buffers", found);
    }
    let remedy = format!(
        "sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}, or run with CAP_NET_ADMIN, which is not held to them"
    );
    Finding::warning("buffers", format!("{found}, of {} KiB wanted: bursts are lost", kib(wanted)), remedy)
}

/// How many descriptors the process may have.
pub(super) fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile).current;
    judge_open_files(limit, Workers::Auto.count())
}

pub(super) fn judge_open_files(limit: Option<u64>, workers: usize) -> Finding {
    let needed = FILES_BASE + workers as u64 * FILES_PER_WORKER;
    match limit {
        Some(limit) if limit < needed => Finding::warning(
            "nofile",
            format!(
                "{limit} open files; {} with one interface may need {needed}",
                Counted(workers, "worker")
            ),
            format!("`ulimit -n {needed}`, or LimitNOFILE={needed} in the unit of the service"),
        ),
        Some(limit) => Finding::ok("nofile", format!("{limit} open files")),
        None => Finding::ok("nofile", "open files without limit"),
    }
}

/// How much memory may be locked: nothing here locks any, and a ring or a UMEM would.
pub(super) fn locked_memory() -> Finding {
    let found = match getrlimit(Resource::Memlock).current {
        Some(bytes) => format!("{} KiB may be locked; none is", bytes >> 10),
        None => "may be locked without limit; none is".to_owned(),
    };
    Finding::ok("memlock", found)
}

/// How many workers there would be, and whether one can be started.
pub(super) fn workers() -> Finding {
    let workers = Workers::Auto.count();
    match Engine::builder().workers(Workers::Count(1)).start() {
        Ok(_) => Finding::ok("workers", format!("{workers}, one for each CPU that this process may use")),
        Err(error) => Finding::failure(
            "workers",
            error.to_string(),
            "give the process more memory or threads: `ulimit -a`, and the limits of its container",
        ),
    }
}

/// Which cipher, and why this one.
pub(super) fn cipher() -> Finding {
    match Engine::builder().workers(Workers::Count(1)).start() {
        Ok((engine, _)) => judge_cipher(engine.cipher(), &features()),
        Err(error) => Finding::failure("cipher", error.to_string(), "see the finding `workers`"),
    }
}

pub(super) fn judge_cipher(name: &str, features: &[&str]) -> Finding {
    let has = match features {
        [] => "neither AVX2 nor what the AVX-512 kernel needs".to_owned(),
        some => some.join(" and "),
    };
    let found = format!("{name}: the fastest that runs on this processor, which has {has}");
    let remedy = "in a virtual machine, pass the host's processor through, AVX2 and AVX-512 included";
    if features.is_empty() { Finding::note("cipher", found, remedy) } else { Finding::ok("cipher", found) }
}

/// What this processor has of that by which a cipher is chosen.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let avx512 = std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("avx512ifma")
        && std::arch::is_x86_feature_detected!("avx512vbmi2");
    let avx2 = std::arch::is_x86_feature_detected!("avx2");
    [("AVX2", avx2), ("AVX-512 with IFMA and VBMI2", avx512)]
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

/// Whether wg-quick would take the kernel's WireGuard: it asks the kernel first, whatever its environment says, and a module
/// that is not loaded yet is loaded by the question.
pub(super) fn wg_quick() -> Finding {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = PathBuf::from("/lib/modules").join(release.trim());
    judge_wg_quick(Path::new("/sys/module/wireguard").exists(), &modules)
}

pub(super) fn judge_wg_quick(loaded: bool, modules: &Path) -> Finding {
    let names = |file: &str| {
        let text = std::fs::read_to_string(modules.join(file)).unwrap_or_default();
        text.lines().any(|line| {
            let path = line.split(':').next().unwrap_or_default();
            path.rsplit('/').next().is_some_and(|name| name.starts_with("wireguard.ko"))
        })
    };
    let found = match (loaded, names("modules.builtin"), names("modules.dep")) {
        (true, _, _) => "the kernel's WireGuard is loaded: wg-quick uses it instead of this program",
        (_, true, _) => "the kernel has WireGuard built in: wg-quick uses it instead of this program",
        (_, _, true) => {
            "the kernel has WireGuard as a module: wg-quick loads and uses it instead of this program"
        }
        _ => {
            return Finding::ok(
                "wg-quick",
                "no WireGuard in this kernel: wg-quick uses dataplane-wg when told to",
            );
        }
    };
    let remedy = "`dataplane up` never uses it; for wg-quick, keep the module out: \
                  `echo install wireguard /bin/false > /etc/modprobe.d/no-wireguard.conf`, then `rmmod wireguard`";
    Finding::note("wg-quick", found, remedy)
}

/// Whether the directory of management sockets can be written.
pub(super) fn sockets() -> Finding {
    let mut directory = Path::new(DIRECTORY);
    // It is made when it is missing, so its first ancestor that exists decides.
    while let (false, Some(parent)) = (directory.exists(), directory.parent()) {
        directory = parent;
    }
    match rustix::fs::access(directory, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Finding::ok("management", format!("sockets of interfaces go to {DIRECTORY}")),
        Err(error) => Finding::warning(
            "management",
            format!("{DIRECTORY} cannot be written: {}", std::io::Error::from(error)),
            "run as root, or name another with --socket-directory; `wg` looks in that one only",
        ),
    }
}
