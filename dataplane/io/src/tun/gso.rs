//! How large the kernel may make a super-packet, so that it leaves as one train of datagrams.

/// What WireGuard adds to every packet: 16 bytes of header, 16 of tag. Packets of MTU size are not padded.
pub const SEGMENT_OVERHEAD: u32 = 32;
/// Most datagrams in one UDP GSO send (UDP_MAX_SEGMENTS before Linux 6.9; more since).
pub const TRAIN_SEGMENTS_MAX: u32 = 64;
/// Most bytes above UDP in one UDP GSO send over IPv4: 65,535 less 20 of IPv4 header and 8 of UDP header. (20 more over IPv6.)
pub const TRAIN_BYTES_MAX: u32 = 65_507;

/// What TCP sets aside for headers below a super-packet: it makes no more payload than `gso_max_size` less this
/// (`sk_setup_caps` subtracts `MAX_TCP_HEADER + 1`, which is 320 + 1 with tunnels configured, the largest case).
const TCP_HEADER_RESERVE: u32 = 321;
/// IPv6 and TCP headers with timestamps: the most of a segment that is no payload in bulk traffic.
const HEADERS_MAX: u32 = 40 + 32;
/// The kernel's own limit without `gso_max_size` above 64 KiB.
const GSO_MAX_SIZE: u32 = 65_536;

/// Limits of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// `gso_max_size`.
    pub bytes: u32,
    /// `gso_max_segs`.
    pub segments: u32,
    /// Segments of MTU size that one train of datagrams holds.
    pub train: u32,
}

/// The limits with which a TCP super-packet of full segments, over IPv4 or IPv6, becomes one train of datagrams.
///
/// `bytes` is the largest for which the kernel's TCP does not make one segment more than a train holds. Super-packets of
/// other origins (forwarded after GRO, UDP) may still be of more segments than a train, and are cut in two by who seals them.
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
    Fit {
        bytes: if bytes > GSO_MAX_SIZE { GSO_MAX_SIZE } else { bytes },
        segments: TRAIN_SEGMENTS_MAX,
        train,
    }
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
                let payload = fit.bytes - TCP_HEADER_RESERVE;
                let segments = (payload / (mtu - headers)).min(fit.segments);
                assert!(segments <= fit.train, "mtu {mtu}, headers {headers}: {segments} of {}", fit.train);
            }
        }
    }

    #[test]
    fn usual_mtus_use_nearly_all_of_a_train() {
        assert_eq!(fit(1420).train, 45);
        assert_eq!(fit(1280).train, 49);
        assert_eq!(fit(8920).train, 7);
        for mtu in [1280, 1420, 1500] {
            let fit = fit(mtu);
            // IPv4 with timestamps, and IPv6 with them: what nearly all bulk TCP is.
            for headers in [52, 72] {
                assert_eq!((fit.bytes - TCP_HEADER_RESERVE) / (mtu - headers), fit.train, "mtu {mtu}");
            }
        }
    }
}
