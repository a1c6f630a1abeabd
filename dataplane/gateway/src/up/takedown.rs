//! The way down: by `dataplane down`, by the end of the process, or after it was killed.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use dataplane_io::netlink::Links;

use super::state::{Lock, State};
use super::system::System;
use super::wanted::Wanted;
use super::{Target, UpError, hooks};
use crate::config::locate;

/// How long the process may take to let go of its interface.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// Takes an interface down, whatever became of the process that carried it.
pub(super) fn down(target: &Target) -> Result<(), UpError> {
    let located = locate(&target.file)?;
    let interface = located.interface.as_str();
    let run_dir = target.run_dir.run_dir.as_path();
    let not_up = || UpError::not_up(interface, run_dir);
    if !run_dir.is_dir() {
        return Err(not_up());
    }
    let lock = Lock::take(run_dir, interface)?;
    let state = State::load(run_dir, interface)?.ok_or_else(not_up)?;
    let socket = run_dir.join(format!("{interface}.sock"));
    let server = UnixStream::connect(&socket).ok();
    let mut links = Links::open().map_err(UpError::system("cannot open a netlink socket"))?;
    state.must_be_here(interface)?;
    let link = links.find(interface).ok();
    let mut errors = Vec::new();
    if server.is_some() {
        errors.extend(hooks::run_all("PreDown", &state.pre_down, interface, &state.config));
        if state.save_config {
            errors.extend(super::save::save(&socket, &state, &mut links).err());
        }
    }
    errors.extend(undo(interface, &state));
    if let Some(link) = link.filter(|_| server.is_some()) {
        // The process hears of it and ends; it finds nothing left to undo.
        State::remove(run_dir, interface)?;
        links.remove(link.index).map_err(|source| UpError::Kernel {
            what: format!("cannot remove {interface}"),
            source,
            hint: "",
        })?;
        if let Some(server) = server {
            wait_for_end(interface, server)?;
        }
    } else {
        State::remove(run_dir, interface)?;
    }
    drop(lock);
    errors.extend(hooks::run_all("PostDown", &state.post_down, interface, &state.config));
    UpError::of(errors)
}

/// Waits until the process at the other end has ended.
fn wait_for_end(interface: &str, mut server: UnixStream) -> Result<(), UpError> {
    let failed = UpError::system(format!("{interface}: cannot wait for the end of its process"));
    if let Err(error) = server.set_read_timeout(Some(END_TIME_MAX)) {
        return Err(failed(error));
    }
    match server.read(&mut [0]) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Takes back what outlives the interface.
fn undo(interface: &str, state: &State) -> Vec<UpError> {
    let steps = state.wanted.without_device().steps_to(&Wanted::default());
    match System::open(interface, state.resolver) {
        Ok(mut system) => system.make_each(&steps),
        Err(error) => vec![error],
    }
}

/// Takes back what a process that was killed has left.
pub(super) fn undo_leftovers(run_dir: &Path, interface: &str, state: &State) -> Result<(), UpError> {
    // What was left in another namespace is gone with it, or cannot be reached from here.
    let errors = if state.must_be_here(interface).is_ok() { undo(interface, state) } else { Vec::new() };
    State::remove(run_dir, interface)?;
    UpError::of(errors)
}

/// The way down of the process that carries the interface, which `close` lets go of. Where `dataplane down` is at it, that
/// does everything else.
pub(super) fn by_server(run_dir: &Path, interface: &str, mut close: impl FnMut()) -> Vec<UpError> {
    let deadline = Instant::now() + END_TIME_MAX;
    let (state, lock) = loop {
        match State::load(run_dir, interface) {
            Ok(None) => {
                close();
                return Vec::new();
            }
            Ok(Some(state)) => match Lock::attempt(run_dir, interface) {
                Ok(Some(lock)) => break (state, Some(lock)),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                // Somebody holds it and does not come to an end: what he does not undo, `down` does.
                _ => break (state, None),
            },
            Err(error) => {
                close();
                return vec![error];
            }
        }
    };
    let mut errors = Vec::new();
    errors.extend(hooks::run_all("PreDown", &state.pre_down, interface, &state.config));
    if state.save_config
        && let Ok(mut links) = Links::open()
    {
        let socket = run_dir.join(format!("{interface}.sock"));
        errors.extend(super::save::save(&socket, &state, &mut links).err());
    }
    errors.extend(undo(interface, &state));
    close();
    if errors.is_empty() {
        errors.extend(State::remove(run_dir, interface).err());
    }
    drop(lock);
    errors.extend(hooks::run_all("PostDown", &state.post_down, interface, &state.config));
    errors
}
