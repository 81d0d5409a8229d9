//! The root file system of Alpine's packages, as a step of its own: packages are checked and unpacked once, not with every
//! file of the image that changes.

use std::fs;
use std::path::Path;

use mos_alpine::Apk;
use mos_cache::{Cached, Inputs};
use mos_config::ImagePlan;
use mos_store::Digest;
use mos_tree::{Tree, cpio};
use serde::{Deserialize, Serialize};

use crate::alpine;
use crate::builder::Builder;
use crate::error::BuildError;
use crate::kernel_part::{archive, json};
use crate::package::Package;
use crate::packages::ImagePackages;

const STEP: &str = "alpine root";
/// Raised whenever the same inputs would give another root than before.
const FORMAT: u32 = 1;
const LIST_FILE: &str = "parts.json";
/// The part that is no package's.
const REST: &str = "records of apk, and what scripts of packages do";

/// The parts of a root, to be laid one over the other.
pub(crate) struct AlpineRoot {
    /// Each with its name.
    pub(crate) parts: Vec<(String, Tree)>,
    /// What there is to say about scripts.
    pub(crate) warning: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct List {
    /// Names, in order; the files beside are called by their places.
    parts: Vec<String>,
    warning: Option<String>,
}

/// Everything that decides about it, as inputs of a step.
pub(crate) fn inputs(
    mut inputs: Inputs,
    image: &ImagePlan,
    packages: &ImagePackages,
    files: &[(String, Digest)],
) -> Inputs {
    for package in &packages.base {
        inputs = inputs.add("package", package.sha256());
    }
    for (path, digest) in files {
        inputs = inputs.add_digest(path, digest);
    }
    // What the settings say is written into the root as well.
    let inputs = inputs.add("wanted", image.packages.join("\n"));
    inputs.add("alpine", format!("{:?}", image.alpine))
}

impl AlpineRoot {
    /// The root of an image, from the cache or made now.
    pub(crate) fn get(
        builder: &Builder<'_>,
        image: &ImagePlan,
        packages: &ImagePackages,
        files: &[(String, Digest)],
    ) -> Result<Self, BuildError> {
        let key = inputs(Inputs::new(STEP, FORMAT), image, packages, files).key();
        let cached = builder
            .cache()
            .step(STEP, &key, |output| make(builder, image, packages, output))?;
        Self::read(&cached)
    }

    fn read(cached: &Cached) -> Result<Self, BuildError> {
        let list: List = json(&cached.path.join(LIST_FILE))?;
        let part = |(place, name): (usize, String)| {
            let path = cached.path.join(file_name(place));
            let bytes = fs::read(&path).map_err(BuildError::at(&path))?;
            Ok((name, cpio::read(&bytes)?))
        };
        Ok(Self {
            parts: list
                .parts
                .into_iter()
                .enumerate()
                .map(part)
                .collect::<Result<_, BuildError>>()?,
            warning: list.warning,
        })
    }
}

fn file_name(place: usize) -> String {
    format!("{place}.cpio")
}

fn make(builder: &Builder<'_>, image: &ImagePlan, packages: &ImagePackages, output: &Path) -> Result<(), BuildError> {
    let installed = alpine::install(builder, image, &fetch(builder, image, packages)?)?;
    let (named, rest) = installed.parts()?;
    let named = named.into_iter().map(|(name, tree)| (format!("package {name}"), tree));
    let mut list = List {
        parts: Vec::new(),
        warning: alpine::scripts_line(&installed),
    };
    for (place, (name, tree)) in named.chain([(REST.to_owned(), rest)]).enumerate() {
        let path = output.join(file_name(place));
        fs::write(&path, archive(&tree)?).map_err(BuildError::at(&path))?;
        list.parts.push(name);
    }
    let path = output.join(LIST_FILE);
    let list = serde_json::to_vec(&list).map_err(|error| BuildError::at(&path)(error.into()))?;
    fs::write(&path, list).map_err(BuildError::at(&path))
}

/// The packages of the root, checked. If any is not what it should be, so may others be that are not of the root: all are
/// looked at then, so that all is told.
fn fetch(builder: &Builder<'_>, image: &ImagePlan, packages: &ImagePackages) -> Result<Vec<Apk>, BuildError> {
    let fetch = |some: Vec<&Package>| alpine::fetch(builder, image, &Package::apks(some));
    fetch(packages.base.iter().collect()).or_else(|error| {
        fetch(packages.all().map(|(_, package)| package).collect())?;
        Err(error)
    })
}
