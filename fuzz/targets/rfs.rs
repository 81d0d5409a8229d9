//! Feeds `mos_fuzz::rfs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mos_fuzz::rfs(bytes));
