//! Feeds `dataplane_fuzz::trains`. Run it by `scripts/fuzz trains SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::trains(data));
