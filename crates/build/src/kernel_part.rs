//! What an image takes from its kernel package and from firmware, as a step of its own: the package is unpacked once, not
//! with every file of the image that changes.

use std::fs;
use std::path::Path;

use mos_cache::{Cached, Inputs};
use mos_config::ImagePlan;
use mos_kernel::{Firmware, Kernel};
use mos_store::Digest;
use mos_tree::{Kind, Tree, cpio};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::builder::Builder;
use crate::contents::Contents;
use crate::error::BuildError;
use crate::image::newest;
use crate::inside::CONFIG_FILE;
use crate::modules::{firmware_sources, remember_facts};
use crate::package::Package;

const STEP: &str = "kernel part";
/// Raised whenever the same inputs would give another part than before.
const FORMAT: u32 = 2;
const KERNEL_FILE: &str = "vmlinuz";
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
    let modules = kernel.select(&image.modules)?;
    let shelves = firmware_sources(builder, image, sources.firmware)?;
    let firmware = Firmware::collect(&modules, &image.firmware.patterns, &shelves)?;
    let mut contents = Contents::default();
    contents.note_modules(&modules);
    contents.note_firmware(&firmware);
    let facts = PartFacts {
        built: newest(&package),
        load: modules.to_load(&image.modules),
        contents,
    };
    let facts = serde_json::to_vec(&facts).map_err(|error| BuildError::at(output)(error.into()))?;
    let linux = kernel.image().read().map_err(BuildError::at(Path::new(KERNEL_FILE)))?;
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
