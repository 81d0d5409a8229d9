//! Files into chunks, and the fs-verity digest along the way.
//!
//! A cutter reads into one buffer, cuts and hashes in place, and hands the buffer on as a [`Batch`] when it is full:
//! small files share one, a large file spans many.

use std::io::{self, Read as _};
use std::ops::Range;
use std::sync::mpsc::SyncSender;

use fastcdc::v2020::FastCDC;
use mos_store::Digest;
use mos_tree::{Content, ContentReader, Stamp};

use super::buffers::Buffers;
use super::{PackError, PackOptions};
use crate::erofs::writer::FileBody;
use crate::error::show;
use crate::header::ChunkSizes;
use crate::verity::{ObjectDigest, VerityHasher};

/// Bytes of a batch, when the largest chunk is not larger than a quarter of it.
const BATCH: usize = 1 << 20;
/// How many of the largest chunks a batch has room for: what is not cut yet is copied to the next one.
const BATCH_CHUNKS: usize = 4;
/// How often a file is read that changes while it is read.
const ATTEMPTS: usize = 3;

/// What a cutter found out, in the order of the files.
#[derive(Debug)]
pub(super) enum Piece {
    /// The next chunk of the current file, in the batch's bytes.
    Chunk { digest: Digest, range: Range<usize> },
    /// Equal chunks of a hole.
    Zeros { digest: Digest, length: u32, count: u64 },
    /// The chunks so far do not count: the current file changed and is read again.
    Restart,
    /// The current file is complete.
    End {
        body: FileBody,
        /// What the file is now, when that is not what the tree says.
        found: Option<Stamp>,
    },
}

/// A piece of the work of one thread.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) pieces: Vec<Piece>,
}

/// What goes from a cutter to whoever waits for its files.
pub(super) type Cut = Result<Batch, PackError>;

/// Why a cutter stops early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody wants its batches any more.
    Unwanted,
    /// A file cannot be packed.
    Failed(PackError),
}

impl From<PackError> for Stop {
    fn from(error: PackError) -> Self {
        Self::Failed(error)
    }
}

/// Cuts files with FastCDC (2020, normalisation level 1).
pub(super) struct Cutter<'p> {
    sizes: ChunkSizes,
    inline_limit: u64,
    zeros: ZeroChunk,
    buffers: &'p Buffers,
    out: SyncSender<Cut>,
    bytes: Vec<u8>,
    /// Bytes from here on are not cut yet.
    start: usize,
    /// Bytes from here on are not read yet.
    filled: usize,
    pieces: Vec<Piece>,
    /// The current file's first piece, while it is in this batch.
    first: Option<usize>,
}

/// What the cutter makes of zeros without end.
#[derive(Debug, Clone, Copy)]
pub(super) struct ZeroChunk {
    digest: Digest,
    length: u32,
}

impl ZeroChunk {
    pub(super) fn of(sizes: ChunkSizes) -> Self {
        let zeros = vec![0; sizes.max as usize];
        let (_, length) = cdc(&zeros, sizes).cut(0, zeros.len());
        Self {
            digest: Digest::of(&zeros[..length]),
            length: u32::try_from(length).expect("a chunk has at most 1 MiB"),
        }
    }
}

/// A buffer of this length, whose bytes do not matter.
fn filled_up(mut buffer: Vec<u8>, length: usize) -> Vec<u8> {
    buffer.resize(length, 0);
    buffer
}

fn cdc(bytes: &[u8], sizes: ChunkSizes) -> FastCDC<'_> {
    FastCDC::new(bytes, sizes.min as usize, sizes.average as usize, sizes.max as usize)
}

impl<'p> Cutter<'p> {
    pub(super) fn new(options: &PackOptions, zeros: ZeroChunk, buffers: &'p Buffers, out: SyncSender<Cut>) -> Self {
        let length = BATCH.max(BATCH_CHUNKS * options.chunk_sizes.max as usize);
        Self {
            sizes: options.chunk_sizes,
            inline_limit: options.inline_limit(),
            zeros,
            buffers,
            out,
            bytes: filled_up(buffers.take(), length),
            start: 0,
            filled: 0,
            pieces: Vec::new(),
            first: None,
        }
    }

