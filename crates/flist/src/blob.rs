//! Blobs: frames one after the other, then an index, then a footer of 64 bytes. A store can be checked, collected and
//! repaired from its blobs alone.
//!
//! ```text
//! frames                    back to back from byte 0
//! index   per frame:        u32 encoding, u32 offset, u32 stored length, u32 plain length, u32 number of chunks
//!         per chunk:        BLAKE3-256, u32 offset in the plain frame, u32 length; in the order of the frames
//! footer  "MOSBLOB2", u32 frames, u32 chunks, u64 offset of the index, u64 zero, BLAKE3-256 of the index
//! ```

use mos_store::Digest;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::Encoding;
#[cfg(feature = "pack")]
use crate::table::BlobIndex;

/// Bytes of the footer: one small range request tells where the index is.
pub const FOOTER_LENGTH: u64 = 64;
/// Largest blob a reader takes into memory as a whole. We pack up to about 9 MiB.
pub const BLOB_LIMIT: u64 = 64 << 20;

const MAGIC: [u8; 8] = *b"MOSBLOB2";

/// A frame as a blob's own index tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexedFrame {
    pub(crate) encoding: Encoding,
    pub(crate) offset: u32,
    pub(crate) stored: u32,
    pub(crate) plain: u32,
    pub(crate) chunks: Vec<IndexedChunk>,
}

/// A chunk as a blob's own index tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexedChunk {
    pub(crate) digest: Digest,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFrame {
    encoding: U32,
    offset: U32,
    stored: U32,
    plain: U32,
    chunks: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawChunk {
    digest: [u8; 32],
    offset: U32,
    length: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFooter {
    magic: [u8; 8],
    frames: U32,
    chunks: U32,
    index: U64,
    reserved: U64,
    digest: [u8; 32],
}

const _: () = assert!(size_of::<RawFooter>() as u64 == FOOTER_LENGTH);

/// True when the last bytes of an object are those of a blob.
pub(crate) fn is_footer(tail: &[u8]) -> bool {
    RawFooter::ref_from_bytes(tail).is_ok_and(|footer| footer.magic == MAGIC)
}

/// Reads the index at the end of a blob; says what is wrong with it.
pub(crate) fn parse_index(blob: &[u8]) -> Result<Vec<IndexedFrame>, &'static str> {
    parse_tail(blob, 0)
}

/// As [`parse_index`], of the end of a blob: `tail` begins at byte `at`, before the index or where it begins.
pub(crate) fn parse_tail(tail: &[u8], at: u64) -> Result<Vec<IndexedFrame>, &'static str> {
    let (body, footer) = RawFooter::ref_from_suffix(tail).map_err(|_| "too short for a footer")?;
    if footer.magic != MAGIC {
        return Err("no footer at its end");
    }
    let start = usize::try_from(footer.index.get()).map_err(|_| "an index beyond its end")?;
    let index = footer
        .index
        .get()
        .checked_sub(at)
        .and_then(|skip| usize::try_from(skip).ok());
    let index = index
        .and_then(|skip| body.get(skip..))
        .ok_or("an index beyond its end")?;
    if blake3::hash(index) != footer.digest {
        return Err("an index that does not match its digest");
    }
    let (frames, rest) = <[RawFrame]>::ref_from_prefix_with_elems(index, footer.frames.get() as usize)
        .map_err(|_| "an index with fewer frames than it says")?;
    let chunks = <[RawChunk]>::ref_from_bytes(rest).map_err(|_| "an index with half a chunk")?;
    if chunks.len() != footer.chunks.get() as usize {
        return Err("an index with another number of chunks than it says");
    }
    collect(frames, chunks, start)
}

fn collect(frames: &[RawFrame], mut chunks: &[RawChunk], end: usize) -> Result<Vec<IndexedFrame>, &'static str> {
    let mut all = Vec::with_capacity(frames.len());
    for raw in frames {
        let of_frame = chunks
            .split_off(..raw.chunks.get() as usize)
            .ok_or("a frame with chunks that are missing")?;
        let encoding = Encoding::of_code(raw.encoding.get()).ok_or("a frame with an unknown encoding")?;
        let frame = IndexedFrame {
            encoding,
            offset: raw.offset.get(),
            stored: raw.stored.get(),
            plain: raw.plain.get(),
            chunks: of_frame.iter().map(indexed).collect(),
        };
        let stops = frame.offset as usize + frame.stored as usize;
        let inside = |chunk: &IndexedChunk| {
            chunk
                .offset
                .checked_add(chunk.length)
                .is_some_and(|end| end <= frame.plain)
        };
        if stops > end || !encoding.fits(frame.stored, frame.plain) || !frame.chunks.iter().all(inside) {
            return Err("a frame or chunk outside its place");
        }
        all.push(frame);
    }
    if chunks.is_empty() {
        Ok(all)
    } else {
        Err("chunks without a frame")
    }
}

