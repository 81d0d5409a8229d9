//! Objects as files below one directory.
//!
//! A file appears under its name only when its bytes are on the disk (see [`mos_sys::durable`]), and a new
//! sub-directory is made durable in its parent before anything is put into it. What a crash leaves unfinished has a
//! name that no object can have; [`Write::abort_stale_uploads`] removes it.

use crate::{Listed, Read, StoreError, Write, name, range};
use mos_sys::durable;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Permission bits of an object: everybody may read, as a static file server needs it.
const MODE: u32 = 0o644;

/// A store in a directory.
#[derive(Clone, Debug)]
pub struct Dir {
    root: PathBuf,
}

impl Dir {
    /// The store below `root`, which is created when the first object is put.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        name::check(name)?;
        Ok(self.root.join(name))
    }

    fn io(&self, name: &str) -> impl Fn(io::Error) -> StoreError + use<'_> {
        let name = name.to_owned();
        move |source| StoreError::Io {
            address: self.address(),
            name: name.clone(),
            source,
        }
    }

    /// The file of an object and its length, or `None` when there is none.
    fn open(&self, name: &str) -> Result<Option<(File, u64)>, StoreError> {
        let file = match File::open(self.path(name)?) {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other.map_err(self.io(name))?,
        };
        let metadata = file.metadata().map_err(self.io(name))?;
        Ok(metadata.is_file().then_some((file, metadata.len())))
    }

    fn open_existing(&self, name: &str) -> Result<(File, u64), StoreError> {
        self.open(name)?.ok_or_else(|| StoreError::not_found(self, name))
    }

    /// Visits every file below `directory`, saying whether it is an unfinished one.
    fn walk(&self, directory: &Path, visit: &mut dyn FnMut(&Path, bool) -> io::Result<()>) -> Result<(), StoreError> {
        let mut pending = vec![directory.to_owned()];
        while let Some(directory) = pending.pop() {
            visit_directory(&directory, &mut pending, visit).map_err(self.io(&self.shown(&directory)))?;
        }
        Ok(())
    }

    fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.root) {
            Ok(below) if below.as_os_str().is_empty() => "its folder".to_owned(),
            Ok(below) => below.display().to_string(),
            Err(_) => path.display().to_string(),
        }
    }

    /// Says how much room is missing when a write failed for lack of it.
    fn write_error(&self, name: &str, needed: u64, source: io::Error) -> StoreError {
        if !matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return self.io(name)(source);
        }
        // Unknown room is reported as none: the write has just failed for lack of it.
        let free = mos_sys::space::free(&self.root).unwrap_or(0);
        StoreError::Full {
            address: self.address(),
            name: name.into(),
            needed,
            free,
        }
    }
}

impl Read for Dir {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let (file, length) = self.open_existing(name)?;
        if length > limit {
            return Err(StoreError::too_large(self, name, limit));
        }
        let mut bytes = buffer(length);
        file.take(length).read_to_end(&mut bytes).map_err(self.io(name))?;
        Ok(bytes)
    }

    fn get_range(&self, name: &str, wanted: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let (mut file, length) = self.open_existing(name)?;
        range::available(self, name, &wanted, length)?;
        file.seek(SeekFrom::Start(wanted.start)).map_err(self.io(name))?;
        let mut bytes = buffer(wanted.end - wanted.start);
        file.take(wanted.end - wanted.start)
            .read_to_end(&mut bytes)
            .map_err(self.io(name))?;
        if (bytes.len() as u64) < wanted.end - wanted.start {
            return Err(range::short(self, name, &wanted, bytes.len() as u64));
        }
        Ok(bytes)
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        match fs::metadata(self.path(name)?) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.io(name)(error)),
        }
    }

    fn address(&self) -> String {
        format!("dir://{}", self.root.display())
    }
}

/// Room for as many bytes as a file has, so that they come with one call and are never moved.
fn buffer(length: u64) -> Vec<u8> {
    Vec::with_capacity(usize::try_from(length).unwrap_or(0))
}

impl Write for Dir {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name)?;
        let written = create_parents(&path).and_then(|()| durable::write(&path, bytes, MODE));
        written.map_err(|error| self.write_error(name, bytes.len() as u64, error))
    }

    fn list_entries(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let mut entries = Vec::new();
        self.walk(&self.listing_root(prefix), &mut |path, unfinished| {
            let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
            if let Some(name) = name.filter(|name| !unfinished && name.starts_with(prefix)) {
                entries.extend(listed(path, name)?);
            }
            Ok(())
        })?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<usize, StoreError> {
        let mut removed = 0;
        self.walk(&self.root, &mut |path, unfinished| {
            if unfinished && is_abandoned(path, older_than)? {
                remove(path)?;
                removed += 1;
            }
            Ok(())
        })?;
        Ok(removed)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        match fs::remove_file(self.path(name)?) {
            Err(error) if !is_absent(&error) => Err(self.io(name)(error)),
            _ => Ok(()),
        }
    }
}

