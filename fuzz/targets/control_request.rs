//! Feeds `mos_fuzz::control_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mos_fuzz::control_request(bytes));
