//! Feeds `dataplane_fuzz::routes`. Run it by `scripts/fuzz routes SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::routes(data));
