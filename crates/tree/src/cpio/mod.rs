//! cpio "newc" archives: the format of an initramfs.
//!
//! An archive is a list of entries and a trailer. An entry is a header of 110 bytes (the magic `070701` and thirteen
//! numbers of eight hexadecimal digits), the name with its NUL, padding to 4 bytes, the content, padding to 4 bytes.
//! Described in the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`; what the kernel really
//! does with it is `init/initramfs.c`, which [`read`] follows.
//!
//! * **Hard links** share an inode number; the content stands at the last of their names, as `cpio` and the kernel's
//!   own `gen_init_cpio` write it. Symbolic links are unpacked one by one: their being hard-linked is lost.
//! * **Inode numbers** count up from 1 in the order of the walk: the same tree gives the same bytes.
//! * **Times** are whole seconds from 1970 to 2106; nanoseconds are cut off.
//! * **Extended attributes** have no place in the format: a tree that has some is refused, since a program that lost
//!   its capabilities would fail much later.

mod read;
mod write;

pub use read::read;
pub use write::write;

use std::io;

use crate::TreeError;

/// What every header starts with.
const MAGIC: &[u8; 6] = b"070701";

/// Magic and thirteen numbers of eight digits.
const HEADER_LENGTH: usize = 6 + 13 * 8;

/// The name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// The kernel skips an entry whose name, with its NUL, is longer than `PATH_MAX`, and a symbolic link whose target is.
const PATH_MAX: usize = 4096;

/// File type bits of a mode, as in `<sys/stat.h>`.
mod file_type {
    pub(super) const MASK: u32 = 0o170_000;
    pub(super) const SOCKET: u32 = 0o140_000;
    pub(super) const SYMLINK: u32 = 0o120_000;
    pub(super) const FILE: u32 = 0o100_000;
    pub(super) const BLOCK: u32 = 0o060_000;
    pub(super) const DIRECTORY: u32 = 0o040_000;
    pub(super) const CHARACTER: u32 = 0o020_000;
    pub(super) const FIFO: u32 = 0o010_000;
}

/// Why a tree could not become an archive, or an archive a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CpioError {
    /// A file of 4 GiB or more.
    #[error("{path}: {length} bytes do not fit in a cpio archive; a file may have 4294967295 at most")]
    TooLong {
        /// The file.
        path: String,
        /// Its length in bytes.
        length: u64,
    },
    /// A name or a link target that the kernel would skip.
    #[error("{path}: a name or link target of more than 4095 bytes is skipped by the kernel; shorten it")]
    NameTooLong {
        /// The file.
        path: String,
    },
    /// A file whose name means the end of the archive.
    #[error("TRAILER!!!: this name ends a cpio archive, so no file in the root can have it; rename the file")]
    Reserved,
    /// A file with extended attributes.
    #[error("{path}: a cpio archive cannot carry the extended attribute `{name}`; remove it from the file")]
    ExtendedAttribute {
        /// The file.
        path: String,
        /// The attribute's full name.
        name: String,
    },
    /// A time before 1970 or after 2106.
    #[error("{path}: a cpio archive cannot carry the time {seconds}; it must be between 0 and 4294967295")]
    Time {
        /// The file.
        path: String,
        /// Seconds since 1970.
        seconds: i64,
    },
    /// The content of a file could not be read.
    #[error("{path}: cannot read the content: {source}")]
    Content {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("cannot write the cpio archive: {0}")]
    Write(#[source] io::Error),
    /// Bytes that are not a cpio archive of this kind.
    #[error("not a cpio archive (newc): at byte {offset}: {problem}")]
    Damaged {
        /// Where in the archive.
        offset: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// An entry that has no place in a tree.
    #[error("cpio archive: at byte {offset}: {source}")]
    Tree {
        /// Where in the archive the entry begins.
        offset: usize,
        /// Why not.
        source: TreeError,
    },
}

/// How many bytes bring `length` to a multiple of `alignment`.
const fn padding(length: usize, alignment: usize) -> usize {
    (alignment - length % alignment) % alignment
}
