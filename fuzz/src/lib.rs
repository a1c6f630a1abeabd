//! What strangers can send, as plain functions.
//!
//! Enters: any bytes. Leaves: nothing, or a panic that says which rule was broken. The same functions are fed by libFuzzer
//! (`scripts/fuzz TARGET SECONDS`) and, with the committed corpus, by `cargo test`.
#![forbid(unsafe_code)]

mod aead;
mod config;
mod datagram;
mod engine_sim;
mod gate;
mod handshake;
mod inner;
mod input;
mod memory;
mod offload;
mod replay;
mod routes;
mod trains;

pub use aead::aead;
pub use config::{config, uapi};
pub use datagram::{classify, messages};
pub use engine_sim::engine_sim;
pub use gate::gate;
pub use handshake::handshake;
pub use inner::inner_ip;
pub use memory::memory;
pub use offload::{coalesce, vnet};
pub use replay::replay;
pub use routes::routes;
pub use trains::trains;

/// A function that takes any bytes, under the name of its target and of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("classify", classify),
    ("messages", messages),
    ("inner_ip", inner_ip),
    ("vnet", vnet),
    ("coalesce", coalesce),
    ("aead", aead),
    ("replay", replay),
    ("routes", routes),
    ("gate", gate),
    ("handshake", handshake),
    ("uapi", uapi),
    ("config", config),
    ("memory", memory),
    ("trains", trains),
    ("engine_sim", engine_sim),
];

/// The Internet checksum (RFC 1071), written down as the RFC says it and as slowly: what the fast one is held against.
fn slow_checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum = 0_u32;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