impl Dir {
    /// The deepest directory that holds every name with this prefix.
    fn listing_root(&self, prefix: &str) -> PathBuf {
        match prefix.rsplit_once('/') {
            Some((folder, _)) if name::check(folder).is_ok() => self.root.join(folder),
            _ => self.root.clone(),
        }
    }
}

/// What a listing says of a file, or `None` when it has vanished meanwhile.
fn listed(path: &Path, name: &str) -> io::Result<Option<Listed>> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if is_absent(&error) => return Ok(None),
        other => other?,
    };
    Ok(Some(Listed {
        name: name.to_owned(),
        length: metadata.len(),
        modified: metadata.modified().ok(),
    }))
}

fn visit_directory(
    directory: &Path,
    pending: &mut Vec<PathBuf>,
    visit: &mut dyn FnMut(&Path, bool) -> io::Result<()>,
) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if is_absent(&error) => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            pending.push(entry.path());
        } else if kind.is_file() {
            let name = entry.file_name();
            visit(
                &entry.path(),
                name.as_encoded_bytes()
                    .starts_with(durable::TEMPORARY_PREFIX.as_bytes()),
            )?;
        }
    }
    Ok(())
}

/// True for "nothing of that name", also when a part of the path is a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// True for an unfinished file that nobody has written to for so long. One that vanishes meanwhile is not ours.
fn is_abandoned(path: &Path, older_than: Duration) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if is_absent(&error) => Ok(false),
        other => Ok(other?.modified()?.elapsed().is_ok_and(|age| age >= older_than)),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if is_absent(&error) => Ok(()),
        other => other,
    }
}

/// Creates the directories above `path`, each durable in its parent before the next is made.
fn create_parents(path: &Path) -> io::Result<()> {
    // Above the first name of a relative path there is nothing to create.
    let missing = |directory: &&Path| !directory.as_os_str().is_empty() && !directory.is_dir();
    let Some(directory) = path.parent().filter(missing) else {
        return Ok(());
    };
    create_parents(directory)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        other => other,
    }?;
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => durable::sync_directory(parent),
        _ => durable::sync_directory(Path::new(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    const HOUR: Duration = Duration::from_secs(3600);

    fn unfinished(path: &Path, age: Duration) {
        let file = File::create(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn only_abandoned_files_are_swept_and_none_is_an_object() {
        let root = tempfile::tempdir().unwrap();
        let store = Dir::new(root.path());
        store.put("blobs/ab/abc", b"whole").unwrap();
        unfinished(&root.path().join("blobs/ab/.tmp-1-0-abd"), 2 * HOUR);
        unfinished(&root.path().join("blobs/ab/.tmp-2-0-abe"), Duration::ZERO);
        assert_eq!(store.list("").unwrap(), ["blobs/ab/abc"]);
        assert_eq!(store.list("blobs/ab/.").unwrap(), [""; 0]);
        assert_eq!(store.abort_stale_uploads(HOUR).unwrap(), 1);
        assert!(root.path().join("blobs/ab/.tmp-2-0-abe").exists());
        assert_eq!(store.get("blobs/ab/abc", 5).unwrap(), b"whole");
    }

    /// In a process of its own, whose working directory is a new one.
    #[test]
    fn a_relative_root_is_created() {
        const VARIABLE: &str = "MOS_STORE_TEST_RELATIVE";
        if std::env::var_os(VARIABLE).is_some() {
            for root in ["", "store", "./deeper/store"] {
                let store = Dir::new(root);
                store.put("blobs/ab/abc", b"whole").unwrap();
                assert_eq!(store.list("blobs/").unwrap(), ["blobs/ab/abc"], "{root}");
            }
            return;
        }
        let here = tempfile::tempdir().unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["a_relative_root_is_created", "--test-threads=1"])
            .current_dir(here.path())
            .env(VARIABLE, "1")
            .status();
        assert!(status.unwrap().success());
        assert_eq!(fs::read(here.path().join("store/blobs/ab/abc")).unwrap(), b"whole");
        assert_eq!(fs::read(here.path().join("blobs/ab/abc")).unwrap(), b"whole");
    }

    #[test]
    fn a_directory_is_not_an_object() {
        let root = tempfile::tempdir().unwrap();
        let store = Dir::new(root.path());
        store.put("blobs/ab/abc", b"whole").unwrap();
        assert!(matches!(store.get("blobs", 5), Err(StoreError::NotFound { .. })));
        assert!(matches!(store.put("blobs", b""), Err(StoreError::Io { .. })));
        assert_eq!(store.length("blobs/ab/abc/deeper").unwrap(), None);
        assert_eq!(store.list("").unwrap(), ["blobs/ab/abc"]);
    }
}
