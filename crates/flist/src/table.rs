//! The tables behind the EROFS image: which chunks a file has, which frame of which blob holds each.
//!
//! ```text
//! chunks  u32 number of chunks; per chunk: its frame, its offset in the plain frame, its length
//! frames  u32 number of frames; per frame: BLAKE3-256 of the stored bytes; then per frame: its blob, encoding,
//!         offset, stored length, plain length; sorted by place
//! blobs   per blob: BLAKE3-256, u64 length, u64 start of its index, BLAKE3-256 of everything from there on
//! files   u32 number of files; per file: its fs-verity digest; then per file: how many chunks, and which
//! ```
//!
//! Files are those whose content is not in the image, in the order of their inodes. Numbers without a size are
//! [varints](crate::varint), most of them differences to what is expected: a chunk lies behind the one before, a file's
//! chunks follow those of the last file. The digests are most of these tables, and each is there for one purpose: a
//! *frame's*, so that nothing that was not packed is decompressed; a *file's*, which names its object; an *index's*, so that
//! packing on top of this flist may believe what the blob says of its chunks. Chunks have theirs in the blob's index only.

use std::ops::Range;

use mos_store::Digest;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::FlistError;
use crate::frame::Encoding;
use crate::header::{CHUNK_LIMIT, Header, Section};
use crate::varint::Numbers;
#[cfg(feature = "pack")]
use crate::varint::{push, push_near};
use crate::verity::ObjectDigest;

/// A blob that an flist needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef {
    /// BLAKE3-256 of its bytes, and its name in every store.
    pub digest: Digest,
    /// Its length in bytes.
    pub length: u64,
}

/// Where a blob's index begins, and the digest of all that follows from there: index and footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlobIndex {
    pub(crate) start: u64,
    pub(crate) digest: Digest,
}

/// A chunk's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Chunk {
    pub(crate) frame: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// A frame, its place and the digest of its stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) blob: u32,
    pub(crate) encoding: Encoding,
    pub(crate) offset: u32,
    pub(crate) stored: u32,
    pub(crate) plain: u32,
    pub(crate) digest: Digest,
}

/// A file whose content is in chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// The fs-verity digest of its content.
    pub(crate) object: ObjectDigest,
    /// Which part of the references.
    pub(crate) references: Range<usize>,
}

/// All tables, checked against each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) blobs: Vec<BlobRef>,
    /// Of each blob.
    pub(crate) indexes: Vec<BlobIndex>,
    /// In the order of their inodes.
    pub(crate) files: Vec<File>,
    /// Indices into `chunks`.
    pub(crate) references: Vec<u32>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBlob {
    digest: [u8; 32],
    length: U64,
    index: U64,
    index_digest: [u8; 32],
}

impl Chunk {
    /// Where the next chunk is expected.
    fn next(self) -> (u32, u32) {
        (self.frame, self.end())
    }

    /// The first byte behind it in its plain frame.
    pub(crate) fn end(self) -> u32 {
        self.offset.saturating_add(self.length)
    }
}

/// What is expected at a place: the number behind what went before, or zero at a new one.
fn behind<K: PartialEq>(before: (K, u32), at: K) -> u32 {
    if before.0 == at { before.1 } else { 0 }
}

impl Tables {
    /// Reads the tables of a file.
    pub(crate) fn parse(file: &[u8], header: &Header) -> Result<Self, FlistError> {
        let (blobs, indexes) = blobs(file, header)?;
        let frames = frames(&mut Rows::new(file, header, Section::Frames, "frame table"), &blobs)?;
        let chunks = chunks(&mut Rows::new(file, header, Section::Chunks, "chunk table"), &frames)?;
        let (files, references) = files(&mut Rows::new(file, header, Section::Files, "file map"), chunks.len())?;
        Ok(Self {
            chunks,
            frames,
            blobs,
            indexes,
            files,
            references,
        })
    }

    /// The bytes of a file's content, as its chunks say.
    pub(crate) fn content_length(&self, file: &File) -> u64 {
        let of_file = &self.references[file.references.clone()];
        of_file
            .iter()
            .map(|chunk| u64::from(self.chunks[*chunk as usize].length))
            .sum()
    }

    /// The sections behind the EROFS image, in order.
    #[cfg(feature = "pack")]
    pub(crate) fn encode(&self) -> [Vec<u8>; 5] {
        [
            self.encode_chunks(),
            self.encode_frames(),
            self.encode_blobs(),
            self.encode_files(),
            Vec::new(),
        ]
    }

