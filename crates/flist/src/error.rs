//! What can be wrong with an flist or with what it names.

use mos_store::{Digest, StoreError};

/// Why bytes are not an flist this program reads. The caller knows which file they came from.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlistError {
    /// The magic is missing.
    #[error("not an flist: it does not begin with the magic MOSFLIST; was the right file given?")]
    NotAnFlist,
    /// Made by a program of another time.
    #[error("flist version {0} is not one this program reads; use a newer MOS")]
    Version(u32),
    /// Unknown incompatible features.
    #[error("the flist needs the features {0:#x}, which this program does not know; use a newer MOS")]
    Features(u64),
    /// The bytes of a part are not those that were packed.
    #[error("the {0} of the flist do not match their digest: the file is damaged or was tampered with; fetch it again")]
    Digest(&'static str),
    /// A structure makes no sense.
    #[error("the flist is malformed: {what} at byte {offset}: {why}; fetch or pack it again")]
    Malformed {
        /// Which structure.
        what: &'static str,
        /// Where in the file.
        offset: u64,
        /// What is wrong.
        why: String,
    },
}

impl FlistError {
    pub(crate) fn malformed(what: &'static str, offset: impl TryInto<u64>, why: impl Into<String>) -> Self {
        Self::Malformed {
            what,
            offset: offset.try_into().unwrap_or(u64::MAX),
            why: why.into(),
        }
    }
}

/// The part of a store that an error is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Part {
    /// A frame of a blob: the unit that is fetched.
    #[error("the frame at byte {offset} of blob {blob}")]
    Frame {
        /// The blob that holds it.
        blob: Digest,
        /// Where in the blob.
        offset: u32,
    },
    /// A blob as a whole.
    #[error("blob {0}")]
    Blob(Digest),
    /// All blobs of an flist, so many.
    #[error("{} {}", .0, if *.0 == 1 { "blob" } else { "blobs" })]
    Blobs(usize),
    /// A block of another format, by the name that the format gives it.
    #[error("block {0}")]
    Block(String),
    /// Blocks of another format, so many.
    #[error("{} {}", .0, if *.0 == 1 { "block" } else { "blocks" })]
    Blocks(usize),
}

/// Why the content of a file could not be read. Crates that read other formats make these themselves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What the store gave is not what the image names. Nothing of it was handed on: a trust failure.
    #[error("{file}: {part} is not what the flist names ({why}): the store is damaged or was tampered with")]
    Tampered {
        /// Path in the image.
        file: String,
        /// What was wanted.
        part: Part,
        /// How it showed.
        why: &'static str,
    },
    /// The store failed.
    #[error("{file}: {part}: {source}")]
    Store {
        /// Path in the image.
        file: String,
        /// What was wanted.
        part: Part,
        /// What the store said.
        source: Box<StoreError>,
    },
    /// The entry is a directory, a link or a device, or comes from another image.
    #[error("{0}: not a regular file of this flist")]
    NotAFile(String),
    /// The destination failed.
    #[error("{file}: cannot write: {source}")]
    Write {
        /// Path in the image, or on the disk for unpack.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A path of an image for people: `/` for the root, other bytes than UTF-8 replaced.
pub fn show(path: &[u8]) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    String::from_utf8_lossy(path).into_owned()
}
