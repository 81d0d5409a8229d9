//! One package of an image, whoever made it.

use mos_alpine::LockedPackage as LockedApk;
use mos_config::AlpinePlan;
use mos_packages::LockedPackage;
use mos_tree::Tree;

use crate::builder::Builder;
use crate::error::BuildError;
use crate::packages::{fetch, tree_of};
use crate::source_kernel::SourceKernel;

/// A package of one exact version.
#[derive(Debug, Clone)]
pub(crate) enum Package {
    /// Of Debian.
    Deb(LockedPackage),
    /// Of Alpine.
    Apk(LockedApk),
    /// A kernel that is compiled here.
    Source(Box<SourceKernel>),
}

impl Package {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Deb(package) => &package.name,
            Self::Apk(package) => &package.name,
            Self::Source(kernel) => &kernel.name,
        }
    }

    pub(crate) fn version(&self) -> &str {
        match self {
            Self::Deb(package) => &package.version,
            Self::Apk(package) => &package.version,
            Self::Source(kernel) => &kernel.version,
        }
    }

    pub(crate) fn architecture(&self) -> &str {
        match self {
            Self::Deb(package) => &package.architecture,
            Self::Apk(package) => &package.architecture,
            Self::Source(kernel) => kernel.architecture(),
        }
    }

    /// Whose it is.
    pub(crate) fn distribution(&self) -> &'static str {
        match self {
            Self::Deb(_) => "debian",
            Self::Apk(_) => "alpine",
            Self::Source(kernel) => kernel.distribution(),
        }
    }

    /// What decides its files, as an input of steps.
    pub(crate) fn identity(&self) -> &str {
        match self {
            Self::Deb(_) | Self::Apk(_) => self.sha256(),
            Self::Source(kernel) => &kernel.key,
        }
    }

    /// Of its file; of a kernel that is compiled, of its source, and nothing when that is a commit.
    pub(crate) fn sha256(&self) -> &str {
        match self {
            Self::Deb(package) => &package.sha256,
            Self::Apk(package) => &package.sha256,
            Self::Source(kernel) => &kernel.sha256,
        }
    }

    /// Its files by themselves. Nothing is unpacked that is not what the lock says, and signed.
    pub(crate) fn tree(&self, builder: &Builder<'_>, alpine: Option<&AlpinePlan>) -> Result<Tree, BuildError> {
        match self {
            Self::Deb(package) => tree_of(&fetch(builder, package)?),
            Self::Apk(package) => crate::alpine::tree(builder, alpine, package),
            Self::Source(kernel) => kernel.tree(builder),
        }
    }

    /// Those of Alpine among some.
    pub(crate) fn apks<'p>(packages: impl IntoIterator<Item = &'p Self>) -> Vec<LockedApk> {
        let apk = |package: &Self| match package {
            Self::Apk(package) => Some(package.clone()),
            Self::Deb(_) | Self::Source(_) => None,
        };
        packages.into_iter().filter_map(apk).collect()
    }
}

impl From<LockedPackage> for Package {
    fn from(package: LockedPackage) -> Self {
        Self::Deb(package)
    }
}

impl From<LockedApk> for Package {
    fn from(package: LockedApk) -> Self {
        Self::Apk(package)
    }
}
