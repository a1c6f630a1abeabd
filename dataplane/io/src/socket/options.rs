//! Socket options: what the backend needs of every socket, and what the operator may ask for.
//!
//! Contains unsafe: two calls of setsockopt and getsockopt with integers, for options that no crate here wraps.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use socket2::{Domain, SockRef, Socket, Type};

use crate::packet_io::{OffReason, Offload, Offloads};

/// Which offloads the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadConfig {
    /// Trains on send.
    pub gso: bool,
    /// Trains on receive.
    pub gro: bool,
}

impl Default for OffloadConfig {
    fn default() -> Self {
        Self { gso: true, gro: true }
    }
}

impl OffloadConfig {
    /// What can be used of what is allowed, on this kernel.
    pub fn offloads(self) -> Offloads {
        static PROBED: OnceLock<Offloads> = OnceLock::new();
        let probed = PROBED.get_or_init(probe);
        let allow = |allowed, offload| if allowed { offload } else { Offload::Off(OffReason::Configured) };
        Offloads { gso: allow(self.gso, probed.gso), gro: allow(self.gro, probed.gro) }
    }
}

/// Asks a scratch socket of quinn-udp's what this kernel can do.
fn probe() -> Offloads {
    // Not loopback, which a fresh network namespace does not have up yet.
    let state = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .or_else(|_| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)))
        .and_then(|socket| quinn_udp::UdpSocketState::new((&socket).into()));
    let supported = |yes| if yes { Offload::On } else { Offload::Off(OffReason::Unsupported) };
    let (gso, gro) = match state {
        Ok(state) => (state.max_gso_segments() > 1, state.gro_segments() > 1),
        // No descriptor left, or the like: the first send, and the first option, will tell.
        Err(_) => (true, true),
    };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let gso = if kernel_mangles_trains(&release) {
        Offload::Off(OffReason::MangledByKernel)
    } else {
        supported(gso)
    };
    Offloads { gso, gro: supported(gro) }
}

/// EN-19: Linux 7.0 to 7.1.4 damages headers and checksums of trains whose segments are all equal, and nothing at run time
/// shows it. Fixed in 7.1.5; a distribution's kernel that has the fix under an older number only loses GSO.
fn kernel_mangles_trains(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
    let mut next = || numbers.next().flatten().unwrap_or(0);
    let version = (next(), next(), next());
    ((7, 0, 0)..=(7, 1, 4)).contains(&version)
}

/// Makes a bound socket fit for [`crate::udp::UdpIo`] and says which offloads it has.
///
/// # Errors
/// An option without which the backend cannot work was refused: non-blocking mode, or the destination address of datagrams.
pub(crate) fn prepare(socket: &UdpSocket, config: OffloadConfig) -> io::Result<Offloads> {
    socket.set_nonblocking(true)?;
    let fd = socket.as_fd();
    let v6 = socket.local_addr()?.is_ipv6();
    // Neither the "do not fragment" bit nor what an ICMP message claims of a path: an encrypted datagram larger than the path
    // is cut in pieces, as the kernel's own WireGuard does, and a forged ICMP message changes nothing (EN-18).
    let (omit4, omit6) = (libc::IP_PMTUDISC_OMIT, libc::IPV6_PMTUDISC_OMIT);
    if v6 {
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        let _ = set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1);
        let _ = set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, omit6);
    } else {
        set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        let _ = set_int(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1);
        let _ = set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, omit4);
    }
    let mut offloads = config.offloads();
    let gro = set_int(fd, libc::SOL_UDP, libc::UDP_GRO, i32::from(offloads.gro.is_on()));
    if gro.is_err() && offloads.gro.is_on() {
        offloads.gro = Offload::Off(OffReason::Unsupported);
    }
    Ok(offloads)
}

/// Sets or clears (0) the firewall mark of a socket, which routing rules can match.
///
/// # Errors
/// `PermissionDenied` without CAP_NET_ADMIN.
pub fn set_mark(socket: &impl AsFd, mark: u32) -> io::Result<()> {
    SockRef::from(socket).set_mark(mark)
}

/// The firewall mark of a socket; 0 for none.
///
/// # Errors
/// What getsockopt says.
pub fn mark(socket: &impl AsFd) -> io::Result<u32> {
    SockRef::from(socket).mark()
}

/// Asks for buffers of this many bytes: beyond `net.core.rmem_max` where we may (CAP_NET_ADMIN), else up to it. Returns what the
/// kernel gave, receive and send, in the bytes that were asked for (the kernel doubles them for its own needs).
///
/// # Errors
/// What getsockopt says; a refusal of the size is none.
pub(crate) fn set_buffers(socket: &Socket, recv: usize, send: usize) -> io::Result<(usize, usize)> {
    let fd = socket.as_fd();
    let clamp = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX / 2);
    if recv > 0 && set_int(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, clamp(recv)).is_err() {
        socket.set_recv_buffer_size(recv)?;
    }
    if send > 0 && set_int(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, clamp(send)).is_err() {
        socket.set_send_buffer_size(send)?;
    }
    Ok((socket.recv_buffer_size()? / 2, socket.send_buffer_size()? / 2))
}

/// Whether this machine can make sockets of a family at all.
pub(crate) fn family_exists(domain: Domain) -> bool {
    Socket::new(domain, Type::DGRAM, None).is_ok()
}

fn set_int(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes from a local integer of that size; the descriptor is open as long as `fd`.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Datagrams that the kernel dropped at the socket since it was made (SO_MEMINFO): its receive buffer was full, its filter
/// ([`crate::screen`]) let them not through, or their checksum was wrong. A train counts once.
///
/// # Errors
/// What getsockopt says: kernels before 4.12 do not have it.
pub fn kernel_drops(socket: &impl AsFd) -> io::Result<u64> {
    /// Index of the drops among the numbers of SO_MEMINFO (linux/sock_diag.h), and how many there are.
    const DROPS: usize = 8;
    let mut info = [0u32; DROPS + 1];
    let mut len = size_of_val(&info) as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `len` bytes into a local array of that size, any bytes of which are integers.
    let done = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, info.as_mut_ptr().cast(), &mut len)
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(info[DROPS]))
}

#[cfg(test)]
mod tests {
    use super::*;

    // EN-19
    #[test]
    fn kernels_that_mangle_trains_are_known_by_number() {
        for (release, mangles) in [
            ("6.18.44-fc", false),
            ("7.0.0", true),
            ("7.0", true),
            ("7.1.4-1-default", true),
            ("7.1.5", false),
            ("7.2.0", false),
            ("", false),
        ] {
            assert_eq!(kernel_mangles_trains(release), mangles, "{release}");
        }
    }

    // EN-5
    #[test]
    fn what_is_switched_off_by_configuration_says_so() {
        let off = OffloadConfig { gso: false, gro: false }.offloads();
        assert_eq!(off.gso, Offload::Off(OffReason::Configured));
        assert_eq!(off.gro.to_string(), "off: switched off by configuration");
    }
}
