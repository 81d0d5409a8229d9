//! The content of an flist copied to another store: only what is missing there travels.
//!
//! Every blob is checked against its digest on the way. An flist may be put beside its blobs when this is done, not
//! before. What a crash or an error leaves is whole blobs, which the next try finds there.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use mos_store::{Digest, Read, StoreError, Write};

use crate::blob::BLOB_LIMIT;
use crate::claims;
use crate::flist::Flist;
use crate::image::{Advance, Progress};
use crate::parallel;
use crate::table::BlobRef;
use crate::verify::Depth;

/// Blobs that travel at a time: each is in memory as a whole, about 9 MiB at most as we pack them.
const AT_ONCE: usize = 3;

/// What was done, in counts and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cloned {
    /// Blobs that the destination had.
    pub present_blobs: u64,
    /// Their bytes.
    pub present_bytes: u64,
    /// Blobs that were copied.
    pub copied_blobs: u64,
    /// Their bytes.
    pub copied_bytes: u64,
}

/// Why a clone is not complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloneError {
    /// The source's bytes are not the blob: a trust failure. Nothing of it was put.
    #[error("{from}: blob {} is not what the flist names ({why}): the store is damaged or was tampered with", blob.digest)]
    Tampered {
        /// The source's address.
        from: String,
        /// The blob.
        blob: BlobRef,
        /// How it showed.
        why: &'static str,
    },
    /// A blob that the destination had is gone: somebody deleted it meanwhile.
    #[error("{to}: blob {} was there, and was deleted while others were copied; clone again", blob.digest)]
    Lost {
        /// The destination's address.
        to: String,
        /// The blob.
        blob: BlobRef,
    },
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies the blobs of an flist that `to` does not have with their lengths; with [`Depth::Full`] also those whose bytes there
/// are others. `progress` counts blobs as files, those that were there included.
///
/// # Errors
/// [`CloneError`]: the first; blobs that are on their way then are still put.
pub fn clone(
    flist: &Flist,
    from: &dyn Read,
    to: &dyn Write,
    depth: Depth,
    progress: &Progress<'_>,
) -> Result<Cloned, CloneError> {
    let there = present(flist, to, depth)?;
    let (present, missing): (Vec<&BlobRef>, Vec<_>) =
        flist.blobs().iter().partition(|blob| there.contains(&blob.digest));
    let bytes = |blobs: &[&BlobRef]| blobs.iter().map(|blob| blob.length).sum();
    let done = Cloned {
        present_blobs: present.len() as u64,
        present_bytes: bytes(&present),
        copied_blobs: missing.len() as u64,
        copied_bytes: bytes(&missing),
    };
    progress(Advance {
        files: done.present_blobs,
        bytes: done.present_bytes,
    });
    parallel::for_each(
        AT_ONCE,
        missing.into_iter().map(Ok),
        |blob| blob.length,
        |blob| {
            let name = blob.digest.blob_name();
            to.put(&name, &fetch(blob, &name, from)?)?;
            progress(Advance {
                files: 1,
                bytes: blob.length,
            });
            Ok::<_, CloneError>(())
        },
    )?;
    if done.present_blobs == 0 {
        return Ok(done);
    }
    match claims::claim(to, flist.blobs())? {
        None => Ok(done),
        Some(blob) => Err(CloneError::Lost { to: to.address(), blob }),
    }
}

/// The blobs that a store has, with their lengths or with their bytes.
fn present(flist: &Flist, to: &dyn Write, depth: Depth) -> Result<HashSet<Digest>, StoreError> {
    let names: Vec<String> = flist.blobs().iter().map(|blob| blob.digest.blob_name()).collect();
    let there = flist.blobs().iter().zip(to.lengths(&names)?);
    let there = there.filter(|(blob, length)| *length == Some(blob.length) && blob.length <= BLOB_LIMIT);
    let there: Vec<&BlobRef> = there.map(|(blob, _)| blob).collect();
    if depth == Depth::Metadata {
        return Ok(there.iter().map(|blob| blob.digest).collect());
    }
    let whole = Mutex::new(HashSet::new());
    let check = |blob: &BlobRef| {
        if blob.digest.matches(&to.get(&blob.digest.blob_name(), blob.length)?) {
            whole.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest);
        }
        Ok::<_, StoreError>(())
    };
    parallel::for_each(AT_ONCE, there.into_iter().map(Ok), |blob| blob.length, check)?;
    Ok(whole.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn fetch(blob: &BlobRef, name: &str, from: &dyn Read) -> Result<Vec<u8>, CloneError> {
    let tampered = |why| CloneError::Tampered {
        from: from.address(),
        blob: *blob,
        why,
    };
    if blob.length > BLOB_LIMIT {
        return Err(tampered("it is larger than the 64 MiB that are read at once"));
    }
    let bytes = match from.get(name, blob.length) {
        Err(StoreError::TooLarge { .. }) => return Err(tampered("it is longer")),
        other => other?,
    };
    match blob.digest.matches(&bytes) {
        true => Ok(bytes),
        false => Err(tampered("its digest is another")),
    }
}
