//! Hot: static probes (USDT) of the provider `dataplane`, for bpftrace and perf.
//!
//! Contains unsafe: with the feature `usdt`, the macro stands for a no-op instruction and a note in the program about where it
//! is; without, nothing is left of these functions.
//!
//! Workers call them, a few times in a turn and never per packet. Nothing is computed for a probe that the worker does not
//! have anyway.
//!
//! | probe | arguments |
//! |---|---|
//! | `rx_batch` | core, messages (trains count once), datagrams, bytes |
//! | `open` | core, datagrams shown to the shard, packets that it gave out |
//! | `tx_batch` | core, datagrams, bytes, system calls |
//! | `hand_off` | core, to which core, 0 for a datagram or 1 for a packet |
//! | `drop` | core, number of the reason, how many since it was told last |

/// A probe of the provider, or nothing.
macro_rules! fire {
    ($name:ident, $($value:expr),+) => {
        #[cfg(feature = "usdt")]
        {
            ::probe::probe!(dataplane, $name, $($value as u64),+);
        }
        #[cfg(not(feature = "usdt"))]
        let _ = ($($value),+);
    };
}

/// What one receive call brought.
#[inline]
pub fn rx_batch(core: u8, messages: u64, datagrams: u64, bytes: u64) {
    fire!(rx_batch, core, messages, datagrams, bytes);
}

/// What the shard made of a batch.
#[inline]
pub fn open(core: u8, datagrams: u64, packets: u64) {
    fire!(open, core, datagrams, packets);
}

/// What one send took.
#[inline]
pub fn tx_batch(core: u8, datagrams: u64, bytes: u64, calls: u64) {
    fire!(tx_batch, core, datagrams, bytes, calls);
}

/// Something went to another core.
#[inline]
pub fn hand_off(core: u8, to: u8, packet: bool) {
    fire!(hand_off, core, to, packet);
}

/// Datagrams or packets went no further.
#[inline]
pub fn drop(core: u8, reason: u64, count: u64) {
    fire!(drop, core, reason, count);
}

#[cfg(all(test, feature = "usdt"))]
mod tests {
    /// By these names bpftrace finds them: a note has the provider's name and the probe's, each with a zero behind it.
    #[test]
    fn every_probe_is_in_the_program_under_its_name() {
        super::rx_batch(0, 1, 2, 3);
        super::open(0, 1, 2);
        super::tx_batch(0, 1, 2, 3);
        super::hand_off(0, 1, true);
        super::drop(0, 1, 2);
        let program = std::fs::read("/proc/self/exe").unwrap();
        for name in ["rx_batch", "open", "tx_batch", "hand_off", "drop"] {
            let note = format!("dataplane\0{name}\0");
            let found = program.windows(note.len()).any(|bytes| bytes == note.as_bytes());
            assert!(found, "{name}");
        }
    }
}
