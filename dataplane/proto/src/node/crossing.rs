//! Two ends that initiate at once end on one session (WG-31).
//!
//! Each answers the other's initiation, so each could have two sessions: the one that it began and the one that it
//! answered. If each went on with its own, or each with the other's, two sessions would live side by side, each used in one
//! direction. So the session prevails that the end with the smaller public key began:
//!
//! 1. That end takes its session as soon as the response comes; the one that it answered steps back.
//! 2. The other end keeps what the response to its own initiation gave it for a while, without using it. The prevailing
//!    session is usually confirmed within that time, and the kept one is erased.
//! 3. If it is not, its response was lost; the kept session is taken after all, and nobody had to wait for a retry.
//! 4. If it is confirmed after that, only its first data was lost or late, and each end may now send by the session that the
//!    other one began: neither would renew it. One more handshake, by the same end, puts an end to it. The same holds where
//!    the response came too late to be kept.
//!
//! An end that has just answered also waits that little before it begins a handshake of its own.
//!
//! Deviation: the Linux kernel lets each answer overwrite what the end had begun, so that nobody's session is ever
//! confirmed, and a retry after 5 s decides. Against it, rule 3 takes effect.

use core::time::Duration;

use dataplane_wire::{FourTuple, Instant, PeerId};

use super::Node;
use super::peer::Peer;
use crate::messages::{Command, Keypair, Path, Role};

/// How long after an initiation of the peer a response to ours belongs to a crossing of the two: until the peer would have
/// sent another one (WG-38).
const CROSSING: Duration = Duration::from_millis(5_333);
/// Least time in which a session that we answered is expected to be confirmed.
const CONFIRM_MIN: Duration = Duration::from_millis(500);
/// Most time that a session is kept unused.
const CONFIRM_MAX: Duration = Duration::from_secs(2);

/// A session that a handshake has made, on its way to the shard.
pub(super) struct Fresh {
    pub(super) keypair: Box<Keypair>,
    /// Where the message came from that completed it.
    pub(super) from: FourTuple,
    /// The wall clock then.
    pub(super) unix_ns: u64,
}

/// A session that we began, kept while the prevailing one may be confirmed.
pub(super) struct Kept {
    pub(super) fresh: Fresh,
    pub(super) until: Instant,
}

#[cfg(test)]
impl core::fmt::Debug for Kept {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Kept({:x} until {:?})", self.fresh.keypair.local_index, self.until)
    }
}

impl Node {
    /// Takes a session that we began, or keeps it for now.
    pub(super) fn begun_session(&mut self, now: Instant, id: PeerId, own: &[u8; 32], fresh: Fresh) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let crossed = peer.accepted.filter(|accepted| now.since(*accepted) <= CROSSING);
        let prevails = *own < peer.public.0;
        let turn = peer.initiated.map_or(Duration::ZERO, |initiated| now.since(initiated));
        if let (Some(accepted), false, true) = (crossed, prevails, peer.sessions.awaits_confirmation()) {
            let until = accepted + (turn * 3).clamp(CONFIRM_MIN, CONFIRM_MAX);
            if now < until {
                peer.kept = Some(Box::new(Kept { fresh, until }));
                return self.set_timer(id.slot, Some(until));
            }
        }
        // An old next session is no sign of a crossing: its response was lost, and the current one need not make room.
        let keep_next = crossed.is_none() || !prevails;
        self.take_begun(now, id, keep_next, fresh);
    }

    /// The prevailing session was not confirmed in time: takes the one that was kept.
    pub(super) fn take_kept(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(kept) = peer.kept.take() else { return };
        self.take_begun(now, id, true, kept.fresh);
    }

    /// A session that we answered was confirmed: erases the one that was kept, or, if one is in use that we began meanwhile, has
    /// both replaced.
    pub(super) fn settle_crossing(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.kept = None;
        if peer.taken_over_next.take().is_some_and(|taken| now.since(taken) <= CROSSING) {
            self.attempt(now, id.slot);
        }
    }

    fn take_begun(&mut self, now: Instant, id: PeerId, keep_next: bool, fresh: Fresh) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Fresh { keypair, from, unix_ns } = fresh;
        peer.completed = Some(now);
        peer.taken_over_next = (keep_next && peer.sessions.awaits_confirmation()).then_some(now);
        peer.sessions.install(crate::index::session_of(keypair.local_index), Role::Initiator, keep_next);
        peer.counters.last_handshake_unix_ns.store(unix_ns, core::sync::atomic::Ordering::Relaxed);
        let command = Command::InstallKeypair { peer: id, keypair, response: None, keep_next, from, unix_ns };
        self.commands.push(peer.core, command);
        self.moved_to(id, Path::Direct(from));
        self.complete(id, Role::Initiator);
    }
}

impl Peer {
    /// Until when a session that we have just answered may still be confirmed, if there is one.
    pub(super) fn confirmation_due(&self) -> Option<Instant> {
        self.accepted.filter(|_| self.sessions.awaits_confirmation()).map(|accepted| accepted + CONFIRM_MIN)
    }
}
