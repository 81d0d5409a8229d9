//! What can go wrong between a source and a tree.

use std::io;
use std::path::{Path, PathBuf};

use mos_architecture::Architecture;
use mos_tree::TreeError;

use crate::elf::ElfError;

/// Why a component could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// A program that does the work is not installed.
    #[error("`{tool}` is not installed\n  hint: on Debian: apt-get install {package}")]
    MissingTool {
        /// The program.
        tool: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// No compiler makes programs for the machine that the image is for.
    #[error(
        "there is no standard library of Rust for {architecture}\n  hint: `rustup target add {architecture}-unknown-linux-musl` \
         brings one; or install Debian's compiler, whose library for {architecture} is then fetched: apt-get install rustc \
         cargo (on Debian 12: rustc-web cargo-web)"
    )]
    NoLibrary {
        /// What programs were to be for.
        architecture: Architecture,
    },
    /// Programs are wanted with musl.
    #[error(
        "there is no standard library of Rust with musl, nor what makes one\n  hint: on Debian: apt-get install rustc-web cargo-web \
         rust-web-src musl-tools; or `rustup target add`; or leave out `[build] libc`, for static glibc"
    )]
    NoMusl,
    /// A package of Debian with a part of the toolchain.
    #[error(transparent)]
    Package(#[from] mos_packages::PackageError),
    /// What is in it.
    #[error(transparent)]
    Deb(#[from] mos_packages::deb::DebError),
    /// A program that should come with MOS.
    #[error(
        "{name}: no program for nodes {path}: {source}\n  hint: `make build` makes those that come with mos; \
         MOS_NODE_PROGRAMS names the folder that has them"
    )]
    NoProgram {
        /// The component.
        name: String,
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program failed.
    #[error("{name}: `{command}` failed ({status})\n{tail}\n  hint: the whole output is in {log}")]
    Failed {
        /// The component.
        name: String,
        /// The program and what it was to do.
        command: String,
        /// How it ended.
        status: String,
        /// Its last lines.
        tail: String,
        /// Where all of them are.
        log: PathBuf,
    },
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What came is not what the lock or the configuration names.
    #[error(
        "{name}: the archive of {what} has SHA-256 {found}, but {expected} is expected\n  hint: somebody replaced it, \
         or the configuration is wrong; nothing of it was used"
    )]
    WrongDigest {
        /// The component.
        name: String,
        /// Crate and version.
        what: String,
        /// In hex.
        expected: String,
        /// In hex.
        found: String,
    },
    /// A tag stands somewhere else than the configuration says.
    #[error(
        "{name}: the tag {tag} is commit {found}, but {expected} is expected\n  hint: the tag was moved; nothing of it \
         was used"
    )]
    MovedTag {
        /// The component.
        name: String,
        /// The tag.
        tag: String,
        /// The commit in the configuration.
        expected: String,
        /// The commit in the repository.
        found: String,
    },
    /// The registry does not have what is wanted, or said something unexpected.
    #[error("{name}: {reason}")]
    Source {
        /// The component.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Without it, the same source gives different programs on different days.
    #[error(
        "{name}: there is no Cargo.lock in the source\n  hint: commit the one that `cargo generate-lockfile` makes"
    )]
    NoLock {
        /// The component.
        name: String,
    },
    /// The build did not make what is to be installed.
    #[error("{name}: the build made no program `{binary}`; it made: {made}")]
    MissingBinary {
        /// The component.
        name: String,
        /// The program.
        binary: String,
        /// What is there instead.
        made: String,
    },
    /// A program is not fit for a node.
    #[error("{name}: {binary}: {source}")]
    Elf {
        /// The component.
        name: String,
        /// The program.
        binary: String,
        /// Why.
        source: ElfError,
    },
    /// The files do not make a tree.
    #[error("{name}: {source}")]
    Tree {
        /// The component.
        name: String,
        /// Why.
        source: TreeError,
    },
}

impl ComponentError {
    /// For `map_err` on operations on `path`.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn source(name: &str, reason: impl Into<String>) -> Self {
        Self::Source {
            name: name.to_owned(),
            reason: reason.into(),
        }
    }
}
