//! A kernel that is compiled for the image, in place of that of a package.

use mos_config::{Compression, ImagePlan, InitramfsPlace, KernelOrigin, KernelSource, Lock};
use mos_kbuild::{Embedded, Kernel, Source};
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
    /// Where it is compiled is kept: an initramfs will be put in.
    is_kept: bool,
}

impl SourceKernel {
    /// Finds out which source it is exactly, by way of the lock, and brings it here. `image` says what the kernel will have
    /// to do; without, only its modules are wanted.
    pub(crate) fn new(
        builder: &Builder<'_>,
        wanted: &KernelSource,
        image: Option<&ImagePlan>,
        lock: &mut Lock,
    ) -> Result<Self, BuildError> {
        let shop = builder.workshop();
        let mut progress = |line: &str| builder.report.detail(line);
        let (source, version, sha256) = match &wanted.origin {
            KernelOrigin::Package(name) => {
                let package = source_package(builder, name, lock)?;
                let deb = fetch(builder, &package)?.path;
                let sha256 = package.sha256.clone();
                (Source::Package { deb, sha256 }, package.version, package.sha256)
            }
            KernelOrigin::Archive { url, sha256 } => {
                let source = Source::archive(url, sha256, &shop, &mut progress)?;
                (source, sha256[..SHORT].to_owned(), sha256.clone())
            }
            KernelOrigin::Git { url, commit } => {
                let source = Source::commit(url, commit, &shop, &mut progress)?;
                (source, commit[..SHORT].to_owned(), String::new())
            }
        };
        let needed = image.map(needed).unwrap_or_default();
        let kernel = Kernel::new(source, wanted, &needed, &shop)?;
        Ok(Self {
            name: wanted.origin.name().to_owned(),
            version,
            sha256,
            key: kernel.key().to_string(),
            kernel,
            is_kept: image.is_some_and(|image| image.initramfs == InitramfsPlace::Embedded),
        })
    }

    /// Its files, as those of a kernel package: from the cache, or compiled now.
    pub(crate) fn tree(&self, builder: &Builder<'_>) -> Result<Tree, BuildError> {
        let mut progress = |line: &str| tell(builder, line);
        let built = if self.is_kept {
            self.kernel.build_kept(&mut progress)?
        } else {
            self.kernel.build(&mut progress)?
        };
        if !built.cached {
            let log = built.log.display();
            let line = format!(
                "kernel {}: compiled from {} {}; log: {log}",
                built.release, self.name, self.version
            );
            builder.report.line(&line);
        }
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
        Ok(self.kernel.embed(&parts, &mut |line| tell(builder, line))?)
    }
}

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
