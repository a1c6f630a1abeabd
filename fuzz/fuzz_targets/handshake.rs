//! Feeds `dataplane_fuzz::handshake`. Run it by `scripts/fuzz handshake SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::handshake(data));
