//! Feeds `mos_fuzz::blob_index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mos_fuzz::blob_index(bytes));
