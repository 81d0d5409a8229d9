//! The first 1,024 bytes of an flist, which EROFS leaves to boot loaders.
//!
//! ```text
//!    0  magic "MOSFLIST"      8  version (2)     12  number of sections (6)
//!   16  compatible features  24  read-compatible features  32  incompatible features
//!   40  chunk sizes: least, average, most        52  reserved
//!   56  six sections of 56 bytes: kind, reserved, offset, length, BLAKE3-256
//!  392  reserved, zero
//!  992  BLAKE3-256 of the 992 bytes before
//! 1024  EROFS superblock
//! ```
//!
//! The sections follow each other without a gap from byte 1,024 to the end of the file, so every byte of the file is
//! under one of the digests. *Compatible* features may be ignored, *read-compatible* ones by readers only (whoever
//! rewrites the file must know them), unknown *incompatible* ones mean that the file is refused.

use std::ops::Range;

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::FlistError;

/// Bytes of the header; EROFS's superblock starts behind it (`EROFS_SUPER_OFFSET`).
pub(crate) const HEADER_LENGTH: usize = 1024;

/// What every flist begins with.
pub const MAGIC: [u8; 8] = *b"MOSFLIST";
const VERSION: u32 = 2;
const SECTIONS: usize = 6;
/// Incompatible feature: the EROFS image has compact inodes, which readers of the first flists refuse.
const COMPACT_INODES: u64 = 1;
/// Incompatible features this program knows.
const KNOWN_INCOMPATIBLE: u64 = COMPACT_INODES;
/// Most bytes in a chunk that a reader accepts. Chunks that come from a base may have been cut with other sizes than the
/// header's, so this is the only bound.
pub(crate) const CHUNK_LIMIT: u32 = 1 << 20;

/// The parts of the file, in the order in which they lie in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Section {
    /// The EROFS image without this header.
    Erofs,
    /// Which frame holds which chunk.
    Chunks,
    /// Where each frame lies in its blob.
    Frames,
    /// The blobs' digests and lengths.
    Blobs,
    /// The chunks of each file.
    Files,
    /// The list of what to fetch first.
    Prefetch,
}

impl Section {
    pub(crate) const ALL: [Self; SECTIONS] = [
        Self::Erofs,
        Self::Chunks,
        Self::Frames,
        Self::Blobs,
        Self::Files,
        Self::Prefetch,
    ];

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Erofs => "EROFS metadata",
            Self::Chunks => "chunk table's bytes",
            Self::Frames => "frame table's bytes",
            Self::Blobs => "blob table's bytes",
            Self::Files => "file map's bytes",
            Self::Prefetch => "prefetch list's bytes",
        }
    }
}

/// The sizes FastCDC cuts with, in bytes; powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSizes {
    /// Least; only the last chunk of a file may be smaller.
    pub min: u32,
    /// What the cutter aims at.
    pub average: u32,
    /// Most.
    pub max: u32,
}

impl Default for ChunkSizes {
    /// 16, 64 and 256 KiB: casync's average, the bar for the size of upgrades.
    fn default() -> Self {
        Self {
            min: 16 << 10,
            average: 64 << 10,
            max: 256 << 10,
        }
    }
}

