//! What a regular file holds, by reference.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::Timestamp;

/// Bytes of the units in which Linux counts a file's room on the disk (`st_blocks`).
const STAT_BLOCK: u64 = 512;

/// The bytes of a regular file: in memory, or in a file on disk that must not change while the tree lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// A range of a file on the build host.
    Range {
        /// The file.
        path: Arc<PathBuf>,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// What the file was when the tree was read; a reader that finds another can tell that it changed.
        stamp: Option<Stamp>,
    },
    /// Pieces of a file on the build host with holes between them, such as a sparse file within an archive.
    Sparse {
        /// The file.
        path: Arc<PathBuf>,
        /// Where the data is, in the order of their positions; they do not overlap, and none is empty.
        extents: Arc<[Extent]>,
        /// Bytes, holes included; no extent goes beyond.
        length: u64,
        /// As for [`Content::Range`].
        stamp: Option<Stamp>,
    },
}

/// A piece of a sparse file that is no hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte in the content.
    pub position: u64,
    /// First byte in the file on disk.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// What tells one state of a file on disk from another without reading it. Every write changes the time of change, which
/// no program can set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Time of the last change of the content.
    pub modified: Timestamp,
    /// Time of the last change of anything.
    pub changed: Timestamp,
}

impl Stamp {
    /// From what the system tells about a file.
    pub fn of(metadata: &Metadata) -> Self {
        let time = |seconds, nanoseconds| Timestamp {
            seconds,
            nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
        };
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: time(metadata.mtime(), metadata.mtime_nsec()),
            changed: time(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Content {
    /// The whole of a file on disk, whose length is looked up now.
    ///
    /// # Errors
    /// When the file's metadata cannot be read.
    pub fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::of_metadata(path, &std::fs::metadata(path)?))
    }

    /// The whole of a file on disk whose metadata was just read.
    pub fn of_metadata(path: &Path, metadata: &Metadata) -> Self {
        Self::Range {
            path: Arc::new(path.to_owned()),
            offset: 0,
            length: metadata.len(),
            stamp: Some(Stamp::of(metadata)),
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Range { length, .. } | Self::Sparse { length, .. } => *length,
        }
    }

    /// True for an empty file.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the file on disk was when the tree was read, where that is known and says something about this content:
    /// nothing does about pieces.
    pub fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::Bytes(_) | Self::Sparse { .. } => None,
            Self::Range { stamp, .. } => *stamp,
        }
    }

    /// The same whole file as it is on disk now; `None` for what is in memory or a part of another file.
    ///
    /// # Errors
    /// When the file's metadata cannot be read.
    pub fn looked_up_again(&self) -> io::Result<Option<Self>> {
        match self {
            Self::Range {
                path,
                offset: 0,
                length,
                stamp: Some(stamp),
            } if *length == stamp.size => Self::file(path).map(Some),
            _ => Ok(None),
        }
    }

    /// A reader that gives exactly [`Content::len`] bytes, or an error when the file on disk has become shorter.
    ///
    /// # Errors
    /// When the file on disk cannot be opened.
    pub fn open(&self) -> io::Result<ContentReader> {
        let (source, end) = match self {
            Self::Bytes(bytes) => (Source::Memory(bytes.clone()), bytes.len() as u64),
            Self::Range {
                path,
                offset,
                length,
                stamp,
            } => {
                let file = File::open(path.as_ref())?;
                let source = Source::File {
                    sparse: *length >= SPARSE_MIN && is_sparse(&file.metadata()?),
                    file,
                    start: *offset,
                    stamp: *stamp,
                };
                (source, *length)
            }
            Self::Sparse {
                path,
                extents,
                length,
                stamp,
            } => {
                let source = Source::Pieces {
                    file: File::open(path.as_ref())?,
                    extents: extents.clone(),
                    stamp: *stamp,
                };
                (source, *length)
            }
        };
        Ok(ContentReader {
            source,
            position: 0,
            end,
        })
    }

    /// All bytes.
    ///
    /// # Errors
    /// When the file on disk cannot be read or has become shorter.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.len()).unwrap_or(0));
        self.open()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().into())
    }
}

/// Holes in smaller files are not looked for: reading them costs less than asking.
const SPARSE_MIN: u64 = 64 << 10;

fn is_sparse(metadata: &Metadata) -> bool {
    metadata.blocks().saturating_mul(STAT_BLOCK) < metadata.len()
}

/// Reads a [`Content`] from its first byte to its last.
///
/// An early end of the file is an error: a sink that already wrote the length must not go on.
#[derive(Debug)]
pub struct ContentReader {
    source: Source,
    position: u64,
    end: u64,
}

#[derive(Debug)]
enum Source {
    Memory(Arc<[u8]>),
    File {
        file: File,
        start: u64,
        sparse: bool,
        stamp: Option<Stamp>,
    },
    Pieces {
        file: File,
        extents: Arc<[Extent]>,
        stamp: Option<Stamp>,
    },
}

