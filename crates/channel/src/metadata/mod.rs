//! The signed part of a channel: pure functions from bytes and times to releases or reasons.
//!
//! The rest of the crate, and every other one, sees only [`sign`], [`verify`], [`Release`] and [`Trust`]; what the
//! envelope looks like is known here alone, so that another trust framework (TUF) can take its place.

mod digest;
pub(crate) mod envelope;
mod release;
mod trust;

pub use digest::Sha256;
#[cfg(feature = "publish")]
pub use envelope::sign;
pub use release::{Blob, BootImage, Flist, Format, Release};
pub use trust::{Trust, TrustError, verify};
pub(crate) use trust::{verify_age, verify_signed};

/// Largest envelope in bytes. A release with 100 flists of 50 blobs each needs half of it.
pub const MAX_RELEASE: u64 = 1 << 20;
