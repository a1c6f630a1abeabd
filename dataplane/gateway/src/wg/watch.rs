//! Looks after the link of an interface: sockets are open while it is up; when it is gone the program ends, or makes it anew;
//! when other links change, what could not be sent is tried again.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dataplane::{Event, Events, InnerSide, InterfaceError, InterfaceHandle};
use dataplane_io::netlink::{LinkEvent, LinkMonitor, Links};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::WgError;
use crate::service::Health;

/// A link that comes up has its addresses and routes a little later: what was tried at once is tried once more after this.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// What is done when somebody removes the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The program ends.
    Ends,
    /// It is made anew, with its keys and peers.
    IsUndone,
}

/// Two threads that wait: one for the link, one for the engine's events.
#[derive(Debug)]
pub(crate) struct Watch {
    gone: UnixStream,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The link is up, or lies where nobody here can see it. Held while the sockets follow it: else who opens them because the
    /// link was up could do so behind whoever has closed them because it is down.
    up: Mutex<bool>,
    /// What others may know of it.
    health: Arc<Health>,
}

impl Watch {
    /// Brings the interface to the state of the link `name`, and keeps it there.
    pub(super) fn start(
        name: &str,
        handle: &InterfaceHandle,
        events: Events,
        removal: Removal,
    ) -> Result<Self, WgError> {
        let cannot = WgError::system;
        let (gone, tell) = UnixStream::pair().map_err(cannot("cannot make a pipe"))?;
        let watch = Self { gone, state: Arc::new(State::default()) };
        let health = Arc::clone(&watch.state.health);
        let told = tell.try_clone().map_err(cannot("cannot make a pipe"))?;
        let mut monitor = LinkMonitor::open().map_err(cannot("cannot watch links"))?;
        let mut links = Links::open().map_err(cannot("cannot watch links"))?;
        // A device that was handed over may lie in another namespace: it can be neither seen nor missed from here.
        let link = links.find(name).ok().and_then(|link| monitor.watch(link.index).ok());
        // Who watches the link sees that it is gone, and undoes it.
        let undone = removal == Removal::IsUndone && link.is_some();
        spawn("wg-events", move || hear(events, &told, &health, undone))?;
        let up = link.as_ref().is_none_or(|link| link.up);
        watch.state.turn(up, handle);
        if link.is_some() {
            let (state, handle, name) = (Arc::clone(&watch.state), handle.clone(), name.to_owned());
            let mut follower = Follower { monitor, links, state, handle, name, removal, gone: tell };
            spawn("wg-link", move || {
                if let Err(error) = follower.follow() {
                    tracing::error!("cannot watch {} any longer: {error}", follower.name);
                }
            })?;
        }
        Ok(watch)
    }

    /// Whether the sockets are open.
    pub(super) fn has_sockets(&self) -> bool {
        self.state.health.has_sockets()
    }

    /// What is seen of the interface, from now on.
    pub(super) fn health(&self) -> Arc<Health> {
        Arc::clone(&self.state.health)
    }

    /// The link has been set up by this program: opens the sockets without waiting for the kernel to tell of it.
    pub(super) fn link_is_up(&self, handle: &InterfaceHandle) -> Result<(), InterfaceError> {
        let mut link = self.state.link();
        *link = true;
        self.state.set(&link, handle)
    }

    /// Opens the sockets where the link is up and they could not be opened before.
    pub(super) fn open_sockets(&self, handle: &InterfaceHandle) -> Result<(), InterfaceError> {
        let link = self.state.link();
        if *link { self.state.set(&link, handle) } else { Ok(()) }
    }
}

/// Readable once the interface is gone.
impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.gone.as_fd()
    }
}

impl State {
    /// The link has come up or gone down.
    fn turn(&self, up: bool, handle: &InterfaceHandle) {
        let mut link = self.link();
        *link = up;
        match self.set(&link, handle) {
            // The program is about to end.
            Ok(()) | Err(InterfaceError::Stopped(_)) => {}
            Err(error) => tracing::error!("the link is up, but nothing can be received: {error}"),
        }
    }

    fn link(&self) -> MutexGuard<'_, bool> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the sockets follow the link.
    fn set(&self, link: &MutexGuard<'_, bool>, handle: &InterfaceHandle) -> Result<(), InterfaceError> {
        handle.set_up(**link)?.wait()??;
        self.health.set_sockets_open(**link);
        Ok(())
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), WgError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map(drop).map_err(WgError::system("cannot start a thread"))
}

