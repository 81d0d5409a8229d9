//! Feeds `mos_fuzz::apk_package`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mos_fuzz::apk_package(bytes));
