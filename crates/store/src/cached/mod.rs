//! A bounded copy, on the local disk, of what was read from a slow store.
//!
//! ```text
//! DIR/blobs/ab/ab12…/0, 1, 2 …    parts of an object: one file for each 256 KiB of it
//! DIR/blobs/ab/ab12…/length       its length, when that is known
//! DIR/.lock                       held by the process that makes room
//! ```
//!
//! Only objects whose name is a digest are kept: they never change, whichever store they come from. The rest passes
//! through. A part begins with the BLAKE3 of what follows, and is dropped and fetched again when that does not match.
//! Parts appear under their name when they are written (rename), so processes share a directory without asking each
//! other; nothing is synced, since a part that a power cut damages is found out. What was used longest ago goes first
//! when the directory grows beyond its bound. Trouble with the disk never fails a read: it is noted in
//! [`Cached::stats`], and the store behind answers.

mod part;
mod room;

use crate::{Listed, Read, StoreError, Write, name, range};
use part::{BLOCK, Found, Part};
use room::Room;
use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Name of the file with an object's length.
const LENGTH: &str = "length";

/// Keeps what is read from a store in a directory. Clones share it, and so may other processes.
#[derive(Clone)]
pub struct Cached<S> {
    store: S,
    directory: PathBuf,
    room: Arc<Room>,
    stats: Arc<Mutex<CacheStats>>,
}

/// What a cache did so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Bytes that came from the directory.
    pub hit_bytes: u64,
    /// Bytes that were fetched.
    pub missed_bytes: u64,
    /// Parts that did not match their digest, and were fetched again.
    pub damaged: u64,
    /// Why the directory could not be used, the last time that happened.
    pub trouble: Option<String>,
}

impl<S> Cached<S> {
    /// A cache of at most `limit` bytes on the disk, in a directory of its own that need not exist yet.
    ///
    /// The bound holds to within a sixteenth for each process that fills it at the same time.
    pub fn new(store: S, directory: impl Into<PathBuf>, limit: u64) -> Self {
        let directory = directory.into();
        Self {
            store,
            room: Arc::new(Room::new(&directory, limit)),
            directory,
            stats: Arc::default(),
        }
    }

    /// What this cache and its clones did so far.
    pub fn stats(&self) -> CacheStats {
        let mut stats = CacheStats::default();
        self.count(|now| stats = now.clone());
        stats
    }

    fn count(&self, change: impl FnOnce(&mut CacheStats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The directory of an object, or `None` for one that is not kept.
    fn folder(&self, name: &str) -> Option<PathBuf> {
        (name::is_immutable(name) && name::check(name).is_ok()).then(|| self.directory.join(name))
    }

    /// Trouble with the directory is noted and otherwise ignored.
    fn note<T>(&self, path: &Path, result: io::Result<T>) -> Option<T> {
        result
            .map_err(|error| self.count(|stats| stats.trouble = Some(format!("{}: {error}", path.display()))))
            .ok()
    }

    /// The part of a block that is kept, verified.
    fn part(&self, folder: &Path, block: u64) -> Option<Part> {
        let path = folder.join(block.to_string());
        match self.note(&path, Part::read(&path))? {
            Found::Whole(part) => Some(part),
            Found::Nothing => None,
            Found::Damaged => {
                self.count(|stats| stats.damaged += 1);
                self.note(&path, part::remove(&path));
                None
            }
        }
    }

    /// Keeps bytes of an object, joined to what is there of each block.
    fn keep(&self, folder: &Path, start: u64, bytes: &[u8]) {
        for (block, part) in part::cut(start, bytes) {
            let path = folder.join(block.to_string());
            let joined = match self.part(folder, block) {
                Some(old) => old.join(part),
                None => part,
            };
            let Some(written) = self.note(&path, joined.write(&path)) else {
                return;
            };
            self.note(&self.directory, self.room.used_more(written));
        }
    }

    /// The length of an object, when the cache knows it.
    fn known_length(&self, folder: &Path) -> Option<u64> {
        let text = fs::read_to_string(folder.join(LENGTH)).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    }

    /// True when there was something to forget.
    fn forget(&self, folder: &Path) -> bool {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            other => self.note(folder, other).is_some(),
        }
    }
}

impl<S: Read> Cached<S> {
    /// A range of an object that is kept, the missing bytes fetched with one request.
    fn through(&self, folder: &Path, name: &str, wanted: &Range<u64>) -> Result<Vec<u8>, StoreError> {
        // A range that no object has is not worth looking for block by block.
        let blocks = (wanted.end - wanted.start).div_ceil(BLOCK);
        if blocks > part::MOST_BLOCKS {
            return self.store.get_range(name, wanted.clone());
        }
        let mut parts: Vec<Part> = (wanted.start / BLOCK..wanted.end.div_ceil(BLOCK))
            .filter_map(|block| self.part(folder, block))
            .collect();
        if let Some(bytes) = part::assemble(&parts, wanted) {
            self.count(|stats| stats.hit_bytes += bytes.len() as u64);
            return Ok(bytes);
        }
        let missing = part::missing(&parts, wanted);
        let fetched = self.store.get_range(name, missing.clone())?;
        self.count(|stats| stats.missed_bytes += fetched.len() as u64);
        self.keep(folder, missing.start, &fetched);
        parts.push(Part::new(missing.start, fetched));
        let got = parts.last().map_or(0, Part::length);
        part::assemble(&parts, wanted).ok_or_else(|| range::short(self, name, &missing, got))
    }

    fn fetch_whole(&self, folder: &Path, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.store.get(name, limit)?;
        self.count(|stats| stats.missed_bytes += bytes.len() as u64);
        self.keep(folder, 0, &bytes);
        let path = folder.join(LENGTH);
        self.note(&path, part::replace(&path, format!("{}\n", bytes.len()).as_bytes()));
        Ok(bytes)
    }
}

impl<S: Read> Read for Cached<S> {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let Some(folder) = self.folder(name) else {
            return self.store.get(name, limit);
        };
        match self.known_length(&folder) {
            Some(length) if length > limit => Err(StoreError::too_large(self, name, limit)),
            Some(length) => self.through(&folder, name, &(0..length)),
            None => self.fetch_whole(&folder, name, limit),
        }
    }

    fn get_range(&self, name: &str, wanted: Range<u64>) -> Result<Vec<u8>, StoreError> {
        match self.folder(name) {
            Some(folder) if !wanted.is_empty() => self.through(&folder, name, &wanted),
            _ => self.store.get_range(name, wanted),
        }
    }

    /// Asks the store behind: whether it has an object is not for a copy to say.
    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.store.length(name)
    }

    fn lengths(&self, names: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        self.store.lengths(names)
    }

    /// Forgets the copy, and tells the store behind.
    fn report_bad(&self, name: &str) -> bool {
        let forgotten = self.folder(name).is_some_and(|folder| self.forget(&folder));
        self.store.report_bad(name) || forgotten
    }

    fn address(&self) -> String {
        self.store.address()
    }
}

impl<S: Write> Write for Cached<S> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.put(name, bytes)
    }

    fn holds(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        self.store.holds(name, bytes)
    }

    fn list_entries(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.store.list_entries(prefix)
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<usize, StoreError> {
        self.store.abort_stale_uploads(older_than)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        if let Some(folder) = self.folder(name) {
            self.forget(&folder);
        }
        self.store.delete(name)
    }
}

impl<S: Read> fmt::Debug for Cached<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("store", &self.store.address())
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
