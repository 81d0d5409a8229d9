//! Whole files in the cache, named by their fs-verity digest: `objects/aa/<64 hexadecimal digits>`.
//!
//! A file gets its name only after its bytes were checked and are on the disk, so a crash leaves files that are right
//! and temporary ones, which are swept. One of another length than it should have is doubtful and removed when it is
//! met. The directory may be shared with `mos-update`, and between mounts.
//!
//! Where the file system has fs-verity the kernel checks every page of an object that it reads from the disk, and nobody
//! can write to one. What turns out to be damaged is removed, and fetched again when it is wanted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mos_flist::{ObjectDigest, VerityHasher};
use mos_sys::durable;
use mos_sys::verity::Verity;

/// Permission bits of an object, as `mos-update` gives them.
const MODE: u32 = 0o644;
/// Uses closer together than this are one: writing them down costs more than knowing them is worth.
const SAME: Duration = Duration::from_secs(3600);
/// A temporary file that nobody wrote to for this long belongs to nobody.
const UNFINISHED: Duration = Duration::from_secs(3600);

/// A directory of objects.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    root: PathBuf,
    verity: Arc<Verity>,
}

/// What is known of an object that is here in its full length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Here {
    /// The kernel checks what it reads of it.
    pub(crate) protected: bool,
}

/// An object that is written but not yet named.
#[derive(Debug)]
pub(crate) struct Written {
    temporary: PathBuf,
    path: PathBuf,
}

