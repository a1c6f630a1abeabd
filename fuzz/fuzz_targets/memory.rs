//! Feeds `dataplane_fuzz::memory`. Run it by `scripts/fuzz memory SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::memory(data));
