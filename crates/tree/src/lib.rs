//! A filesystem tree in memory.
//!
//! The hall of the house: every source makes a [`Tree`] (directory, tar, deb, flist), every pass takes one and gives
//! one back (overlay, clean-up, strip), every sink writes one (cpio, flist, directory). Owners, device nodes and
//! extended attributes live here and not on the build host's disk, which is why nothing that builds needs root.
//!
//! * [`Tree`] is an arena of [`Inode`]s; a directory maps names to [`InodeId`]s. Two names with one id are hard links.
//! * File content is held by reference ([`Content`]): bytes in memory or a range of a file on disk.
//! * Names and link targets are bytes, never `String`: file names need not be UTF-8.
//! * Iteration order is by name, bytewise, always: the same tree gives the same bytes out of every sink.

mod content;
pub mod cpio;
pub mod directory;
pub mod layer;
mod resolve;
pub mod tarball;
mod tree;

pub use content::{Content, ContentReader, Extent, Stamp};
pub use tree::{Entry, Inode, InodeId, Kind, Metadata, Name, Timestamp, Tree, TreeError};
