//! How large the kernel may make a super-packet, so that it leaves as one train of datagrams.

/// What WireGuard adds to every packet: 16 bytes of header, 16 of tag. Packets of MTU size are not padded.
pub const SEGMENT_OVERHEAD: u32 = 32;
/// Most datagrams in one UDP GSO send (UDP_MAX_SEGMENTS before Linux 6.9; more since).
pub const TRAIN_SEGMENTS_MAX: u32 = 64;
/// Most bytes above UDP in one UDP GSO send over IPv4: 65,535 less 20 of IPv4 header and 8 of UDP header. (20 more over IPv6.)
pub const TRAIN_BYTES_MAX: u32 = 65_507;

/// The least that TCP sets aside of `gso_max_size` for headers: `MAX_TCP_HEADER + 1`, 128 bytes and the link's headers, which
/// are 32 with the fewest kinds of links configured, and 192 with all of them.
const TCP_HEADER_RESERVE: u32 = 128 + 32 + 1;
/// IPv6 and TCP headers with timestamps: the most of a segment that is no payload in bulk traffic.
const HEADERS_MAX: u32 = 40 + 32;
/// The kernel's own limit without `gso_max_size` above 64 KiB.
const GSO_MAX_SIZE: u32 = 65_536;

/// How large the kernel may make the super-packets that it hands over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SuperPackets {
    /// [`SuperPackets::Whole`] where the namespace forwards packets at the time of setting, [`SuperPackets::Train`] where not.
    #[default]
    Auto,
    /// What TCP of this host makes becomes exactly one train of datagrams. Right where traffic begins on the host itself.
    ///
    /// Not for a router: what the kernel has joined on receipt is often larger, and then it takes it apart to single packets,
    /// which costs many times the CPU seconds.
    Train,
    /// Up to 64 KiB, as the kernel does by itself. Some leave as two trains.
    Whole,
}

impl SuperPackets {
    /// The `gso_max_size` for this MTU. `forwards` decides for [`SuperPackets::Auto`].
    pub(super) fn bytes(self, mtu: u32, forwards: impl FnOnce() -> bool) -> u32 {
        let whole = match self {
            Self::Auto => forwards(),
            Self::Train => false,
            Self::Whole => true,
        };
        if whole { GSO_MAX_SIZE } else { fit(mtu).bytes }
    }
}

/// Whether the namespace of this thread forwards packets of either family. Where that cannot be read, it is taken to.
pub(super) fn forwards() -> bool {
    let off = |path| std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "0");
    // A kernel without IPv6 has no second file.
    const V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
    !off("/proc/sys/net/ipv4/ip_forward") || (std::path::Path::new(V6).exists() && !off(V6))
}

/// Limits for an MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// `gso_max_size`.
    pub bytes: u32,
    /// Segments of MTU size that one train of datagrams holds.
    pub train: u32,
}

/// The limit with which a TCP super-packet of full segments, over IPv4 or IPv6, becomes one train of datagrams: the largest
/// for which the kernel's TCP does not make one segment more than a train holds.
pub const fn fit(mtu: u32) -> Fit {
    let datagram = mtu.saturating_add(SEGMENT_OVERHEAD);
    let by_bytes = TRAIN_BYTES_MAX / datagram;
    let train = if by_bytes > TRAIN_SEGMENTS_MAX {
        TRAIN_SEGMENTS_MAX
    } else if by_bytes == 0 {
        1
    } else {
        by_bytes
    };
    // One payload byte less than `train + 1` of the smallest full segments.
    let payload = (train + 1).saturating_mul(mtu.saturating_sub(HEADERS_MAX)).saturating_sub(1);
    let bytes = payload.saturating_add(TCP_HEADER_RESERVE);
    Fit { bytes: if bytes > GSO_MAX_SIZE { GSO_MAX_SIZE } else { bytes }, train }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_super_packet_fits_one_train_at_every_mtu() {
        for mtu in 576..=9000 {
            let fit = fit(mtu);
            assert!(
                fit.train * (mtu + SEGMENT_OVERHEAD) <= TRAIN_BYTES_MAX && fit.train <= TRAIN_SEGMENTS_MAX
            );
            for headers in [40, 52, 60, 72] {
                let segments = (fit.bytes - TCP_HEADER_RESERVE) / (mtu - headers);
                assert!(segments <= fit.train, "mtu {mtu}, headers {headers}: {segments} of {}", fit.train);
            }
        }
    }

    #[test]
    fn a_router_gets_super_packets_whole() {
        assert_eq!(SuperPackets::Auto.bytes(1420, || true), GSO_MAX_SIZE);
        assert_eq!(SuperPackets::Auto.bytes(1420, || false), fit(1420).bytes);
        assert_eq!(SuperPackets::Train.bytes(1420, || true), fit(1420).bytes);
        assert_eq!(SuperPackets::Whole.bytes(1420, || false), GSO_MAX_SIZE);
    }

    #[test]
    fn usual_mtus_use_nearly_all_of_a_train() {
        assert_eq!(fit(1420).train, 45);
        assert_eq!(fit(1280).train, 49);
        assert_eq!(fit(8920).train, 7);
        for mtu in [1280, 1420, 1500] {
            let fit = fit(mtu);
            // IPv4 with timestamps, and IPv6 with them, on kernels that set aside little and much.
            for (headers, reserve) in [(52, 161), (52, 321), (72, 161), (72, 321)] {
                assert_eq!((fit.bytes - reserve) / (mtu - headers), fit.train, "mtu {mtu}");
            }
        }
    }
}