    /// Reads and cuts a file; again when it changes meanwhile.
    pub(super) fn file(&mut self, path: &[u8], content: &Content) -> Result<(), Stop> {
        let read_error = |source| PackError::read(path, source);
        let mut again = None;
        for _ in 0..ATTEMPTS {
            let content = again.as_ref().unwrap_or(content);
            let mut reader = content.open().map_err(read_error)?;
            self.begin(content.len())?;
            let read = self.body(&mut reader, content.len());
            let changed = reader.has_changed().map_err(read_error)?;
            match read {
                Err(Failure::Unwanted) => return Err(Stop::Unwanted),
                Err(Failure::Read(source)) if !changed => return Err(read_error(source).into()),
                Ok(body) if !changed => {
                    let found = again.as_ref().and_then(Content::stamp);
                    self.pieces.push(Piece::End { body, found });
                    return Ok(());
                }
                _ => self.restart(),
            }
            match content.looked_up_again().map_err(read_error)? {
                Some(now) => again = Some(now),
                None => break,
            }
        }
        Err(PackError::Changed { path: show(path) }.into())
    }

    /// Hands on what is left.
    pub(super) fn finish(mut self) -> Result<(), Stop> {
        let batch = Batch {
            bytes: std::mem::take(&mut self.bytes),
            pieces: self.pieces,
        };
        self.out.send(Ok(batch)).map_err(|_| Stop::Unwanted)
    }

    fn begin(&mut self, length: u64) -> Result<(), Stop> {
        let room = (self.bytes.len() - self.filled) as u64;
        if length > room && self.filled > 0 {
            self.flush()?;
        }
        self.first = Some(self.pieces.len());
        Ok(())
    }

    fn restart(&mut self) {
        self.start = self.filled;
        match self.first {
            Some(first) => self.pieces.truncate(first),
            None => {
                self.pieces.clear();
                self.pieces.push(Piece::Restart);
            }
        }
    }

    fn body(&mut self, reader: &mut ContentReader, length: u64) -> Result<FileBody, Failure> {
        if length > self.inline_limit {
            let object = self.chunks(reader, length)?;
            return Ok(FileBody::External { size: length, object });
        }
        let mut bytes = vec![0; length as usize];
        reader.read_exact(&mut bytes)?;
        Ok(FileBody::Inline(bytes))
    }

    fn chunks(&mut self, reader: &mut ContentReader, length: u64) -> Result<ObjectDigest, Failure> {
        let mut verity = VerityHasher::new();
        let mut cut = 0;
        while cut < length {
            cut += self.hole(reader, cut, &mut verity)?;
            self.fill(reader, length - reader.position())?;
            cut += self.cut(reader.position() == length, &mut verity);
        }
        Ok(verity.finish())
    }

    /// Takes as much of a hole at the next cut as makes whole chunks, exactly as if its zeros had been read; returns how
    /// many bytes. What was read ahead of it is dropped.
    fn hole(&mut self, reader: &mut ContentReader, cut: u64, verity: &mut VerityHasher) -> Result<u64, Failure> {
        let ahead = reader.position();
        reader.seek(cut);
        let hole = reader.hole()?;
        let Some(beyond) = hole.checked_sub(u64::from(self.sizes.max)) else {
            reader.seek(ahead);
            return Ok(0);
        };
        // A cut looks at no more than the largest chunk.
        let ZeroChunk { digest, length } = self.zeros;
        let count = beyond / u64::from(length) + 1;
        let bytes = count * u64::from(length);
        verity.update_zeros(bytes);
        self.pieces.push(Piece::Zeros { digest, length, count });
        self.filled = self.start;
        reader.seek(cut + bytes);
        Ok(bytes)
    }

    /// Reads until the buffer is full or the file is at its end.
    fn fill(&mut self, reader: &mut ContentReader, unread: u64) -> Result<(), Failure> {
        if self.bytes.len() - self.start < self.sizes.max as usize {
            self.flush()?;
        }
        let room = self.bytes.len() - self.filled;
        let take = usize::try_from(unread).unwrap_or(usize::MAX).min(room);
        reader.read_exact(&mut self.bytes[self.filled..self.filled + take])?;
        self.filled += take;
        Ok(())
    }

    /// Cuts what is in the buffer, as far as the cuts do not depend on what comes later; returns how many bytes.
    fn cut(&mut self, last: bool, verity: &mut VerityHasher) -> u64 {
        let cutter = cdc(&self.bytes[..self.filled], self.sizes);
        let before = self.start;
        while self.start < self.filled && (last || self.filled - self.start >= self.sizes.max as usize) {
            let (_, end) = cutter.cut(self.start, self.filled - self.start);
            let range = self.start..end;
            self.pieces.push(Piece::Chunk {
                digest: Digest::of(&self.bytes[range.clone()]),
                range,
            });
            self.start = end;
        }
        verity.update(&self.bytes[before..self.start]);
        (self.start - before) as u64
    }

