//! Feeds `dataplane_fuzz::classify`. Run it by `scripts/fuzz classify SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::classify(data));
