//! Debian packages into a tree, through the host's own apt.
//!
//! [`Apt`] asks the host's `apt-get`, with the host's sources and keyrings, but with lists, caches and an (empty)
//! package state of its own: nothing of the host changes and an ordinary user is enough. Signatures are checked by
//! apt; every package is then pinned by SHA-256 in a [`LockedPackage`]. [`deb`] unpacks a package into a tree without
//! running any of its scripts.

mod apt;
mod archive;
pub mod compression;
mod configuration;
pub mod deb;
mod error;
mod unsatisfied;
mod uris;

pub use apt::{Apt, Deb, Progress};
pub use error::PackageError;
pub use unsatisfied::Unsatisfied;

/// One package of one exact version: what a lock file keeps of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockedPackage {
    /// `busybox-static`.
    pub name: String,
    /// With epoch and revision: `1:1.35.0-4+deb12u1+b1`.
    pub version: String,
    /// `amd64`, `arm64` or `all`.
    pub architecture: String,
    /// Digest of the `.deb`, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Length of the `.deb` in bytes.
    pub size: u64,
}

impl LockedPackage {
    /// The name under which the `.deb` is cached; as apt writes it, the colon of an epoch as `%3a`.
    pub fn file_name(&self) -> String {
        let version = self.version.replace(':', "%3a");
        format!("{}_{version}_{}.deb", self.name, self.architecture)
    }
}
