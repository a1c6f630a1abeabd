//! Why there is no TUN interface, and what to do about it.

use std::io;

/// Why an interface could not be had or changed.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// No interface can have this name.
    #[error("{name:?} cannot be the name of an interface: {why}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `/dev/net/tun` does not exist, or nothing stands behind it.
    #[error(
        "there is no /dev/net/tun: load the module with `modprobe tun`, or give the container the device \
         (`--device /dev/net/tun`)"
    )]
    NoDriver,
    /// The process lacks the right.
    #[error(
        "{what} needs the capability CAP_NET_ADMIN: run as root, or `setcap cap_net_admin+ep` the program, \
         or give the container `--cap-add NET_ADMIN`"
    )]
    Rights {
        /// What was refused.
        what: &'static str,
    },
    /// There is an interface of that name already.
    #[error("interface {name} exists already: choose another name, or remove it with `ip link del {name}`")]
    Exists {
        /// The name.
        name: String,
    },
    /// The interface belongs to another process, or all of its queues are taken.
    #[error("interface {name} is in use by another process: stop that one first")]
    Busy {
        /// The name.
        name: String,
    },
    /// The interface exists, but is not a TUN of the kind that is needed.
    #[error(
        "interface {name} exists and is no TUN with `multi_queue vnet_hdr`: remove it, or create it with \
         `ip tuntap add {name} mode tun multi_queue vnet_hdr`"
    )]
    Kind {
        /// The name.
        name: String,
    },
    /// The inherited descriptor is not an open TUN interface.
    #[error(
        "the descriptor that was handed over is no TUN interface in TUN mode without packet information: {why}"
    )]
    Descriptor {
        /// What it is instead.
        why: &'static str,
    },
    /// The interface was removed while it was being set up.
    #[error("interface {name} is gone")]
    Gone {
        /// The name.
        name: String,
    },
    /// Its driver or the kernel does not take a value.
    #[error("interface {name} does not take {what} {value}: {source}")]
    Value {
        /// The name.
        name: String,
        /// What was set.
        what: &'static str,
        /// To what.
        value: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else that the kernel says.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl TunError {
    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Rights { what },
            _ => Self::Io { what, source },
        }
    }
}