    #[cfg(feature = "pack")]
    fn encode_chunks(&self) -> Vec<u8> {
        let mut section = count(self.chunks.len());
        let mut before = Chunk::default();
        for chunk in &self.chunks {
            push_near(&mut section, chunk.frame, before.frame);
            push_near(&mut section, chunk.offset, behind(before.next(), chunk.frame));
            push(&mut section, u64::from(chunk.length));
            before = *chunk;
        }
        section
    }

    #[cfg(feature = "pack")]
    fn encode_frames(&self) -> Vec<u8> {
        let mut section = count(self.frames.len());
        for frame in &self.frames {
            section.extend_from_slice(frame.digest.as_bytes());
        }
        let mut before = (0, 0);
        for frame in &self.frames {
            push_near(&mut section, frame.blob, before.0);
            push(&mut section, frame.encoding as u64);
            push_near(&mut section, frame.offset, behind(before, frame.blob));
            push(&mut section, u64::from(frame.stored));
            push(&mut section, u64::from(frame.plain));
            before = (frame.blob, frame.offset.saturating_add(frame.stored));
        }
        section
    }

    #[cfg(feature = "pack")]
    fn encode_blobs(&self) -> Vec<u8> {
        let rows = self.blobs.iter().zip(&self.indexes).map(|(blob, index)| RawBlob {
            digest: *blob.digest.as_bytes(),
            length: U64::new(blob.length),
            index: U64::new(index.start),
            index_digest: *index.digest.as_bytes(),
        });
        let mut section = Vec::new();
        rows.for_each(|row| section.extend_from_slice(row.as_bytes()));
        section
    }

    #[cfg(feature = "pack")]
    fn encode_files(&self) -> Vec<u8> {
        let mut section = count(self.files.len());
        for file in &self.files {
            section.extend_from_slice(file.object.as_bytes());
        }
        let mut expected = 0;
        for file in &self.files {
            push(&mut section, file.references.len() as u64);
            for chunk in &self.references[file.references.clone()] {
                push_near(&mut section, *chunk, expected);
                expected = chunk.saturating_add(1);
            }
        }
        section
    }
}

#[cfg(feature = "pack")]
fn count(rows: usize) -> Vec<u8> {
    let rows = u32::try_from(rows).expect("pack bounds the number of chunks, and there are no more frames or files");
    rows.to_le_bytes().to_vec()
}

/// A section that begins with a number of rows.
struct Rows<'f> {
    section: &'f [u8],
    at: usize,
    what: &'static str,
}

impl<'f> Rows<'f> {
    fn new(file: &'f [u8], header: &Header, section: Section, what: &'static str) -> Self {
        let range = header.range(section);
        Self {
            section: &file[range.clone()],
            at: range.start,
            what,
        }
    }

    fn wrong(&self, why: &str) -> FlistError {
        FlistError::malformed(self.what, self.at, why)
    }

    /// How many rows there are; each takes `least` bytes or more, so that work is bounded by the section's length.
    fn count(&mut self, least: usize) -> Result<usize, FlistError> {
        let (count, rest) = U32::ref_from_prefix(self.section).map_err(|_| self.wrong("no number of rows"))?;
        self.section = rest;
        let count = count.get() as usize;
        let fits = count.checked_mul(least).is_some_and(|bytes| bytes <= rest.len());
        fits.then_some(count)
            .ok_or_else(|| self.wrong("fewer rows than it says"))
    }

    /// As many digests as there are rows.
    fn digests(&mut self, count: usize) -> Result<&'f [[u8; 32]], FlistError> {
        let (digests, rest) = <[[u8; 32]]>::ref_from_prefix_with_elems(self.section, count)
            .map_err(|_| self.wrong("fewer digests than rows"))?;
        self.section = rest;
        Ok(digests)
    }

    /// The numbers, which is all that is left.
    fn numbers(&self) -> Numbers<'f> {
        Numbers(self.section)
    }

    /// Nothing may be left behind the last number.
    fn end(&self, numbers: &Numbers<'_>) -> Result<(), FlistError> {
        let end = numbers.0.is_empty();
        end.then_some(()).ok_or_else(|| self.wrong("bytes behind the last row"))
    }
}

