//! The sessions of a shard: keys, counters, replay windows.
//!
//! A session has a number; its keys lie at twice that number in one dense array, as the cipher takes them, its head in one
//! cache line, its window in a kilobyte of its own. Numbers are used again. All of it grows only when a session is made.

use core::time::Duration;

use dataplane_aead::{KEY_LEN, Key};
use dataplane_wire::Instant;

use super::table::{LocalId, NONE};
use crate::messages::{Keypair, Role};
use crate::replay::{self, REJECT_AFTER_MESSAGES, Replay};

/// After this the initiator makes a new session when it sends (the WireGuard paper §6.1; WG-32).
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// After this a session is refused both ways (the WireGuard paper §6.1; WG-35).
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// After so many messages a new session is made (the WireGuard paper §6.1; WG-34).
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// The silence that a passive keepalive ends (the WireGuard paper §6.1; WG-41).
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Least time between two initiations (the WireGuard paper §6.1; WG-38).
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// When the initiator refreshes on receipt: early enough that an answer is not lost to the end of the session (WG-33).
pub const REFRESH_ON_RECEIVE: Duration = Duration::from_secs(180 - 10 - 5);
/// After this, counted from the last key, all keys of a peer are erased (the WireGuard paper §6.3; WG-37).
pub const ERASE_AFTER: Duration = Duration::from_secs(3 * 180);

/// What a packet needs of its session beside the key. One cache line.
#[derive(Clone)]
#[repr(align(64))]
pub(super) struct Session {
    /// Refused from here on.
    pub(super) expires: Instant,
    /// From here on a send asks for a new session; far off for who answered.
    pub(super) rekey: Instant,
    /// From here on a receipt asks for a new session, once; far off for who answered, and once it has.
    pub(super) refresh: Instant,
    /// The counter of the next message.
    pub(super) counter: u64,
    pub(super) replay: Replay,
    pub(super) remote_index: u32,
    pub(super) peer: LocalId,
}

impl Session {
    /// Whether `messages` more may be sent now.
    #[inline]
    pub(super) fn may_send(&self, now: Instant, messages: u64) -> bool {
        now < self.expires && messages <= REJECT_AFTER_MESSAGES.saturating_sub(self.counter)
    }
}

pub(super) struct Sessions {
    keys: Vec<Key>,
    heads: Vec<Session>,
    windows: Vec<replay::Bitmap>,
    free: Vec<u32>,
}

/// Where the key of a session for what we send lies among the keys.
#[inline]
pub(super) const fn send_key(session: u32) -> u32 {
    session * 2
}

/// Where the key of a session for what we receive lies among the keys.
#[inline]
pub(super) const fn recv_key(session: u32) -> u32 {
    session * 2 + 1
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { keys: Vec::new(), heads: Vec::new(), windows: Vec::new(), free: Vec::new() }
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    #[inline]
    pub(super) fn head(&self, session: u32) -> &Session {
        &self.heads[session as usize]
    }

    #[inline]
    pub(super) fn head_mut(&mut self, session: u32) -> &mut Session {
        &mut self.heads[session as usize]
    }

    /// Whether a counter could be new; before its tag is known.
    #[inline]
    pub(super) fn may_accept(&self, session: u32, counter: u64) -> bool {
        self.heads[session as usize].replay.may_accept(&self.windows[session as usize], counter)
    }

    /// Marks a counter as used, now that its tag was right; `false` if it was used before.
    #[inline]
    pub(super) fn accept(&mut self, session: u32, counter: u64) -> bool {
        self.heads[session as usize].replay.accept(&mut self.windows[session as usize], counter)
    }

    /// Makes a session of a keypair. Allocates when there were never so many.
    pub(super) fn insert(&mut self, peer: LocalId, keypair: &Keypair) -> u32 {
        let initiator = keypair.role == Role::Initiator;
        let after = |span| if initiator { keypair.created + span } else { Instant::FAR };
        let head = Session {
            expires: keypair.created + REJECT_AFTER_TIME,
            rekey: after(REKEY_AFTER_TIME),
            refresh: after(REFRESH_ON_RECEIVE),
            counter: 0,
            replay: Replay::default(),
            remote_index: keypair.remote_index,
            peer,
        };
        let session = self.free.pop().unwrap_or_else(|| self.grow());
        let at = session as usize;
        self.heads[at] = head;
        self.windows[at] = replay::EMPTY;
        self.keys[send_key(session) as usize] = keypair.send.clone();
        self.keys[recv_key(session) as usize] = keypair.recv.clone();
        session
    }

    /// Erases the keys of a session and gives its number back. The window stays until the number is used again: what was
    /// opened in the same batch is still checked against it.
    pub(super) fn remove(&mut self, session: u32) {
        self.erase_sending(session);
        self.keys[recv_key(session) as usize] = zero();
        self.heads[session as usize].peer = NONE;
        self.free.push(session);
    }

    /// Erases the key for what we send; nothing is sent under this session any more.
    pub(super) fn erase_sending(&mut self, session: u32) {
        self.keys[send_key(session) as usize] = zero();
        self.heads[session as usize].counter = REJECT_AFTER_MESSAGES;
    }

    /// One place more. Keys move by hand: a vector that grows would leave them behind in freed memory.
    fn grow(&mut self) -> u32 {
        if self.keys.len() + 2 > self.keys.capacity() {
            let mut keys = Vec::with_capacity((self.keys.len() * 2).max(64));
            keys.extend(self.keys.iter().cloned());
            self.keys = keys;
        }
        self.keys.extend([zero(), zero()]);
        let session = self.heads.len() as u32;
        self.heads.push(Session {
            expires: Instant::ZERO,
            rekey: Instant::FAR,
            refresh: Instant::FAR,
            counter: REJECT_AFTER_MESSAGES,
            replay: Replay::default(),
            remote_index: 0,
            peer: NONE,
        });
        self.windows.push(replay::EMPTY);
        session
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.keys.capacity() * KEY_LEN
            + self.heads.capacity() * size_of::<Session>()
            + self.windows.capacity() * size_of::<replay::Bitmap>()
            + self.free.capacity() * size_of::<u32>()
    }
}

fn zero() -> Key {
    Key::new([0; KEY_LEN])
}
