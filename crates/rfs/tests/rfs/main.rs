//! The crate as a whole: against SQLite alone, against hostile files, against the newer format, and against rfs itself.

mod bucket;
mod common;
mod defects;
mod golden;
mod hostile;
mod peer;
mod roundtrip;
