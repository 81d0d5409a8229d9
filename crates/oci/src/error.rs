//! What can go wrong with a registry.

use std::io;
use std::path::{Path, PathBuf};

use mos_store::StoreError;

/// Why something could not be pushed or pulled. No variant ever carries a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// The address makes no sense.
    #[error("`{text}` is not the address of an artefact: {reason}; write oci://HOST[:PORT]/REPOSITORY[:TAG]")]
    BadReference {
        /// The address, secrets removed.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A file or program that should have had the password.
    #[error("{place}: cannot read the credentials for {registry}: {reason}; log in again")]
    Credentials {
        /// The file or program.
        place: String,
        /// The registry.
        registry: String,
        /// What is wrong.
        reason: String,
    },
    /// The registry or its token server cannot be reached, or fails on its side: worth another try later.
    #[error("{registry}: unreachable after {tries} tries: {reason}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// How often it was tried.
        tries: u32,
        /// What the last try said.
        reason: String,
    },
    /// Nobody was let in.
    #[error("{registry}: no access to {what}: {reason}")]
    Denied {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// What the registry said.
        reason: String,
    },
    /// There is no such repository, tag or layer.
    #[error("{registry}: there is no {what}")]
    NotFound {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// The registry says something that makes no sense or that trying again will not change.
    #[error("{registry}: refused {what}: {reason}")]
    Refused {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// What it said.
        reason: String,
    },
    /// What the tag names is something else.
    #[error("{reference}: not an flist: {why}")]
    NotAnFlist {
        /// The address.
        reference: String,
        /// How it showed.
        why: String,
    },
    /// The bytes are not those that were asked for. Nothing of them was kept: a trust failure.
    #[error("{registry}: {what} has another digest than it should: the registry is damaged or was tampered with")]
    Tampered {
        /// The registry.
        registry: String,
        /// Which bytes.
        what: String,
    },
    /// A file of an image layout.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store that blobs come from or go to.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A blob of the local store is not what its name says: nothing of it was sent.
    #[error("{store}: blob {blob} is damaged; run `mos flist verify` and push again")]
    DamagedBlob {
        /// The store.
        store: String,
        /// The blob.
        blob: mos_store::Digest,
    },
    /// More than a manifest can name.
    #[error("the flist needs a manifest of {bytes} bytes, and registries take at most {limit}; split the tree")]
    TooManyBlobs {
        /// Bytes of the manifest.
        bytes: usize,
        /// Bytes that a manifest may have.
        limit: u64,
    },
}

impl OciError {
    /// For `map_err` on operations on `path`.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
