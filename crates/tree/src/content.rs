//! What a regular file holds, by reference.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The bytes of a regular file: in memory, or a range of a file on disk that must not change while the tree lives.
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
    },
}

impl Content {
    /// The whole of a file on disk, whose length is looked up now.
    ///
    /// # Errors
    /// When the file's metadata cannot be read.
    pub fn file(path: &Path) -> io::Result<Self> {
        let length = std::fs::metadata(path)?.len();
        Ok(Self::Range {
            path: Arc::new(path.to_owned()),
            offset: 0,
            length,
        })
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Range { length, .. } => *length,
        }
    }

    /// True for an empty file.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader that gives exactly [`Content::len`] bytes, or an error when the file on disk has become shorter.
    ///
    /// # Errors
    /// When the file on disk cannot be opened.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Bytes(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
            Self::Range { path, offset, length } => {
                let mut file = File::open(path.as_ref())?;
                file.seek(SeekFrom::Start(*offset))?;
                Ok(Box::new(Exact {
                    reader: file.take(*length),
                    missing: *length,
                }))
            }
        }
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

/// Turns an early end of file into an error: a sink that already wrote the length must not go on.
struct Exact<R> {
    reader: R,
    missing: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.missing -= count as u64;
        if count == 0 && self.missing > 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was read",
            ));
        }
        Ok(count)
    }
}
