//! Feeds `dataplane_fuzz::engine_sim`. Run it by `scripts/fuzz engine_sim SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::engine_sim(data));
