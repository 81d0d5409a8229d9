//! A tree into an flist and blobs.
//!
//! ```text
//! read, cut, hash (threads) --in order--> what is new, which frame (this thread)
//!     --frames--> compress (threads) --in order--> assemble blobs (one thread) --> put (one thread)
//! ```
//!
//! Files come to this thread, and frames to the assembler, in the order of paths, whoever is done first; every decision
//! (what is new, where a frame and a blob end) is made by one thread from content alone. Queues are bounded: memory is
//! a few megabytes per thread, two blobs, and the tables.
//!
//! A file that changes while it is read is read again; the flist then has the size and time that belong to what was read.

mod buffers;
mod cutter;
mod known;
mod pipeline;
mod readers;
mod tables;
mod unchanged;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use mos_store::{Digest, StoreError, Write};
use mos_tree::{Content, InodeId, Kind, Stamp, Timestamp, Tree};

use crate::claims;
use crate::erofs::format::TAIL_LIMIT;
use crate::erofs::writer::{self, FileBody, ImageFile, Unfit};
use crate::erofs::xattr::Style;
use crate::error::show;
use crate::flist::Flist;
use crate::header::{self, ChunkSizes};
use crate::image::Advance;
use crate::table::BlobRef;
use cutter::Piece;
use known::Known;
use pipeline::{Assembled, Put, Shared};
use readers::{Job, Pieces, Readers};
use tables::{Builder, Draft};
use unchanged::{Finder, Unchanged};
pub use unchanged::{Stamps, Trust};

/// How to pack.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// zstd level; 3 by default.
    pub compression_level: i32,
    /// Threads that read, and threads that compress; the result does not depend on it. As many as there are processors by default.
    pub threads: usize,
    /// Files of up to this many bytes lie in the flist itself (at most 4,064 do). 256 by default: such a file needs no
    /// request and no object, and naming one costs an flist about 40 bytes; larger ones are smaller in a frame, where
    /// they are compressed with their neighbours.
    pub inline_limit: usize,
    /// The sizes to cut with.
    pub chunk_sizes: ChunkSizes,
    /// Older flists whose chunks are not packed again where the store still has their blobs.
    pub bases: Vec<Arc<Flist>>,
    /// What tells that a file of a base need not be read again.
    pub trust: Trust,
    /// What is done so far, for somebody who watches.
    pub done: Arc<Done>,
}

