//! The crate as a whole: against SQLite alone, against hostile files, against the newer format, and against rfs itself.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod bucket;
mod common;
mod defects;
mod golden;
mod hostile;
mod peer;
mod roundtrip;
