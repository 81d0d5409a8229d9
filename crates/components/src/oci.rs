//! Container images out of registries: programs that somebody else built.
//!
//! The first time, the tag says which image it is, and the digest of its manifest goes into the lock; from then on that
//! image is taken, whatever the tag names meanwhile. Credentials are those of `docker login` and `podman login`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use mos_config::{LockedComponent, Source};
use mos_oci::{Choice, Credentials, Files, Hashing, ImageLayer, Options, Reference, Registry, layout};
use mos_packages::compression::Compression;
use mos_store::Digest;
use mos_tree::{Content, Kind, Tree, layer};

use crate::error::ComponentError;
use crate::release::{expected, head};
use crate::workshop::{Progress, Workshop};

/// Longest magic of a compression, in bytes.
const MAGIC: usize = 6;

/// What came.
#[derive(Debug)]
pub(crate) struct Got {
    /// SHA-256 of the manifest, in hex.
    pub manifest: String,
    /// The image layout.
    pub layout: PathBuf,
}

/// Brings an image into the cache, unless the lock names one that is there.
pub(crate) fn fetch(
    component: &str,
    source: &Source,
    locked: Option<&LockedComponent>,
    shop: &Workshop,
    progress: &mut Progress<'_>,
) -> Result<Got, ComponentError> {
    let Source::Oci { image, version, sha256 } = source else {
        return Err(ComponentError::source(component, "not a container image"));
    };
    let wanted = expected(sha256.as_deref(), locked);
    if let Some(manifest) = wanted {
        let layout = place(shop, image, manifest);
        if layout.join("index.json").is_file() {
            let manifest = manifest.to_owned();
            return Ok(Got { manifest, layout });
        }
    }
    let wrong = |error: mos_oci::OciError| ComponentError::source(component, error.to_string());
    let open = |address: String| {
        let reference = Reference::parse(&address).map_err(wrong)?;
        let credentials = Credentials::find(&reference.registry).map_err(wrong)?;
        Registry::reader(&reference, credentials, Options::default()).map_err(wrong)
    };
    let registry = match wanted {
        Some(manifest) => open(format!("oci://{image}@sha256:{manifest}"))?,
        None => open(format!("oci://{image}:{version}"))?,
    };
    progress(&format!("fetching {image}:{version}"));
    let parent = shop.folder("images");
    fs::create_dir_all(&parent).map_err(ComponentError::at(&parent))?;
    let scratch = tempfile::tempdir_in(&parent).map_err(ComponentError::at(&parent))?;
    let told = std::cell::RefCell::new(progress);
    let manifest = mos_oci::copy(&registry, shop.architecture(), scratch.path(), &|now| {
        let told = &mut *told.borrow_mut();
        told(&format!(
            "fetching {image}:{version}: {} of {} bytes",
            now.bytes_done, now.bytes
        ));
    });
    let manifest = manifest.map_err(wrong)?.digits();
    let layout = place(shop, image, &manifest);
    match fs::rename(scratch.path(), &layout) {
        // Another build was faster, and has the same.
        Err(_) if layout.is_dir() => {}
        other => other.map_err(ComponentError::at(&layout))?,
    }
    Ok(Got { manifest, layout })
}

fn place(shop: &Workshop, image: &str, manifest: &str) -> PathBuf {
    let architecture = shop.architecture().debian();
    let name = Digest::of(format!("{image}@{manifest} {architecture}").as_bytes()).to_string();
    shop.folder("images").join(&name[..32])
}

/// Writes the files with these names, wherever the image has them, into a folder. `work` is for what is in between.
pub(crate) fn unpack(
    component: &str,
    layout: &Path,
    names: &[String],
    work: &Path,
    folder: &Path,
) -> Result<(), ComponentError> {
    let damaged = |reason: String| ComponentError::source(component, reason);
    let layers =
        layout::layers(&Files::folder(layout), &Choice::default()).map_err(|error| damaged(error.to_string()))?;
    let mut tree = Tree::default();
    for (number, layer) in layers.iter().enumerate() {
        let plain = work.join(format!("layer-{number}"));
        plain_layer(layer, &plain).map_err(|error| damaged(format!("{}: {error}", layer.path.display())))?;
        let content = Content::file(&plain).map_err(ComponentError::at(&plain))?;
        layer::apply(&mut tree, &content).map_err(|error| damaged(format!("{}: {error}", layer.path.display())))?;
    }
    fs::create_dir_all(folder).map_err(ComponentError::at(folder))?;
    for entry in tree.walk() {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let name = path.rsplit('/').next().unwrap_or_default();
        let Kind::File(content) = &entry.inode.kind else {
            continue;
        };
        if names.iter().any(|wanted| wanted == name) {
            write(content, &folder.join(&path)).map_err(ComponentError::at(&folder.join(&path)))?;
        }
    }
    Ok(())
}

/// Decompresses a layer into a file, and compares both digests.
fn plain_layer(layer: &ImageLayer, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let content = layer.content()?;
    let magic = head(&mut content.open()?, MAGIC)?;
    let mut stored = Hashing::new(content.open()?);
    let mut plain = Hashing::new(Compression::of_content(&magic).reader(&mut stored)?);
    io::copy(&mut plain, &mut File::create(path)?)?;
    let plain = plain.finish();
    io::copy(&mut stored, &mut io::sink())?;
    layer.check_stored(&stored.finish())?;
    Ok(layer.check_plain(&plain)?)
}

fn write(content: &Content, path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    io::copy(&mut content.open()?, &mut File::create(path)?).map(drop)
}
