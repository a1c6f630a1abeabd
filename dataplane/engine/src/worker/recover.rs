//! The ends of a worker: a panic that it survives, one that it does not, and a drain before it is told to stop.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrayvec::ArrayVec;
use dataplane_aead::Cipher;
use dataplane_io::packet_io::PacketIo;
use dataplane_proto::shard::Shard;
use dataplane_wire::Instant;
use dataplane_wire::offload::{Coalescer, Offloads};

use super::{Run, Worker};
use crate::clock;
use crate::link::WorkerLink;

/// Panics of one worker within [`PANICS_WITHIN`] that end the engine: what comes back at once will not go away.
const PANICS_MAX: usize = 5;
/// Panics that lie further apart are counted and forgotten.
const PANICS_WITHIN: Duration = Duration::from_secs(60);

/// When the last panics were.
#[derive(Default)]
pub(super) struct Panics(ArrayVec<Instant, PANICS_MAX>);

impl Panics {
    /// Notes one. Whether there were too many.
    fn note(&mut self, now: Instant) -> bool {
        self.0.retain(|at| now.since(*at) < PANICS_WITHIN);
        self.0.push(now);
        self.0.is_full()
    }
}

/// What the shard has been told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// All: the ordinary state.
    Told,
    /// It is new after a panic, and what the control thread says is meant for the one before.
    Orphaned,
    /// It is being told. Packets wait in their inner sides, since not all routes are known.
    Adopted,
}

impl<P: PacketIo<Socket: Send + 'static>> Run for Worker<P> {
    fn run(&mut self) {
        let links = Arc::clone(&self.links);
        let link = &links[usize::from(self.core.0)];
        let _ended = Ended { link, control: self.control.clone() };
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.turns())) {
            let too_many = self.panics.note(clock::now());
            link.note_panic(message_of(&*panic));
            if too_many {
                return;
            }
            self.recover();
        }
    }
}

impl<P: PacketIo<Socket: Send + 'static>> Worker<P> {
    /// Makes a new shard, which the control thread fills again. Sockets, inner sides, buffers and the hook stay: what they are
    /// can be relied on wherever a panic has struck; what was half described or half merged cannot, and goes.
    fn recover(&mut self) {
        self.stats.drops.add_table(self.shard.drops());
        self.shard = Shard::<Cipher>::new(self.shard_config, self.cipher);
        self.standing = Standing::Orphaned;
        self.tx.clear();
        self.read.clear();
        self.rx.clear();
        self.coalescer = Coalescer::new(Offloads::ALL);
        self.more = true;
        // What was ready then may be so still, and nobody will say so again but the kernel; level-triggered, it does.
        self.io.set_all_ready();
        self.control.unpark();
    }

    /// From here on the control thread speaks of the new shard. Where there was another panic since it began to, it will begin
    /// anew: with an empty shard.
    pub(super) fn be_adopted(&mut self) {
        if std::mem::replace(&mut self.standing, Standing::Adopted) != Standing::Orphaned {
            self.stats.drops.add_table(self.shard.drops());
            self.shard = Shard::<Cipher>::new(self.shard_config, self.cipher);
        }
    }

    /// Lets go of wishes for a drain once nothing waits: not in inner sides, not for a session, not from other cores.
    pub(super) fn drain(&mut self, now: Instant) {
        if self.drains.is_empty() {
            return;
        }
        let waits = self.more
            || self.interfaces.next_readable(0).is_some()
            || self.shard.staged() > 0
            || !self.link().hand_offs.is_empty();
        self.drains.retain(|drain| {
            let late = waits && now >= drain.deadline;
            if late {
                // Release pairs with the control thread's acquire: it looks when the last worker has let go.
                drain.timed_out.store(true, Ordering::Release);
            }
            waits && !late
        });
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

/// Tells that the worker has ended, be it by a panic.
struct Ended<'l> {
    link: &'l WorkerLink,
    control: std::thread::Thread,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.link.set_ended();
        self.control.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_in_quick_succession_are_too_many_and_rare_ones_are_not() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut panics = Panics::default();
        assert!((0..100).all(|number| !panics.note(at(number * 16))));
        let mut panics = Panics::default();
        assert!((0..4).all(|number| !panics.note(at(number))));
        assert!(panics.note(at(5)));
    }
}
