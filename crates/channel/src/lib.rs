//! Channels: signed releases as static files at one URL.
//!
//! ```text
//! release.json                  the newest release: a DSSE envelope; written last
//! releases/<sequence>.json      the same bytes, kept
//! flists/<blake3>.fl            flists
//! boot/<sha256>.efi             boot images
//! blobs/<2 hex>/<blake3>        chunks
//! ```
//!
//! Everything but `release.json` never changes once it is written, and a release is written only after everything that
//! it names: whoever reads `release.json`, old or new, finds all of it. [`metadata`] is the signed part and knows
//! nothing of stores; the rest of the crate moves it to and fro. With feature `publish` (default) the crate can also
//! make keys, sign, and publish; nodes leave that out.

mod audit;
mod fetch;
pub mod keys;
pub mod metadata;
#[cfg(feature = "publish")]
pub mod publish;
pub mod statement;

pub use audit::{Audit, Finding, verify_channel};
pub use fetch::{ChannelError, Fetched, Past, fetch_release, history};
#[cfg(feature = "publish")]
pub use keys::KeyPair;
pub use keys::{KeyError, KeyId, PublicKey};
#[cfg(feature = "publish")]
pub use metadata::sign;
pub use metadata::{Blob, BootImage, Flist, MAX_RELEASE, Release, Sha256, Trust, TrustError, verify};
#[cfg(feature = "publish")]
pub use publish::{
    Boot, Existing, FlistFile, Inputs, Progress, PublishError, PublishPlan, Source, Step, execute, plan_publish, survey,
};

/// The name of the newest release.
pub const RELEASE: &str = "release.json";

/// The name under which the release with this sequence number is kept.
pub fn release_name(sequence: u64) -> String {
    format!("releases/{sequence}.json")
}
