//! Why a release could not be published.

use crate::ChannelError;
use mos_store::StoreError;

/// Why a release could not be published. The channel then still shows its old release, complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The store of the channel, or of the blobs.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The channel's present release is not ours.
    #[error("{0}; to take the channel over, remove its release.json first")]
    NotOurs(ChannelError),
    /// The inputs make no release.
    #[error("this is no release: {0}")]
    BadInputs(String),
    /// Signing without a key that nodes trust.
    #[error("none of the keys given signs for `{environment}`; its nodes trust {trusted}")]
    NoTrustedKey {
        /// The environment.
        environment: String,
        /// The key ids that are trusted.
        trusted: String,
    },
    /// A file is not what the plan says.
    #[error("{name}: {problem}; it changed after the plan was made, run the build again")]
    Changed {
        /// The file or object.
        name: String,
        /// What differs.
        problem: String,
    },
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody else published meanwhile.
    #[error("{address}: the channel's release changed while this one was being published; run it again")]
    Conflict {
        /// The channel.
        address: String,
    },
    /// The release is larger than readers accept.
    #[error("the release would be {length} bytes long; readers accept {limit}: split the components over environments")]
    TooLarge {
        /// Its length.
        length: u64,
        /// What readers accept.
        limit: u64,
    },
}
