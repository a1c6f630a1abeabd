//! Feeds `dataplane_fuzz::inner_ip`. Run it by `scripts/fuzz inner_ip SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::inner_ip(data));
