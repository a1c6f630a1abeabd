//! The timers of data: keepalives, what was not answered, the erasure of keys.
//!
//! A peer has one place on the wheel, and it is lazy: packets only write deadlines into the peer. The wheel is touched
//! where a new deadline is earlier than what the wheel knows; when it fires, what is due is done, and the earliest that is
//! left is armed. So a busy peer costs the wheel one turn every ten seconds. These run without the node, so that sessions
//! live through its pauses.

use core::time::Duration;

use dataplane_aead::Aead;
use dataplane_wire::wireguard::DATA_OVERHEAD;
use dataplane_wire::{Instant, TxSink};

use super::Shard;
use super::peer::Peer;
use super::session::{KEEPALIVE_TIMEOUT, REKEY_TIMEOUT};
use super::table::LocalId;
use crate::messages::HandshakeCause;

/// Most that is added to a timeout by chance (the WireGuard paper §6.1; the kernel's third of a second).
const JITTER_MAX: Duration = Duration::from_millis(333);
/// Timers that one call handles at most; more wait for the next.
const TIMERS_PER_CALL: u32 = 256;

impl Peer {
    /// Something authenticated went out: there is nothing left to acknowledge (WG-41, WG-43).
    #[inline]
    pub(super) fn note_sent(&mut self, now: Instant) {
        self.keepalive_at = Instant::FAR;
        self.last_traversal = now;
    }

    /// Something authenticated came in: the peer lives (WG-43, WG-44).
    #[inline]
    pub(super) fn note_received(&mut self, now: Instant) {
        self.unanswered_at = Instant::FAR;
        self.last_traversal = now;
    }
}

impl<A: Aead> Shard<A> {
    /// When to call [`Shard::handle_timeout`] if nothing happens before; in the past while work is left.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.backlog.is_empty() {
            return Some(Instant::ZERO);
        }
        let late = self.late.front().map(|(until, _)| *until);
        [self.wheel.next_deadline(), late].into_iter().flatten().min()
    }

    /// Does what is due, a bounded amount of it, and as far as the send arena has room: what is left waits for the next call, which
    /// the caller makes with an arena that has been sent.
    pub fn handle_timeout(&mut self, now: Instant, tx: &mut impl TxSink) {
        while let Some(&(until, connection)) = self.late.front() {
            if now < until {
                break;
            }
            self.table.forget_late(connection);
            self.late.pop_front();
        }
        let mut work = TIMERS_PER_CALL;
        // Each sends one datagram at most, or what waits for its peer, which may take all the room there is.
        while tx.trains_room() > 0 && tx.room() >= DATA_OVERHEAD {
            let Some(local) = self.wheel.poll(now, &mut work) else { break };
            self.fire(now, local, tx);
            self.rearm(local);
        }
        // Last, for it fills the send arena, and what the timers send does not wait for room.
        self.send_backlog(now, tx);
    }

    /// Non-empty data went out: an answer is expected (WG-42).
    #[inline]
    pub(super) fn expect_answer(&mut self, now: Instant, local: LocalId) {
        if self.peers.hot(local).unanswered_at == Instant::FAR {
            let at = now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + self.jitter();
            self.peers.hot_mut(local).unanswered_at = at;
            self.wake(local, at);
        }
    }

    /// Non-empty data came in: it is acknowledged in ten seconds at the latest (WG-41).
    #[inline]
    pub(super) fn owe_answer(&mut self, now: Instant, local: LocalId) {
        let peer = self.peers.hot_mut(local);
        if peer.keepalive_at == Instant::FAR {
            let at = now + KEEPALIVE_TIMEOUT;
            peer.keepalive_at = at;
            self.wake(local, at);
        } else {
            peer.another_keepalive = true;
        }
    }

    /// Makes sure that the wheel fires at a time or before.
    #[inline]
    pub(super) fn wake(&mut self, local: LocalId, at: Instant) {
        if at < self.wheel.deadline(local) {
            self.wheel.arm(local, at);
        }
    }

    /// Arms the wheel for the earliest of a peer's deadlines.
    pub(super) fn rearm(&mut self, local: LocalId) {
        let (peer, cold) = (self.peers.hot(local), self.peers.cold(local));
        let persistent = match cold.keepalive {
            Duration::ZERO => Instant::FAR,
            interval => peer.last_traversal + interval,
        };
        let at = peer.keepalive_at.min(peer.unanswered_at).min(cold.erase_at).min(persistent);
        self.wake(local, at);
    }

    fn fire(&mut self, now: Instant, local: LocalId, tx: &mut impl TxSink) {
        if now >= self.peers.cold(local).erase_at {
            self.erase_sessions(now, local, tx);
        }
        if now >= self.peers.hot(local).keepalive_at {
            self.peers.hot_mut(local).keepalive_at = Instant::FAR;
            self.send_keepalive(now, local, tx);
            let peer = self.peers.hot_mut(local);
            if core::mem::take(&mut peer.another_keepalive) {
                peer.keepalive_at = now + KEEPALIVE_TIMEOUT;
            }
        }
        if now >= self.peers.hot(local).unanswered_at {
            self.peers.hot_mut(local).unanswered_at = Instant::FAR;
            self.forget_source(local);
            self.want(now, local, HandshakeCause::Unanswered);
        }
        let interval = self.peers.cold(local).keepalive;
        if interval != Duration::ZERO && now >= self.peers.hot(local).last_traversal + interval {
            self.send_keepalive(now, local, tx);
            // Also where it could not be sent: it is tried again after the interval, not at once.
            self.peers.hot_mut(local).last_traversal = now;
        }
    }

    /// Up to a third of a second, by a generator that need not be secret (SplitMix64).
    fn jitter(&mut self) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let span = JITTER_MAX.as_nanos() as u64;
        Duration::from_nanos((mixed ^ mixed >> 31) % span)
    }
}