/// How far packing is; may be looked at from any thread at any time.
#[derive(Debug, Default)]
pub struct Done {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Done {
    /// Regular files and bytes of them that were packed or found unchanged. A file that changed while it was read counts
    /// as often as it was read.
    pub fn so_far(&self) -> Advance {
        Advance {
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// So many bytes more. For those who pack other formats.
    pub fn bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
    }

    /// One file more.
    pub fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }
}

impl PackOptions {
    /// The size up to which a file lies in the flist.
    fn inline_limit(&self) -> u64 {
        self.inline_limit.min(TAIL_LIMIT) as u64
    }
}

impl Default for PackOptions {
    fn default() -> Self {
        Self {
            compression_level: 3,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            inline_limit: 256,
            chunk_sizes: ChunkSizes::default(),
            bases: Vec::new(),
            trust: Trust::Nothing,
            done: Arc::default(),
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
    /// What the files were on the disk, for [`Trust::Stamps`] the next time.
    pub stamps: Stamps,
    /// What was done.
    pub stats: PackStats,
}

/// What packing did, in counts and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackStats {
    /// Regular files, hard links counted once.
    pub files: u64,
    /// Of these, files that were not read, because they are those of a base.
    pub unchanged_files: u64,
    /// Of all, files that lie in the flist.
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
    /// A file kept changing while it was read, more than once.
    #[error("{path}: changes while it is packed")]
    Changed {
        /// Path in the tree.
        path: String,
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
    Store(#[source] StoreError),
    /// A blob that the store had is gone: somebody deleted it meanwhile.
    #[error("{store}: {blob} was there, and was deleted while this was packed; pack again")]
    Lost {
        /// The store's address.
        store: String,
        /// The blob's name.
        blob: String,
    },
}

impl From<StoreError> for PackError {
    fn from(error: StoreError) -> Self {
        match error {
            // Nothing is read that was not there when packing began.
            StoreError::NotFound { address, name } => Self::Lost {
                store: address,
                blob: name,
            },
            other => Self::Store(other),
        }
    }
}

impl From<Unfit> for PackError {
    fn from(unfit: Unfit) -> Self {
        Self::unfit(&unfit.path, &unfit.why)
    }
}

impl PackError {
    fn read(path: &[u8], source: std::io::Error) -> Self {
        Self::Read {
            path: show(path),
            source,
        }
    }

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
    let begin = SystemTime::now();
    let known = Known::of_bases(&options.bases, store)?;
    let (files, draft, assembled) = read_and_compress(tree, store, options, known)?;
    let mut stats = PackStats::default();
    count_files(&files, &mut stats);
    let (images, stamps) = split(files);
    let written = writer::write(tree, &images, Style::Flist)?;
    count_blobs(&assembled.put, &mut stats);
    draft.count(&mut stats);
    let tables = draft.into_tables(assembled, &images)?;
    keep_old_blobs(&tables.blobs, &stats, store)?;
    let flist = header::assemble(written.image, tables.encode(), options.chunk_sizes);
    let digest = Digest::of(&flist);
    let stamps = stamps.into_iter().map(|(id, stamp)| (written.nids[&id], stamp));
    Ok(Packed {
        digest,
        stamps: Stamps::new(digest, begin, stamps),
        blobs: tables.blobs,
        flist,
        stats,
    })
}

/// What was found in a regular file.
#[derive(Debug)]
struct PackedFile {
    image: ImageFile,
    /// What it was on the disk, where it was there.
    stamp: Option<Stamp>,
}

type Files = BTreeMap<InodeId, PackedFile>;

/// What goes into the image, and what the files were on the disk.
fn split(files: Files) -> (BTreeMap<InodeId, ImageFile>, Vec<(InodeId, Stamp)>) {
    let mut stamps = Vec::new();
    let images = files.into_iter().map(|(id, file)| {
        stamps.extend(file.stamp.map(|stamp| (id, stamp)));
        (id, file.image)
    });
    (images.collect(), stamps)
}

/// All of the content: read, cut, compressed, stored.
fn read_and_compress<'t>(
    tree: &'t Tree,
    store: &dyn Write,
    options: &'t PackOptions,
    known: Known,
) -> Result<(Files, Draft, Assembled), PackError> {
    let mut sources = regular_files(tree);
    let finder = Finder::new(options);
    for source in &mut sources {
        source.unchanged = finder.find(&source.path, source.content, &known);
    }
    let (readers, shared) = (Readers::new(options, jobs(&sources)), Shared::default());
    std::thread::scope(|scope| {
        let (frames, assembly) = pipeline::start(scope, store, options, &shared);
        let mut builder = Builder::new(known, frames);
        let drafted = take_files(sources, readers.start(scope), &mut builder, &options.done).and_then(|files| {
            let draft = builder.finish()?;
            Ok((files, draft))
        });
        // An error behind is the cause of one in front.
        let assembled = assembly.finish()?;
        let (files, draft) = drafted?;
        Ok((files, draft, assembled))
    })
}

/// Where a file's content comes from.
struct Source<'t> {
    id: InodeId,
    path: Vec<u8>,
    content: &'t Content,
    mtime: Timestamp,
    unchanged: Option<Unchanged>,
}

/// Every regular file once, in the order of paths.
fn regular_files(tree: &Tree) -> Vec<Source<'_>> {
    let mut seen = HashSet::new();
    let sources = tree.walk().filter_map(|entry| match &entry.inode.kind {
        Kind::File(content) if seen.insert(entry.id) => Some(Source {
            id: entry.id,
            path: entry.path,
            content,
            mtime: entry.inode.metadata.mtime,
            unchanged: None,
        }),
        _ => None,
    });
    sources.collect()
}

/// The files that have to be read.
fn jobs<'t>(sources: &[Source<'t>]) -> Vec<Job<'t>> {
    let to_read = sources.iter().filter(|source| source.unchanged.is_none());
    let job = |source: &Source<'t>| Job {
        path: source.path.clone(),
        content: source.content,
    };
    to_read.map(job).collect()
}

