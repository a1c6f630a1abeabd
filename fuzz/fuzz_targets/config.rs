//! Feeds `dataplane_fuzz::config`. Run it by `scripts/fuzz config SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::config(data));
