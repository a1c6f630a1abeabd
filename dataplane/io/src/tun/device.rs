//! Opening, adopting and configuring a TUN interface.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::TunError;
use super::gso::{self, SuperPackets};
use super::ioctl::{self, Attached, Offloads};
use super::queue::Queue;

use crate::netlink::{LinkSettings, LinkState, Links};

/// Where the driver is spoken to.
const DRIVER: &str = "/dev/net/tun";
/// Most queues of one interface (MAX_TAP_QUEUES of the driver).
const QUEUES_MAX: usize = 256;
/// Without packet information, with vnet headers, more than one queue.
const FLAGS: libc::c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;

/// What to do with an interface that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Refuse, with [`TunError::Exists`]. The kernel decides, so two processes cannot both create it.
    #[default]
    Refuse,
    /// Attach to it: a persistent one that an administrator has prepared.
    Attach,
}

/// How an interface is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Its name. Empty: the kernel chooses one.
    pub name: &'a str,
    /// Queues, one per worker; at least 1.
    pub queues: usize,
    /// What if there is one of that name.
    pub existing: Existing,
    /// What the kernel may leave to the reader; what it does not know is left out.
    pub offloads: Offloads,
}

/// A TUN interface, as far as it is configured. It lives as long as one of its queues is open, unless it is persistent.
#[derive(Debug)]
pub struct Device {
    name: String,
    /// `None` where the interface is not in the namespace of this thread.
    index: Option<u32>,
    offloads: Offloads,
    super_packets: SuperPackets,
    links: Links,
}

/// Creates an interface, or attaches to one.
///
/// # Errors
/// Each variant of [`TunError`] but [`TunError::Descriptor`] and [`TunError::Value`] says what to do.
pub fn open(options: &Options<'_>) -> Result<(Device, Vec<Queue>), TunError> {
    check_name(options.name)?;
    let queues = options.queues.clamp(1, QUEUES_MAX);
    let exclusive = match options.existing {
        Existing::Refuse => libc::IFF_TUN_EXCL,
        Existing::Attach => 0,
    };
    let first = driver()?;
    let Attached { name, .. } = ioctl::attach(first.as_fd(), options.name, FLAGS | exclusive)
        .map_err(|error| attach_error(error, options))?;
    ioctl::set_vnet_header_len(first.as_fd())
        .map_err(TunError::io("setting the length of the vnet header"))?;
    let offloads = negotiate(first.as_fd(), options.offloads)?;
    let mut fds = vec![first];
    while fds.len() < queues {
        let fd = driver()?;
        ioctl::attach(fd.as_fd(), &name, FLAGS).map_err(|error| attach_error(error, options))?;
        ioctl::set_vnet_header_len(fd.as_fd())
            .map_err(TunError::io("setting the length of the vnet header"))?;
        fds.push(fd);
    }
    let (mut device, _) = Device::find(name)?;
    device.offloads = offloads;
    Ok((device, fds.into_iter().map(|fd| Queue::new(fd, true, offloads.uso)).collect()))
}

/// Takes over an open TUN descriptor, such as the one that `WG_TUN_FD` names, and attaches more queues where the interface
/// has room for them and lies in this namespace: at least one queue comes back, at most `queues`.
///
/// # Errors
/// [`TunError::Descriptor`]: it is no TUN, or one with packet information before each packet.
pub fn adopt(fd: OwnedFd, queues: usize, offloads: Offloads) -> Result<(Device, Vec<Queue>), TunError> {
    let Attached { name, flags } =
        ioctl::attached(fd.as_fd()).map_err(|error| match error.raw_os_error() {
            Some(libc::EBADFD) => TunError::Descriptor { why: "it is attached to no interface" },
            _ => TunError::Descriptor { why: "it is not a descriptor of /dev/net/tun" },
        })?;
    if flags & libc::IFF_TUN == 0 {
        return Err(TunError::Descriptor { why: "it is a TAP" });
    }
    let (mut device, state) = Device::find(name)?;
    // The driver's own answer says nothing about this: it reports another flag in the place of IFF_NO_PI.
    if state.and_then(|state| state.tun_packet_information) == Some(true) {
        return Err(TunError::Descriptor { why: "it was opened without IFF_NO_PI" });
    }
    set_nonblocking(&fd)?;
    let vnet = flags & libc::IFF_VNET_HDR != 0;
    if vnet {
        ioctl::set_vnet_header_len(fd.as_fd())
            .map_err(TunError::io("setting the length of the vnet header"))?;
        device.offloads = negotiate(fd.as_fd(), offloads)?;
    }
    let mut fds = vec![fd];
    let more = flags & libc::IFF_MULTI_QUEUE != 0 && vnet && device.index.is_some();
    while more && fds.len() < queues.min(QUEUES_MAX) {
        let Ok(fd) = driver() else { break };
        let attached = ioctl::attach(fd.as_fd(), &device.name, FLAGS);
        if attached.and_then(|_| ioctl::set_vnet_header_len(fd.as_fd())).is_err() {
            break;
        }
        fds.push(fd);
    }
    let uso = device.offloads.uso;
    Ok((device, fds.into_iter().map(|fd| Queue::new(fd, vnet, uso)).collect()))
}

