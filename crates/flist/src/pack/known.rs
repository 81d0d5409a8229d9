//! Chunks that need not be packed: those of older flists whose blobs the store still has.
//!
//! An flist does not say what its chunks' digests are; the index at the end of each blob does. It is fetched from the
//! store, and believed because the flist has its digest.

use std::collections::HashMap;
use std::sync::Arc;

use mos_store::{Digest, Read};

use super::PackError;
use crate::blob::parse_tail;
use crate::flist::Flist;
use crate::table::{BlobIndex, BlobRef, Chunk};

/// Longest end of a blob that is fetched, in bytes: an index of a million chunks.
const TAIL_LIMIT: u64 = 64 << 20;

/// Digest and length of a chunk, by the offset of its frame in a blob and its own in that frame.
type Index = HashMap<(u32, u32), (Digest, u32)>;

/// Chunks of older flists.
pub(super) struct Known {
    bases: Vec<Arc<Flist>>,
    /// Of each base, the digest of each of its chunks; none for a chunk that is not to be had.
    digests: Vec<Vec<Option<Digest>>>,
    /// Which base has a chunk, and which of its chunks it is.
    places: HashMap<Digest, (usize, u32)>,
}

impl Known {
    /// The chunks of the bases whose blobs the store still has, whole.
    pub(super) fn of_bases(bases: &[Arc<Flist>], store: &dyn Read) -> Result<Self, PackError> {
        let mut known = Self {
            bases: bases.to_vec(),
            digests: Vec::new(),
            places: HashMap::new(),
        };
        let mut indexes: HashMap<BlobRef, Index> = HashMap::new();
        for (number, base) in bases.iter().enumerate() {
            fetch(base, store, &mut indexes)?;
            let digests = base.tables.chunks.iter().map(|chunk| digest(base, *chunk, &indexes));
            let digests: Vec<Option<Digest>> = digests.collect();
            for (chunk, digest) in (0_u32..).zip(&digests) {
                if let Some(digest) = digest {
                    known.places.entry(*digest).or_insert((number, chunk));
                }
            }
            known.digests.push(digests);
        }
        Ok(known)
    }

    pub(super) fn bases(&self) -> &[Arc<Flist>] {
        &self.bases
    }

    /// Which base has a chunk, and where.
    pub(super) fn find(&self, digest: Digest, length: u32) -> Option<(usize, Chunk)> {
        let (base, chunk) = *self.places.get(&digest)?;
        let chunk = self.bases[base].tables.chunks[chunk as usize];
        (chunk.length == length).then_some((base, chunk))
    }

    /// Digest and length of a chunk of a base; none when it has to be packed again.
    pub(super) fn digest(&self, base: usize, chunk: u32) -> Option<(Digest, u32)> {
        let length = self.bases[base].tables.chunks[chunk as usize].length;
        Some((self.digests[base][chunk as usize]?, length))
    }
}

/// Fetches the indexes of a base's blobs. One that is missing or not the one that was packed counts as empty: what its
/// blob holds is packed again.
fn fetch(base: &Flist, store: &dyn Read, indexes: &mut HashMap<BlobRef, Index>) -> Result<(), PackError> {
    let wanted = base.tables.blobs.iter().zip(&base.tables.indexes);
    let wanted: Vec<_> = wanted.filter(|(blob, _)| !indexes.contains_key(blob)).collect();
    let names: Vec<String> = wanted.iter().map(|(blob, _)| blob.digest.blob_name()).collect();
    let lengths = match names.is_empty() {
        true => Vec::new(),
        false => store.lengths(&names)?,
    };
    for (((blob, index), name), length) in wanted.into_iter().zip(names).zip(lengths) {
        let here = length == Some(blob.length) && blob.length - index.start <= TAIL_LIMIT;
        let tail = match here {
            true => store.get_range(&name, index.start..blob.length)?,
            false => Vec::new(),
        };
        indexes.insert(*blob, read(&tail, index).unwrap_or_default());
    }
    Ok(())
}

fn read(tail: &[u8], index: &BlobIndex) -> Option<Index> {
    if !index.digest.matches(tail) {
        return None;
    }
    let frames = parse_tail(tail, index.start).ok()?;
    let chunks = frames.iter().flat_map(|frame| {
        let place = |chunk: &crate::blob::IndexedChunk| ((frame.offset, chunk.offset), (chunk.digest, chunk.length));
        frame.chunks.iter().map(place)
    });
    Some(chunks.collect())
}

fn digest(base: &Flist, chunk: Chunk, indexes: &HashMap<BlobRef, Index>) -> Option<Digest> {
    let frame = &base.tables.frames[chunk.frame as usize];
    let index = indexes.get(&base.tables.blobs[frame.blob as usize])?;
    let (digest, length) = index.get(&(frame.offset, chunk.offset))?;
    (*length == chunk.length).then_some(*digest)
}
