//! Feeds `mos_fuzz::flist`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mos_fuzz::flist(bytes));
