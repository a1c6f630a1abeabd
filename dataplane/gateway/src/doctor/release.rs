//! Kernels that are known to damage packets, by their numbers: nothing else shows these faults before they hurt.

/// Three numbers of a release; what a distribution adds behind them says nothing about them.
pub(super) type Release = (u32, u32, u32);

/// A range of releases with a fault.
pub(super) struct Fault {
    first: Release,
    last: Release,
    /// What goes wrong.
    pub(super) what: &'static str,
    /// What to do.
    pub(super) remedy: &'static str,
}

/// Known faults, newest first. A distribution may have mended one under an older number, so these are warnings.
const FAULTS: [Fault; 3] = [
    // EN-19. The engine leaves GSO off there by itself.
    Fault {
        first: (7, 0, 0),
        last: (7, 1, 4),
        what: "it mangles UDP trains whose segments are all equal, so GSO is left off, which costs speed",
        remedy: "update to Linux 7.1.5 or later",
    },
    // A check of virtio headers that refused super-packets with a short tail; taken back by "net: drop bad gso csum_start and
    // offset in virtio_net_hdr".
    Fault {
        first: (6, 10, 3),
        last: (6, 10, 4),
        what: "its TUN driver refuses super-packets with a short tail, which are lost then",
        remedy: "update to Linux 6.10.5 or later",
    },
    Fault {
        first: (6, 6, 44),
        last: (6, 6, 45),
        what: "its TUN driver refuses super-packets with a short tail, which are lost then",
        remedy: "update to Linux 6.6.46 or later",
    },
];

/// The numbers of a text such as `6.1.0-26-amd64`; zero for what is missing.
pub(super) fn parse(text: &str) -> Release {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    let mut next = || numbers.next().flatten().unwrap_or(0);
    (next(), next(), next())
}

/// What is known against a release.
pub(super) fn fault(release: Release) -> Option<&'static Fault> {
    FAULTS.iter().find(|fault| (fault.first..=fault.last).contains(&release))
}
