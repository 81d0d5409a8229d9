//! A directory of the host as a tree, and a tree written to a directory.
//!
//! Reading keeps hard links (by device and inode number). Writing never leaves the directory: every parent is opened
//! anew below it with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`, so a symbolic link, planted before or while
//! we write, ends the work with an error and is never followed.

mod read;
mod write;

pub use read::read;
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
