//! Which chunks are new, which frame they go to, and the tables at the end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use mos_store::Digest;
use mos_tree::InodeId;

use super::known::Known;
use super::pipeline::{Assembled, Frames, PlainFrame};
use super::{PackError, PackStats};
use crate::blob::IndexedChunk;
use crate::erofs::writer::{FileBody, ImageFile};
use crate::flist::Flist;
use crate::table::{BlobIndex, BlobRef, Chunk, File, Frame, Tables};

/// A frame may end once it has this many plain bytes, when the last chunk's digest says so.
///
/// Measured on 1.06 GB of Debian packages, zstd level 3, the files in the order of their paths: frames of 128 to 512 KiB
/// take 329 MB, 256 to 1,024 KiB 325, 512 to 2,048 KiB 320, 1 to 4 MiB 315; one stream of everything 320. The price of
/// larger frames is what is decoded before a byte that is wanted: 285 KiB with frames of 256 KiB or more of which one chunk
/// in four is the last, 258 KiB with these, which are as large on average and more alike. Sorting files by kind,
/// extension or name before they are cut gives nothing (320.1 to 322.2 instead of 319.9): a directory's files are
/// alike already.
const FRAME_MIN: usize = 384 << 10;
/// A frame ends in any case once it has this many plain bytes.
const FRAME_MAX: usize = 1 << 20;
/// One chunk in two may end a frame.
const FRAME_MASK: u8 = 1;

/// A frame of this flist: of a base, or the n-th new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum FrameId {
    Base { base: usize, frame: u32 },
    New(u32),
}

/// Takes chunks one after the other.
pub(super) struct Builder<'s> {
    known: Known,
    frames: Frames<'s>,
    draft: Draft,
    /// Index into the draft's chunks, by digest.
    index: HashMap<Digest, u32>,
    open: PlainFrame,
}

/// What is known about the content before the blobs are.
pub(super) struct Draft {
    bases: Vec<Arc<Flist>>,
    chunks: Vec<(FrameId, u32, u32)>,
    new_frames: u32,
    files: Vec<(InodeId, usize)>,
    references: Vec<u32>,
    stats: PackStats,
}

impl<'s> Builder<'s> {
    pub(super) fn new(known: Known, frames: Frames<'s>) -> Self {
        let bases = known.bases().to_vec();
        Self {
            known,
            open: frames.empty(),
            frames,
            draft: Draft {
                bases,
                chunks: Vec::new(),
                new_frames: 0,
                files: Vec::new(),
                references: Vec::new(),
                stats: PackStats::default(),
            },
            index: HashMap::new(),
        }
    }

    /// The chunks that follow belong to this file.
    pub(super) fn begin_file(&mut self, id: InodeId) {
        self.draft.files.push((id, self.draft.references.len()));
    }

    /// Forgets which chunks the current file has; what they hold stays packed.
    pub(super) fn restart_file(&mut self) {
        if let Some((_, start)) = self.draft.files.last() {
            self.draft.references.truncate(*start);
        }
    }

    /// The current file has no chunks: it lies in the flist itself.
    pub(super) fn forget_file(&mut self) {
        self.restart_file();
        self.draft.files.pop();
    }

    /// Takes the next chunk of the current file.
    pub(super) fn chunk(&mut self, digest: Digest, bytes: &[u8]) -> Result<(), PackError> {
        let length = u32::try_from(bytes.len()).expect("a chunk has at most 1 MiB");
        if self.known_chunk(digest, length)? {
            return Ok(());
        }
        let offset = u32::try_from(self.open.bytes.len()).expect("a frame has less than 2 MiB");
        let frame = FrameId::New(self.draft.new_frames);
        self.draft.chunks.push((frame, offset, length));
        self.draft.stats.new_chunks += 1;
        self.draft.stats.new_bytes += u64::from(length);
        self.open.bytes.extend_from_slice(bytes);
        self.open.chunks.push(IndexedChunk { digest, offset, length });
        let size = self.open.bytes.len();
        if size >= FRAME_MAX || (size >= FRAME_MIN && digest.as_bytes()[0] & FRAME_MASK == 0) {
            self.close_frame()?;
        }
        Ok(())
    }

