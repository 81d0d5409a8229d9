//! Files into chunks, and the fs-verity digest along the way.

use std::io::{self, Read};

use fastcdc::v2020::FastCDC;

use super::PackError;
use crate::header::ChunkSizes;
use crate::verity::{ObjectDigest, VerityHasher};

/// Cuts files with FastCDC (2020, normalisation level 1). Its buffer is reused from file to file.
pub(super) struct Chunker {
    sizes: ChunkSizes,
    buffer: Vec<u8>,
}

/// How many of the largest chunks the buffer holds: what is left over is moved to its front once per filling.
const BUFFERED: usize = 8;

impl Chunker {
    pub(super) fn new(sizes: ChunkSizes) -> Self {
        Self {
            sizes,
            buffer: vec![0; BUFFERED * sizes.max as usize],
        }
    }

    /// Reads exactly `length` bytes and gives them to `chunk` piece by piece; returns the digest of them all.
    pub(super) fn cut(
        &mut self,
        reader: &mut dyn Read,
        length: u64,
        read_error: impl Fn(io::Error) -> PackError,
        mut chunk: impl FnMut(&[u8]) -> Result<(), PackError>,
    ) -> Result<ObjectDigest, PackError> {
        let mut verity = VerityHasher::new();
        let mut unread = length;
        let mut filled = 0;
        while unread > 0 || filled > 0 {
            let room = (self.buffer.len() - filled) as u64;
            let take = room.min(unread) as usize;
            reader
                .read_exact(&mut self.buffer[filled..filled + take])
                .map_err(&read_error)?;
            verity.update(&self.buffer[filled..filled + take]);
            filled += take;
            unread -= take as u64;
            let used = self.cut_buffer(filled, unread == 0, &mut chunk)?;
            self.buffer.copy_within(used..filled, 0);
            filled -= used;
        }
        Ok(verity.finish())
    }

    /// Cuts what is in the buffer, as far as the cuts do not depend on what comes later; returns how much was used.
    fn cut_buffer(
        &self,
        filled: usize,
        last: bool,
        chunk: &mut impl FnMut(&[u8]) -> Result<(), PackError>,
    ) -> Result<usize, PackError> {
        let ChunkSizes { min, average, max } = self.sizes;
        let cutter = FastCDC::new(&self.buffer[..filled], min as usize, average as usize, max as usize);
        let mut start = 0;
        while start < filled && (last || filled - start >= max as usize) {
            let (_, end) = cutter.cut(start, filled - start);
            chunk(&self.buffer[start..end])?;
            start = end;
        }
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastcdc::v2020::StreamCDC;

    #[test]
    fn cuts_are_those_of_the_reference_and_cover_the_file() {
        let bytes: Vec<u8> = (0..5_000_000_u64)
            .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
            .collect();
        for length in [0, 1, 16 << 10, 300_000, bytes.len()] {
            let mut chunks = Vec::new();
            let mut chunker = Chunker::new(ChunkSizes::default());
            let keep = |chunk: &[u8]| {
                chunks.push(chunk.to_vec());
                Ok(())
            };
            let digest = chunker
                .cut(&mut &bytes[..length], length as u64, PackError::Compress, keep)
                .unwrap();
            let reference = StreamCDC::new(&bytes[..length], 16 << 10, 64 << 10, 256 << 10);
            let reference: Vec<Vec<u8>> = reference.map(|chunk| chunk.unwrap().data).collect();
            assert_eq!(chunks, reference);
            assert_eq!(digest, ObjectDigest::of(&bytes[..length]));
        }
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let mut chunker = Chunker::new(ChunkSizes::default());
        let result = chunker.cut(&mut &b"abc"[..], 4, PackError::Compress, |_| Ok(()));
        assert!(matches!(result, Err(PackError::Compress(error)) if error.kind() == io::ErrorKind::UnexpectedEof));
    }
}
