//! What can go wrong between a wanted name and a tree.

use std::io;
use std::path::PathBuf;

use crate::Unsatisfied;

/// Why packages could not be had or installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AlpineError {
    /// What is wanted is no line of a world file.
    #[error("{0}")]
    Wanted(String),
    /// Lines that cannot be satisfied, all of them.
    #[error("these cannot be installed:{}", list(.0))]
    Unsatisfiable(Vec<Unsatisfied>),
    /// A repository cannot be opened or read.
    #[error("repository {url}: {source}")]
    Store {
        /// The repository.
        url: String,
        /// What its store said.
        source: mos_store::StoreError,
    },
    /// The address of a repository is none.
    #[error("`{0}` is no repository: `[@tag] http(s)://host/path`, `dir:///path` or `/path` was expected")]
    Repository(String),
    /// An index whose signature or content is wrong. Nothing of it is used.
    #[error("{url}: {problem}")]
    Index {
        /// The file.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// A package whose signature, digest or content is wrong. Nothing of it is used.
    #[error("package {name}: {problem}")]
    Package {
        /// Name and version.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The bytes of a package are not those of the lock.
    #[error(
        "package {name}: {url} has SHA-256 {found}, the lock says {expected}; if a rebuild is expected, update the lock"
    )]
    Digest {
        /// Name and version.
        name: String,
        /// Where it came from.
        url: String,
        /// What the lock says.
        expected: String,
        /// What was fetched.
        found: String,
    },
    /// A locked package is not in the cache, and none of the repositories has it.
    #[error("package {name}: neither the cache nor a repository has it; update the lock{}", .tried.iter().map(|one| format!("\n  {one}")).collect::<String>())]
    Gone {
        /// Name and version.
        name: String,
        /// What each repository said.
        tried: Vec<String>,
    },
    /// A public key that cannot be used.
    #[error("{}: {problem}", path.display())]
    Key {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Two packages have one file, and neither replaces the other.
    #[error(
        "{path}: {first} and {second} both have it, and neither says that it replaces the other; leave one of them out"
    )]
    FileConflict {
        /// The file.
        path: String,
        /// The package that was installed first.
        first: String,
        /// The other.
        second: String,
    },
    /// The database of what is installed cannot be read.
    #[error("{path}: {problem}")]
    Database {
        /// The file in the tree.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// More than one thing is wrong; each is told.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<AlpineError>),
    /// A file of the host could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A path of the tree.
    #[error(transparent)]
    Tree(#[from] mos_tree::TreeError),
}

impl AlpineError {
    /// All values, or all errors.
    pub(crate) fn collect<T>(results: impl Iterator<Item = Result<T, Self>>) -> Result<Vec<T>, Self> {
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(value) => values.push(value),
                Err(error) => errors.push(error),
            }
        }
        match errors.len() {
            0 => Ok(values),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// True when bytes are not those that somebody vouched for, or nobody did.
    pub fn is_about_trust(&self) -> bool {
        match self {
            Self::Several(errors) => errors.iter().any(Self::is_about_trust),
            other => matches!(
                other,
                Self::Index { .. } | Self::Package { .. } | Self::Digest { .. } | Self::Key { .. }
            ),
        }
    }
}

fn list(lines: &[Unsatisfied]) -> String {
    let lines = lines.iter().map(|one| format!("\n  {}: {}", one.line, one.reason));
    lines.collect()
}
