//! Feeds `mos_fuzz::prefetch_list`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mos_fuzz::prefetch_list(bytes));
