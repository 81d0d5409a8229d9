//! What can go wrong on the way from source to kernel.

use std::io;
use std::path::{Path, PathBuf};

use mos_cache::CacheError;

use crate::verdict::Refused;

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KbuildError {
    /// A tool is missing, or failed: with its last lines and the log.
    #[error(transparent)]
    Tool(#[from] mos_components::ComponentError),
    /// The package of the source.
    #[error(transparent)]
    Deb(#[from] mos_packages::deb::DebError),
    /// The package has no archive of source.
    #[error(
        "the package {0} has no archive of a kernel in usr/src\n  hint: name one that has, such as linux-source-6.12: `apt-cache search linux-source`"
    )]
    NoArchive(PathBuf),
    /// The archive is not what the configuration names.
    #[error(
        "{path} has SHA-256 {found}, but {expected} is expected\n  hint: somebody replaced it, or mos.toml is wrong; nothing of it was used"
    )]
    Digest {
        /// Where it is, or where it came from.
        path: String,
        /// In hex.
        expected: String,
        /// In hex.
        found: String,
    },
    /// What was unpacked is no kernel.
    #[error("{0}: this is not the source of a kernel, there is no `Makefile` with a VERSION, or no `Kconfig`, in it")]
    NotAKernel(String),
    /// Settings that are not in what came out.
    #[error("{0}")]
    Refused(Refused),
    /// There is no such base in this kernel.
    #[error("the kernel's make knows no `{base}` for {architecture}\n{said}")]
    Base {
        /// What was asked for.
        base: String,
        /// For which processor.
        architecture: &'static str,
        /// What make said.
        said: String,
    },
    /// A header of a library that the kernel's own tools are compiled with.
    #[error("the kernel's settings ({setting}) need the header {header}\n  hint: on Debian: apt-get install {package}")]
    Header {
        /// The setting.
        setting: &'static str,
        /// The header.
        header: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// No room to unpack and compile.
    #[error(
        "{folder}: about {needed} bytes are needed to compile the kernel and {free} are free; make room, or set MOS_CACHE"
    )]
    NoRoom {
        /// Where.
        folder: PathBuf,
        /// About.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The archive did not come.
    #[error(transparent)]
    Download(#[from] mos_components::download::DownloadError),
    /// What make installed.
    #[error(transparent)]
    Directory(#[from] mos_tree::directory::ReadError),
    /// A path of the tree.
    #[error(transparent)]
    Tree(#[from] mos_tree::TreeError),
    /// What is kept of it.
    #[error(transparent)]
    Cpio(#[from] mos_tree::cpio::CpioError),
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl KbuildError {
    /// For `map_err` on operations on `path`.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl From<CacheError<KbuildError>> for KbuildError {
    fn from(error: CacheError<KbuildError>) -> Self {
        match error {
            CacheError::Step(error) => error,
            CacheError::Io { path, source } => Self::Io { path, source },
        }
    }
}
