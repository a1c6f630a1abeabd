//! Feeds `dataplane_fuzz::gate`. Run it by `scripts/fuzz gate SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::gate(data));
