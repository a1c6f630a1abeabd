//! Gives up the rights that a program which carries an interface has no use for.
//!
//! Rights belong to threads, and a thread inherits those of the one that makes it: to be called before there is a second.

use std::io;

pub use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;

/// What is still needed: interfaces, marks and large socket buffers; and a port below 1024, which `wg` may ask for at any time.
const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_BIND_SERVICE);

/// Whether commands of a configuration file run later, which are to have the rights of whoever started this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Children {
    /// None: nothing that this process starts can ever have more rights than it.
    None,
    /// Some: a program that root starts has root's rights.
    Some,
}

/// Keeps CAP_NET_ADMIN, CAP_NET_BIND_SERVICE and `more`, as far as they are there, and gives everything else up for good.
///
/// # Errors
/// What the kernel says; a sandbox may forbid it.
pub fn reduce(children: Children, more: CapabilitySet) -> io::Result<()> {
    let had = rustix::thread::capabilities(None)?;
    let kept = KEPT | more;
    if children == Children::None {
        rustix::thread::set_no_new_privs(true)?;
        rustix::thread::clear_ambient_capability_set()?;
        if had.effective.contains(CapabilitySet::SETPCAP) {
            for capability in (CapabilitySet::all() - kept).iter() {
                match rustix::thread::remove_capability_from_bounding_set(capability) {
                    // An older kernel does not know all of them.
                    Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    let inherited = match children {
        Children::None => CapabilitySet::empty(),
        Children::Some => had.inheritable & kept,
    };
    let sets = CapabilitySets {
        effective: had.effective & kept,
        permitted: had.permitted & kept,
        inheritable: inherited,
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
