//! What operators and their programs write: requests on the management socket, and files of wg-quick. Read, written again and
//! read once more it says the same; and an interface that changes from one configuration to another ends where a new one would.

mod applied;
mod file;
mod uapi;

pub use file::config;
pub use uapi::uapi;
