//! One interface over every format of filesystem images.
//!
//! Whoever unpacks, mounts, checks, compares or lists an image works on [`Image`] and knows nothing of the format:
//! [`Reader`](crate::Reader) is one for flists of version 2, other crates bring theirs.

use std::io;
use std::ops::Range;

use crate::error::ReadError;
use crate::flist::Entry;
use crate::slice::Slice;
use crate::verify::{Depth, Finding};

/// A filesystem image of any format, with the store that its content comes from. May be shared between threads.
pub trait Image: Send + Sync {
    /// Every name, parents before children, siblings in bytewise order; the root first with an empty path. Paths are
    /// safe to join to a directory: no empty name, `.` or `..`, and every parent is a directory of the image.
    fn entries(&self) -> Box<dyn Iterator<Item = Entry<'_>> + '_>;

    /// The entry at a path (`usr/bin/env`, slashes at either end are ignored); does not follow symbolic links. Costs
    /// a search for each part of the path, not a walk through the image.
    fn find(&self, path: &[u8]) -> Option<Entry<'_>>;

    /// Writes the whole content of a file of this image, verified; bounded memory whatever the size.
    ///
    /// # Errors
    /// [`ReadError`]: what was written until then was right, the rest is missing.
    fn read_file(&self, entry: &Entry<'_>, out: &mut dyn io::Write) -> Result<(), ReadError>;

    /// The bytes of `range` of the file with this inode number, clamped to its end, verified. Memory for the range and
    /// a few frames.
    ///
    /// # Errors
    /// [`ReadError`].
    fn read_at(&self, inode: u64, range: Range<u64>) -> Result<Slice, ReadError>;

    /// For who reads `range` of a file here and there, all that is better decoded with it: what its frame holds of the
    /// file, when that is most of the frame. None for who reads in order.
    fn around(&self, inode: u64, range: &Range<u64>) -> Option<Range<u64>> {
        let _ = (inode, range);
        None
    }

    /// The inode numbers of the files to fetch first, in the order in which they will be wanted; formats without such a
    /// list give none.
    fn prefetch(&self) -> &[u64] {
        &[]
    }

    /// Checks that the store holds what the image names; returns what is wrong, nothing when all is well. With
    /// [`Depth::Full`] that is every object of the store, and every file by [`verify_files`](crate::verify_files).
    fn verify(&self, depth: Depth, progress: &Progress<'_>) -> Vec<Finding>;
}

/// Work that was done just now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Advance {
    /// Names, or files, that are done.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// Is told of work as it is done, from any thread; the sum of all [`Advance`]s is what was done.
pub type Progress<'a> = dyn Fn(Advance) + Sync + 'a;
