//! Feeds `dataplane_fuzz::aead`. Run it by `scripts/fuzz aead SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::aead(data));
