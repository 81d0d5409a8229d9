//! What can go wrong while building.

use std::path::PathBuf;

/// Why something could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The access groups do not fit the image.
    #[error("access: {0}")]
    Access(String),
    /// A path of the tree.
    #[error(transparent)]
    Tree(#[from] mos_tree::TreeError),
    /// A file or folder of the host.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
