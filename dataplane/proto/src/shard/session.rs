//! The sessions of a shard: keys, replay windows, and what is to be sent under them.
//!
//! A session has a number; its keys lie at twice that number in one dense array, as the cipher takes them; all that a packet
//! in needs of it lies in one place with its replay window. What a packet out needs lies in the peer. Numbers are used
//! again. All of it grows only when a session is made.

use core::time::Duration;

use dataplane_aead::{KEY_LEN, Key, prefetch};
use dataplane_wire::Instant;

use super::table::NONE;
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

/// What is sent under a session: lies in the peer whose current session it is.
#[derive(Clone, Copy)]
pub(super) struct Sending {
    pub(super) session: u32,
    pub(super) remote_index: u32,
    /// The counter of the next message.
    pub(super) counter: u64,
    /// Refused from here on.
    pub(super) expires: Instant,
    /// From here on a send asks for a new session; far off for who answered.
    pub(super) rekey: Instant,
}

impl Sending {
    /// Nothing can be sent.
    pub(super) const NOTHING: Self = Self {
        session: NONE,
        remote_index: 0,
        counter: REJECT_AFTER_MESSAGES,
        expires: Instant::ZERO,
        rekey: Instant::FAR,
    };

    /// Whether `messages` more may be sent now.
    #[inline]
    pub(super) fn allows(&self, now: Instant, messages: u64) -> bool {
        now < self.expires && messages <= REJECT_AFTER_MESSAGES.saturating_sub(self.counter)
    }
}

/// What is received under a session: a cache line, and of the window the word that a counter lies in.
#[repr(C, align(64))]
pub(super) struct Session {
    /// Refused from here on.
    pub(super) expires: Instant,
    /// From here on a receipt asks for a new session, once; far off for who answered, and once it has.
    pub(super) refresh: Instant,
    replay: Replay,
    /// How sending begins, once this is the current session.
    sending: Sending,
    window: replay::Bitmap,
}

impl Session {
    /// Whether a counter could be new; before its tag is known.
    #[inline]
    pub(super) fn may_accept(&self, counter: u64) -> bool {
        self.replay.may_accept(&self.window, counter)
    }

    /// Marks a counter as used, now that its tag was right; `false` if it was used before.
    #[inline]
    pub(super) fn accept(&mut self, counter: u64) -> bool {
        self.replay.accept(&mut self.window, counter)
    }
}

pub(super) struct Sessions {
    keys: Vec<Key>,
    list: Vec<Session>,
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
        Self { keys: Vec::new(), list: Vec::new(), free: Vec::new() }
    }

    #[inline]
    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    #[inline]
    pub(super) fn get(&self, session: u32) -> &Session {
        &self.list[session as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, session: u32) -> &mut Session {
        &mut self.list[session as usize]
    }

    /// Begins to load the key that seals under a session.
    #[inline]
    pub(super) fn prefetch_send(&self, session: u32) {
        if let Some(key) = self.keys.get(session as usize * 2) {
            prefetch(key);
        }
    }

    /// Begins to load what opens a packet with this counter: the session, its key, and the word of its window.
    #[inline]
    pub(super) fn prefetch_recv(&self, session: u32, counter: u64) {
        if let Some(found) = self.list.get(session as usize) {
            prefetch(found);
            prefetch(replay::word_of(&found.window, counter));
            prefetch(&self.keys[recv_key(session) as usize]);
        }
    }

    /// How sending begins under a session that has become the current one.
    pub(super) fn sending(&self, session: u32) -> Sending {
        self.list.get(session as usize).map_or(Sending::NOTHING, |session| session.sending)
    }

    /// Makes a session of a keypair. Allocates when there were never so many.
    pub(super) fn insert(&mut self, keypair: &Keypair) -> u32 {
        let initiator = keypair.role == Role::Initiator;
        let after = |span| if initiator { keypair.begun + span } else { Instant::FAR };
        let session = self.free.pop().unwrap_or_else(|| self.grow());
        self.list[session as usize] = Session {
            expires: keypair.created + REJECT_AFTER_TIME,
            refresh: after(REFRESH_ON_RECEIVE),
            replay: Replay::default(),
            sending: Sending {
                session,
                remote_index: keypair.remote_index,
                counter: 0,
                expires: keypair.begun + REJECT_AFTER_TIME,
                rekey: after(REKEY_AFTER_TIME),
            },
            window: replay::EMPTY,
        };
        self.keys[send_key(session) as usize] = keypair.send.clone();
        self.keys[recv_key(session) as usize] = keypair.recv.clone();
        session
    }

    /// Erases the keys of a session and gives its number back. The window stays until the number is used again: what was
    /// opened in the same batch is still checked against it.
    pub(super) fn remove(&mut self, session: u32) {
        self.erase_sending(session);
        self.keys[recv_key(session) as usize] = zero();
        self.free.push(session);
    }

    /// Erases the key for what we send; nothing may be sent under this session any more.
    pub(super) fn erase_sending(&mut self, session: u32) {
        self.keys[send_key(session) as usize] = zero();
        self.list[session as usize].sending = Sending::NOTHING;
    }

    /// One place more. Keys move by hand: a vector that grows would leave them behind in freed memory.
    fn grow(&mut self) -> u32 {
        if self.keys.len() + 2 > self.keys.capacity() {
            let mut keys = Vec::with_capacity((self.keys.len() * 2).max(64));
            keys.extend(self.keys.iter().cloned());
            self.keys = keys;
        }
        self.keys.extend([zero(), zero()]);
        self.list.push(Session {
            expires: Instant::ZERO,
            refresh: Instant::FAR,
            replay: Replay::default(),
            sending: Sending::NOTHING,
            window: replay::EMPTY,
        });
        self.list.len() as u32 - 1
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.keys.capacity() * KEY_LEN
            + self.list.capacity() * size_of::<Session>()
            + self.free.capacity() * size_of::<u32>()
    }
}

fn zero() -> Key {
    Key::new([0; KEY_LEN])
}
