//! Bytes with holes: a disk that is mostly empty, in as much memory as it has content.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write as _};

/// A sequence of bytes of which only the pieces put into it are not zero.
#[derive(Clone, PartialEq, Eq)]
pub struct Sparse<'a> {
    length: u64,
    /// By offset; they do not overlap and end within the length.
    pieces: BTreeMap<u64, Cow<'a, [u8]>>,
}

impl<'a> From<Cow<'a, [u8]>> for Sparse<'a> {
    /// Plain bytes.
    fn from(bytes: Cow<'a, [u8]>) -> Self {
        let mut sparse = Self::new(bytes.len() as u64);
        sparse.put(0, bytes);
        sparse
    }
}

impl fmt::Debug for Sparse<'_> {
    /// Without the bytes, which may be millions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = self.pieces.iter().map(|(at, bytes)| (at, bytes.len()));
        f.debug_struct("Sparse")
            .field("length", &self.length)
            .field("pieces", &pieces.collect::<Vec<_>>())
            .finish()
    }
}

/// How much of a file is compared at once.
const BLOCK: usize = 64 << 10;

impl<'a> Sparse<'a> {
    /// This many zeros.
    pub(super) fn new(length: u64) -> Self {
        Self {
            length,
            pieces: BTreeMap::new(),
        }
    }

    /// Bytes in all, holes included.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that are not holes.
    pub fn content(&self) -> u64 {
        self.pieces.values().map(|piece| piece.len() as u64).sum()
    }

    /// Puts bytes where nothing was put before. The planners here see to that, and that they end within the length.
    pub(super) fn put(&mut self, at: u64, bytes: impl Into<Cow<'a, [u8]>>) {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len() as u64;
        debug_assert!(end <= self.length, "{end} is beyond {}", self.length);
        debug_assert!(self.overlapping(at, end).next().is_none(), "{at} is taken");
        self.pieces.insert(at, bytes);
    }

    /// Puts all that another has, moved by `at`.
    pub(super) fn place(&mut self, at: u64, other: Self) {
        for (offset, bytes) in other.pieces {
            self.put(at + offset, bytes);
        }
    }

    /// The pieces with their offsets, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u64, &Cow<'a, [u8]>)> {
        self.pieces.iter().map(|(at, bytes)| (*at, bytes))
    }

    /// The pieces that have bytes in a range.
    pub(super) fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let before = self.pieces.range(..start).next_back();
        let before = before.filter(move |(at, bytes)| **at + bytes.len() as u64 > start);
        let pieces = before.into_iter().chain(self.pieces.range(start..end));
        pieces.map(|(at, bytes)| (*at, &bytes[..]))
    }

    /// The bytes from an offset on, as many as the buffer holds; zeros beyond the end.
    pub(super) fn read(&self, start: u64, buffer: &mut [u8]) {
        buffer.fill(0);
        let end = start + buffer.len() as u64;
        for (at, bytes) in self.overlapping(start, end) {
            let (from, to) = (start.max(at), end.min(at + bytes.len() as u64));
            let source = &bytes[(from - at) as usize..(to - at) as usize];
            buffer[(from - start) as usize..(to - start) as usize].copy_from_slice(source);
        }
    }

    /// Writes to an empty file; holes cost nothing where the file system has them.
    ///
    /// # Errors
    /// Whatever the system says, a full disk before all.
    pub fn write(&self, file: &mut File) -> io::Result<()> {
        for (at, bytes) in self.pieces() {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(bytes)?;
        }
        file.set_len(self.length)
    }

    /// True when a file has these bytes and no others. Its holes are not read.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn is_in(&self, file: &mut File) -> io::Result<bool> {
        if file.metadata()?.len() != self.length {
            return Ok(false);
        }
        let (mut found, mut wanted) = (vec![0; BLOCK], vec![0; BLOCK]);
        let mut at = 0;
        while at < self.length {
            // A hole ends no later than the next piece: what is there must be read.
            let data = next_data(file, at)?.unwrap_or(self.length);
            let piece = self.overlapping(at, self.length).next();
            at = data.min(piece.map_or(self.length, |(start, _)| start.max(at)));
            let length = (self.length - at).min(BLOCK as u64) as usize;
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut found[..length])?;
            self.read(at, &mut wanted[..length]);
            if found[..length] != wanted[..length] {
                return Ok(false);
            }
            at += length as u64;
        }
        Ok(true)
    }
}

/// The next offset that is in no hole; `None` when only a hole follows.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // A file system without holes.
        Err(rustix::io::Errno::INVAL) => Ok(Some(at)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt as _;

    /// A sparse value and the same bytes without holes.
    fn sample(length: usize, pieces: &[(usize, Vec<u8>)]) -> (Sparse<'static>, Vec<u8>) {
        let (mut sparse, mut plain) = (Sparse::new(length as u64), vec![0; length]);
        let mut next = 0;
        for (gap, bytes) in pieces {
            let at = next + gap;
            if at + bytes.len() > length {
                break;
            }
            plain[at..at + bytes.len()].copy_from_slice(bytes);
            sparse.put(at as u64, bytes.clone());
            next = at + bytes.len();
        }
        (sparse, plain)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_file_has_the_bytes_and_is_recognised(
            length in 0..200_000_usize,
            pieces in prop::collection::vec((0..60_000_usize, prop::collection::vec(any::<u8>(), 0..9000)), 0..6),
            flipped in any::<prop::sample::Index>(),
        ) {
            let (sparse, mut plain) = sample(length, &pieces);
            let mut file = tempfile::tempfile().unwrap();
            sparse.write(&mut file).unwrap();
            let mut found = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut found).unwrap();
            prop_assert!(found == plain);
            prop_assert!(sparse.is_in(&mut file).unwrap());
            let mut all = vec![1; length + 10];
            sparse.read(0, &mut all);
            prop_assert!(all[..length] == plain && all[length..].iter().all(|byte| *byte == 0));
            if length > 0 {
                let at = flipped.index(length);
                plain[at] ^= 1;
                file.seek(SeekFrom::Start(at as u64)).unwrap();
                file.write_all(&plain[at..=at]).unwrap();
                prop_assert!(!sparse.is_in(&mut file).unwrap());
            }
        }
    }

    #[test]
    fn a_gigabyte_of_holes_costs_no_gigabyte() {
        let mut sparse = Sparse::new(1 << 30);
        sparse.put(5000, b"begin".as_slice());
        sparse.put((1 << 30) - 3, b"end".as_slice());
        let mut file = tempfile::tempfile().unwrap();
        sparse.write(&mut file).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len(), 1 << 30);
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
        let started = std::time::Instant::now();
        assert!(sparse.is_in(&mut file).unwrap());
        assert!(started.elapsed().as_millis() < 500, "{:?}", started.elapsed());
    }
}
