//! Does a store hold what an flist names?

use std::collections::HashSet;

use mos_store::{Digest, Read, StoreError};

use crate::blob::{BLOB_LIMIT, parse_index};
use crate::error::{ReadError, show};
use crate::flist::{EntryKind, Flist};
use crate::read::Reader;
use crate::table::BlobRef;
use crate::verity::{ObjectDigest, VerityHasher};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Are all blobs there, with the right lengths? No content is fetched.
    Metadata,
    /// Fetch everything: blobs against their digests and indexes, chunks, and whole files against their objects.
    Full,
}

/// Something that is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// The store does not have a blob.
    #[error("blob {0} is missing; push it again from a store that has it")]
    Missing(Digest),
    /// A blob has another length.
    #[error("blob {} has {found} bytes instead of {}; push it again", expected.digest, expected.length)]
    Length {
        /// The blob.
        expected: BlobRef,
        /// Bytes it has.
        found: u64,
    },
    /// A blob is larger than readers take.
    #[error("blob {0} is larger than the 64 MiB that are read at once; pack again")]
    Huge(Digest),
    /// A blob has other bytes.
    #[error("blob {0} does not match its digest: damaged or tampered with; push it again")]
    Damaged(Digest),
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
    /// A file reads back, but is not the object that the flist says.
    #[error("{file}: its content has the fs-verity digest {found} instead of {expected}; pack again")]
    Object {
        /// Path in the flist.
        file: String,
        /// What the flist says.
        expected: ObjectDigest,
        /// What it is.
        found: ObjectDigest,
    },
    /// The store failed.
    #[error("blob {blob}: {source}")]
    Store {
        /// The blob.
        blob: Digest,
        /// What the store said.
        source: StoreError,
    },
}

/// Checks that a store holds what an flist names; returns what is wrong, nothing when all is well. Uses memory for one
/// blob and a few frames.
pub fn verify(flist: &Flist, store: &dyn Read, depth: Depth) -> Vec<Finding> {
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
        files(flist, store, &mut findings);
    }
    findings
}

fn present(blob: &BlobRef, store: &dyn Read) -> Result<(), Finding> {
    match store.length(&blob.digest.blob_name()) {
        Ok(Some(length)) if length == blob.length => Ok(()),
        Ok(Some(found)) => Err(Finding::Length { expected: *blob, found }),
        Ok(None) => Err(Finding::Missing(blob.digest)),
        Err(source) => Err(Finding::Store {
            blob: blob.digest,
            source,
        }),
    }
}

fn whole(flist: &Flist, blob: &BlobRef, number: u32, store: &dyn Read) -> Result<(), Finding> {
    if blob.length > BLOB_LIMIT {
        return Err(Finding::Huge(blob.digest));
    }
    let bytes = store
        .get(&blob.digest.blob_name(), blob.length)
        .map_err(|source| Finding::Store {
            blob: blob.digest,
            source,
        })?;
    if !blob.digest.matches(&bytes) {
        return Err(Finding::Damaged(blob.digest));
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

fn files(flist: &Flist, store: &dyn Read, findings: &mut Vec<Finding>) {
    let reader = Reader::sequential(flist, store);
    let mut highest = 0;
    for entry in flist.entries() {
        let EntryKind::File { object: expected, .. } = entry.kind else {
            continue;
        };
        if entry.inode <= highest {
            // A hard link that was looked at under its first name: inode numbers grow along the paths.
            continue;
        }
        highest = entry.inode;
        let mut hasher = VerityHasher::new();
        if let Err(error) = reader.read_file(&entry, &mut hasher) {
            findings.push(error.into());
            continue;
        }
        let found = hasher.finish();
        if found != expected {
            findings.push(Finding::Object {
                file: show(&entry.path),
                expected,
                found,
            });
        }
    }
}