    /// Refers to a chunk; false when it is in no base and was not met before, and has to be packed now.
    pub(super) fn known_chunk(&mut self, digest: Digest, length: u32) -> Result<bool, PackError> {
        let next = u32::try_from(self.draft.chunks.len())
            .ok()
            .filter(|_| self.draft.references.len() < u32::MAX as usize);
        let next = next.ok_or_else(|| PackError::unfit(b"", "it has more than 4 billion chunks"))?;
        let chunk = *self.index.entry(digest).or_insert(next);
        self.draft.references.push(chunk);
        if chunk != next {
            return Ok(true);
        }
        let Some((base, old)) = self.known.find(digest, length) else {
            return Ok(false);
        };
        let frame = FrameId::Base { base, frame: old.frame };
        self.draft.chunks.push((frame, old.offset, length));
        Ok(true)
    }

    /// The current file was not read.
    pub(super) fn count_unchanged(&mut self) {
        self.draft.stats.unchanged_files += 1;
    }

    fn close_frame(&mut self) -> Result<(), PackError> {
        self.draft.new_frames += 1;
        let next = self.frames.empty();
        self.frames.send(std::mem::replace(&mut self.open, next))
    }

    /// Sends what is left.
    pub(super) fn finish(mut self) -> Result<Draft, PackError> {
        if !self.open.chunks.is_empty() {
            self.close_frame()?;
        }
        // Dropping the builder's end of the queue lets the threads behind finish.
        self.draft.stats.chunks = self.draft.chunks.len() as u64;
        Ok(self.draft)
    }
}

impl Draft {
    /// Adds what is known here.
    pub(super) fn count(&self, stats: &mut PackStats) {
        stats.unchanged_files = self.stats.unchanged_files;
        stats.chunks = self.stats.chunks;
        stats.new_chunks = self.stats.new_chunks;
        stats.new_bytes = self.stats.new_bytes;
    }

    /// The tables, now that the blobs are known. Blobs are in the order of their digests; `images` says what each
    /// file's object is.
    pub(super) fn into_tables(
        self,
        assembled: Assembled,
        images: &BTreeMap<InodeId, ImageFile>,
    ) -> Result<Tables, PackError> {
        let (mut tables, places) = self.places(assembled);
        let chunks = self.chunks.iter().map(|(frame, offset, length)| Chunk {
            frame: places[frame],
            offset: *offset,
            length: *length,
        });
        tables.chunks = chunks.collect();
        let ends = self.files.iter().skip(1).map(|file| file.1);
        let ends = ends.chain([self.references.len()]);
        // References follow each other in the order of the files, which is the order of inode numbers.
        for ((id, start), end) in self.files.iter().zip(ends) {
            let FileBody::External { object, .. } = images[id].body else {
                return Err(PackError::unfit(b"", "a file has chunks and lies in the flist as well"));
            };
            tables.files.push(File {
                object,
                references: *start..end,
            });
        }
        tables.references = self.references;
        Ok(tables)
    }

    /// Blobs, frames sorted by place, and where each frame of the draft ended up.
    fn places(&self, assembled: Assembled) -> (Tables, HashMap<FrameId, u32>) {
        let used: HashSet<FrameId> = self.chunks.iter().map(|chunk| chunk.0).collect();
        let old = used.into_iter().filter_map(|id| match id {
            FrameId::Base { base, frame } => {
                let tables = &self.bases[base].tables;
                let frame = tables.frames[frame as usize];
                let blob = frame.blob as usize;
                Some((tables.blobs[blob], tables.indexes[blob], frame, id))
            }
            FrameId::New(_) => None,
        });
        let new = (0_u32..).zip(&assembled.frames);
        let new = new.map(|(n, frame)| {
            let (blob, index) = assembled.put.blobs[frame.blob as usize];
            (blob, index, *frame, FrameId::New(n))
        });
        let mut all: Vec<(BlobRef, BlobIndex, Frame, FrameId)> = old.chain(new).collect();
        all.sort_unstable_by_key(|(blob, _, frame, _)| (*blob, frame.offset));
        let mut tables = Tables::default();
        let mut places = HashMap::new();
        for (blob, index, mut frame, id) in all {
            if tables.blobs.last() != Some(&blob) {
                tables.blobs.push(blob);
                tables.indexes.push(index);
            }
            frame.blob = u32::try_from(tables.blobs.len() - 1).expect("there are at most as many blobs as frames");
            // Two bases may name the same frame, and a new blob may be one that a base has.
            if tables.frames.last() != Some(&frame) {
                tables.frames.push(frame);
            }
            let place = u32::try_from(tables.frames.len() - 1).expect("there are at most as many frames as chunks");
            places.insert(id, place);
        }
        (tables, places)
    }
}
