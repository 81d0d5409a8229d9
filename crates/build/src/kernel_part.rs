//! What an image takes from its kernel package and from firmware, as a step of its own: the package is unpacked once, not
//! with every file of the image that changes.

use std::fs;
use std::path::Path;

use mos_cache::{Cached, Inputs};
use mos_config::{ImagePlan, Lock};
use mos_kernel::{Firmware, FirmwareSource, Kernel, Selection};
use mos_packages::compression::Compression;
use mos_store::Digest;
use mos_tree::{Content, Kind, Tree, cpio};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::builder::Builder;
use crate::contents::Contents;
use crate::error::BuildError;
use crate::image::newest;
use crate::inside::CONFIG_FILE;
use crate::modules::{firmware_sources, remember_facts};
use crate::package::Package;
use crate::packages::{firmware_packages, image_kernel};

const STEP: &str = "kernel part";
/// Raised whenever the same inputs would give another part than before.
const FORMAT: u32 = 2;
const KERNEL_FILE: &str = "vmlinuz";
/// Most bytes of a kernel; the largest that Debian has takes 40 MB.
const KERNEL_MAX: u64 = 256 << 20;
const MODULES_FILE: &str = "modules.cpio";
const FIRMWARE_FILE: &str = "firmware.cpio";
const FACTS_FILE: &str = "part.json";

/// The packages and folders that the part is made of.
pub(crate) struct Sources<'s> {
    pub(crate) kernel: &'s Package,
    pub(crate) firmware: &'s [Package],
    /// Of the folders that firmware is taken from.
    pub(crate) folders: &'s [Digest],
}

/// The kernel, its modules and their firmware.
pub(crate) struct KernelPart {
    pub(crate) facts: PartFacts,
    /// A PE file.
    pub(crate) linux: Vec<u8>,
    /// The options that it was built with; empty when the package does not say.
    pub(crate) config: Vec<u8>,
    pub(crate) modules: Tree,
    pub(crate) firmware: Tree,
}

/// What there is to say about them.
#[derive(Serialize, Deserialize)]
pub(crate) struct PartFacts {
    /// When the kernel package was built, in seconds since 1970.
    pub(crate) built: i64,
    /// To be loaded when the node starts, in this order.
    pub(crate) load: Vec<String>,
    /// Modules and firmware, with the reasons for them.
    pub(crate) contents: Contents,
}

impl Sources<'_> {
    /// All of it, with the settings that decide what is taken, as inputs of a step.
    pub(crate) fn inputs(&self, inputs: Inputs, image: &ImagePlan) -> Inputs {
        let mut inputs = inputs
            .add("kernel", self.kernel.identity())
            .add("modules", image.modules.join("\n"))
            .add("firmware patterns", image.firmware.patterns.join("\n"));
        for package in self.firmware {
            inputs = inputs.add("firmware package", package.sha256());
        }
        for digest in self.folders {
            inputs = inputs.add_digest("firmware folder", digest);
        }
        inputs
    }
}

impl KernelPart {
    /// The part of an image, from the cache or made now.
    pub(crate) fn get(builder: &Builder<'_>, image: &ImagePlan, sources: &Sources<'_>) -> Result<Self, BuildError> {
        // Their names are in the record, and the order in which they count is that of the settings.
        let names = image.firmware.folders.join("\n");
        let inputs = sources.inputs(Inputs::new(STEP, FORMAT).add("folders", names), image);
        let cached = builder
            .cache()
            .step(STEP, &inputs.key(), |output| make(builder, image, sources, output))?;
        Self::read(&cached)
    }

    fn read(cached: &Cached) -> Result<Self, BuildError> {
        let read = |name: &str| {
            let path = cached.path.join(name);
            fs::read(&path).map_err(BuildError::at(&path))
        };
        Ok(Self {
            facts: json(&cached.path.join(FACTS_FILE))?,
            linux: read(KERNEL_FILE)?,
            config: read(CONFIG_FILE)?,
            modules: cpio::read(&read(MODULES_FILE)?)?,
            firmware: cpio::read(&read(FIRMWARE_FILE)?)?,
        })
    }
}

