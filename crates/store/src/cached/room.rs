//! Keeping a directory within its bound.

use super::part::BLOCK;
use mos_sys::durable::TEMPORARY_PREFIX;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// The directory is looked through when so many parts of the bound were written since the last time.
const LOOKS: u64 = 16;
/// What is left of a full directory, in parts of the bound: so that it is not full again at once.
const KEPT: (u64, u64) = (7, 8);
/// Unfinished files younger than this may belong to a writer that still runs; a part takes milliseconds to write.
const UNFINISHED_AGE: Duration = Duration::from_secs(600);
/// What a file takes on a disk is a multiple of this, on nearly all file systems. (`st_blocks` is not known until the
/// kernel has written the file.)
const DISK_BLOCK: u64 = 4096;

/// The bound of a directory.
pub(super) struct Room {
    directory: PathBuf,
    limit: u64,
    /// Bytes written since the directory was last looked through, by this process.
    written: AtomicU64,
}

/// A file of the cache: when it was used last, its bytes on the disk, and its path.
type Used = (SystemTime, u64, PathBuf);

impl Room {
    pub(super) fn new(directory: &Path, limit: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            limit,
            // So that the first write finds out what others left.
            written: AtomicU64::new(limit / LOOKS),
        }
    }

    /// Notes that bytes were written, and makes room from time to time. While another process does, nothing is done here.
    pub(super) fn used_more(&self, bytes: u64) -> io::Result<()> {
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes < self.limit / LOOKS {
            return Ok(());
        }
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.directory.join(".lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        self.written.store(0, Ordering::Relaxed);
        self.shrink()
    }

    fn shrink(&self) -> io::Result<()> {
        let mut files = Vec::new();
        look_through(&self.directory, &mut files)?;
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        // What may be written until somebody looks again.
        let most = self.limit.saturating_sub(self.limit / LOOKS + BLOCK);
        if total <= most {
            return Ok(());
        }
        files.sort_unstable();
        for (_, bytes, path) in files {
            if total <= most.min(self.limit / KEPT.1 * KEPT.0) {
                break;
            }
            fs::remove_file(&path).or_else(ignore_absent)?;
            total -= bytes;
            // Fails as long as there is something else in it.
            let _ = path.parent().map(fs::remove_dir);
        }
        Ok(())
    }
}

/// Adds all files of a cache, and removes what killed writers left.
fn look_through(directory: &Path, files: &mut Vec<Used>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) => return ignore_absent(error),
        Ok(entries) => entries,
    };
    for entry in entries {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) => {
                ignore_absent(error)?;
                continue;
            }
            Ok(metadata) => metadata,
        };
        if metadata.is_dir() {
            look_through(&entry.path(), files)?;
            continue;
        }
        let used = metadata.modified()?;
        let unfinished = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(TEMPORARY_PREFIX.as_bytes());
        if unfinished && used.elapsed().is_ok_and(|age| age > UNFINISHED_AGE) {
            fs::remove_file(entry.path()).or_else(ignore_absent)?;
        } else if !unfinished && entry.file_name() != ".lock" {
            files.push((used, metadata.len().next_multiple_of(DISK_BLOCK), entry.path()));
        }
    }
    Ok(())
}

/// Another process may have made room at the same place.
fn ignore_absent(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}
