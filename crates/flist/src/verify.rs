//! Does a store hold what an image names?

use std::collections::HashSet;

use mos_store::{Digest, Read, StoreError};

use crate::blob::{BLOB_LIMIT, parse_index};
use crate::error::{Part, ReadError, show};
use crate::flist::{Entry, Flist};
use crate::image::{Advance, Image, Progress};
use crate::read::Reader;
use crate::table::BlobRef;
use crate::verity::{ObjectDigest, VerityHasher};

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
    /// The store failed.
    #[error("{part}: {source}")]
    Store {
        /// The object.
        part: Part,
        /// What the store said.
        source: StoreError,
    },
}

/// Checks a reader's flist. Uses memory for one blob and a few frames.
pub(crate) fn reader(reader: &Reader, depth: Depth, progress: &Progress<'_>) -> Vec<Finding> {
    let (flist, store) = (reader.flist(), &**reader.store());
    let blobs = flist.blobs().iter().zip(0_u32..);
    let mut findings: Vec<Finding> = blobs
        .filter_map(|(blob, index)| {
            let checked = present(blob, store).and_then(|()| match depth {
                Depth::Metadata => Ok(()),
                Depth::Full => whole(flist, blob, index, store),
            });
            checked.err()
        })
        .collect();
    if depth == Depth::Full {
        let reader = Reader::sequential(flist.clone(), reader.store().clone());
        findings.extend(verify_files(&reader, progress));
    }
    findings
}

fn present(blob: &BlobRef, store: &dyn Read) -> Result<(), Finding> {
    let part = Part::Blob(blob.digest);
    match store.length(&blob.digest.blob_name()) {
        Ok(Some(length)) if length == blob.length => Ok(()),
        Ok(Some(found)) => Err(Finding::Length {
            part,
            expected: blob.length,
            found,
        }),
        Ok(None) => Err(Finding::Missing(part)),
        Err(source) => Err(Finding::Store { part, source }),
    }
}

fn whole(flist: &Flist, blob: &BlobRef, number: u32, store: &dyn Read) -> Result<(), Finding> {
    if blob.length > BLOB_LIMIT {
        return Err(Finding::Huge(blob.digest));
    }
    let bytes = store
        .get(&blob.digest.blob_name(), blob.length)
        .map_err(|source| Finding::Store {
            part: Part::Blob(blob.digest),
            source,
        })?;
    if !blob.digest.matches(&bytes) {
        return Err(Finding::Damaged(Part::Blob(blob.digest)));
    }
    let wrong = |why| Finding::Index { blob: blob.digest, why };
    let index = parse_index(&bytes).map_err(wrong)?;
    let index: HashSet<_> = index
        .iter()
        .map(|frame| (frame.offset, frame.stored, frame.plain, frame.encoding))
        .collect();
    for frame in flist.tables.frames.iter().filter(|frame| frame.blob == number) {
        let listed = index.contains(&(frame.offset, frame.stored, frame.plain, frame.encoding));
        if !listed {
            return Err(wrong("an index without a frame that the flist names"));
        }
    }
    Ok(())
}

/// Reads every file of an image once, hard links too, and compares it with its digest where the image has one; returns
/// what is wrong. For those who implement [`Image::verify`].
pub fn verify_files(image: &dyn Image, progress: &Progress<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = HashSet::new();
    for entry in image.entries() {
        let Some(size) = entry.size() else { continue };
        if entry.links > 1 && !seen.insert(entry.inode) {
            continue;
        }
        let mut hasher = VerityHasher::new();
        match image.read_file(&entry, &mut hasher) {
            Err(error) => findings.push(error.into()),
            Ok(()) => findings.extend(wrong_object(&entry, hasher.finish())),
        }
        progress(Advance { files: 1, bytes: size });
    }
    findings
}

fn wrong_object(entry: &Entry<'_>, found: ObjectDigest) -> Option<Finding> {
    let expected = entry.object().filter(|expected| *expected != found)?;
    Some(Finding::Object {
        file: show(&entry.path),
        expected,
        found,
    })
}