impl Device {
    /// The device of this name, with its state where it is in the namespace of this thread.
    fn find(name: String) -> Result<(Self, Option<LinkState>), TunError> {
        let mut links = Links::open().map_err(TunError::io("opening a netlink socket"))?;
        let state = links.find(&name).ok();
        let index = state.as_ref().map(|state| state.index);
        let device = Self { name, index, offloads: Offloads::NONE, super_packets: SuperPackets::Auto, links };
        Ok((device, state))
    }

    /// Its name when it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number, for a [`LinkMonitor`](crate::netlink::LinkMonitor). `None` for one that was handed over from another
    /// network namespace: it carries packets, but cannot be configured from here.
    pub fn index(&self) -> Option<u32> {
        self.index
    }

    /// What the kernel leaves to the reader.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Its present state.
    ///
    /// # Errors
    /// [`TunError::Gone`].
    pub fn state(&mut self) -> Result<LinkState, TunError> {
        let index = self.index_or_gone()?;
        self.links.state(index).map_err(|error| self.link_error("reading the state", 0, error))
    }

    /// Its MTU.
    ///
    /// # Errors
    /// [`TunError::Gone`].
    pub fn mtu(&mut self) -> Result<u32, TunError> {
        Ok(self.state()?.mtu)
    }

    /// Chooses how large super-packets may be; takes effect with the next [`Device::set_mtu`] or [`Device::fit_gso`].
    pub fn set_super_packets(&mut self, super_packets: SuperPackets) {
        self.super_packets = super_packets;
    }

    /// Sets the MTU, and `gso_max_size` to go with it. Returns the latter as it now is: a kernel that does not take it (before
    /// Linux 4.16) costs speed, and nothing else.
    ///
    /// # Errors
    /// [`TunError::Value`]: the kernel takes 68 to 65,535, and 1,280 at least if IPv6 shall work. [`TunError::Rights`].
    pub fn set_mtu(&mut self, mtu: u32) -> Result<u32, TunError> {
        self.set("the MTU", mtu, LinkSettings { mtu: Some(mtu), ..LinkSettings::default() })?;
        let _ = self.fit_gso(mtu);
        Ok(self.state()?.gso_max_size)
    }

    /// Sets `gso_max_size` for this MTU, and returns it: when somebody else has changed the MTU.
    ///
    /// # Errors
    /// [`TunError::Rights`]. [`TunError::Value`]: the kernel does not know how (before Linux 4.16).
    pub fn fit_gso(&mut self, mtu: u32) -> Result<u32, TunError> {
        let bytes = self.super_packets.bytes(mtu, gso::forwards);
        self.set(
            "gso_max_size",
            bytes,
            LinkSettings { gso_max_size: Some(bytes), ..LinkSettings::default() },
        )?;
        Ok(bytes)
    }

    /// Sets how many packets wait for each queue's reader before the kernel drops them (`txqueuelen`).
    ///
    /// # Errors
    /// [`TunError::Rights`]; [`TunError::Value`] where there is no memory for as many.
    pub fn set_tx_queue_len(&mut self, packets: u32) -> Result<(), TunError> {
        let settings = LinkSettings { tx_queue_len: Some(packets), ..LinkSettings::default() };
        self.set("txqueuelen", packets, settings)
    }