impl ChunkSizes {
    /// True for sizes that both the cutter and every reader accept.
    pub(crate) fn valid(self) -> bool {
        let powers = [self.min, self.average, self.max]
            .iter()
            .all(|size| size.is_power_of_two());
        powers && self.min >= 1024 && self.min < self.average && self.average < self.max && self.max <= CHUNK_LIMIT
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawSection {
    kind: U32,
    reserved: U32,
    offset: U64,
    length: U64,
    digest: [u8; 32],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U32,
    sections: U32,
    compatible: U64,
    read_compatible: U64,
    incompatible: U64,
    chunk_min: U32,
    chunk_average: U32,
    chunk_max: U32,
    reserved: U32,
    table: [RawSection; SECTIONS],
    padding: [u8; 600],
    digest: [u8; 32],
}

/// Bytes of the header that its own digest covers.
const SEALED: usize = HEADER_LENGTH - 32;
const _: () = assert!(size_of::<RawHeader>() == HEADER_LENGTH);

/// A checked header: the sections lie in the file, in order, and have the digests it says.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) sizes: ChunkSizes,
    sections: [Range<usize>; SECTIONS],
}

impl Header {
    /// Reads and checks the header and the digest of every section.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, FlistError> {
        let (raw, _) = RawHeader::ref_from_prefix(file).map_err(|_| too_short(file))?;
        if raw.magic != MAGIC {
            return Err(FlistError::NotAnFlist);
        }
        if raw.version.get() != VERSION {
            return Err(FlistError::Version(raw.version.get()));
        }
        if blake3::hash(&file[..SEALED]) != raw.digest {
            return Err(FlistError::Digest("header's bytes"));
        }
        let unknown = raw.incompatible.get() & !KNOWN_INCOMPATIBLE;
        if unknown != 0 {
            return Err(FlistError::Features(unknown));
        }
        Ok(Self {
            sizes: chunk_sizes(raw)?,
            sections: sections(raw, file)?,
        })
    }

    /// Where a section lies in the file.
    pub(crate) fn range(&self, section: Section) -> Range<usize> {
        self.sections[section as usize].clone()
    }
}

fn too_short(file: &[u8]) -> FlistError {
    if file.starts_with(&MAGIC) {
        FlistError::malformed("header", file.len(), "the file ends inside it")
    } else {
        FlistError::NotAnFlist
    }
}

fn chunk_sizes(raw: &RawHeader) -> Result<ChunkSizes, FlistError> {
    let sizes = ChunkSizes {
        min: raw.chunk_min.get(),
        average: raw.chunk_average.get(),
        max: raw.chunk_max.get(),
    };
    if sizes.valid() {
        Ok(sizes)
    } else {
        Err(FlistError::malformed(
            "chunk sizes",
            40_u64,
            "not increasing powers of two",
        ))
    }
}

fn sections(raw: &RawHeader, file: &[u8]) -> Result<[Range<usize>; SECTIONS], FlistError> {
    let wrong = |offset: usize, why: &str| FlistError::malformed("section table", offset, why);
    if raw.sections.get() as usize != SECTIONS {
        return Err(wrong(12, "a number of sections other than six"));
    }
    let mut ranges = [const { 0..0 }; SECTIONS];
    let mut position = HEADER_LENGTH;
    for (section, entry) in Section::ALL.into_iter().zip(&raw.table) {
        let at = 56 + section as usize * size_of::<RawSection>();
        if entry.kind.get() != section as u32 || entry.offset.get() != position as u64 {
            return Err(wrong(at, "a section out of its place"));
        }
        let length = usize::try_from(entry.length.get()).ok();
        let end = length.and_then(|length| position.checked_add(length));
        let end = end
            .filter(|end| *end <= file.len())
            .ok_or_else(|| wrong(at, "a section beyond the end of the file"))?;
        if blake3::hash(&file[position..end]) != entry.digest {
            return Err(FlistError::Digest(section.name()));
        }
        ranges[section as usize] = position..end;
        position = end;
    }
    if position == file.len() {
        Ok(ranges)
    } else {
        Err(wrong(position, "bytes behind the last section"))
    }
}

/// The same file with another prefetch list.
///
/// # Errors
/// [`FlistError::Features`] for features of any group that this program does not know: it would lose them.
#[cfg(feature = "pack")]
pub(crate) fn with_prefetch(file: &[u8], list: Vec<u8>) -> Result<Vec<u8>, FlistError> {
    let header = Header::parse(file)?;
    let (raw, _) = RawHeader::ref_from_prefix(file).map_err(|_| too_short(file))?;
    let features = raw.compatible.get() | raw.read_compatible.get() | raw.incompatible.get() & !KNOWN_INCOMPATIBLE;
    if features != 0 {
        return Err(FlistError::Features(features));
    }
    let part = |section| file[header.range(section)].to_vec();
    let image = file[..header.range(Section::Erofs).end].to_vec();
    let [_, chunks, frames, blobs, files, _] = Section::ALL;
    let tables = [part(chunks), part(frames), part(blobs), part(files), list];
    Ok(assemble(image, tables, header.sizes))
}

