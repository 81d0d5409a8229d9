//! What can go wrong while building.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mos_cache::CacheError;

/// Why something could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A component.
    #[error(transparent)]
    Component(#[from] mos_components::ComponentError),
    /// A package.
    #[error(transparent)]
    Package(#[from] mos_packages::PackageError),
    /// A package of Alpine.
    #[error(transparent)]
    Alpine(#[from] mos_alpine::AlpineError),
    /// A miniroot that is none.
    #[error("{path}: not a miniroot of Alpine: {problem}")]
    Miniroot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A program of the node that is for another machine.
    #[error("{program}: {error}\n  hint: MOS_NODE_PROGRAMS names the folder that has the node's programs")]
    Program {
        /// The program.
        program: PathBuf,
        /// What that is for, and what the image is for.
        error: mos_components::ElfError,
    },
    /// A package's file.
    #[error(transparent)]
    Deb(#[from] mos_packages::deb::DebError),
    /// The kernel package.
    #[error(transparent)]
    Kernel(#[from] mos_kernel::KernelError),
    /// The kernel from source.
    #[error(transparent)]
    Kbuild(Box<mos_kbuild::KbuildError>),
    /// The list of modules.
    #[error(transparent)]
    Modules(#[from] mos_kernel::SelectError),
    /// The firmware.
    #[error(transparent)]
    Firmware(#[from] mos_kernel::FirmwareError),
    /// The root file system's skeleton.
    #[error(transparent)]
    Root(#[from] mos_boot::root::RootError),
    /// The initramfs.
    #[error(transparent)]
    Initramfs(#[from] mos_boot::InitramfsError),
    /// The EFI file.
    #[error(transparent)]
    Uki(#[from] mos_boot::uki::UkiError),
    /// A disk, a disc or files for network boot.
    #[error(transparent)]
    Media(#[from] mos_boot::media::MediaError),
    /// The image is larger than its environment allows.
    #[error("{0}")]
    OverBudget(Box<crate::OverBudget>),
    /// The outputs need more room than there is; nothing was written.
    #[error(
        "{folder}: {needed} bytes are needed for the outputs and {free} are free; make room, or write somewhere else with --output-dir"
    )]
    NoRoom {
        /// Where the outputs go.
        folder: PathBuf,
        /// Bytes to be written.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The EFI file's signature.
    #[error("Secure Boot: {0}")]
    SecureBoot(#[from] mos_boot::secure_boot::SecureBootError),
    /// The EFI file's policy for the TPM.
    #[error("policy for PCR 11: {0}")]
    Policy(#[from] mos_boot::pcr::policy::PolicyError),
    /// A repository below a mirror, and nobody says which.
    #[error(
        "the repository `{0}` of Alpine is below a mirror, and none is named\n  hint: write mirror = \"https://HOST/alpine\" \
         in [alpine] of mos.toml, or set MOS_ALPINE_MIRROR"
    )]
    NoMirror(String),
    /// Packing an flist.
    #[error("{component}: {source}")]
    Pack {
        /// The component.
        component: String,
        /// Why.
        source: mos_flist::PackError,
    },
    /// A component that was asked for is not in the environment.
    #[error("the environment has no component `{name}`; it has: {known}")]
    NoComponent {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Two components of a combined flist bring different files of the same name.
    #[error("`{first}` and `{second}` both bring a file `{file}`: they cannot be in one flist")]
    Clash {
        /// The file.
        file: String,
        /// One component.
        first: String,
        /// The other.
        second: String,
    },
    /// Something that the stub's package should have.
    #[error("the package {package} has no {path}")]
    NoStub {
        /// The package.
        package: String,
        /// The file.
        path: &'static str,
    },
    /// The package of authorities has none where they should be.
    #[error("the package {package} has no certificates in {path}")]
    NoAuthorities {
        /// The package.
        package: String,
        /// The folder.
        path: &'static str,
    },
    /// The access groups do not fit the image.
    #[error("access: {0}")]
    Access(String),
    /// A path of the tree.
    #[error(transparent)]
    Tree(#[from] mos_tree::TreeError),
    /// The folder laid over the image.
    #[error(transparent)]
    Directory(#[from] mos_tree::directory::ReadError),
    /// A tree that cannot be hashed.
    #[error(transparent)]
    Cpio(#[from] mos_tree::cpio::CpioError),
    /// The local store.
    #[error(transparent)]
    Store(#[from] mos_store::StoreError),
    /// More than one thing is wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<BuildError>),
    /// A file or folder of the host.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl BuildError {
    /// All that is wrong, as one error; what several steps came upon is told once.
    pub(crate) fn all(errors: Vec<Self>) -> Self {
        let mut told = BTreeSet::new();
        let flat = errors.into_iter().flat_map(|error| match error {
            Self::Several(errors) => errors,
            one => vec![one],
        });
        let mut errors: Vec<Self> = flat.filter(|error| told.insert(error.to_string())).collect();
        match errors.len() {
            1 => errors.remove(0),
            _ => Self::Several(errors),
        }
    }

    pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl From<mos_kbuild::KbuildError> for BuildError {
    fn from(error: mos_kbuild::KbuildError) -> Self {
        Self::Kbuild(Box::new(error))
    }
}

impl From<CacheError<BuildError>> for BuildError {
    fn from(error: CacheError<BuildError>) -> Self {
        match error {
            CacheError::Step(error) => error,
            CacheError::Io { path, source } => Self::Io { path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_steps_came_upon_is_told_once() {
        let mirror = || BuildError::NoMirror("v3.22/main".to_owned());
        let one = BuildError::all(vec![mirror(), BuildError::Several(vec![mirror()])]);
        assert_eq!(one.to_string(), mirror().to_string());
        let two = BuildError::all(vec![mirror(), BuildError::Access("x".to_owned()), mirror()]);
        assert_eq!(two.to_string(), format!("{}\naccess: x", mirror()));
    }
}
