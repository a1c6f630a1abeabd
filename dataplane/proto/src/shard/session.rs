//! The sessions of a shard: keys, replay windows, and what is to be sent under them.
//!
//! A session has a number. All that a packet in needs of it is one cache line, the key included; the replay window beyond the
//! newest counters lies apart. What a packet out needs waits in a third place until the session is the current one, and then
//! lies in the peer. Numbers are used again. All of it grows only when a session is made.
//!
//! The cipher takes the keys of a batch from one array, so they are copied there, and erased there whenever a key is erased.

use core::time::Duration;

use dataplane_aead::{BATCH_MAX, KEY_LEN, Key, prefetch};
use dataplane_wire::Instant;
use zeroize::Zeroize;

use super::peer::Sending;
use crate::messages::{Keypair, Role};
use crate::replay::{self, Replay};

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

/// How sending begins under a session, once it is the current one.
#[derive(Clone)]
struct Start {
    key: Key,
    expires: Instant,
    remote_index: u32,
    renews: bool,
}

/// What is received under a session: a cache line.
#[repr(C, align(64))]
#[derive(Clone)]
pub(super) struct Session {
    key: Key,
    /// Refused from here on.
    pub(super) expires: Instant,
    /// From here on a receipt asks for a new session, once; far off for who answered, and once it has.
    pub(super) refresh: Instant,
    replay: Replay,
}

const _: () = assert!(size_of::<Session>() == 64);

impl Session {
    /// The key that opens what comes under this session.
    #[inline]
    pub(super) fn key(&self) -> &Key {
        &self.key
    }
}

/// The keys of a batch, at the places that its descriptions name.
pub(super) struct BatchKeys(Box<[Key; BATCH_MAX]>);

impl BatchKeys {
    // tidy: at construction
    pub(super) fn new() -> Self {
        Self(Box::new(core::array::from_fn(|_| zero())))
    }

    /// Puts a key at a place of the batch, and returns that place as descriptions have it.
    #[inline]
    pub(super) fn set(&mut self, place: usize, key: &Key) -> u32 {
        self.0[place].set(key);
        place as u32
    }

    #[inline]
    pub(super) fn all(&self) -> &[Key] {
        &*self.0
    }

    /// Erases all of them, since one must not be anywhere any more.
    pub(super) fn erase(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

pub(super) struct Sessions {
    list: Vec<Session>,
    windows: Vec<replay::Bitmap>,
    starts: Vec<Start>,
    free: Vec<u32>,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { list: Vec::new(), windows: Vec::new(), starts: Vec::new(), free: Vec::new() }
    }

    #[inline]
    pub(super) fn get(&self, session: u32) -> &Session {
        &self.list[session as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, session: u32) -> &mut Session {
        &mut self.list[session as usize]
    }

    /// Whether a counter could be new; before its tag is known.
    #[inline]
    pub(super) fn may_accept(&self, session: u32, counter: u64) -> bool {
        self.get(session).replay.may_accept(&self.windows[session as usize], counter)
    }

    /// Marks a counter as used, now that its tag was right; `false` if it was used before.
    #[inline]
    pub(super) fn accept(&mut self, session: u32, counter: u64) -> bool {
        self.list[session as usize].replay.accept(&mut self.windows[session as usize], counter)
    }

    /// Begins to load what opens a packet.
    #[inline]
    pub(super) fn prefetch(&self, session: u32) {
        if let Some(found) = self.list.get(session as usize) {
            prefetch(found);
        }
    }

    /// Begins to load the word of the window that judges a counter, where the session's line does not.
    #[inline]
    pub(super) fn prefetch_window(&self, session: u32, counter: u64) {
        if let Some(found) = self.list.get(session as usize)
            && found.replay.needs_bitmap(counter)
        {
            prefetch(replay::word_of(&self.windows[session as usize], counter));
        }
    }

    /// Begins sending under a session that has become the current one: its key moves.
    pub(super) fn begin_sending(&mut self, session: u32, sending: &mut Sending) {
        match self.starts.get_mut(session as usize) {
            Some(Start { key, expires, remote_index, renews }) => {
                sending.begin(key, *expires, *remote_index, *renews);
                key.zeroize();
            }
            None => sending.stop(),
        }
    }

    /// Makes a session of a keypair. Allocates when there were never so many.
    pub(super) fn insert(&mut self, keypair: &Keypair) -> u32 {
        let initiator = keypair.role == Role::Initiator;
        let session = self.free.pop().unwrap_or_else(|| self.grow());
        self.list[session as usize] = Session {
            key: keypair.recv.clone(),
            expires: keypair.created + REJECT_AFTER_TIME,
            refresh: if initiator { keypair.begun + REFRESH_ON_RECEIVE } else { Instant::FAR },
            replay: Replay::default(),
        };
        self.windows[session as usize] = replay::EMPTY;
        self.starts[session as usize] = Start {
            key: keypair.send.clone(),
            expires: keypair.begun + REJECT_AFTER_TIME,
            remote_index: keypair.remote_index,
            renews: initiator,
        };
        session
    }

    /// Erases the keys of a session and gives its number back. The window stays until the number is used again: what was
    /// opened in the same batch is still checked against it.
    pub(super) fn remove(&mut self, session: u32) {
        self.erase_sending(session);
        self.list[session as usize].key.zeroize();
        self.free.push(session);
    }

    /// Erases the key for what we send, where it waits to be used.
    pub(super) fn erase_sending(&mut self, session: u32) {
        self.starts[session as usize] = nothing();
    }

    /// One place more. Keys move by hand: a vector that grows would leave them behind in freed memory.
    fn grow(&mut self) -> u32 {
        let sessions = self.list.len();
        if sessions == self.list.capacity() {
            let more = (sessions * 2).max(64);
            self.list = moved(&self.list, more);
            self.starts = moved(&self.starts, more);
        }
        self.list.push(Session {
            key: zero(),
            expires: Instant::ZERO,
            refresh: Instant::FAR,
            replay: Replay::default(),
        });
        self.windows.push(replay::EMPTY);
        self.starts.push(nothing());
        sessions as u32
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<Session>()
            + self.windows.capacity() * size_of::<replay::Bitmap>()
            + self.starts.capacity() * size_of::<Start>()
            + self.free.capacity() * size_of::<u32>()
    }

    /// Every key that is held.
    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.list.iter().map(|session| &session.key).chain(self.starts.iter().map(|start| &start.key))
    }
}

/// The same items in a larger vector; those of the old one are dropped, which erases their keys.
pub(super) fn moved<T: Clone>(items: &[T], capacity: usize) -> Vec<T> {
    let mut larger = Vec::with_capacity(capacity);
    larger.extend(items.iter().cloned());
    larger
}

fn nothing() -> Start {
    Start { key: zero(), expires: Instant::ZERO, remote_index: 0, renews: false }
}

pub(super) fn zero() -> Key {
    Key::new([0; KEY_LEN])
}
