//! The tables behind the EROFS image: which chunks a file has, which frame of which blob holds each.
//!
//! ```text
//! files   u32 number of files; per file: u64 nid, u32 first reference, u32 references; then u32 chunk indices
//! chunks  per chunk: BLAKE3-256, u32 frame, u32 offset in the plain frame, u32 length
//! frames  per frame: u32 blob, u32 encoding, u32 offset, u32 stored length, u32 plain length; sorted by place
//! blobs   per blob: BLAKE3-256, u64 length
//! ```
//!
//! A chunk names its frame and place itself (not by the order of chunks), because a frame that another flist packed may
//! hold chunks that this one does not need. The frames have a table of their own: several chunks share one.

use std::collections::HashMap;

use mos_store::Digest;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::FlistError;
use crate::frame::Encoding;
use crate::header::{CHUNK_LIMIT, Header, Section};

/// A blob that an flist needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef {
    /// BLAKE3-256 of its bytes, and its name in every store.
    pub digest: Digest,
    /// Its length in bytes.
    pub length: u64,
}

/// A chunk and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) digest: Digest,
    pub(crate) frame: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// A frame and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) blob: u32,
    pub(crate) encoding: Encoding,
    pub(crate) offset: u32,
    pub(crate) stored: u32,
    pub(crate) plain: u32,
}

/// All tables, checked against each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) blobs: Vec<BlobRef>,
    /// By inode number: which part of `references`.
    pub(crate) files: HashMap<u64, std::ops::Range<usize>>,
    /// Indices into `chunks`.
    pub(crate) references: Vec<u32>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawChunk {
    digest: [u8; 32],
    frame: U32,
    offset: U32,
    length: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFrame {
    blob: U32,
    encoding: U32,
    offset: U32,
    stored: U32,
    plain: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBlob {
    digest: [u8; 32],
    length: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFile {
    nid: U64,
    first: U32,
    count: U32,
}

impl Tables {
    /// Reads the tables of a file.
    pub(crate) fn parse(file: &[u8], header: &Header) -> Result<Self, FlistError> {
        let blobs = rows::<RawBlob>(file, header, Section::Blobs, "blob table")?;
        let blobs: Vec<BlobRef> = blobs.iter().map(blob).collect();
        let frames = frames(file, header, &blobs)?;
        let chunks = chunks(file, header, &frames)?;
        let (files, references) = files(file, header, chunks.len())?;
        Ok(Self {
            chunks,
            frames,
            blobs,
            files,
            references,
        })
    }

    /// The bytes of a file's content, as its chunks say; the range comes from `files`.
    pub(crate) fn content_length(&self, references: &std::ops::Range<usize>) -> u64 {
        let of_file = &self.references[references.clone()];
        of_file
            .iter()
            .map(|chunk| u64::from(self.chunks[*chunk as usize].length))
            .sum()
    }

    /// The sections behind the EROFS image, in order.
    #[cfg(feature = "pack")]
    pub(crate) fn encode(&self) -> [Vec<u8>; 5] {
        let chunks = self.chunks.iter().map(|chunk| RawChunk {
            digest: *chunk.digest.as_bytes(),
            frame: U32::new(chunk.frame),
            offset: U32::new(chunk.offset),
            length: U32::new(chunk.length),
        });
        let frames = self.frames.iter().map(|frame| RawFrame {
            blob: U32::new(frame.blob),
            encoding: U32::new(frame.encoding as u32),
            offset: U32::new(frame.offset),
            stored: U32::new(frame.stored),
            plain: U32::new(frame.plain),
        });
        let blobs = self.blobs.iter().map(|blob| RawBlob {
            digest: *blob.digest.as_bytes(),
            length: U64::new(blob.length),
        });
        [
            bytes(chunks),
            bytes(frames),
            bytes(blobs),
            self.encode_files(),
            Vec::new(),
        ]
    }

    #[cfg(feature = "pack")]
    fn encode_files(&self) -> Vec<u8> {
        let mut files: Vec<_> = self.files.iter().collect();
        files.sort_unstable_by_key(|(nid, _)| **nid);
        let number = |n: usize| U32::new(u32::try_from(n).expect("pack bounds the number of references"));
        let mut section = number(files.len()).as_bytes().to_vec();
        section.extend(bytes(files.into_iter().map(|(nid, range)| RawFile {
            nid: U64::new(*nid),
            first: number(range.start),
            count: number(range.len()),
        })));
        section.extend(bytes(self.references.iter().map(|chunk| U32::new(*chunk))));
        section
    }
}

#[cfg(feature = "pack")]
fn bytes<T: IntoBytes + Immutable>(rows: impl Iterator<Item = T>) -> Vec<u8> {
    let mut all = Vec::new();
    for row in rows {
        all.extend_from_slice(row.as_bytes());
    }
    all
}

fn rows<'f, T: FromBytes + Immutable + KnownLayout + Unaligned>(
    file: &'f [u8],
    header: &Header,
    section: Section,
    what: &'static str,
) -> Result<&'f [T], FlistError> {
    let range = header.range(section);
    <[T]>::ref_from_bytes(&file[range.clone()])
        .map_err(|_| FlistError::malformed(what, range.start, "not a whole number of rows"))
}

fn blob(raw: &RawBlob) -> BlobRef {
    BlobRef {
        digest: raw.digest.into(),
        length: raw.length.get(),
    }
}

fn frames(file: &[u8], header: &Header, blobs: &[BlobRef]) -> Result<Vec<Frame>, FlistError> {
    let raw = rows::<RawFrame>(file, header, Section::Frames, "frame table")?;
    let mut frames = Vec::with_capacity(raw.len());
    // Frames are sorted by place and do not overlap: nobody makes us fetch the same bytes twice.
    let mut before = (0, 0);
    for (index, raw) in raw.iter().enumerate() {
        let at = header.range(Section::Frames).start + index * size_of::<RawFrame>();
        let wrong = |why: &str| FlistError::malformed("frame table", at, why);
        let frame = Frame {
            blob: raw.blob.get(),
            encoding: Encoding::of_code(raw.encoding.get()).ok_or_else(|| wrong("an unknown encoding"))?,
            offset: raw.offset.get(),
            stored: raw.stored.get(),
            plain: raw.plain.get(),
        };
        let blob = blobs
            .get(frame.blob as usize)
            .ok_or_else(|| wrong("a blob that is not in the table"))?;
        let end = u64::from(frame.offset) + u64::from(frame.stored);
        if end > blob.length || (frame.blob, u64::from(frame.offset)) < before {
            return Err(wrong("a frame beyond its blob, or over another"));
        }
        if !frame.encoding.fits(frame.stored, frame.plain) {
            return Err(wrong("a frame with impossible lengths"));
        }
        before = (frame.blob, end);
        frames.push(frame);
    }
    Ok(frames)
}

fn chunks(file: &[u8], header: &Header, frames: &[Frame]) -> Result<Vec<Chunk>, FlistError> {
    let raw = rows::<RawChunk>(file, header, Section::Chunks, "chunk table")?;
    let mut chunks = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let chunk = Chunk {
            digest: raw.digest.into(),
            frame: raw.frame.get(),
            offset: raw.offset.get(),
            length: raw.length.get(),
        };
        let frame = frames.get(chunk.frame as usize);
        let inside = |frame: &Frame| {
            chunk
                .offset
                .checked_add(chunk.length)
                .is_some_and(|end| end <= frame.plain)
        };
        if chunk.length == 0 || chunk.length > CHUNK_LIMIT || !frame.is_some_and(inside) {
            let at = header.range(Section::Chunks).start + index * size_of::<RawChunk>();
            return Err(FlistError::malformed(
                "chunk table",
                at,
                "a chunk of impossible length, or outside its frame",
            ));
        }
        chunks.push(chunk);
    }
    Ok(chunks)
}

