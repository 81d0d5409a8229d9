//! What a state directory holds already.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mos_flist::ObjectDigest;

use crate::{Generation, Layout, UpdateError, Wanted, disk};

/// What is there before an update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// Every generation on the disk, ascending.
    pub generations: Vec<u64>,
    /// The generation to keep beside the new one: the current one, unless it is damaged.
    pub keep: Option<u64>,
    /// The objects of that generation.
    pub kept_objects: BTreeSet<ObjectDigest>,
    /// Every object on the disk that may be used.
    pub objects: BTreeMap<ObjectDigest, Object>,
    /// Bytes free.
    pub free: u64,
}

/// A whole file under its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Bytes.
    pub length: u64,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
}

impl Installed {
    /// Looks into a state directory. `current` is the current generation when it is sound.
    ///
    /// # Errors
    /// [`UpdateError::Io`].
    pub fn scan(layout: &Layout, current: Option<&Generation>) -> Result<Self, UpdateError> {
        let files = current.into_iter().flat_map(|generation| generation.wanted.files());
        Ok(Self {
            generations: layout.numbers()?,
            keep: current.map(|generation| generation.number),
            kept_objects: files.map(|(_, file)| file.object).collect(),
            objects: scan_objects(&layout.objects())?,
            free: mos_sys::space::free(layout.root()).map_err(UpdateError::io("measure", layout.root()))?,
        })
    }

    /// Takes those of the wanted objects for absent whose content is damaged, so that they are fetched again.
    pub fn verify(&mut self, layout: &Layout, wanted: &Wanted) {
        for (_, file) in wanted.files() {
            let path = layout.object(&file.object);
            if self.objects.contains_key(&file.object) && !is_sound(&path, &file.object) {
                self.objects.remove(&file.object);
            }
        }
    }
}

/// What cannot be read is not sound either.
fn is_sound(path: &Path, object: &ObjectDigest) -> bool {
    let digest = fs::File::open(path).and_then(|mut file| ObjectDigest::of_reader(&mut file));
    digest.is_ok_and(|digest| digest == *object)
}

fn scan_objects(directory: &Path) -> Result<BTreeMap<ObjectDigest, Object>, UpdateError> {
    let mut objects = BTreeMap::new();
    for shelf in list(directory)? {
        if !shelf.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        for entry in list(&shelf.path())? {
            let Some(digest) = entry.file_name().to_str().and_then(digest_of) else {
                continue;
            };
            let metadata = entry.metadata().map_err(UpdateError::io("look at", &entry.path()))?;
            let executable = match metadata.permissions().mode() & 0o7777 {
                mode if mode == disk::mode(true) => true,
                mode if mode == disk::mode(false) => false,
                // Somebody changed it; a new copy will be right.
                _ => continue,
            };
            if metadata.is_file() && entry.path().ends_with(digest.path()) {
                let length = metadata.len();
                objects.insert(digest, Object { length, executable });
            }
        }
    }
    Ok(objects)
}

/// The entries of a directory, sorted by name; none when there is no directory.
pub(crate) fn list(directory: &Path) -> Result<Vec<fs::DirEntry>, UpdateError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.and_then(Iterator::collect),
    };
    let mut entries: Vec<fs::DirEntry> = entries.map_err(UpdateError::io("list", directory))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

fn digest_of(name: &str) -> Option<ObjectDigest> {
    let mut bytes = [0; 32];
    if name.len() != 2 * bytes.len() || !name.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(name.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    let digest = ObjectDigest::from(bytes);
    (digest.to_string() == name).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_are_taken_for_objects() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        let digest = ObjectDigest::of(b"abc");
        let path = layout.object(&digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"abc").unwrap();
        fs::write(path.with_file_name(".tmp-1-0-x"), b"ab").unwrap();
        fs::write(path.with_file_name(digest.to_string().to_uppercase()), b"abc").unwrap();
        fs::write(path.with_file_name("zz".repeat(32)), b"").unwrap();
        fs::write(layout.objects().join("stray"), b"").unwrap();
        let objects = scan_objects(&layout.objects()).unwrap();
        assert_eq!(
            objects,
            BTreeMap::from([(
                digest,
                Object {
                    length: 3,
                    executable: false
                }
            )])
        );
    }
}
