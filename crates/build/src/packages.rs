//! Packages: from names to exact versions, by way of the lock, and from those to files in the cache.

use mos_config::{AlpinePlan, Authorities, Base, Distribution, ImagePlan, InitramfsPlace, KernelSource, Lock, Plan};
use mos_packages::{Deb, LockedPackage, PackageError, Progress, Unsatisfied, deb};
use mos_tree::Tree;

use crate::alpine;
use crate::builder::Builder;
use crate::error::BuildError;
use crate::package::Package;
use crate::source_kernel::SourceKernel;

/// The package that brings the UEFI stub.
pub(crate) const STUB_PACKAGE: &str = "systemd-boot-efi";

/// The package that brings the authorities of the public web.
pub(crate) const AUTHORITIES_PACKAGE: &str = "ca-certificates";

/// Everything that an image takes from packages.
#[derive(Debug)]
pub(crate) struct ImagePackages {
    /// The base system, dependencies included.
    pub(crate) base: Vec<Package>,
    /// The kernel.
    pub(crate) kernel: Package,
    /// The UEFI stub, unless the kernel is what firmware starts.
    pub(crate) stub: Option<Package>,
    /// Those that firmware is taken from, in the order in which they count.
    pub(crate) firmware: Vec<Package>,
    /// Certificate authorities, when the environment takes Debian's.
    pub(crate) authorities: Option<Package>,
}

impl ImagePackages {
    /// Each with what it is for.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &Package)> {
        let base = self.base.iter().map(|package| ("base", package));
        base.chain([("kernel", &self.kernel)])
            .chain(self.stub.iter().map(|package| ("stub", package)))
            .chain(self.firmware.iter().map(|package| ("firmware", package)))
            .chain(self.authorities.iter().map(|package| ("authorities", package)))
    }
}

/// How a request is answered.
#[derive(Clone, Copy)]
enum How {
    WithDependencies,
    Kernel,
    Single,
}

/// Finds out the exact packages of an image, and puts them into the lock; what the lock has is not asked for again.
///
/// # Errors
/// [`BuildError::Package`].
pub fn lock_packages(builder: &Builder<'_>, plan: &Plan, lock: &mut Lock) -> Result<(), BuildError> {
    image_packages(builder, plan, lock).map(drop)
}

pub(crate) fn image_packages(builder: &Builder<'_>, plan: &Plan, lock: &mut Lock) -> Result<ImagePackages, BuildError> {
    let stub = [STUB_PACKAGE.to_owned()];
    let authorities = match plan.image.authorities {
        Authorities::Debian => {
            let wanted = [AUTHORITIES_PACKAGE.to_owned()];
            Some(single(answer(builder, lock, &wanted, How::Single)?, AUTHORITIES_PACKAGE)?.into())
        }
        Authorities::None | Authorities::Files(_) => None,
    };
    let image = &plan.image;
    let base = base(builder, image, lock);
    let kernel = image_kernel(builder, image, lock);
    let firmware = firmware_packages(builder, image, lock);
    if base.is_err() || kernel.is_err() || firmware.iter().any(Result::is_err) {
        let errors = base.err().into_iter().chain(kernel.err());
        return Err(BuildError::all(
            errors.chain(firmware.into_iter().filter_map(Result::err)).collect(),
        ));
    }
    Ok(ImagePackages {
        firmware: firmware.into_iter().collect::<Result<_, _>>()?,
        authorities,
        base: base?,
        kernel: kernel?,
        stub: match image.initramfs {
            InitramfsPlace::Uki => Some(single(answer(builder, lock, &stub, How::Single)?, STUB_PACKAGE)?.into()),
            InitramfsPlace::Embedded => None,
        },
    })
}

/// The packages that firmware is taken from.
pub(crate) fn firmware_packages(
    builder: &Builder<'_>,
    image: &ImagePlan,
    lock: &mut Lock,
) -> Vec<Result<Package, BuildError>> {
    let names = image.firmware.packages.iter();
    names
        .map(|name| named(builder, name, image.alpine.as_ref(), lock, How::Single))
        .collect()
}

/// The packages of the root file system.
fn base(builder: &Builder<'_>, image: &ImagePlan, lock: &mut Lock) -> Result<Vec<Package>, BuildError> {
    Ok(match image.base {
        Base::Debian => into_packages(answer(builder, lock, &image.packages, How::WithDependencies)?),
        Base::Alpine => into_packages(alpine::base(builder, image, lock)?),
        Base::Empty => Vec::new(),
    })
}

