//! What workers count, where anyone may read it.

use std::sync::atomic::{AtomicU64, Ordering};

use dataplane_wire::DropReason;

macro_rules! worker_counters {
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// Counters of one worker at one moment. All count up from the start of the worker.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct WorkerStats {
            $($(#[doc = $doc])+ pub $field: u64,)+
            /// Datagrams that its sockets lost in the kernel, because their receive buffers were full or a flood was kept out;
            /// looked at once a second.
            pub rx_kernel_drops: u64,
            /// Datagrams and packets that went no further, by [`DropReason`] number.
            pub drops: Drops,
        }

        /// Written by one worker, read by anyone. Padded so that two workers never share a cache line.
        #[repr(align(128))]
        #[derive(Default)]
        pub(crate) struct WorkerCounters {
            $($field: AtomicU64,)+
            drops: DropCells,
        }

        impl WorkerCounters {
            /// Stores all; the caller is the only writer. `Relaxed`: a counter publishes nothing but itself.
            pub(crate) fn publish(&self, stats: &WorkerStats) {
                $(self.$field.store(stats.$field, Ordering::Relaxed);)+
                for (cell, value) in self.drops.0.iter().zip(stats.drops.0) {
                    cell.store(value, Ordering::Relaxed);
                }
            }

            /// Loads all, each by itself: a sum over fields may be off by what happened meanwhile.
            pub(crate) fn read(&self) -> WorkerStats {
                let mut stats = WorkerStats { $($field: self.$field.load(Ordering::Relaxed),)+ ..WorkerStats::default() };
                for (value, cell) in stats.drops.0.iter_mut().zip(&self.drops.0) {
                    *value = cell.load(Ordering::Relaxed);
                }
                stats
            }
        }

        impl WorkerStats {
            /// Name and value of every counter but the drops, for tables and metrics.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)+ ("rx_kernel_drops", self.rx_kernel_drops)].into_iter()
            }

            /// The sum of two workers' counters.
            #[must_use]
            pub fn plus(mut self, other: &Self) -> Self {
                $(self.$field = self.$field.wrapping_add(other.$field);)+
                self.rx_kernel_drops = self.rx_kernel_drops.wrapping_add(other.rx_kernel_drops);
                for (sum, more) in self.drops.0.iter_mut().zip(other.drops.0) {
                    *sum = sum.wrapping_add(more);
                }
                self
            }
        }
    };
}

worker_counters! {
    /// Outer datagrams received, each of a GRO train counted.
    rx_datagrams,
    /// Bytes of those, above UDP.
    rx_bytes,
    /// Receive calls that brought something: `rx_datagrams / rx_batches` is the batch size.
    rx_batches,
    /// Errors that the kernel reported in place of a datagram: news of one that we sent. Nothing was lost by them.
    rx_errors,
    /// Outer datagrams sent.
    tx_datagrams,
    /// Bytes of those, above UDP.
    tx_bytes,
    /// Send calls.
    tx_batches,
    /// Inner packets delivered to an inner side.
    inner_out_packets,
    /// Bytes of those.
    inner_out_bytes,
    /// Writes to inner sides: a coalesced run counts once.
    inner_out_writes,
    /// Reads from inner sides: a super-packet counts once.
    inner_in_reads,
    /// Bytes of those.
    inner_in_bytes,
    /// Datagrams handed to another worker.
    hand_off_datagrams,
    /// Super-packets handed to another worker.
    hand_off_packets,
    /// Turns of the loop that found work.
    turns_busy,
    /// Nanoseconds in those turns.
    busy_ns,
    /// Nanoseconds parked.
    idle_ns,
}

impl WorkerStats {
    /// The share of time in which the worker had work, 0 to 1.
    pub fn busy_ratio(&self) -> f64 {
        let all = self.busy_ns + self.idle_ns;
        if all == 0 { 0.0 } else { self.busy_ns as f64 / all as f64 }
    }
}

/// A count for each [`DropReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drops([u64; DropReason::COUNT]);

struct DropCells([AtomicU64; DropReason::COUNT]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl Default for DropCells {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; DropReason::COUNT])
    }
}

impl Drops {
    /// How many went that way.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Counts `amount` more.
    pub(crate) fn add(&mut self, reason: DropReason, amount: u64) {
        self.0[reason as usize] += amount;
    }

    /// Adds a table of counts by reason number.
    pub(crate) fn add_table(&mut self, table: &[u64; DropReason::COUNT]) {
        for (sum, more) in self.0.iter_mut().zip(table) {
            *sum += more;
        }
    }

    /// The reasons that occurred, with their counts.
    pub fn nonzero(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.of(reason))).filter(|&(_, count)| count > 0)
    }

    /// All drops together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EN-13
    #[test]
    fn what_a_worker_publishes_is_what_a_reader_sees() {
        let cells = WorkerCounters::default();
        let mut stats = WorkerStats { rx_datagrams: 3, idle_ns: 9, ..WorkerStats::default() };
        stats.drops.add(DropReason::Replay, 2);
        cells.publish(&stats);
        assert_eq!(cells.read(), stats);
        let sum = cells.read().plus(&stats);
        assert_eq!((sum.rx_datagrams, sum.drops.of(DropReason::Replay), sum.drops.total()), (6, 4, 4));
        assert_eq!(std::mem::align_of::<WorkerCounters>() % 128, 0);
    }
}
