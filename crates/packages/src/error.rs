//! What can go wrong between a package's name and its tree.

use std::io;
use std::path::PathBuf;

use crate::Unsatisfied;

/// Why a package could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// The host has no apt.
    #[error(
        "cannot run `{program}`: {source}; packages come through the apt of a Debian or Ubuntu host: install `apt`"
    )]
    NoApt {
        /// The program.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// No list could be fetched, and none is there from before.
    #[error(
        "apt could not fetch any list of packages for {architecture}:\n{said}\nCheck the network, and that a source in \
         /etc/apt/sources.list or /etc/apt/sources.list.d has them"
    )]
    NoLists {
        /// What packages were to be for, as Debian says it.
        architecture: &'static str,
        /// apt's messages.
        said: String,
    },
    /// Packages that no source has, or that do not fit together.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Unsatisfiable(Vec<Unsatisfied>),
    /// The mirrors have moved on.
    #[error("package `{name}`: version {version} of mos.lock is gone from the mirrors; run `mos lock --update {name}`")]
    VersionGone {
        /// The package.
        name: String,
        /// The version of the lock.
        version: String,
    },
    /// apt refused for another reason, such as a mirror out of reach.
    #[error("apt could not {action}:\n{said}")]
    Apt {
        /// What was asked of it.
        action: String,
        /// apt's messages.
        said: String,
    },
    /// The package does not fit onto the disk; nothing was fetched.
    #[error(
        "{}: {needed} bytes are needed for package `{name}` and {free} are free; make room, or name another folder with --cache",
        folder.display()
    )]
    NoRoom {
        /// Where packages are kept.
        folder: PathBuf,
        /// The package.
        name: String,
        /// Its bytes.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The same version has other bytes than the lock says.
    #[error(
        "package `{name}`: the mirror's {version} has SHA-256 {found}, mos.lock says {expected}; if a rebuild is expected, run `mos lock --update {name}`"
    )]
    Digest {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// What the lock says.
        expected: String,
        /// What was fetched.
        found: String,
    },
    /// A name or version that could be taken for an option or a path.
    #[error("`{0}` is not the name or version of a Debian package")]
    BadName(String),
    /// A file of the cache could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
