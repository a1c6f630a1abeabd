//! Feeds `dataplane_fuzz::vnet`. Run it by `scripts/fuzz vnet SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::vnet(data));
