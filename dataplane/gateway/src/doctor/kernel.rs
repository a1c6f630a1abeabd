//! What the kernel does for a gateway, found out by doing it.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use dataplane_io::socket::{BindRequest, OffloadConfig, bind_group};
use dataplane_io::steer::Steering;
use dataplane_io::tun::{self, Existing, Offloads, TunError};
use dataplane_io::{Offload, probe};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

use super::{Finding, release};

/// The oldest kernel with GSO and GRO of UDP: what everything here is built on.
const OLDEST: release::Release = (5, 0, 0);

/// The release, and what is known against it.
pub(super) fn version() -> Finding {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    judge_version(text.trim())
}

pub(super) fn judge_version(text: &str) -> Finding {
    let found = format!("Linux {text}");
    let numbers = release::parse(text);
    if let Some(fault) = release::fault(numbers) {
        return Finding::warning("kernel", format!("{found}: {}", fault.what), fault.remedy);
    }
    if numbers < OLDEST {
        let remedy = "update to Linux 5.0 or later; 6.2 or later also has super-packets of UDP on TUN";
        return Finding::warning("kernel", format!("{found}: too old for GSO and GRO of UDP"), remedy);
    }
    Finding::ok("kernel", found)
}

/// Makes an interface with two queues, of a name that the kernel chooses and no address.
pub(super) fn tun() -> Finding {
    let options = tun::Options { name: "", queues: 2, existing: Existing::Refuse, offloads: Offloads::ALL };
    judge_tun(tun::open(&options).map(|(device, _)| device.offloads()))
}

pub(super) fn judge_tun(opened: Result<Offloads, TunError>) -> Finding {
    let newer = "update to Linux 6.2 or later, for fewer packets per GB of UDP";
    match opened {
        Ok(Offloads { tso: true, uso: true, .. }) => {
            Finding::ok("tun", "several queues, vnet header, super-packets of TCP (TSO) and UDP (USO)")
        }
        Ok(Offloads { tso: true, .. }) => {
            Finding::note("tun", "several queues, vnet header, TSO; no super-packets of UDP (USO)", newer)
        }
        Ok(_) => {
            let found = "several queues, vnet header; neither TSO nor USO: every packet passes by itself";
            Finding::warning("tun", found, newer)
        }
        // The error's own text ends with what to do.
        Err(error) => {
            let text = error.to_string();
            match text.split_once(": ") {
                Some((what, remedy)) if !matches!(error, TunError::Io { .. }) => {
                    Finding::failure("tun", what, remedy)
                }
                _ => Finding::failure("tun", text, "see what the kernel's log says: `dmesg`"),
            }
        }
    }
}

/// Sends a train over loopback and looks at every byte that arrives.
pub(super) fn udp_trains() -> Finding {
    let offloads = OffloadConfig::default().offloads();
    let remedy =
        "update to Linux 5.0 or later; in a container, ask whether its sandbox filters socket options";
    let off: Vec<String> = [("GSO", offloads.gso), ("GRO", offloads.gro)]
        .into_iter()
        .filter(|(_, offload)| !offload.is_on())
        .map(|(name, offload): (_, Offload)| format!("{name} is {offload}"))
        .collect();
    if !off.is_empty() {
        return Finding::warning("udp", off.join("; "), remedy);
    }
    match send_train() {
        Ok(()) => Finding::ok("udp", "GSO and GRO: a train was sent, and arrived whole"),
        Err(error) => Finding::warning(
            "udp",
            format!("GSO and GRO are there, but a train over loopback failed: {error}"),
            "bring loopback up with `ip link set lo up`; if it is, report this kernel's release",
        ),
    }
}

/// Datagrams of the train, and the bytes of each: all alike but the last, as bulk traffic has it.
const TRAIN: [u8; 5] = [1, 2, 3, 4, 5];
const SEGMENT: usize = 1000;
const TAIL: usize = 300;

fn send_train() -> io::Result<()> {
    let reader =
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).or_else(|_| UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)))?;
    let target = reader.local_addr()?;
    let unspecified: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let writer = UdpSocket::bind(unspecified)?;
    let states = (UdpSocketState::new((&writer).into())?, UdpSocketState::new((&reader).into())?);
    let sent: Vec<u8> = TRAIN.iter().flat_map(|&byte| [byte; SEGMENT]).collect();
    let sent = &sent[..sent.len() - (SEGMENT - TAIL)];
    let transmit = Transmit {
        destination: target,
        ecn: None,
        contents: sent,
        segment_size: Some(SEGMENT),
        src_ip: None,
    };
    states.0.try_send((&writer).into(), &transmit)?;
    reader.set_nonblocking(false)?;
    reader.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while received.len() < sent.len() {
        let mut meta = [RecvMeta::default()];
        states.1.recv((&reader).into(), &mut [IoSliceMut::new(&mut buffer)], &mut meta)?;
        received.extend_from_slice(&buffer[..meta[0].len]);
    }
    if received == sent { Ok(()) } else { Err(io::Error::other("other bytes arrived than were sent")) }
}

/// Binds a group of two sockets and gives it the filter of the workers.
pub(super) fn steering() -> Finding {
    let bound = match bind_group(&BindRequest { workers: 2, ..BindRequest::default() }) {
        Ok(group) => group,
        Err(error) => {
            return Finding::failure(
                "sockets",
                error.to_string(),
                "see `ip address` and the firewall's rules",
            );
        }
    };
    let families = match (bound.v4.is_empty(), bound.v6.is_empty()) {
        (false, false) => "IPv4 and IPv6",
        (false, true) => "IPv4 alone",
        _ => "IPv6 alone",
    };
    match bound.v4.iter().chain(&bound.v6).try_for_each(|socket| Steering::by_index(1).attach(socket)) {
        Ok(()) => Finding::ok(
            "sockets",
            format!("{families}: reuse-port groups, steered to the workers by a socket filter"),
        ),
        // The sockets of several workers are not opened without it.
        Err(error) => Finding::failure(
            "sockets",
            format!("{families}: the filter that steers datagrams to the workers was refused: {error}"),
            "raise net.core.optmem_max with sysctl; until then a gateway comes up with `--workers 1` only",
        ),
    }
}

const UNUSED: &str = "nothing: no backend here uses it";

/// Whether an io_uring can be had. Nothing is missed without one.
pub(super) fn io_uring() -> Finding {
    match probe::io_uring() {
        Ok(()) => Finding::ok("io_uring", "available; not used"),
        Err(error) => Finding::note("io_uring", format!("not available: {error}; not used"), UNUSED),
    }
}

/// Whether a socket of AF_XDP can be had. Nothing is missed without one.
pub(super) fn af_xdp() -> Finding {
    match probe::af_xdp() {
        Ok(()) => Finding::ok("af_xdp", "available; not used"),
        Err(error) => Finding::note("af_xdp", format!("not available: {error}; not used"), UNUSED),
    }
}