type Files = (HashMap<u64, std::ops::Range<usize>>, Vec<u32>);

fn files(file: &[u8], header: &Header, chunks: usize) -> Result<Files, FlistError> {
    let range = header.range(Section::Files);
    let wrong = |why: &str| FlistError::malformed("file map", range.start, why);
    let (count, rest) = U32::ref_from_prefix(&file[range.clone()]).map_err(|_| wrong("no number of files"))?;
    let (rows, rest) = <[RawFile]>::ref_from_prefix_with_elems(rest, count.get() as usize)
        .map_err(|_| wrong("fewer files than it says"))?;
    let references = <[U32]>::ref_from_bytes(rest).map_err(|_| wrong("half a reference at the end"))?;
    let references: Vec<u32> = references.iter().map(|chunk| chunk.get()).collect();
    if references.iter().any(|chunk| *chunk as usize >= chunks) {
        return Err(wrong("a chunk that is not in the table"));
    }
    let mut files = HashMap::with_capacity(rows.len());
    let mut next = 0;
    for row in rows {
        // Files take the references one after the other, so that work is bounded by the size of the map.
        let end = next + row.count.get() as usize;
        if row.first.get() as usize != next
            || end > references.len()
            || files.insert(row.nid.get(), next..end).is_some()
        {
            return Err(wrong("a file given twice, or references out of their place"));
        }
        next = end;
    }
    if next == references.len() {
        Ok((files, references))
    } else {
        Err(wrong("references that belong to no file"))
    }
}
