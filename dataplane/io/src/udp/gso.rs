//! Hot: whether trains leave a socket whole, in general and for one destination.
//!
//! A device without checksum offload refuses every train (EIO): GSO is off for good. A path whose MTU is smaller than the
//! segments refuses its own trains (EMSGSIZE): those of that destination are split, for so many trains, and then tried again.

use std::net::SocketAddr;

use arrayvec::ArrayVec;

use super::sys::Errno;
use crate::packet_io::{OffReason, Offload};

/// Destinations that are remembered; the one that was refused first makes room.
const DESTINATIONS_MAX: usize = 8;
/// Trains that are split before one is tried whole again: one refused system call in so many costs nothing, and a path that was
/// narrow for a moment is wide again soon.
const SPLIT_TRAINS: u32 = 1024;

/// The state of one socket.
pub(super) struct Gso {
    offload: Offload,
    /// Destinations that refused a train, and how many more are split.
    narrow: ArrayVec<(SocketAddr, u32), DESTINATIONS_MAX>,
}

impl Gso {
    pub(super) fn new(offload: Offload) -> Self {
        Self { offload, narrow: ArrayVec::new() }
    }

    pub(super) fn offload(&self) -> Offload {
        self.offload
    }

    /// Whether the next train to a destination leaves whole.
    pub(super) fn takes_train(&mut self, remote: &SocketAddr) -> bool {
        if !self.offload.is_on() {
            return false;
        }
        let Some(at) = self.narrow.iter().position(|(known, _)| known == remote) else { return true };
        self.narrow[at].1 -= 1;
        let again = self.narrow[at].1 == 0;
        if again {
            self.narrow.remove(at);
        }
        again
    }

    /// A train to this destination was refused: the next is split.
    #[cold]
    pub(super) fn refused(&mut self, errno: Errno, remote: SocketAddr) {
        if errno != libc::EMSGSIZE {
            self.offload = Offload::Off(OffReason::Failed(errno));
            return;
        }
        self.narrow.retain(|(known, _)| *known != remote);
        if self.narrow.is_full() {
            self.narrow.remove(0);
        }
        self.narrow.push((remote, SPLIT_TRAINS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    // EN-5
    #[test]
    fn a_narrow_path_splits_its_own_trains_for_a_while_and_no_others() {
        let mut gso = Gso::new(Offload::On);
        gso.refused(libc::EMSGSIZE, at(1));
        assert!(gso.offload().is_on());
        for _ in 1..SPLIT_TRAINS {
            assert!(!gso.takes_train(&at(1)) && gso.takes_train(&at(2)));
        }
        assert!(gso.takes_train(&at(1)), "tried again");
        for port in 1..20 {
            gso.refused(libc::EMSGSIZE, at(port));
            assert!(!gso.takes_train(&at(port)), "whatever else is remembered");
        }
        gso.refused(libc::EIO, at(1));
        assert_eq!(gso.offload(), Offload::Off(OffReason::Failed(libc::EIO)));
        assert!(!gso.takes_train(&at(99)));
    }
}