impl ContentReader {
    /// Where the next byte comes from, counted from the first of the content.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes to a place in the content, or to its end when that comes first.
    pub fn seek(&mut self, position: u64) {
        self.position = position.min(self.end);
    }

    /// How many bytes from here on are a hole: zeros that take no room on the disk and need not be read. 0 when there
    /// is none or nothing is known.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn hole(&self) -> io::Result<u64> {
        let (file, start) = match &self.source {
            Source::File {
                file,
                start,
                sparse: true,
                ..
            } => (file, start),
            Source::Pieces { extents, .. } => {
                let next = extent_at(extents, self.position).map_or(self.end, |extent| extent.position);
                return Ok(next.saturating_sub(self.position));
            }
            _ => return Ok(0),
        };
        let here = start + self.position;
        let limit = start + self.end;
        let next = match rustix::fs::seek(file.as_fd(), SeekFrom::Data(here)) {
            // No data up to the end of the file.
            Err(Errno::NXIO) => limit,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => here,
            other => other?,
        };
        Ok(next.min(limit).saturating_sub(here))
    }

    /// True when the file on disk is no longer the one that the tree was made of.
    ///
    /// # Errors
    /// When the file's metadata cannot be read.
    pub fn has_changed(&self) -> io::Result<bool> {
        match &self.source {
            Source::File {
                file,
                stamp: Some(stamp),
                ..
            }
            | Source::Pieces {
                file,
                stamp: Some(stamp),
                ..
            } => Ok(Stamp::of(&file.metadata()?) != *stamp),
            _ => Ok(false),
        }
    }
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let missing = self.end - self.position;
        let wanted = usize::try_from(missing).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..wanted];
        let count = match &self.source {
            Source::Memory(bytes) => (&bytes[self.position as usize..]).read(buffer)?,
            Source::File { file, start, .. } => file.read_at(buffer, start + self.position)?,
            Source::Pieces { file, extents, .. } => read_pieces(file, extents, self.position, buffer)?,
        };
        if count == 0 && wanted > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was read",
            ));
        }
        self.position += count as u64;
        Ok(count)
    }
}

/// The extent that a position is in, or else the next one.
fn extent_at(extents: &[Extent], position: u64) -> Option<&Extent> {
    let before = extents.partition_point(|extent| extent.position + extent.length <= position);
    extents.get(before)
}

/// Reads up to the next end of an extent or a hole.
fn read_pieces(file: &File, extents: &[Extent], position: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let limit = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
    match extent_at(extents, position) {
        Some(extent) if extent.position <= position => {
            let within = position - extent.position;
            let count = limit(extent.length - within);
            file.read_at(&mut buffer[..count], extent.offset + within)
        }
        next => {
            let count = next.map_or(buffer.len(), |extent| limit(extent.position - position));
            buffer[..count].fill(0);
            Ok(count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_holes_between_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pieces");
        std::fs::write(&path, "..abcde").unwrap();
        let extent = |position, offset, length| Extent {
            position,
            offset,
            length,
        };
        let content = Content::Sparse {
            path: Arc::new(path.clone()),
            extents: [extent(2, 2, 3), extent(5, 5, 1), extent(8, 6, 1)].into(),
            length: 12,
            stamp: None,
        };
        assert_eq!(content.read().unwrap(), b"\0\0abcd\0\0e\0\0\0");
        let mut reader = content.open().unwrap();
        let holes = (0..=12).map(|position| {
            reader.seek(position);
            reader.hole().unwrap()
        });
        assert_eq!(holes.collect::<Vec<_>>(), [2, 1, 0, 0, 0, 0, 2, 1, 0, 3, 2, 1, 0]);
        std::fs::write(&path, "..abcd").unwrap();
        assert_eq!(content.read().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn holes_are_found_and_read_as_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(10 << 20).unwrap();
        file.write_all_at(&[7; 4096], 5 << 20).unwrap();
        let content = Content::file(&path).unwrap();
        let mut reader = content.open().unwrap();
        let first = reader.hole().unwrap();
        if first == 0 {
            eprintln!("SKIPPED: this file system has no holes");
            return;
        }
        assert_eq!(first, 5 << 20);
        reader.seek(5 << 20);
        assert_eq!(reader.hole().unwrap(), 0);
        reader.seek((5 << 20) + 4096);
        assert_eq!(reader.hole().unwrap(), (5 << 20) - 4096);
        let bytes = content.read().unwrap();
        assert_eq!((bytes.len(), bytes[5 << 20], bytes[0]), (10 << 20, 7, 0));
    }

    #[test]
    fn a_file_that_changes_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let content = Content::file(&path).unwrap();
        let reader = content.open().unwrap();
        assert!(!reader.has_changed().unwrap());
        std::fs::write(&path, "four").unwrap();
        assert!(reader.has_changed().unwrap());
        assert_eq!(content.looked_up_again().unwrap().unwrap().len(), 4);
        std::fs::write(&path, "").unwrap();
        assert_eq!(content.read().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
