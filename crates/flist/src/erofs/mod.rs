//! EROFS: the part of it that an flist uses, as bytes.
//!
//! * [`format`]: the structures on disk.
//! * [`xattr`], [`directory`]: the two variable-length ones, both ways.
//! * [`reader`]: an image into inodes and names, every offset checked once.
//! * [`writer`]: a tree into an image.
//!
//! What we write: blocks of 4 KiB, compact inodes (32 bytes) for whatever fits into one, extended ones (64 bytes: 64-bit
//! sizes, 32-bit owners, nanoseconds of their own) for the others, attributes beside the inode, directories and links inline where they fit, small files always inline, larger files with
//! their size and a null address. The reader takes exactly this and refuses the rest of EROFS: less to get wrong with
//! hostile input.
//!
//! The times of compact inodes are seconds after the superblock's build time. Linux before 6.15 does not look at them, so
//! in the image that we have a kernel mount ([`xattr::Style::Overlay`]) only inodes of the build time itself are compact.

pub(crate) mod directory;
pub(crate) mod format;
pub(crate) mod reader;
pub(crate) mod writer;
pub(crate) mod xattr;