    /// Sets it up or down.
    ///
    /// # Errors
    /// [`TunError::Rights`].
    pub fn set_up(&mut self, up: bool) -> Result<(), TunError> {
        self.set("up", u32::from(up), LinkSettings { up: Some(up), ..LinkSettings::default() })
    }

    /// Gives it an address and the prefix that is reached by it.
    ///
    /// # Errors
    /// [`TunError::Rights`]; [`TunError::Io`] for an address that it has, or a prefix that is too long.
    pub fn add_address(&mut self, address: IpAddr, prefix_len: u8) -> Result<(), TunError> {
        let index = self.index_or_gone()?;
        self.links.add_address(index, address, prefix_len).map_err(TunError::io("adding an address"))
    }

    fn set(&mut self, what: &'static str, value: u32, settings: LinkSettings) -> Result<(), TunError> {
        let index = self.index_or_gone()?;
        self.links.set(index, &settings).map_err(|error| self.link_error(what, value, error))
    }

    fn index_or_gone(&self) -> Result<u32, TunError> {
        self.index.ok_or_else(|| TunError::Gone { name: self.name.clone() })
    }

    fn link_error(&self, what: &'static str, value: u32, source: io::Error) -> TunError {
        let name = self.name.clone();
        match source.raw_os_error() {
            Some(libc::ENODEV) => TunError::Gone { name },
            Some(libc::EPERM) => TunError::Rights { what: "configuring an interface" },
            _ => TunError::Value { name, what, value, source },
        }
    }
}

/// What the kernel accepts of the offloads that are wanted: all, else without USO, else none.
fn negotiate(fd: BorrowedFd<'_>, wanted: Offloads) -> Result<Offloads, TunError> {
    let ladder = [wanted, Offloads { uso: false, ..wanted }, Offloads::NONE];
    let mut refusal = None;
    for offloads in ladder {
        match ioctl::set_offloads(fd, offloads) {
            Ok(()) => return Ok(offloads),
            Err(error) => refusal = Some(error),
        }
    }
    let refusal = refusal.unwrap_or_else(|| io::ErrorKind::Unsupported.into());
    Err(TunError::io("setting the offloads of the interface")(refusal))
}

pub(super) fn driver() -> Result<OwnedFd, TunError> {
    driver_at(Path::new(DRIVER))
}

pub(super) fn driver_at(path: &Path) -> Result<OwnedFd, TunError> {
    let opened = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
    opened.map(OwnedFd::from).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV | libc::ENOTDIR) => TunError::NoDriver,
        _ => TunError::io("opening /dev/net/tun")(error),
    })
}

fn attach_error(error: io::Error, options: &Options<'_>) -> TunError {
    let name = options.name.to_owned();
    match (error.raw_os_error(), options.existing) {
        (Some(libc::EPERM | libc::EACCES), _) => TunError::Rights { what: "creating an interface" },
        (Some(libc::EBUSY | libc::EEXIST), Existing::Refuse) => TunError::Exists { name },
        (Some(libc::EBUSY | libc::EEXIST | libc::E2BIG | libc::EUSERS), Existing::Attach) => {
            TunError::Busy { name }
        }
        (Some(libc::EINVAL), _) => TunError::Kind { name },
        _ => TunError::Io { what: "creating an interface", source: error },
    }
}

fn check_name(name: &str) -> Result<(), TunError> {
    let bad =
        |character: char| character.is_whitespace() || character.is_control() || "/:%".contains(character);
    let why = if name.len() >= libc::IFNAMSIZ {
        "it is longer than 15 bytes"
    } else if name == "." || name == ".." {
        "the kernel reserves it"
    } else if name.contains(bad) {
        "it contains white space, or one of / : %"
    } else {
        return Ok(());
    };
    Err(TunError::Name { name: name.to_owned(), why })
}

fn set_nonblocking(fd: &OwnedFd) -> Result<(), TunError> {
    socket2::SockRef::from(fd)
        .set_nonblocking(true)
        .map_err(TunError::io("making the descriptor non-blocking"))
}
