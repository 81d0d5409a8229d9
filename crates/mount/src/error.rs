//! Why a mount did not come about, or did not go away.

use std::io;
use std::path::{Path, PathBuf};

use mos_flist::ReadError;

/// Why mounting or unmounting failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The place.
    #[error("{}: {why}", path.display())]
    Place {
        /// Where it should be mounted.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The image has entries that no kernel takes.
    #[error("{name} cannot be mounted: {why}")]
    Image {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A way was asked for that is not possible here.
    #[error("{way}: not possible: {why}")]
    Impossible {
        /// `kernel`, `fuse` or `writable`.
        way: &'static str,
        /// What is in the way, and what to do.
        why: String,
    },
    /// Neither way is possible here.
    #[error("{fuse}; nor does the kernel serve it without FUSE: {kernel}")]
    Neither {
        /// Why not by FUSE.
        fuse: Box<MountError>,
        /// Why not by the kernel alone.
        kernel: String,
    },
    /// A step failed.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// What, an imperative.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Content could not be fetched.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl MountError {
    /// For `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn place(path: &Path, why: impl Into<String>) -> Self {
        Self::Place {
            path: path.to_owned(),
            why: why.into(),
        }
    }
}