fn blobs(file: &[u8], header: &Header) -> Result<(Vec<BlobRef>, Vec<BlobIndex>), FlistError> {
    let range = header.range(Section::Blobs);
    let wrong = |why| FlistError::malformed("blob table", range.start, why);
    let rows = <[RawBlob]>::ref_from_bytes(&file[range.clone()]).map_err(|_| wrong("not a whole number of rows"))?;
    if rows.iter().any(|row| row.index.get() > row.length.get()) {
        return Err(wrong("an index beyond its blob"));
    }
    let blob = |row: &RawBlob| BlobRef {
        digest: row.digest.into(),
        length: row.length.get(),
    };
    let index = |row: &RawBlob| BlobIndex {
        start: row.index.get(),
        digest: row.index_digest.into(),
    };
    Ok((rows.iter().map(blob).collect(), rows.iter().map(index).collect()))
}

fn frames(rows: &mut Rows<'_>, blobs: &[BlobRef]) -> Result<Vec<Frame>, FlistError> {
    let count = rows.count(32 + 5)?;
    let digests = rows.digests(count)?;
    let mut numbers = rows.numbers();
    let mut frames = Vec::with_capacity(count);
    // Frames are sorted by place and do not overlap: nobody makes us fetch the same bytes twice.
    let mut before = (0, 0);
    for digest in digests {
        let frame = frame(&mut numbers, before, *digest).ok_or_else(|| rows.wrong("an odd number, or encoding"))?;
        let blob = blobs.get(frame.blob as usize);
        let blob = blob.ok_or_else(|| rows.wrong("a blob that is not in the table"))?;
        let end = u64::from(frame.offset) + u64::from(frame.stored);
        if end > blob.length || (frame.blob, frame.offset) < before {
            return Err(rows.wrong("a frame beyond its blob, or over another"));
        }
        if !frame.encoding.fits(frame.stored, frame.plain) {
            return Err(rows.wrong("a frame with impossible lengths"));
        }
        before = (frame.blob, frame.offset.saturating_add(frame.stored));
        frames.push(frame);
    }
    rows.end(&numbers)?;
    Ok(frames)
}

/// The next frame; `before` is the blob of the last one and where it ends.
fn frame(numbers: &mut Numbers<'_>, before: (u32, u32), digest: [u8; 32]) -> Option<Frame> {
    let blob = numbers.near(before.0)?;
    Some(Frame {
        blob,
        encoding: Encoding::of_code(numbers.number()?)?,
        offset: numbers.near(behind(before, blob))?,
        stored: numbers.number()?,
        plain: numbers.number()?,
        digest: digest.into(),
    })
}

fn chunks(rows: &mut Rows<'_>, frames: &[Frame]) -> Result<Vec<Chunk>, FlistError> {
    let count = rows.count(3)?;
    let mut numbers = rows.numbers();
    let mut chunks = Vec::with_capacity(count);
    let mut before = Chunk::default();
    for _ in 0..count {
        let chunk = chunk(&mut numbers, before).ok_or_else(|| rows.wrong("an odd number"))?;
        let inside = |frame: &Frame| {
            chunk
                .offset
                .checked_add(chunk.length)
                .is_some_and(|end| end <= frame.plain)
        };
        if chunk.length == 0 || chunk.length > CHUNK_LIMIT || !frames.get(chunk.frame as usize).is_some_and(inside) {
            return Err(rows.wrong("a chunk of impossible length, or outside its frame"));
        }
        before = chunk;
        chunks.push(chunk);
    }
    rows.end(&numbers)?;
    Ok(chunks)
}

fn chunk(numbers: &mut Numbers<'_>, before: Chunk) -> Option<Chunk> {
    let frame = numbers.near(before.frame)?;
    Some(Chunk {
        frame,
        offset: numbers.near(behind(before.next(), frame))?,
        length: numbers.number()?,
    })
}

fn files(rows: &mut Rows<'_>, chunks: usize) -> Result<(Vec<File>, Vec<u32>), FlistError> {
    let count = rows.count(32 + 2)?;
    let objects = rows.digests(count)?;
    let mut numbers = rows.numbers();
    let mut files = Vec::with_capacity(count);
    let mut references = Vec::new();
    for object in objects {
        let start = references.len();
        let of_file = numbers.number().ok_or_else(|| rows.wrong("an odd number"))?;
        for _ in 0..of_file {
            // Each takes a byte of the section at least.
            let expected = references.last().map_or(0, |last: &u32| last.saturating_add(1));
            let chunk = numbers.near(expected).filter(|chunk| (*chunk as usize) < chunks);
            references.push(chunk.ok_or_else(|| rows.wrong("a chunk that is not in the table"))?);
        }
        files.push(File {
            object: (*object).into(),
            references: start..references.len(),
        });
    }
    rows.end(&numbers)?;
    Ok((files, references))
}
