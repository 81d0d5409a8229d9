//! Feeds `mos_fuzz::service_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mos_fuzz::service_file(bytes));
