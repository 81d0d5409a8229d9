//! A tree into an flist and blobs.
//!
//! ```text
//! read, hash, cut (this thread) --frames--> compress (workers) --in order--> assemble blobs, put (one thread)
//! ```
//!
//! Frames go to the assembler in the order in which they were cut, whoever compresses them first; every decision (what
//! is new, where a frame and a blob end) is made by one thread from content alone. Queues are bounded: memory is a few
//! frames per thread, one blob, and the tables.

mod chunker;
mod pipeline;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use mos_store::{Digest, StoreError, Write};
use mos_tree::{InodeId, Kind, Tree};

use crate::erofs::format::TAIL_LIMIT;
use crate::erofs::writer::{self, FileBody};
use crate::error::show;
use crate::flist::Flist;
use crate::header::{self, ChunkSizes};
use crate::table::BlobRef;
use chunker::Chunker;
use tables::{Builder, Known};

/// How to pack.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// zstd level; 3 by default.
    pub compression_level: i32,
    /// Threads that compress; the result does not depend on it. As many as there are processors by default.
    pub threads: usize,
    /// Files of up to this many bytes lie in the flist itself (at most 4,064 do). 1,024 by default: naming an object
    /// costs an flist about 250 bytes, and a small file that is in it needs no request.
    pub inline_limit: usize,
    /// The sizes to cut with.
    pub chunk_sizes: ChunkSizes,
    /// Older flists whose chunks are not packed again where the store still has their blobs.
    pub bases: Vec<Arc<Flist>>,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self {
            compression_level: 3,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            inline_limit: 1024,
            chunk_sizes: ChunkSizes::default(),
            bases: Vec::new(),
        }
    }
}

/// An flist and what it needs. The blobs are in the store already.
#[derive(Debug)]
pub struct Packed {
    /// The file.
    pub flist: Vec<u8>,
    /// BLAKE3-256 of the file.
    pub digest: Digest,
    /// Every blob that it names, older ones from bases included.
    pub blobs: Vec<BlobRef>,
    /// What was done.
    pub stats: PackStats,
}

/// What packing did, in counts and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackStats {
    /// Regular files, hard links counted once.
    pub files: u64,
    /// Of these, files that lie in the flist.
    pub inline_files: u64,
    /// Bytes in all regular files.
    pub content_bytes: u64,
    /// Different chunks.
    pub chunks: u64,
    /// Chunks that were not in a base.
    pub new_chunks: u64,
    /// Bytes in new chunks.
    pub new_bytes: u64,
    /// Blobs made.
    pub new_blobs: u64,
    /// Bytes in the blobs made.
    pub new_blob_bytes: u64,
    /// Of these, blobs that the store did not have yet.
    pub put_blobs: u64,
    /// Bytes that went to the store.
    pub put_bytes: u64,
}

/// Why a tree could not be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A file of the build host cannot be read.
    #[error("{path}: cannot read its content: {source}")]
    Read {
        /// Path in the tree.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something that the format cannot hold.
    #[error("{path}: cannot be in an flist: {why}")]
    Unfit {
        /// Path in the tree.
        path: String,
        /// What is too large or odd.
        why: String,
    },
    /// Sizes that the cutter does not take.
    #[error("chunk sizes {0:?} are not increasing powers of two from 1 KiB to 1 MiB")]
    ChunkSizes(ChunkSizes),
    /// zstd failed.
    #[error("cannot compress a frame: {0}; is the compression level between 1 and 22?")]
    Compress(std::io::Error),
    /// The store failed.
    #[error("cannot store a blob: {0}")]
    Store(#[from] StoreError),
}

impl PackError {
    pub(crate) fn unfit(path: &[u8], why: &str) -> Self {
        Self::Unfit {
            path: show(path),
            why: why.to_owned(),
        }
    }
}

/// Packs a tree: puts the blobs that are missing into the store, and returns the flist, which is not put anywhere.
///
/// # Errors
/// [`PackError`]; blobs that were put before stay in the store, and the next try finds them there.
pub fn pack(tree: &Tree, store: &dyn Write, options: &PackOptions) -> Result<Packed, PackError> {
    if !options.chunk_sizes.valid() {
        return Err(PackError::ChunkSizes(options.chunk_sizes));
    }
    let known = Known::of_bases(&options.bases, store)?;
    let (content, assembled) = pipeline::run(store, options, |frames| {
        let mut builder = Builder::new(known, frames);
        let bodies = read_files(tree, options, &mut builder)?;
        Ok((bodies, builder.finish()?))
    })?;
    let (bodies, drafted) = content;
    let written = writer::write(tree, &bodies)?;
    let mut stats = assembled.stats;
    count_files(&bodies, &mut stats);
    drafted.count(&mut stats);
    let tables = drafted.into_tables(assembled, &written.nids)?;
    let flist = header::assemble(written.image, tables.encode(), options.chunk_sizes);
    Ok(Packed {
        digest: Digest::of(&flist),
        blobs: tables.blobs,
        flist,
        stats,
    })
}

/// Reads every regular file once, in the order of paths: small ones into memory, larger ones as chunks into `builder`.
fn read_files(
    tree: &Tree,
    options: &PackOptions,
    builder: &mut Builder,
) -> Result<BTreeMap<InodeId, FileBody>, PackError> {
    let inline_limit = options.inline_limit.min(TAIL_LIMIT) as u64;
    let mut chunker = Chunker::new(options.chunk_sizes);
    let mut bodies = BTreeMap::new();
    for entry in tree.walk() {
        let Kind::File(content) = &entry.inode.kind else {
            continue;
        };
        if bodies.contains_key(&entry.id) {
            continue;
        }
        let read_error = |source| PackError::Read {
            path: show(&entry.path),
            source,
        };
        let body = if content.len() <= inline_limit {
            FileBody::Inline(content.read().map_err(read_error)?)
        } else {
            builder.begin_file(entry.id);
            let mut reader = content.open().map_err(read_error)?;
            let object = chunker.cut(&mut *reader, content.len(), read_error, |bytes| builder.chunk(bytes))?;
            FileBody::External {
                size: content.len(),
                object,
            }
        };
        bodies.insert(entry.id, body);
    }
    Ok(bodies)
}

fn count_files(bodies: &BTreeMap<InodeId, FileBody>, stats: &mut PackStats) {
    for body in bodies.values() {
        stats.files += 1;
        match body {
            FileBody::Inline(bytes) => {
                stats.inline_files += 1;
                stats.content_bytes += bytes.len() as u64;
            }
            FileBody::External { size, .. } => stats.content_bytes += size,
        }
    }
}