    /// Hands the batch on; what is not cut yet moves to the next one.
    fn flush(&mut self) -> Result<(), Stop> {
        let rest = self.start..self.filled;
        let mut next = filled_up(self.buffers.take(), self.bytes.len());
        next[..rest.len()].copy_from_slice(&self.bytes[rest.clone()]);
        let batch = Batch {
            bytes: std::mem::replace(&mut self.bytes, next),
            pieces: std::mem::take(&mut self.pieces),
        };
        (self.start, self.filled, self.first) = (0, rest.len(), None);
        self.out.send(Ok(batch)).map_err(|_| Stop::Unwanted)
    }
}

/// Why a file was not read to its end.
enum Failure {
    Unwanted,
    Read(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<Stop> for Failure {
    fn from(_: Stop) -> Self {
        // A batch that is handed on fails in no other way.
        Self::Unwanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastcdc::v2020::StreamCDC;
    use std::os::unix::fs::FileExt as _;
    use std::sync::mpsc::sync_channel;

    /// The chunks of a file, and its digest.
    fn cut(content: &Content) -> Result<(Vec<Vec<u8>>, ObjectDigest), Stop> {
        let options = PackOptions {
            inline_limit: 0,
            ..PackOptions::default()
        };
        let (out, batches) = sync_channel(10_000);
        let buffers = Buffers::default();
        let mut cutter = Cutter::new(&options, ZeroChunk::of(options.chunk_sizes), &buffers, out);
        cutter.file(b"file", content)?;
        cutter.finish()?;
        let mut chunks = Vec::new();
        for batch in batches {
            let batch = batch.unwrap();
            for piece in batch.pieces {
                match piece {
                    Piece::Chunk { digest, range } => {
                        chunks.push(batch.bytes[range].to_vec());
                        assert_eq!(digest, Digest::of(chunks.last().unwrap()));
                    }
                    Piece::Zeros { digest, length, count } => {
                        let zeros = vec![0; length as usize];
                        assert_eq!(digest, Digest::of(&zeros));
                        chunks.extend(std::iter::repeat_n(zeros, count as usize));
                    }
                    Piece::Restart => chunks.clear(),
                    Piece::End {
                        body: FileBody::External { object, .. },
                        ..
                    } => return Ok((chunks, object)),
                    Piece::End { .. } => return Ok((chunks, ObjectDigest::of(b""))),
                }
            }
        }
        panic!("the file has no end");
    }

    fn reference(bytes: &[u8]) -> Vec<Vec<u8>> {
        let reference = StreamCDC::new(bytes, 16 << 10, 64 << 10, 256 << 10);
        reference.map(|chunk| chunk.unwrap().data).collect()
    }

    #[test]
    fn cuts_are_those_of_the_reference_and_cover_the_file() {
        let bytes: Vec<u8> = (0..5_000_000_u64)
            .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
            .collect();
        for length in [0, 1, 16 << 10, 300_000, 1 << 20, bytes.len()] {
            let (chunks, digest) = cut(&bytes[..length].to_vec().into()).unwrap();
            assert_eq!(chunks, reference(&bytes[..length]));
            assert_eq!(digest, ObjectDigest::of(&bytes[..length]));
        }
    }

    #[test]
    fn holes_are_cut_as_if_they_had_been_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sparse");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(20 << 20).unwrap();
        for offset in [300_001_u64, 7 << 20, (20 << 20) - 5000] {
            file.write_all_at(&offset.to_le_bytes(), offset).unwrap();
        }
        let content = Content::file(&path).unwrap();
        let bytes = content.read().unwrap();
        let (chunks, digest) = cut(&content).unwrap();
        assert!(chunks == reference(&bytes), "cuts differ");
        assert_eq!(digest, ObjectDigest::of(&bytes));
    }

    #[test]
    fn a_file_that_changes_is_read_as_it_is_now() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "before").unwrap();
        let content = Content::file(&path).unwrap();
        std::fs::write(&path, "and after").unwrap();
        assert_eq!(cut(&content).unwrap().0, [b"and after"]);
    }

    #[test]
    fn a_part_of_a_file_that_changes_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "one and two").unwrap();
        let Content::Range { path: file, stamp, .. } = Content::file(&path).unwrap() else {
            panic!("not a range");
        };
        let content = Content::Range {
            path: file,
            offset: 4,
            length: 3,
            stamp,
        };
        assert_eq!(cut(&content).unwrap().0, [b"and"]);
        std::fs::write(&path, "one or two").unwrap();
        let error = cut(&content).unwrap_err();
        assert!(
            matches!(&error, Stop::Failed(PackError::Changed { path }) if path == "file"),
            "{error:?}"
        );
    }
}
