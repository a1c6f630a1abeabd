//! The cross-platform userspace WireGuard protocol, as `wg` and `wg-quick` speak it.
//!
//! A client sends `get=1` or `set=1` with a line `key=value` for each fact and ends with an empty line; the answer ends
//! with `errno=N` and an empty line. Enters: bytes of a client. Leaves: a [`Request`] that is whole and well formed, or an
//! error that names its line; the text of a [`DeviceSnapshot`]. [`Parser`] and the emitters know no socket; [`Server`] joins
//! them to one, and to a [`Device`].

mod client;
mod device;
mod emit;
#[cfg(test)]
mod model;
mod parse;
mod reply;
mod server;
#[cfg(test)]
mod server_tests;
mod socket;
mod status;
#[cfg(test)]
mod tests;
mod types;

pub use client::{Client, ClientError};
pub use device::{Device, DeviceError};
pub use emit::GetReply;
pub(crate) use parse::parse_endpoint;
pub use parse::{LINE_LEN_MAX, ParseError, Parser, Problem, REQUEST_LEN_MAX, ZoneIndex, zone_number};
pub use reply::{ReplyError, parse_get_reply};
pub use server::{CLIENTS_MAX, REQUEST_TIME_MAX, Server, Stopped};
pub use socket::{DIRECTORY, Socket, SocketError};
pub use status::{DeviceStatus, WorkerStatus, parse_status_reply};
pub use types::{AllowedIp, DeviceSnapshot, PeerRequest, PeerSnapshot, Request, SetRequest};
