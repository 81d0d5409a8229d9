//! Packages: from names to `.deb` files in the cache, by way of the lock.

use mos_config::{Authorities, Lock, Plan};
use mos_packages::{Deb, LockedPackage, PackageError, Progress, deb};
use mos_tree::Tree;

use crate::builder::Builder;
use crate::error::BuildError;

/// The package that brings the UEFI stub.
pub(crate) const STUB_PACKAGE: &str = "systemd-boot-efi";

/// The package that brings the authorities of the public web.
pub(crate) const AUTHORITIES_PACKAGE: &str = "ca-certificates";

/// Everything that an image takes from packages.
#[derive(Debug)]
pub(crate) struct ImagePackages {
    /// The base system, dependencies included.
    pub(crate) base: Vec<LockedPackage>,
    /// The kernel.
    pub(crate) kernel: LockedPackage,
    /// The UEFI stub.
    pub(crate) stub: LockedPackage,
    /// Those that firmware is taken from, in the order in which they count.
    pub(crate) firmware: Vec<LockedPackage>,
    /// Certificate authorities, when the environment takes Debian's.
    pub(crate) authorities: Option<LockedPackage>,
}

impl ImagePackages {
    /// Each with what it is for.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &LockedPackage)> {
        let base = self.base.iter().map(|package| ("base", package));
        base.chain([("kernel", &self.kernel), ("stub", &self.stub)])
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
            Some(single(
                answer(builder, lock, &wanted, How::Single)?,
                AUTHORITIES_PACKAGE,
            )?)
        }
        Authorities::None | Authorities::Files(_) => None,
    };
    let mut firmware = Vec::new();
    for name in &plan.image.firmware.packages {
        let found = answer(builder, lock, std::slice::from_ref(name), How::Single)?;
        firmware.push(single(found, name)?);
    }
    Ok(ImagePackages {
        firmware,
        authorities,
        base: answer(builder, lock, &plan.image.packages, How::WithDependencies)?,
        kernel: kernel_package(builder, &plan.image.kernel_package, lock)?,
        stub: single(answer(builder, lock, &stub, How::Single)?, STUB_PACKAGE)?,
    })
}

/// The files of the kernel package with this name: `boot/vmlinuz-VERSION` and `lib/modules/VERSION`. Its exact version is
/// that of the lock, or found out and put into it.
///
/// # Errors
/// [`BuildError::Package`], [`BuildError::Deb`].
pub fn kernel_tree(builder: &Builder<'_>, name: &str, lock: &mut Lock) -> Result<Tree, BuildError> {
    tree_of(&fetch(builder, &kernel_package(builder, name, lock)?)?)
}

/// The kernel package with this name, exactly.
pub(crate) fn kernel_package(builder: &Builder<'_>, name: &str, lock: &mut Lock) -> Result<LockedPackage, BuildError> {
    let found = answer(builder, lock, &[name.to_owned()], How::Kernel)?;
    Ok(single(found, name)?)
}

/// The files of a package.
pub(crate) fn tree_of(package: &Deb) -> Result<Tree, BuildError> {
    Ok(deb::read(&package.path)?.tree)
}

/// The one package that answers a request.
fn single(packages: Vec<LockedPackage>, asked: &str) -> Result<LockedPackage, PackageError> {
    let missing = || PackageError::NotFound {
        name: asked.to_owned(),
        nearest: None,
    };
    packages.into_iter().next().ok_or_else(missing)
}

fn answer(
    builder: &Builder<'_>,
    lock: &mut Lock,
    wanted: &[String],
    how: How,
) -> Result<Vec<LockedPackage>, BuildError> {
    if let Some(locked) = lock.answer(wanted) {
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
    lock.set_answer(wanted, found.clone());
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
