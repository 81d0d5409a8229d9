//! The kernel's part of an image: which modules, and which firmware for them.

use std::fs;

use mos_cache::Inputs;
use mos_config::ImagePlan;
use mos_kernel::{Facts, FirmwareSource, Kernel};
use mos_store::Digest;

use crate::builder::Builder;
use crate::error::BuildError;
use crate::kernel_files::firmware_tree;
use crate::package::Package;

const STEP: &str = "kernel facts";
/// Raised whenever the same package would give other facts than before.
const FORMAT: u32 = 1;
const FACTS_FILE: &str = "facts";

/// Gives a kernel what was found out about its package before; the first time, all of its modules are read.
pub(crate) fn remember_facts(builder: &Builder<'_>, package: &Package, kernel: &Kernel<'_>) -> Result<(), BuildError> {
    let key = Inputs::new(STEP, FORMAT).add("package", package.identity()).key();
    let cached = builder.cache().step(STEP, &key, |output| {
        builder
            .report
            .detail("reading what the kernel's modules say of themselves");
        let path = output.join(FACTS_FILE);
        fs::write(&path, kernel.facts()?.to_bytes()).map_err(BuildError::at(&path))
    })?;
    if cached.hit {
        let path = cached.path.join(FACTS_FILE);
        let bytes = fs::read(&path).map_err(BuildError::at(&path))?;
        // What another version of this program left is not used: the modules are read again.
        Facts::from_bytes(&bytes).map(|facts| kernel.remember(facts));
    }
    Ok(())
}

/// The packages and folders that firmware is taken from, in the order in which they count.
pub(crate) fn firmware_sources(
    builder: &Builder<'_>,
    image: &ImagePlan,
    packages: &[Package],
) -> Result<Vec<FirmwareSource>, BuildError> {
    let mut sources = Vec::new();
    for package in packages {
        let tree = package.tree(builder, image.alpine.as_ref())?;
        sources.push(FirmwareSource::read(&format!("package {}", package.name()), &tree)?);
    }
    for folder in &image.firmware.folders {
        let tree = firmware_tree(&builder.repository().join(folder))?;
        sources.push(FirmwareSource::read(&format!("folder {folder}"), &tree)?);
    }
    Ok(sources)
}

/// The input of a build step that a folder of firmware is.
pub(crate) fn folder_digest(builder: &Builder<'_>, folder: &str) -> Result<Digest, BuildError> {
    crate::image::digest(&firmware_tree(&builder.repository().join(folder))?)
}
