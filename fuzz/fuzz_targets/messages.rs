//! Feeds `dataplane_fuzz::messages`. Run it by `scripts/fuzz messages SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::messages(data));
