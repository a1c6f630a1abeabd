//! Feeds `dataplane_fuzz::uapi`. Run it by `scripts/fuzz uapi SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dataplane_fuzz::uapi(data));
