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

/// Why the content of a file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What the store gave is not what the flist names. Nothing of it was handed on: a trust failure.
    #[error(
        "{file}: chunk {chunk} in blob {blob} is not what the flist names ({why}): the store is damaged or was tampered with"
    )]
    Tampered {
        /// Path in the flist.
        file: String,
        /// The blob that held the bytes.
        blob: Digest,
        /// The chunk that was wanted.
        chunk: Digest,
        /// How it showed.
        why: &'static str,
    },
    /// The store failed.
    #[error("{file}: blob {blob}: {source}")]
    Store {
        /// Path in the flist.
        file: String,
        /// The blob that was wanted.
        blob: Digest,
        /// What the store said.
        source: Box<StoreError>,
    },
    /// The entry is a directory, a link or a device, or comes from another flist.
    #[error("{0}: not a regular file of this flist")]
    NotAFile(String),
    /// The destination failed.
    #[error("{file}: cannot write: {source}")]
    Write {
        /// Path in the flist, or on the disk for unpack.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A path for people.
pub(crate) fn show(path: &[u8]) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    String::from_utf8_lossy(path).into_owned()
}
