//! A directory of the host as a tree, and a tree written to a directory.
//!
//! Reading keeps hard links (by device and inode number). Writing never leaves the directory: every parent is opened
//! anew below it with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`, so a symbolic link, planted before or while
//! we write, ends the work with an error and is never followed.

mod read;
mod write;

pub use read::{Filter, read, read_filtered};
pub use write::write;

use std::io;
use std::path::PathBuf;

/// What is carried between a tree and the host beside names, content, permissions and times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Owner and group. Without: a tree that is read belongs to root, a tree that is written to whoever writes it.
    /// Writing it needs root.
    pub owners: bool,
    /// Extended attributes. Writing those outside `user.` needs root.
    pub xattrs: bool,
}

/// What could not be read or written, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {action}: {source}", path.display())]
pub struct DirectoryError {
    /// The file on the host.
    pub path: PathBuf,
    /// What was tried.
    pub action: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// Why a directory could not become a tree.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The first thing that could not be read for another reason than missing rights.
    #[error(transparent)]
    Failed(#[from] DirectoryError),
    /// Everything that whoever runs this has no right to read, in the order of paths.
    #[error("{}", lines(.0))]
    Denied(Vec<DirectoryError>),
}

impl ReadError {
    /// What kind of error the system gave.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Failed(error) => error.source.kind(),
            Self::Denied(_) => io::ErrorKind::PermissionDenied,
        }
    }
}

fn lines(errors: &[DirectoryError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
