//! Feeds `dataplane_fuzz::coalesce`. Run it by `scripts/fuzz coalesce SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::coalesce(data));
