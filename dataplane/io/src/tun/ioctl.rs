//! The ioctls of the TUN driver (linux/if_tun.h), and nothing else.
//!
//! Contains unsafe: ioctl.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::inner::VNET_HEADER_LEN;

/// What the kernel may leave undone in the packets that it hands over, because the reader does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums may be partial. All others need this one.
    pub checksum: bool,
    /// TCP super-packets, over IPv4 and IPv6, also with ECN.
    pub tso: bool,
    /// UDP super-packets (Linux 6.2).
    pub uso: bool,
}

impl Offloads {
    /// All that there are.
    pub const ALL: Self = Self { checksum: true, tso: true, uso: true };
    /// None: every packet is handed over finished.
    pub const NONE: Self = Self { checksum: false, tso: false, uso: false };

    fn bits(self) -> libc::c_uint {
        let mut bits = 0;
        if self.checksum {
            bits |= libc::TUN_F_CSUM;
            if self.tso {
                bits |= libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
            }
            if self.uso {
                // The kernel takes these two only together.
                bits |= libc::TUN_F_USO4 | libc::TUN_F_USO6;
            }
        }
        bits
    }
}

/// Name and flags of the interface behind a descriptor.
pub(super) struct Attached {
    pub(super) name: String,
    pub(super) flags: libc::c_int,
}

/// Attaches an open `/dev/net/tun` to the interface `name` (at most 15 bytes, checked by the caller), which is created unless
/// it exists. An empty name lets the kernel choose one.
pub(super) fn attach(fd: BorrowedFd<'_>, name: &str, flags: libc::c_int) -> io::Result<Attached> {
    let mut request = empty_request();
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(attached_of(&request))
}

/// The interface behind a descriptor. Fails with `ENOTTY` for what is no TUN descriptor, `EBADFD` for one without interface.
pub(super) fn attached(fd: BorrowedFd<'_>) -> io::Result<Attached> {
    let mut request = empty_request();
    // SAFETY: TUNGETIFF writes one `ifreq`, which `request` is.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    Ok(attached_of(&request))
}

/// Tells the kernel what the reader does itself. Concerns the interface, not just this queue.
pub(super) fn set_offloads(fd: BorrowedFd<'_>, offloads: Offloads) -> io::Result<()> {
    let bits = libc::c_ulong::from(offloads.bits());
    // SAFETY: TUNSETOFFLOAD takes its argument by value, as an unsigned long.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, bits) })
}

/// Makes the vnet header [`VNET_HEADER_LEN`] bytes long, whatever an earlier owner has set.
pub(super) fn set_vnet_header_len(fd: BorrowedFd<'_>) -> io::Result<()> {
    let len = VNET_HEADER_LEN as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int, which lives through the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) })
}

fn empty_request() -> libc::ifreq {
    // SAFETY: `ifreq` is a name of characters and a union of plain numbers; zero is a value of each.
    unsafe { std::mem::zeroed() }
}

fn attached_of(request: &libc::ifreq) -> Attached {
    let name: Vec<u8> = request
        .ifr_name
        .iter()
        .take_while(|character| **character != 0)
        .map(|character| *character as u8)
        .collect();
    // SAFETY: the request began as all zeros, so every byte of the union is initialised, and any bits are a c_short.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Attached {
        name: String::from_utf8_lossy(&name).into_owned(),
        flags: libc::c_int::from(flags as libc::c_ushort),
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