/// Takes the files in order: unchanged ones from their base, others as they come from the readers.
fn take_files(
    sources: Vec<Source<'_>>,
    mut pieces: Pieces<'_>,
    builder: &mut Builder<'_>,
    done: &Done,
) -> Result<Files, PackError> {
    let mut files = Files::new();
    for source in sources {
        builder.begin_file(source.id);
        let file = match source.unchanged {
            Some(unchanged) => {
                done.bytes(source.content.len());
                take_unchanged(unchanged, builder)?
            }
            None => take_file(&mut pieces, builder, done)?,
        };
        done.file();
        if matches!(file.image.body, FileBody::Inline(_)) {
            builder.forget_file();
        }
        let before = source.content.stamp();
        // Whoever gave the file another time than it has on the disk means that one.
        let own_time = before.is_some_and(|stamp| stamp.modified == source.mtime);
        let image = ImageFile {
            modified: file.image.modified.filter(|_| own_time),
            ..file.image
        };
        let stamp = file.stamp.or(before);
        files.insert(source.id, PackedFile { image, stamp });
    }
    Ok(files)
}

fn take_unchanged(unchanged: Unchanged, builder: &mut Builder<'_>) -> Result<PackedFile, PackError> {
    for (digest, length) in unchanged.chunks {
        builder.known_chunk(digest, length)?;
    }
    builder.count_unchanged();
    Ok(PackedFile {
        image: ImageFile {
            body: unchanged.body,
            modified: None,
        },
        stamp: None,
    })
}

fn take_file(pieces: &mut Pieces<'_>, builder: &mut Builder<'_>, done: &Done) -> Result<PackedFile, PackError> {
    loop {
        let (piece, bytes) = pieces.next()?;
        match piece {
            Piece::Chunk { digest, range } => {
                done.bytes(range.len() as u64);
                builder.chunk(digest, &bytes[range])?;
            }
            Piece::Zeros { digest, length, count } => {
                done.bytes(u64::from(length) * count);
                let zeros = vec![0; length as usize];
                for _ in 0..count {
                    builder.chunk(digest, &zeros)?;
                }
            }
            Piece::Restart => builder.restart_file(),
            Piece::End { body, found } => {
                if let FileBody::Inline(bytes) = &body {
                    done.bytes(bytes.len() as u64);
                }
                return Ok(PackedFile {
                    image: ImageFile {
                        body,
                        modified: found.map(|stamp| stamp.modified),
                    },
                    stamp: found,
                });
            }
        }
    }
}

fn count_files(files: &Files, stats: &mut PackStats) {
    for file in files.values() {
        stats.files += 1;
        match &file.image.body {
            FileBody::Inline(bytes) => {
                stats.inline_files += 1;
                stats.content_bytes += bytes.len() as u64;
            }
            FileBody::External { size, .. } => stats.content_bytes += size,
        }
    }
}

/// Makes sure that no collector deletes the blobs that were there before.
fn keep_old_blobs(blobs: &[BlobRef], stats: &PackStats, store: &dyn Write) -> Result<(), PackError> {
    if stats.put_blobs == blobs.len() as u64 {
        return Ok(());
    }
    match claims::claim(store, blobs)? {
        None => Ok(()),
        Some(blob) => Err(PackError::Lost {
            store: store.address(),
            blob: blob.digest.blob_name(),
        }),
    }
}

fn count_blobs(put: &Put, stats: &mut PackStats) {
    stats.new_blobs = put.blobs.len() as u64;
    stats.new_blob_bytes = put.blobs.iter().map(|(blob, _)| blob.length).sum();
    stats.put_blobs = put.missing_blobs;
    stats.put_bytes = put.missing_bytes;
}