impl Objects {
    /// The objects of a cache; makes the directory and removes what a crash left.
    pub(crate) fn open(cache: &Path) -> io::Result<Self> {
        let root = cache.join("objects");
        fs::create_dir_all(&root)?;
        for shelf in fs::read_dir(&root)? {
            let shelf = shelf?.path();
            if shelf.is_dir() {
                sweep(&shelf)?;
            }
        }
        Ok(Self {
            root,
            verity: Arc::default(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, digest: &ObjectDigest) -> PathBuf {
        self.root.join(digest.path())
    }

    /// The file, when it is here in its full length.
    pub(crate) fn get(&self, digest: &ObjectDigest, size: u64) -> Option<File> {
        let path = self.path(digest);
        let file = File::open(&path).ok()?;
        let metadata = file.metadata().ok()?;
        if metadata.is_file() && metadata.len() == size {
            return Some(file);
        }
        // Nothing gets this name before it is whole: a disk that lost bytes is not to be trusted with the rest.
        let _ = fs::remove_file(&path);
        None
    }

    /// True when the object is here in its full length.
    pub(crate) fn has(&self, digest: &ObjectDigest, size: u64) -> bool {
        self.look(digest, size).is_some()
    }

    /// What is known of an object, when it is here in its full length.
    pub(crate) fn look(&self, digest: &ObjectDigest, size: u64) -> Option<Here> {
        use rustix::fs::{AtFlags, CWD, FileType, StatxAttributes, StatxFlags, statx};
        let wanted = StatxFlags::TYPE | StatxFlags::SIZE;
        let found = statx(CWD, self.path(digest), AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
        let file = FileType::from_raw_mode(found.stx_mode.into()).is_file();
        (file && found.stx_size == size).then_some(Here {
            protected: found.stx_attributes.contains(StatxAttributes::VERITY),
        })
    }

    /// Removes an object that turned out to be damaged.
    pub(crate) fn discard(&self, digest: &ObjectDigest) {
        // Somebody else may have seen it as well.
        let _ = fs::remove_file(self.path(digest));
    }

    /// Reads an object from its beginning to its end, and discards it when it is not what its name says.
    pub(crate) fn check(&self, digest: &ObjectDigest, size: u64) {
        let right = |mut file| ObjectDigest::of_reader(&mut file).is_ok_and(|found| found == *digest);
        if self.get(digest, size).is_some_and(|file| !right(file)) {
            self.discard(digest);
        }
    }

    /// Writes an object under a temporary name and checks it. What `fill` writes must have this digest.
    pub(crate) fn write<E: From<io::Error>>(
        &self,
        digest: &ObjectDigest,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<Written, E> {
        let path = self.path(digest);
        let shelf = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(shelf)?;
        let written = Written {
            temporary: durable::temporary_beside(&path)?,
            path: path.clone(),
        };
        let file = File::create_new(&written.temporary)?;
        let mut out = Checked {
            out: io::BufWriter::with_capacity(1 << 17, file),
            hasher: VerityHasher::new(),
        };
        fill(&mut out)?;
        let file = out.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        if out.hasher.finish() != *digest {
            let why = format!("{} is not what the image names", digest);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why).into());
        }
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        drop(file);
        match self.verity.protect(&written.temporary)? {
            Some(found) if found != *digest.as_bytes() => {
                let why = format!("{digest} is not what was written");
                Err(io::Error::new(io::ErrorKind::InvalidData, why).into())
            }
            _ => Ok(written),
        }
    }

    /// Gives objects their names, durably, with two syncs of the file system instead of two for each.
    pub(crate) fn commit_all(&self, all: &mut Vec<Written>) -> io::Result<()> {
        if all.is_empty() {
            return Ok(());
        }
        let root = File::open(&self.root)?;
        rustix::fs::syncfs(&root)?;
        for written in all.drain(..) {
            fs::rename(&written.temporary, &written.path)?;
        }
        Ok(rustix::fs::syncfs(&root)?)
    }

    /// Removes the objects used longest ago until all together have no more than `limit` bytes; keeps those that
    /// `pinned` names and those that have another name elsewhere. Gives the number of bytes that stayed.
    pub(crate) fn shrink(&self, limit: u64, pinned: &dyn Fn(&str) -> bool) -> io::Result<u64> {
        let mut found = Vec::new();
        let mut total: u64 = 0;
        for shelf in fs::read_dir(&self.root)? {
            let Ok(shelf) = fs::read_dir(shelf?.path()) else {
                continue;
            };
            for entry in shelf {
                let entry = entry?;
                let Ok(metadata) = entry.metadata() else { continue };
                total += metadata.len();
                found.push((last_use(&metadata), metadata.len(), metadata.nlink(), entry.path()));
            }
        }
        found.sort_unstable();
        for (_, length, links, path) in found {
            if total <= limit {
                break;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if links == 1 && !pinned(&name) && fs::remove_file(&path).is_ok() {
                total -= length;
            }
        }
        Ok(total)
    }

    /// Notes that an object is used, for [`Self::shrink`]: the time of last access, set by hand because most file
    /// systems are mounted in a way that seldom sets it.
    pub(crate) fn touch(file: &File) {
        let used = file.metadata().ok().map(|metadata| metadata.accessed());
        if used.is_some_and(|used| used.is_ok_and(|used| used.elapsed().is_ok_and(|age| age < SAME))) {
            return;
        }
        use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            },
            last_modification: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
        };
        // Somebody else's object in a shared cache may not be touched by us; it is only a hint.
        let _ = rustix::fs::futimens(file, &times);
    }
}

/// Removes what a crash left. What is young may be the work of another program that shares the cache.
fn sweep(shelf: &Path) -> io::Result<()> {
    for entry in fs::read_dir(shelf)? {
        let entry = entry?;
        let unfinished = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(durable::TEMPORARY_PREFIX.as_bytes());
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|time| time.elapsed());
        if unfinished && matches!(age, Ok(Ok(age)) if age > UNFINISHED) {
            // Somebody else may sweep as well.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// When an object was last used or made.
fn last_use(metadata: &fs::Metadata) -> i64 {
    metadata.atime().max(metadata.mtime())
}

impl Drop for Written {
    fn drop(&mut self) {
        // Renamed already in most cases.
        let _ = fs::remove_file(&self.temporary);
    }
}

struct Checked<W> {
    out: W,
    hasher: VerityHasher,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(objects: &Objects, bytes: &[u8]) -> ObjectDigest {
        let digest = ObjectDigest::of(bytes);
        let written = objects.write::<io::Error>(&digest, |out| out.write_all(bytes)).unwrap();
        objects.commit_all(&mut vec![written]).unwrap();
        digest
    }

    #[test]
    fn only_what_has_its_digest_gets_its_name() {
        let cache = tempfile::tempdir().unwrap();
        let objects = Objects::open(cache.path()).unwrap();
        let digest = put(&objects, b"right");
        assert!(objects.has(&digest, 5) && objects.get(&digest, 5).is_some());
        let other = ObjectDigest::of(b"other");
        let error = objects.write::<io::Error>(&other, |out| out.write_all(b"wrong"));
        assert!(error.unwrap_err().to_string().contains(&other.to_string()));
        assert!(!objects.has(&other, 5));
        let files = fs::read_dir(objects.root()).unwrap().flatten();
        let files: usize = files.map(|shelf| fs::read_dir(shelf.path()).unwrap().count()).sum();
        assert_eq!(files, 1, "temporary files are removed");
    }

    #[test]
    fn a_cut_off_object_is_gone_and_a_batch_is_named_at_the_end() {
        let cache = tempfile::tempdir().unwrap();
        let objects = Objects::open(cache.path()).unwrap();
        let digest = put(&objects, b"whole");
        File::options()
            .write(true)
            .open(objects.path(&digest))
            .unwrap()
            .set_len(3)
            .unwrap();
        assert!(objects.get(&digest, 5).is_none() && !objects.path(&digest).exists());
        let other = put(&objects, b"other");
        objects.check(&other, 5);
        assert!(objects.has(&other, 5));
        objects.discard(&other);
        fs::write(objects.path(&other), b"wrong").unwrap();
        objects.check(&other, 5);
        assert!(!objects.has(&other, 5));
        let mut batch = vec![
            objects
                .write::<io::Error>(&digest, |out| out.write_all(b"whole"))
                .unwrap(),
        ];
        assert!(!objects.has(&digest, 5));
        objects.commit_all(&mut batch).unwrap();
        assert!(objects.has(&digest, 5) && batch.is_empty());
    }

    #[test]
    fn what_was_used_longest_ago_goes_but_not_what_is_pinned_or_linked() {
        let cache = tempfile::tempdir().unwrap();
        let objects = Objects::open(cache.path()).unwrap();
        let all: Vec<ObjectDigest> = (0..5_u8).map(|seed| put(&objects, &[seed; 100])).collect();
        let times = |digest: &ObjectDigest, seconds: u64| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            let times = fs::FileTimes::new().set_accessed(time).set_modified(time);
            File::open(objects.path(digest)).unwrap().set_times(times).unwrap();
        };
        for (digest, seconds) in all.iter().zip(1000..) {
            times(digest, seconds);
        }
        Objects::touch(&objects.get(&all[0], 100).unwrap());
        fs::hard_link(objects.path(&all[1]), cache.path().join("generation")).unwrap();
        let pinned = all[2].to_string();
        assert_eq!(objects.shrink(300, &|name| name == pinned).unwrap(), 300);
        let left: Vec<bool> = all.iter().map(|digest| objects.has(digest, 100)).collect();
        assert_eq!(left, [true, true, true, false, false]);
    }
}
