//! The list of what to fetch first: the files that a start of the system is known to read, in that order.
//!
//! ```text
//! prefetch  per file: u64 nid; each a regular file with content outside the flist, each once
//! ```
//!
//! Whole files, not frames: what is complete locally can be handed to the kernel, and the frames follow from the file.
//! The list is part of the flist, under its digest. It is advice: a reader may ignore it.

use zerocopy::FromBytes as _;
use zerocopy::byteorder::little_endian::U64;

use crate::error::FlistError;
#[cfg(feature = "pack")]
pub use writing::{PrefetchError, with_prefetch};

/// Reads the section; `is_file` says which inodes are files with content outside. `at` is its place, for errors.
pub(crate) fn parse(section: &[u8], at: usize, is_file: impl Fn(u64) -> bool) -> Result<Vec<u64>, FlistError> {
    let wrong = |why: &str| FlistError::malformed("prefetch list", at, why);
    let rows = <[U64]>::ref_from_bytes(section).map_err(|_| wrong("not a whole number of rows"))?;
    let files: Vec<u64> = rows.iter().map(|nid| nid.get()).collect();
    let mut seen = std::collections::HashSet::with_capacity(files.len());
    match files.iter().all(|nid| is_file(*nid) && seen.insert(*nid)) {
        true => Ok(files),
        false => Err(wrong("something that is no file outside the flist, or a file twice")),
    }
}

#[cfg(feature = "pack")]
mod writing {
    use std::collections::HashSet;

    use crate::error::{FlistError, show};
    use crate::flist::{EntryKind, Flist, Place};
    use crate::header;

    /// Why a prefetch list could not be put into an flist.
    #[derive(Debug, thiserror::Error)]
    #[non_exhaustive]
    pub enum PrefetchError {
        /// The bytes are no flist that may be changed.
        #[error(transparent)]
        Flist(#[from] FlistError),
        /// The flist has no such path.
        #[error("{0}: not in the flist; was the list made for another one?")]
        NotFound(String),
    }

    /// The same flist with another prefetch list: the files at these paths in this order, and for a directory all
    /// files below it. Symbolic links and the like, and files that lie in the flist itself, need no fetching and are
    /// left out. The result is another flist with a digest of its own; its blobs stay the same.
    ///
    /// # Errors
    /// [`PrefetchError`]; also for an flist with features that this program does not know, which it would lose.
    pub fn with_prefetch(bytes: Vec<u8>, paths: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, PrefetchError> {
        let flist = Flist::parse(bytes)?;
        let mut files = Vec::new();
        let mut seen = HashSet::new();
        for path in paths {
            let not_found = || PrefetchError::NotFound(show(path.as_ref()));
            let entry = flist.find(path).ok_or_else(not_found)?;
            let nids = match entry.kind {
                EntryKind::Directory => below(&flist, &entry.path),
                _ => vec![entry.inode],
            };
            let outside = |nid: &u64| matches!(flist.place(*nid), Some(Place::Chunks { .. }));
            files.extend(nids.into_iter().filter(|nid| outside(nid) && seen.insert(*nid)));
        }
        let section = files.iter().flat_map(|nid| nid.to_le_bytes()).collect();
        Ok(header::with_prefetch(flist.as_bytes(), section)?)
    }

    /// The inodes of everything below a directory.
    fn below(flist: &Flist, directory: &[u8]) -> Vec<u64> {
        let is_below = |path: &[u8]| match path.strip_prefix(directory) {
            Some(rest) => directory.is_empty() || rest.starts_with(b"/"),
            None => false,
        };
        let entries = flist.entries().filter(|entry| is_below(&entry.path));
        entries.map(|entry| entry.inode).collect()
    }
}
