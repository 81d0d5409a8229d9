//! A new file whose blocks of zeros are not written.

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use super::UnpackError;
use super::disk::Disk;

/// A run of zeros that fills a block of this size takes no room: the block size of the file systems we meet.
const BLOCK: u64 = 4096;
const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// Writes a file front to back. Parts of blocks that are all zero are left out: in a new file they read as zeros anyway.
/// The last part is always written, so that a file has its length only when its content was handed to the system.
pub(super) struct SparseFile<'a> {
    disk: &'a Disk<'a>,
    fd: &'a OwnedFd,
    path: &'a [u8],
    size: u64,
    position: u64,
    /// Why writing failed.
    pub(super) failed: Option<UnpackError>,
}

impl<'a> SparseFile<'a> {
    /// For a file that is empty now and will have `size` bytes.
    pub(super) fn new(disk: &'a Disk<'a>, fd: &'a OwnedFd, path: &'a [u8], size: u64) -> Self {
        Self {
            disk,
            fd,
            path,
            size,
            position: 0,
            failed: None,
        }
    }

    /// Says whether all went well.
    pub(super) fn finish(self) -> Result<(), UnpackError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.position == self.size => Ok(()),
            None => {
                let short = io::Error::other("the image gave another number of bytes than it says");
                Err(self.disk.fail("write", self.path, short))
            }
        }
    }

    /// Writes the parts of `bytes` that are not zero, neighbouring ones at once.
    fn put(&self, bytes: &[u8]) -> Result<(), UnpackError> {
        let mut start = 0;
        let mut at = 0;
        while at < bytes.len() {
            let in_block = (self.position + at as u64) % BLOCK;
            let end = bytes.len().min(at + (BLOCK - in_block) as usize);
            let last = self.position + end as u64 == self.size;
            if is_zero(&bytes[at..end]) && !last {
                self.write_at(&bytes[start..at], self.position + start as u64)?;
                start = end;
            }
            at = end;
        }
        self.write_at(&bytes[start..], self.position + start as u64)
    }

    fn write_at(&self, mut bytes: &[u8], mut at: u64) -> Result<(), UnpackError> {
        while !bytes.is_empty() {
            let written = self
                .disk
                .run("write", self.path, || rustix::io::pwrite(self.fd, bytes, at))?;
            bytes = &bytes[written..];
            at += written as u64;
        }
        Ok(())
    }
}

impl Write for SparseFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.put(bytes) {
            Ok(()) => {
                self.position += bytes.len() as u64;
                Ok(bytes.len())
            }
            Err(error) => {
                self.failed = Some(error);
                Err(io::Error::other("the destination failed"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// True for a part of a block that is all zeros.
fn is_zero(part: &[u8]) -> bool {
    // Nearly all other data shows in its first byte.
    part.first() == Some(&0) && part == &ZEROS[..part.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt as _;

    /// Writes pieces through a sparse file; gives its bytes and how many of the disk's it takes.
    fn written(pieces: &[Vec<u8>]) -> (Vec<u8>, u64) {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path(), false, &|_| Ok(())).unwrap();
        let fd = disk.create(disk.root_fd(), "x".as_ref(), b"x").unwrap();
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut file = SparseFile::new(&disk, &fd, b"x", size);
        for piece in pieces {
            file.write_all(piece).unwrap();
        }
        file.finish().unwrap();
        rustix::fs::fsync(&fd).unwrap();
        let path = directory.path().join("x");
        let blocks = std::fs::metadata(&path).unwrap().blocks();
        (std::fs::read(path).unwrap(), blocks * 512)
    }

    #[test]
    fn holes_stay_holes_wherever_the_pieces_end() {
        let mut content = vec![0; 1 << 20];
        content[300_000] = 1;
        for size in [1 << 20, 65_536, 70_001] {
            let pieces: Vec<Vec<u8>> = content.chunks(size).map(<[u8]>::to_vec).collect();
            let (found, room) = written(&pieces);
            assert!(found == content);
            // One block in the middle, one at the end.
            assert!(room <= 2 * 4096, "{room} bytes for pieces of {size}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_written_is_read(runs in proptest::collection::vec((0..3_u8, 0..20_000_usize), 0..12)) {
            let pieces: Vec<Vec<u8>> = runs.iter().map(|(byte, length)| vec![byte / 2; *length]).collect();
            prop_assert!(written(&pieces).0 == pieces.concat());
        }
    }
}