fn make(builder: &Builder<'_>, image: &ImagePlan, sources: &Sources<'_>, output: &Path) -> Result<(), BuildError> {
    let package = sources.kernel.tree(builder, image.alpine.as_ref())?;
    let kernel = Kernel::open(&package)?;
    remember_facts(builder, sources.kernel, &kernel)?;
    let shelves = firmware_sources(builder, image, sources.firmware)?;
    let (modules, firmware) = choose(&kernel, image, &shelves).map_err(BuildError::all)?;
    let mut contents = Contents::default();
    contents.note_modules(&modules);
    contents.note_firmware(&firmware);
    let facts = PartFacts {
        built: newest(&package),
        load: modules.to_load(&image.modules),
        contents,
    };
    let facts = serde_json::to_vec(&facts).map_err(|error| BuildError::at(output)(error.into()))?;
    let linux = plain(kernel.image()).map_err(BuildError::at(Path::new(KERNEL_FILE)))?;
    for (name, content) in [
        (KERNEL_FILE, linux),
        (CONFIG_FILE, config(&package, kernel.version())?),
        (MODULES_FILE, archive(&modules.tree()?)?),
        (FIRMWARE_FILE, archive(&firmware.tree()?)?),
        (FACTS_FILE, facts),
    ] {
        let path = output.join(name);
        fs::write(&path, content).map_err(BuildError::at(&path))?;
    }
    Ok(())
}

/// What goes in; or every line of the lists that cannot be satisfied.
fn choose(
    kernel: &Kernel<'_>,
    image: &ImagePlan,
    shelves: &[FirmwareSource],
) -> Result<(Selection, Firmware), Vec<BuildError>> {
    let patterns = &image.firmware.patterns;
    match kernel.select(&image.modules) {
        Ok(modules) => match Firmware::collect(&modules, patterns, shelves) {
            Ok(firmware) => Ok((modules, firmware)),
            Err(error) => Err(vec![error.into()]),
        },
        Err(error) => {
            let mut errors = vec![error.into()];
            let none: [&str; 0] = [];
            let rest = kernel.select(&none).ok();
            let rest = rest.and_then(|none| Firmware::collect(&none, patterns, shelves).err());
            errors.extend(rest.map(BuildError::from));
            Err(errors)
        }
    }
}

/// What is wrong with the lists of modules and firmware, as far as the packages tell that can be had: asked when others
/// cannot, so that a user sees all of it at once. A kernel is not compiled for this.
pub(crate) fn problems(builder: &Builder<'_>, image: &ImagePlan, lock: &mut Lock) -> Vec<BuildError> {
    let mut found = || -> Result<Vec<BuildError>, BuildError> {
        if image.kernel_source.is_some() {
            return Ok(Vec::new());
        }
        let package = image_kernel(builder, image, lock)?;
        let tree = package.tree(builder, image.alpine.as_ref())?;
        let kernel = Kernel::open(&tree)?;
        remember_facts(builder, &package, &kernel)?;
        let shelves = firmware_packages(builder, image, lock)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .and_then(|packages| firmware_sources(builder, image, &packages));
        Ok(match shelves {
            Ok(shelves) => choose(&kernel, image, &shelves).err().unwrap_or_default(),
            Err(_) => kernel
                .select(&image.modules)
                .err()
                .map(BuildError::from)
                .into_iter()
                .collect(),
        })
    };
    // Whatever fails here was told already.
    found().unwrap_or_default()
}

/// A kernel as firmware starts it: for arm64, some distributions compress the whole file.
fn plain(image: &Content) -> std::io::Result<Vec<u8>> {
    let bytes = image.read()?;
    match Compression::of_content(&bytes) {
        Compression::None => Ok(bytes),
        other => other.decompress(&bytes[..], KERNEL_MAX),
    }
}

/// `boot/config-VERSION`, or nothing.
fn config(package: &Tree, version: &str) -> Result<Vec<u8>, BuildError> {
    let path = format!("boot/config-{version}");
    match package.get(&path).map(|inode| &inode.kind) {
        Some(Kind::File(content)) => content.read().map_err(BuildError::at(Path::new(&path))),
        _ => Ok(Vec::new()),
    }
}

pub(crate) fn archive(tree: &Tree) -> Result<Vec<u8>, BuildError> {
    let mut bytes = Vec::new();
    cpio::write(tree, &mut bytes)?;
    Ok(bytes)
}

/// Reads a file that a step wrote.
pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> Result<T, BuildError> {
    let bytes = fs::read(path).map_err(BuildError::at(path))?;
    serde_json::from_slice(&bytes).map_err(|error| BuildError::at(path)(error.into()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_kernel_that_is_compressed_as_a_whole_is_unpacked_and_others_stay() {
        let kernel = b"MZ and the rest".to_vec();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&kernel).unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(plain(&kernel.clone().into()).unwrap(), kernel);
        assert_eq!(plain(&packed.clone().into()).unwrap(), kernel);
        assert!(plain(&packed[..packed.len() - 9].to_vec().into()).is_err());
    }
}
