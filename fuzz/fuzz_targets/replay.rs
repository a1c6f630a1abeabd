//! Feeds `dataplane_fuzz::replay`. Run it by `scripts/fuzz replay SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::replay(data));
