//! Flists that a component carries for `myfs kernel-files`: all modules of the image's kernel, and firmware.

use std::path::{Path, PathBuf};

use mos_cache::Inputs;
use mos_config::{ImagePlan, Lock, Plan, PlannedComponent};
use mos_flist::PackOptions;
use mos_kernel::Library;
use mos_tree::{Timestamp, Tree, directory};

use crate::builder::Builder;
use crate::error::BuildError;
use crate::image::digest;
use crate::packages::image_kernel;
use crate::runtime::Packed;

const STEP: &str = "kernel files";
/// Raised whenever the same inputs would give another flist than before.
const FORMAT: u32 = 1;
/// Beside the flist of modules: the version that they are for.
const VERSION_FILE: &str = "version";
/// Where the service looks for them, in a generation (ARCHITECTURE.md, "Modules and firmware on demand").
const PLACE: &str = "share/flists";
/// As many digits tell states of one folder apart.
const TAG_DIGITS: usize = 12;

/// An flist among the files of a component.
pub(crate) struct Inner {
    /// `modules-VERSION.fl` or `firmware-TAG.fl`.
    pub(crate) name: String,
    /// VERSION or TAG.
    pub(crate) tag: String,
    pub(crate) packed: Packed,
}

impl Inner {
    fn new(kind: &str, tag: String, packed: Packed) -> Self {
        Self {
            name: format!("{kind}-{tag}.fl"),
            tag,
            packed,
        }
    }

    /// Where it goes in a generation.
    pub(crate) fn place(&self) -> String {
        format!("{PLACE}/{}", self.name)
    }
}

impl Builder<'_> {
    /// What a component asks for.
    pub(crate) fn kernel_files(
        &self,
        plan: &Plan,
        component: &PlannedComponent,
        lock: &mut Lock,
    ) -> Result<Vec<Inner>, BuildError> {
        let mut found = Vec::new();
        if component.kernel_modules {
            found.push(self.modules(&plan.image, lock)?);
        }
        if let Some(folder) = &component.firmware {
            found.push(self.firmware(&self.repository().join(folder))?);
        }
        Ok(found)
    }

    /// All modules of the kernel package that the image is made with.
    fn modules(&self, image: &ImagePlan, lock: &mut Lock) -> Result<Inner, BuildError> {
        let alpine = image.alpine.as_ref();
        let package = image_kernel(self, image, lock)?;
        let key = key("modules").add("package", package.identity()).key();
        let name = "kernel modules";
        let packed = self.packed(name, &key, &|output| {
            self.report.line(&format!(
                "packing all modules of {} {}",
                package.name(),
                package.version()
            ));
            let spool = Spool::make(output)?;
            let library = Library::read(&package.tree(self, alpine)?, None, &spool.0)?;
            let version = output.join(VERSION_FILE);
            std::fs::write(&version, library.version()).map_err(BuildError::at(&version))?;
            self.pack_into(name, &library.tree()?, level(), output)
        })?;
        let version = packed.file.with_file_name(VERSION_FILE);
        let version = std::fs::read_to_string(&version).map_err(BuildError::at(&version))?;
        Ok(Inner::new("modules", version, packed))
    }

    /// The tag is of the content: the same firmware has the same name.
    fn firmware(&self, folder: &Path) -> Result<Inner, BuildError> {
        let tree = firmware_tree(folder)?;
        let digest = digest(&tree)?;
        let key = key("firmware").add_digest("tree", &digest).key();
        let packed = self.packed("firmware", &key, &|output| {
            self.report.line(&format!("packing firmware: {}", folder.display()));
            self.pack_into("firmware", &tree, level(), output)
        })?;
        Ok(Inner::new(
            "firmware",
            digest.to_string()[..TAG_DIGITS].to_owned(),
            packed,
        ))
    }
}

fn key(kind: &str) -> Inputs {
    Inputs::new(STEP, FORMAT)
        .add("kind", kind)
        .add("level", level().to_le_bytes())
}

/// That of `mos flist pack-modules`: a higher one takes a minute for a tenth of the bytes.
fn level() -> i32 {
    PackOptions::default().compression_level
}

/// A folder of firmware as it is mounted on nodes: everything belongs to root, and nothing depends on who fetched the
/// files when.
///
/// # Errors
/// [`BuildError::Directory`].
pub fn firmware_tree(folder: &Path) -> Result<Tree, BuildError> {
    let mut tree = directory::read(folder, directory::Options::default())?;
    let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
    for id in ids {
        let metadata = &mut tree.inode_mut(id).metadata;
        metadata.mtime = Timestamp::default();
        metadata.mode = if metadata.mode & 0o111 == 0 { 0o644 } else { 0o755 };
    }
    Ok(tree)
}

/// A folder for decompressed modules; removed when dropped.
struct Spool(PathBuf);

impl Spool {
    fn make(beside: &Path) -> Result<Self, BuildError> {
        let path = beside.join("spool");
        std::fs::create_dir_all(&path).map_err(BuildError::at(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What stays is in a folder of the cache, and goes with it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_firmware_is_the_same_tree_whoever_copied_it() {
        let folder = tempfile::tempdir().unwrap();
        let digests = [1_600_000_000, 1_700_000_000].map(|time| {
            let path = folder.path().join("a.bin");
            std::fs::write(&path, "firmware").unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
            std::fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(time)
                .unwrap();
            digest(&firmware_tree(folder.path()).unwrap()).unwrap()
        });
        assert_eq!(digests[0], digests[1]);
        std::fs::write(folder.path().join("a.bin"), "other").unwrap();
        assert_ne!(digest(&firmware_tree(folder.path()).unwrap()).unwrap(), digests[0]);
    }
}