/// Who does what happens to the link.
struct Follower {
    monitor: LinkMonitor,
    links: Links,
    state: Arc<State>,
    handle: InterfaceHandle,
    name: String,
    removal: Removal,
    gone: UnixStream,
}

impl Follower {
    /// Goes on until the link is gone for good.
    fn follow(&mut self) -> io::Result<()> {
        let mut settled_at: Option<Instant> = None;
        loop {
            while let Some(change) = self.monitor.poll_change()? {
                match change.event {
                    LinkEvent::Up => self.state.turn(true, &self.handle),
                    LinkEvent::Down => self.state.turn(false, &self.handle),
                    LinkEvent::Mtu(mtu) => set_mtu(mtu, &self.handle),
                    LinkEvent::Gone => match self.removal {
                        Removal::Ends => return tell(&self.gone),
                        Removal::IsUndone => {
                            if let Err(error) = self.make_anew() {
                                tracing::error!("{} was removed and cannot be made anew: {error}", self.name);
                                return tell(&self.gone);
                            }
                        }
                    },
                    LinkEvent::Moved => {
                        tracing::warn!(
                            "the interface has moved to another namespace: it counts as up from now on"
                        );
                        self.state.turn(true, &self.handle);
                    }
                    LinkEvent::Elsewhere if settled_at.is_none() => {
                        self.retry();
                        settled_at = Some(Instant::now() + SETTLED_AFTER);
                    }
                    LinkEvent::Elsewhere => {}
                }
            }
            self.wait(settled_at)?;
            if settled_at.is_some_and(|at| Instant::now() >= at) {
                settled_at = None;
                self.retry();
            }
        }
    }

    /// Until there is news, or it is time.
    fn wait(&self, until: Option<Instant>) -> io::Result<()> {
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        // Two seconds at most, which every clock can say.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::from_borrowed_fd(self.monitor.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What could not be sent may get through now. An engine that has ended has nothing to send.
    fn retry(&self) {
        if let Ok(told) = self.handle.network_changed() {
            let _ = told.wait();
        }
    }

    /// Another device of the same name for the same peers. It is down and has no addresses, as a new one.
    fn make_anew(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        self.state.turn(false, &self.handle);
        self.handle.set_inner(InnerSide::tun(self.name.as_str()))?.wait()??;
        let link = self.links.find(&self.name)?;
        let up = self.monitor.watch(link.index)?.up;
        tracing::warn!("{} was removed, and is made anew: it has no addresses yet", self.name);
        if up {
            self.state.turn(true, &self.handle);
        }
        Ok(())
    }
}

fn set_mtu(mtu: u32, handle: &InterfaceHandle) {
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    let set = handle.set_mtu(mtu).and_then(|answer| answer.wait());
    if let Ok(Err(error)) = set {
        tracing::warn!("an MTU of {mtu} cannot be used: {error}");
    }
}

/// Reports what the engine tells, until it ends. That the interface is gone says somebody else where that is `undone`.
fn hear(mut events: Events, gone: &UnixStream, health: &Health, undone: bool) {
    while let Some(event) = events.next_timeout(Duration::MAX) {
        match event {
            Event::Handshake { peer, .. } => tracing::debug!(?peer, "handshake complete"),
            Event::HandshakeGivenUp { peer } => tracing::info!(?peer, "no answer for 90 s, given up"),
            Event::Path { peer, path } => tracing::debug!(?peer, ?path, "path"),
            Event::WorkerRestarted(worker) => {
                tracing::error!(
                    worker,
                    "a worker panicked and was made anew: its peers' sessions are made again"
                );
            }
            Event::Ended(reason) => {
                health.count_stopped_worker();
                tracing::error!("the engine has ended: {reason}");
                if let Err(error) = tell(gone) {
                    tracing::error!("the engine has ended, and nobody can be told: {error}");
                }
            }
            Event::InterfaceGone(_) if undone => tracing::debug!("the inner side has ended"),
            Event::InterfaceGone(_) => {
                if let Err(error) = tell(gone) {
                    tracing::error!("the interface is gone, and nobody can be told: {error}");
                }
            }
            Event::Degraded(what) => tracing::warn!("{what}"),
            Event::Recovered(what) => tracing::info!("no longer so: {what}"),
            Event::Lagged { missed } => tracing::info!(missed, "more happened than could be told"),
            other => tracing::warn!(?other, "the engine reports"),
        }
    }
}

fn tell(mut gone: &UnixStream) -> io::Result<()> {
    match gone.write_all(b"g") {
        // Whoever would be told has ended already, and the interface with it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told,
    }
}
