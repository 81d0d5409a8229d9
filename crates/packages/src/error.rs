//! What can go wrong between a package's name and its tree.

use std::fmt;
use std::io;
use std::path::PathBuf;

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
    #[error("apt could not fetch any package list:\n{said}\nCheck the network and `/etc/apt/sources.list.d`")]
    NoLists {
        /// apt's messages.
        said: String,
    },
    /// No source has packages of these names.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    NotFound(Vec<NotFound>),
    /// The mirrors have moved on.
    #[error("package `{name}`: version {version} of mos.lock is gone from the mirrors; run `mos lock --update {name}`")]
    VersionGone {
        /// The package.
        name: String,
        /// The version of the lock.
        version: String,
    },
    /// apt refused for another reason: a conflict, or a mirror out of reach.
    #[error("apt could not {action}:\n{said}")]
    Apt {
        /// What was asked of it.
        action: String,
        /// apt's messages.
        said: String,
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

/// A package that no source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// The package.
    pub name: String,
    /// The package whose name is most like it.
    pub nearest: Option<String>,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "package `{}`: no source of this host has it", self.name)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}
