//! A kernel that is compiled for the image, in place of that of a package.

use mos_architecture::Architecture;
use mos_config::{Compression, ImagePlan, InitramfsPlace, KernelOrigin, KernelSource, Lock};
use mos_kbuild::{Embedded, Kernel, Source};
use mos_packages::LockedPackage;
use mos_tree::Tree;

use crate::builder::Builder;
use crate::error::BuildError;
use crate::packages::{fetch, source_package};

/// As many digits of a commit or a digest are shown in place of a version.
const SHORT: usize = 12;

/// A kernel from source, exact.
#[derive(Debug, Clone)]
pub(crate) struct SourceKernel {
    /// The source package, or where the source is.
    pub(crate) name: String,
    /// Of the source package, or the first digits of what says exactly which source it is.
    pub(crate) version: String,
    /// Of the source package or archive; nothing for a commit.
    pub(crate) sha256: String,
    /// The hash of everything that goes into the kernel.
    pub(crate) key: String,
    kernel: Kernel,
    architecture: Architecture,
    origin: Origin,
    /// Where it is compiled is kept: an initramfs will be put in.
    is_kept: bool,
}

/// Where the source is. It is brought here when the kernel has to be compiled, and not before.
#[derive(Debug, Clone)]
enum Origin {
    Package(LockedPackage),
    Archive { url: String, sha256: String },
    Git { url: String, commit: String },
}

impl Origin {
    fn new(builder: &Builder<'_>, wanted: &KernelOrigin, lock: &mut Lock) -> Result<Self, BuildError> {
        Ok(match wanted.clone() {
            KernelOrigin::Package(name) => Self::Package(source_package(builder, &name, lock)?),
            KernelOrigin::Archive { url, sha256 } => Self::Archive { url, sha256 },
            KernelOrigin::Git { url, commit } => Self::Git { url, commit },
        })
    }

    /// What says exactly which source it is.
    fn identity(&self) -> &str {
        match self {
            Self::Package(package) => &package.sha256,
            Self::Archive { sha256, .. } => sha256,
            Self::Git { commit, .. } => commit,
        }
    }

    fn bring(&self, builder: &Builder<'_>) -> Result<Source, BuildError> {
        let shop = builder.workshop();
        let mut progress = |line: &str| builder.report.line(line);
        Ok(match self {
            Self::Package(package) => Source::Package {
                deb: fetch(builder, package)?.path,
                sha256: package.sha256.clone(),
            },
            Self::Archive { url, sha256 } => Source::archive(url, sha256, &shop, &mut progress)?,
            Self::Git { url, commit } => Source::commit(url, commit, &shop, &mut progress)?,
        })
    }
}

impl SourceKernel {
    /// Finds out which source it is exactly, by way of the lock. `image` says what the kernel will have to do; without, only
    /// its modules are wanted.
    pub(crate) fn new(
        builder: &Builder<'_>,
        wanted: &KernelSource,
        image: Option<&ImagePlan>,
        lock: &mut Lock,
    ) -> Result<Self, BuildError> {
        let origin = Origin::new(builder, &wanted.origin, lock)?;
        let needed = image.map(needed).unwrap_or_default();
        let kernel = Kernel::new(origin.identity(), wanted, &needed, &builder.workshop())?;
        let (version, sha256) = match &origin {
            Origin::Package(package) => (package.version.clone(), package.sha256.clone()),
            Origin::Archive { sha256, .. } => (short(sha256), sha256.clone()),
            Origin::Git { commit, .. } => (short(commit), String::new()),
        };
        Ok(Self {
            name: wanted.origin.name().to_owned(),
            version,
            sha256,
            key: kernel.key().to_string(),
            kernel,
            architecture: builder.architecture(),
            origin,
            is_kept: image.is_some_and(|image| image.initramfs == InitramfsPlace::Embedded),
        })
    }

    /// Whose source it is: that of Debian, or of nobody who gives packages.
    pub(crate) fn distribution(&self) -> &'static str {
        match self.origin {
            Origin::Package(_) => "debian",
            Origin::Archive { .. } | Origin::Git { .. } => "",
        }
    }

    /// Of the source package; without one, the processor that the kernel is for.
    pub(crate) fn architecture(&self) -> &str {
        match &self.origin {
            Origin::Package(package) => &package.architecture,
            Origin::Archive { .. } | Origin::Git { .. } => self.architecture.name(),
        }
    }

    /// Its files, as those of a kernel package: from the cache, or compiled now.
    pub(crate) fn tree(&self, builder: &Builder<'_>) -> Result<Tree, BuildError> {
        if let Some(built) = self.kernel.find()? {
            return Ok(built.tree()?);
        }
        let source = self.origin.bring(builder)?;
        let Self { name, version, .. } = self;
        builder
            .report
            .line(&format!("kernel: compiling {name} {version}: some minutes"));
        let mut progress = |line: &str| tell(builder, line);
        let built = if self.is_kept {
            self.kernel.build_kept(&source, &mut progress)?
        } else {
            self.kernel.build(&source, &mut progress)?
        };
        let log = built.log.display();
        builder
            .report
            .line(&format!("kernel: made {}; log: {log}", built.release));
        Ok(built.tree()?)
    }

    /// The kernel with an initramfs in it, as firmware starts it.
    pub(crate) fn embed(
        &self,
        builder: &Builder<'_>,
        image: &ImagePlan,
        initramfs: &[u8],
    ) -> Result<Vec<u8>, BuildError> {
        let parts = Embedded {
            initramfs,
            suffix: match image.compression {
                Compression::None => "",
                Compression::Xz => ".xz",
                Compression::Zstd => ".zst",
            },
            command_line: &image.command_line,
            // What is signed is not to be changed by who starts it.
            is_final: image.secure_boot.is_some(),
        };
        let source = self.origin.bring(builder)?;
        Ok(self.kernel.embed(&source, &parts, &mut |line| tell(builder, line))?)
    }
}

fn short(digest: &str) -> String {
    digest.chars().take(SHORT).collect()
}

/// A warning stays on the screen; what make says does not.
fn tell(builder: &Builder<'_>, line: &str) {
    if line.starts_with("warning: the kernel's") {
        builder.report.line(line);
    } else {
        builder.report.detail(&format!("kernel: {}", line.trim()));
    }
}

/// What a kernel has to have for this image, and what for.
fn needed(image: &ImagePlan) -> Vec<(&'static str, &'static str)> {
    let unpacks = match image.compression {
        Compression::None => None,
        Compression::Xz => Some(("RD_XZ", "an initramfs that is compressed with xz")),
        Compression::Zstd => Some(("RD_ZSTD", "an initramfs that is compressed with zstd")),
    };
    std::iter::once(("EFI_STUB", "starting under firmware"))
        .chain(unpacks)
        .collect()
}
