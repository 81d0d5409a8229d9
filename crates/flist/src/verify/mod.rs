//! Does a store hold what an image names?
//!
//! A full check reads every file, and every blob once and as a whole: files lie in blobs in the order of their paths, so
//! the blobs that are being read are kept for a while. A blob that is damaged is reported, and so is every file that
//! cannot be read for it; a blob whose damage hits no file of this flist is reported all the same.
//!
//! Where several stores hold a blob, each of them is looked at: what readers take from the others is no news of it.

mod replica;
mod whole;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use mos_store::{Digest, RoutedStore, StoreError};

use crate::error::{Part, ReadError, show};
use crate::flist::Entry;
use crate::image::{Advance, Image, Progress};
use crate::parallel;
use crate::read::Reader;
use crate::verity::{ObjectDigest, VerityHasher};
use replica::{Present, Replica};
use whole::Whole;

/// Bytes of decoded frames that are kept: files of one directory share them.
const FRAMES: usize = 4 << 20;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Are all objects of the store there, with the right lengths where the image knows them? No content is fetched.
    Metadata,
    /// Fetch everything: objects against their digests and indexes, chunks, and whole files against their digests.
    Full,
}

/// Something that is wrong. Crates that read other formats make these themselves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// The store does not have an object.
    #[error("{0} is missing; push it again from a store that has it")]
    Missing(Part),
    /// An object has another length.
    #[error("{part} has {found} bytes instead of {expected}; push it again")]
    Length {
        /// The object.
        part: Part,
        /// Bytes it should have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// A blob is larger than readers take.
    #[error("blob {0} is larger than the 64 MiB that are read at once; pack again")]
    Huge(Digest),
    /// An object has other bytes.
    #[error("{0} does not match its digest: damaged or tampered with; push it again")]
    Damaged(Part),
    /// The index at the end of a blob is wrong, although its bytes are those that were packed.
    #[error("blob {blob} has {why}: whatever packed it is at fault; pack again")]
    Index {
        /// The blob.
        blob: Digest,
        /// What is wrong.
        why: &'static str,
    },
    /// A file's content cannot be read back.
    #[error(transparent)]
    Content(#[from] ReadError),
    /// A file reads back, but is not the object that the image says.
    #[error("{file}: its content has the fs-verity digest {found} instead of {expected}; pack again")]
    Object {
        /// Path in the image.
        file: String,
        /// What the image says.
        expected: ObjectDigest,
        /// What it is.
        found: ObjectDigest,
    },
    /// Wrong in one of several stores, which others may make good for: readers go on, until they are gone too.
    #[error("{store}: {finding}")]
    Replica {
        /// The store, with its range, without secrets.
        store: String,
        /// What is wrong there.
        finding: Box<Finding>,
    },
    /// The store failed.
    #[error("{part}: {source}")]
    Store {
        /// The object.
        part: Part,
        /// What the store said.
        source: Box<StoreError>,
    },
}

impl Reader {
    /// As [`Image::verify`], and every one of these stores is asked for every blob that its route says it holds: a reader
    /// would be content with the first that has it. They are those which the reader's own store consists of; with less than
    /// two this is [`Image::verify`]. Uses memory for a few blobs and frames.
    pub fn verify_replicas(&self, stores: &[RoutedStore], depth: Depth, progress: &Progress<'_>) -> Vec<Finding> {
        let replicas = match stores {
            [] | [_] => vec![Replica::only(self.store().clone())],
            several => several.iter().map(Replica::of).collect(),
        };
        let present = match Present::ask(self.flist(), &replicas) {
            Ok(present) => present,
            // A store that is away is not asked for every file.
            Err(findings) => return findings,
        };
        if depth == Depth::Metadata {
            return present.findings();
        }
        let whole = Arc::new(Whole::new(
            self.flist().clone(),
            self.store().clone(),
            replicas,
            present,
        ));
        // Whole blobs are at hand, so nothing is fetched ahead, and what is decoded need not wait long.
        let files = Reader::new(self.flist().clone(), whole.clone()).keeping(FRAMES);
        let files = verify_files(&files, progress);
        let mut findings = whole.finish();
        findings.extend(files);
        findings
    }
}

/// Reads every file of an image once, however many names it has, on all processors, and compares it with its digest where
/// the image has one; returns what is wrong in the order of paths. For those who implement [`Image::verify`].
pub fn verify_files(image: &dyn Image, progress: &Progress<'_>) -> Vec<Finding> {
    let mut seen = HashSet::new();
    let files = image
        .entries()
        .filter(|entry| entry.size().is_some() && (entry.links < 2 || seen.insert(entry.inode)));
    let findings = Mutex::new(Vec::new());
    let work = |(number, entry): (usize, Entry<'_>)| {
        if let Some(finding) = file(image, &entry) {
            // A panic elsewhere leaves a whole list.
            let mut findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
            findings.push((number, finding));
        }
        progress(Advance {
            files: 1,
            bytes: entry.size().unwrap_or(0),
        });
        Ok::<_, Infallible>(())
    };
    let weight = |(_, entry): &(usize, Entry<'_>)| entry.size().unwrap_or(0);
    let Ok(()) = parallel::for_each(parallel::processors(), files.enumerate().map(Ok), weight, work);
    let mut findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    findings.sort_unstable_by_key(|(number, _)| *number);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

fn file(image: &dyn Image, entry: &Entry<'_>) -> Option<Finding> {
    let Some(expected) = entry.object() else {
        return image.read_file(entry, &mut std::io::sink()).err().map(Finding::from);
    };
    let mut hasher = VerityHasher::new();
    if let Err(error) = image.read_file(entry, &mut hasher) {
        return Some(error.into());
    }
    let found = hasher.finish();
    (found != expected).then(|| Finding::Object {
        file: show(&entry.path),
        expected,
        found,
    })
}