/// Puts the parts of an flist together. `image` is the EROFS image with 1,024 unused bytes in front; `tables` are the
/// other sections in order.
#[cfg(any(feature = "pack", test))]
pub(crate) fn assemble(mut image: Vec<u8>, tables: [Vec<u8>; SECTIONS - 1], sizes: ChunkSizes) -> Vec<u8> {
    let mut ends = vec![HEADER_LENGTH, image.len()];
    for table in tables {
        image.extend_from_slice(&table);
        ends.push(image.len());
    }
    let table = Section::ALL.map(|section| {
        let range = ends[section as usize]..ends[section as usize + 1];
        RawSection {
            kind: U32::new(section as u32),
            reserved: U32::ZERO,
            offset: U64::new(range.start as u64),
            length: U64::new(range.len() as u64),
            digest: *blake3::hash(&image[range]).as_bytes(),
        }
    });
    let mut raw = RawHeader {
        magic: MAGIC,
        version: U32::new(VERSION),
        sections: U32::new(SECTIONS as u32),
        compatible: U64::ZERO,
        read_compatible: U64::ZERO,
        incompatible: U64::new(COMPACT_INODES),
        chunk_min: U32::new(sizes.min),
        chunk_average: U32::new(sizes.average),
        chunk_max: U32::new(sizes.max),
        reserved: U32::ZERO,
        table,
        padding: [0; 600],
        digest: [0; 32],
    };
    raw.digest = *blake3::hash(&raw.as_bytes()[..SEALED]).as_bytes();
    image[..HEADER_LENGTH].copy_from_slice(raw.as_bytes());
    image
}

/// Makes every digest in the header right again after a test changed bytes: what a hostile packer would do, so that
/// the checks behind the digests are reached.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn reseal(file: &mut [u8]) {
    let Ok((raw, _)) = RawHeader::read_from_prefix(file) else {
        return;
    };
    let mut raw = raw;
    for entry in &mut raw.table {
        let start = usize::try_from(entry.offset.get()).unwrap_or(usize::MAX);
        let length = usize::try_from(entry.length.get()).unwrap_or(usize::MAX);
        if let Some(bytes) = file.get(start..start.saturating_add(length)) {
            entry.digest = *blake3::hash(bytes).as_bytes();
        }
    }
    raw.digest = *blake3::hash(&raw.as_bytes()[..SEALED]).as_bytes();
    file[..HEADER_LENGTH].copy_from_slice(raw.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Vec<u8> {
        assemble(vec![0; 4096], Default::default(), ChunkSizes::default())
    }

    #[test]
    fn sections_are_found_again() {
        let header = Header::parse(&small()).unwrap();
        assert_eq!(header.range(Section::Erofs), 1024..4096);
        assert_eq!(header.range(Section::Prefetch), 4096..4096);
        assert_eq!(header.sizes, ChunkSizes::default());
    }

    #[test]
    fn unknown_incompatible_features_are_refused_and_unknown_compatible_ones_are_not() {
        let mut file = small();
        file[16] = 1;
        reseal(&mut file);
        assert!(Header::parse(&file).is_ok());
        file[32] = 4;
        reseal(&mut file);
        assert_eq!(Header::parse(&file).unwrap_err(), FlistError::Features(4));
    }

    #[test]
    fn versions_and_other_files_are_told_apart() {
        let mut file = small();
        file[8] = 3;
        assert_eq!(Header::parse(&file).unwrap_err(), FlistError::Version(3));
        assert_eq!(Header::parse(b"SQLite format 3").unwrap_err(), FlistError::NotAnFlist);
    }
}
