//! Feeds `mos_fuzz::header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mos_fuzz::header(bytes));
