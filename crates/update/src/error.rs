//! What can go wrong while a generation is made.

use std::io;
use std::path::{Path, PathBuf};

use mos_flist::{ObjectDigest, ReadError};

/// Why an update did not happen; the generation that was current still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The disk.
    #[error("cannot {doing} {path}: {source}{}", advice(source))]
    Io {
        /// What was being done, an imperative.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not enough room, found before anything was written.
    #[error(
        "{path}: no room for the release: {needed} bytes needed, {free} free; make room or use a larger state disk"
    )]
    Full {
        /// The state directory.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// Another process holds the state directory.
    #[error("{0}: another mos-node is at work here; wait for it to end")]
    Locked(PathBuf),
    /// An flist asks for something that a generation cannot hold.
    #[error("flist {flist}: {path}: {why}")]
    Unroutable {
        /// The component.
        flist: String,
        /// The path in its flist.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The routes of an flist are wrong.
    #[error("flist {flist}: {problems}")]
    Routes {
        /// The component.
        flist: String,
        /// Each with its place.
        problems: String,
    },
    /// Two components want one path.
    #[error("{path}: both `{first}` and `{second}` want it; route one of them elsewhere in its mos-routes.toml")]
    Conflict {
        /// The path in the generation.
        path: String,
        /// A component.
        first: String,
        /// The other one.
        second: String,
    },
    /// The content of a file could not be had.
    #[error("{0}")]
    Content(#[from] ReadError),
    /// The content that arrived is not what the flist names.
    #[error("{file}: its content is object {found}, not {expected} as the flist says: it was tampered with")]
    WrongObject {
        /// The path in the flist.
        file: String,
        /// The digest wanted.
        expected: ObjectDigest,
        /// The digest that came.
        found: ObjectDigest,
    },
    /// A stored generation cannot be used.
    #[error("generation {generation}: {why}")]
    Broken {
        /// Its number.
        generation: u64,
        /// What is wrong.
        why: String,
    },
}

impl UpdateError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// True when bytes were not what a signature vouches for: nothing of the release may be started.
    pub fn is_trust_failure(&self) -> bool {
        matches!(
            self,
            Self::Content(ReadError::Tampered { .. }) | Self::WrongObject { .. }
        )
    }

    /// True when the release itself is at fault, so that fetching it again cannot help.
    pub fn is_bad_release(&self) -> bool {
        matches!(
            self,
            Self::Unroutable { .. } | Self::Routes { .. } | Self::Conflict { .. }
        )
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "; the state directory has to be writable: is its disk damaged?",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room or use a larger state disk",
        io::ErrorKind::PermissionDenied => "; run it as root",
        _ => "",
    }
}