fn into_packages<P: Into<Package>>(packages: Vec<P>) -> Vec<Package> {
    packages.into_iter().map(Into::into).collect()
}

/// One package by its name in a plan, without what it needs.
fn named(
    builder: &Builder<'_>,
    name: &str,
    alpine: Option<&AlpinePlan>,
    lock: &mut Lock,
    how: How,
) -> Result<Package, BuildError> {
    match (Distribution::split(name), alpine) {
        ((Distribution::Alpine, name), Some(plan)) => Ok(alpine::single(builder, plan, name, lock)?.into()),
        _ => {
            let found = answer(builder, lock, &[name.to_owned()], how)?;
            Ok(single(found, name)?.into())
        }
    }
}

/// The files of a kernel: `boot/vmlinuz-VERSION` and `lib/modules/VERSION`. It is compiled from `source`, or else that of
/// the package with this name, whose exact version is that of the lock, or found out and put into it.
///
/// # Errors
/// [`BuildError::Package`], [`BuildError::Deb`], [`BuildError::Alpine`], [`BuildError::Kbuild`].
pub fn kernel_tree(
    builder: &Builder<'_>,
    name: &str,
    source: Option<&KernelSource>,
    alpine: Option<&AlpinePlan>,
    lock: &mut Lock,
) -> Result<Tree, BuildError> {
    let kernel = match source {
        Some(source) => Package::Source(SourceKernel::new(builder, source, None, lock)?.into()),
        None => named(builder, name, alpine, lock, How::Kernel)?,
    };
    kernel.tree(builder, alpine)
}

/// The kernel of an image, exactly.
pub(crate) fn image_kernel(builder: &Builder<'_>, image: &ImagePlan, lock: &mut Lock) -> Result<Package, BuildError> {
    match &image.kernel_source {
        Some(source) => Ok(Package::Source(
            SourceKernel::new(builder, source, Some(image), lock)?.into(),
        )),
        None => named(builder, &image.kernel_package, image.alpine.as_ref(), lock, How::Kernel),
    }
}

/// A Debian package of source, exactly.
pub(crate) fn source_package(builder: &Builder<'_>, name: &str, lock: &mut Lock) -> Result<LockedPackage, BuildError> {
    Ok(single(answer(builder, lock, &[name.to_owned()], How::Single)?, name)?)
}

/// The files of a package.
pub(crate) fn tree_of(package: &Deb) -> Result<Tree, BuildError> {
    Ok(deb::read(&package.path)?.tree)
}

/// The one package that answers a request.
fn single(packages: Vec<LockedPackage>, asked: &str) -> Result<LockedPackage, PackageError> {
    let none = || PackageError::Unsatisfiable(vec![Unsatisfied::none(asked)]);
    packages.into_iter().next().ok_or_else(none)
}

fn answer(
    builder: &Builder<'_>,
    lock: &mut Lock,
    wanted: &[String],
    how: How,
) -> Result<Vec<LockedPackage>, BuildError> {
    if let Some(locked) = lock.answer(builder.architecture(), wanted) {
        return Ok(locked.into_iter().cloned().collect());
    }
    builder
        .report
        .line(&format!("resolving packages: {}", wanted.join(" ")));
    let apt = builder.apt();
    let mut progress = progress(builder);
    let found = match how {
        How::WithDependencies => apt.resolve(wanted, true, &mut progress)?,
        How::Single => apt.resolve(wanted, false, &mut progress)?,
        How::Kernel => {
            let mut kernels = Vec::new();
            for name in wanted {
                kernels.push(apt.resolve_kernel(name, &mut progress)?);
            }
            kernels
        }
    };
    lock.set_answer(builder.architecture(), wanted, found.clone());
    Ok(found)
}

/// Brings a package into the cache.
pub(crate) fn fetch(builder: &Builder<'_>, package: &LockedPackage) -> Result<Deb, BuildError> {
    Ok(builder.apt().fetch(package, &mut progress(builder))?)
}

fn progress<'b>(builder: &'b Builder<'_>) -> impl FnMut(Progress<'_>) + use<'b> {
    let report = builder.report;
    move |progress| match progress {
        Progress::UpdatingLists => report.detail("updating package lists"),
        Progress::Warning(text) => report.line(&format!("warning: {text}")),
        Progress::Downloading(package) => {
            report.line(&format!(
                "downloading {} {} ({} KiB)",
                package.name,
                package.version,
                package.size / 1024
            ));
        }
        _ => {}
    }
}