fn indexed(raw: &RawChunk) -> IndexedChunk {
    IndexedChunk {
        digest: raw.digest.into(),
        offset: raw.offset.get(),
        length: raw.length.get(),
    }
}

/// A blob that is being filled.
#[cfg(feature = "pack")]
#[derive(Debug)]
pub(crate) struct BlobWriter {
    bytes: Vec<u8>,
    frames: Vec<IndexedFrame>,
}

#[cfg(feature = "pack")]
impl BlobWriter {
    /// A blob in this buffer, whatever it held before.
    pub(crate) fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self {
            bytes: buffer,
            frames: Vec::new(),
        }
    }

    /// Adds a frame; returns where it lies.
    pub(crate) fn push(&mut self, encoding: Encoding, stored: &[u8], plain: u32, chunks: &[IndexedChunk]) -> u32 {
        let offset = small(self.bytes.len());
        self.bytes.extend_from_slice(stored);
        self.frames.push(IndexedFrame {
            encoding,
            offset,
            stored: small(stored.len()),
            plain,
            chunks: chunks.to_vec(),
        });
        offset
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The whole blob, and where its index is.
    pub(crate) fn finish(mut self) -> (Vec<u8>, BlobIndex) {
        let start = self.bytes.len();
        for frame in &self.frames {
            let raw = RawFrame {
                encoding: U32::new(frame.encoding as u32),
                offset: U32::new(frame.offset),
                stored: U32::new(frame.stored),
                plain: U32::new(frame.plain),
                chunks: U32::new(small(frame.chunks.len())),
            };
            self.bytes.extend_from_slice(raw.as_bytes());
        }
        for chunk in self.frames.iter().flat_map(|frame| &frame.chunks) {
            let raw = RawChunk {
                digest: *chunk.digest.as_bytes(),
                offset: U32::new(chunk.offset),
                length: U32::new(chunk.length),
            };
            self.bytes.extend_from_slice(raw.as_bytes());
        }
        let footer = RawFooter {
            magic: MAGIC,
            frames: U32::new(small(self.frames.len())),
            chunks: U32::new(small(self.frames.iter().map(|frame| frame.chunks.len()).sum())),
            index: U64::new(start as u64),
            reserved: U64::ZERO,
            digest: *blake3::hash(&self.bytes[start..]).as_bytes(),
        };
        self.bytes.extend_from_slice(footer.as_bytes());
        let index = BlobIndex {
            start: start as u64,
            digest: Digest::of(&self.bytes[start..]),
        };
        (self.bytes, index)
    }
}

#[cfg(feature = "pack")]
fn small(length: usize) -> u32 {
    u32::try_from(length).expect("a blob is closed long before 4 GiB")
}

#[cfg(test)]
#[cfg(feature = "pack")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blob() -> Vec<u8> {
        let mut writer = BlobWriter::new(b"left over".to_vec());
        for text in [&b"one"[..], b"three"] {
            let chunk = IndexedChunk {
                digest: Digest::of(text),
                offset: 0,
                length: text.len() as u32,
            };
            writer.push(Encoding::Stored, text, text.len() as u32, &[chunk]);
        }
        let (blob, index) = writer.finish();
        assert!(index.digest.matches(&blob[index.start as usize..]));
        assert_eq!(
            parse_tail(&blob[index.start as usize..], index.start),
            parse_index(&blob)
        );
        blob
    }

    #[test]
    fn a_blob_tells_what_it_holds() {
        let frames = parse_index(&blob()).unwrap();
        assert_eq!((frames.len(), frames[1].offset, frames[1].stored), (2, 3, 5));
        assert_eq!(frames[1].chunks[0].digest, Digest::of(b"three"));
    }

    #[test]
    fn a_damaged_index_is_refused_at_every_byte() {
        let good = blob();
        for position in 8..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x11;
            // The eight reserved bytes of the footer mean nothing yet.
            let reserved = good.len() - 40..good.len() - 32;
            assert_eq!(
                parse_index(&bad).is_ok(),
                reserved.contains(&position),
                "byte {position}"
            );
        }
        for length in 0..good.len() {
            assert!(parse_index(&good[..length]).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_index_behind_the_digest_is_refused_or_lies_in_the_blob(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
        ) {
            let mut bad = blob();
            for (position, byte) in changes {
                // All but the digest, which is made right, and the footer's start of the index.
                let position = position.index(bad.len() - 48);
                bad[position] = byte;
            }
            let footer = bad.len() - FOOTER_LENGTH as usize;
            let start = bad[footer + 16..].first_chunk().map_or(0, |start| u64::from_le_bytes(*start)) as usize;
            let digest = *blake3::hash(&bad[start..footer]).as_bytes();
            bad[footer + 32..].copy_from_slice(&digest);
            for frame in parse_index(&bad).unwrap_or_default() {
                prop_assert!((frame.offset + frame.stored) as usize <= start);
                prop_assert!(frame.chunks.iter().all(|chunk| chunk.offset + chunk.length <= frame.plain));
            }
        }
    }
}
