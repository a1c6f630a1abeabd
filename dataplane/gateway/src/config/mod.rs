//! The file of an interface, as wg-quick(8) and wg(8) define it, with `PrivateKeyFile` and `PresharedKeyFile` beside.
//!
//! Enters: a file. Leaves: a [`Config`] that is whole and consistent, or every problem found, each with its line, what was
//! expected, and what to do. Never: a name look-up, a change of the system; the file of a key is read by
//! [`KeySource::read`] alone.
//!
//! Deviations from wg-quick, each refused with its line where wg-quick would go on: a key that is written twice though it has
//! one value, a peer that is written twice, an allowed IP that is given to two peers (of which the later would silently win).
//! Prefixes of different peers may nest, as routes may.

mod emit;
mod load;
mod locate;
mod parse;
mod problem;
mod types;
mod validate;
mod values;

pub use emit::emit;
pub use load::{FILE_LEN_MAX, LINE_LEN_MAX, load, parse};
pub use locate::{LocateError, Located, locate};
pub use problem::{ConfigError, Problem, ProblemKind};
pub use types::{Config, Endpoint, Hook, InterfaceAddress, InterfaceConfig, KeySource, PeerConfig, Table};

#[cfg(test)]
mod tests;
