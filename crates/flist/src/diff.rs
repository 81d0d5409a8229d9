//! What two images have different: name by name, and in bytes to transfer.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use mos_store::Digest;

use crate::error::{ReadError, show};
use crate::flist::{Entry, EntryKind, Flist};
use crate::image::Image;
use crate::table::Chunk;

/// Bytes of each of two files that are compared at a time.
const WINDOW: u64 = 1 << 20;

/// A name that is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path from the root, without a leading `/`; empty for the root.
    pub path: Vec<u8>,
    /// How it is different.
    pub what: Difference,
}

/// How a name is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Removed,
    /// Both have it, different in these ways: at least one.
    Changed(Vec<Aspect>),
}

/// What of a name is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aspect {
    /// A file became a link, a directory a device, and so on; nothing else of it is then compared but metadata.
    Kind,
    /// The content of a file.
    Content,
    /// The target of a symbolic link.
    Target,
    /// The numbers of a device.
    Device,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// Extended attributes.
    Attributes,
    /// The time of the last change.
    Time,
}

/// What somebody who has one flist and its content needs for another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Chunks that the first does not have.
    pub chunks: u64,
    /// Their plain bytes.
    pub chunk_bytes: u64,
    /// Frames that hold these: what a node asks for.
    pub frames: u64,
    /// Their bytes as they travel.
    pub frame_bytes: u64,
    /// Blobs that the first does not name: what a store needs that has the first.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Bytes of the flist itself.
    pub flist_bytes: u64,
}

/// Compares two images of any formats; the changes come in the order of a walk. Content is compared by digest where
/// both images have it, and otherwise read when the sizes are equal.
///
/// # Errors
/// [`ReadError`] when content has to be read and cannot be.
pub fn diff(first: &dyn Image, second: &dyn Image) -> Result<Vec<Change>, ReadError> {
    let (mut old, mut new) = (first.entries().peekable(), second.entries().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(changes),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => walk_order(&old.path, &new.path),
        };
        let (old, new) = (old.next_if(|_| order.is_le()), new.next_if(|_| order.is_ge()));
        changes.extend(change((first, old), (second, new))?);
    }
}

/// What `new` needs that `old` does not have. Pure: nothing is read.
pub fn transfer(old: &Flist, new: &Flist) -> Transfer {
    let chunks: HashSet<_> = keys(old).collect();
    let blobs: HashSet<_> = old.blobs().iter().collect();
    let mut needed = Transfer {
        flist_bytes: new.as_bytes().len() as u64,
        ..Transfer::default()
    };
    let mut frames = HashSet::new();
    let missing = new.tables.chunks.iter().zip(keys(new));
    for (chunk, _) in missing.filter(|(_, key)| !chunks.contains(key)) {
        needed.chunks += 1;
        needed.chunk_bytes += u64::from(chunk.length);
        if frames.insert(chunk.frame) {
            needed.frames += 1;
            needed.frame_bytes += u64::from(new.tables.frames[chunk.frame as usize].stored);
        }
    }
    for blob in new.blobs().iter().filter(|blob| !blobs.contains(blob)) {
        needed.blobs += 1;
        needed.blob_bytes += blob.length;
    }
    needed
}

/// What tells chunks apart: the frame, by digest, and the place in it. A chunk that was packed a second time, into another
/// frame, is another one here: it would travel.
fn keys(flist: &Flist) -> impl Iterator<Item = (Digest, u32)> {
    let tables = &flist.tables;
    let key = |chunk: &Chunk| (tables.frames[chunk.frame as usize].digest, chunk.offset);
    tables.chunks.iter().map(key)
}

/// The order of a walk: parents before children, siblings bytewise.
fn walk_order(first: &[u8], second: &[u8]) -> Ordering {
    fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }
    names(first).cmp(names(second))
}

/// An image and an entry of it, if it has one at this path.
type Side<'i> = (&'i dyn Image, Option<Entry<'i>>);

fn change(old: Side<'_>, new: Side<'_>) -> Result<Option<Change>, ReadError> {
    let (path, what) = match (old.1, new.1) {
        (Some(before), Some(after)) => {
            let aspects = aspects((old.0, &before), (new.0, &after))?;
            if aspects.is_empty() {
                return Ok(None);
            }
            (after.path, Difference::Changed(aspects))
        }
        (Some(before), None) => (before.path, Difference::Removed),
        (None, Some(after)) => (after.path, Difference::Added),
        (None, None) => return Ok(None),
    };
    Ok(Some(Change { path, what }))
}

fn aspects(old: (&dyn Image, &Entry<'_>), new: (&dyn Image, &Entry<'_>)) -> Result<Vec<Aspect>, ReadError> {
    let (before, after) = (old.1.metadata, new.1.metadata);
    let symlinks = matches!((old.1.kind, new.1.kind), (EntryKind::Symlink(_), EntryKind::Symlink(_)));
    let metadata = [
        // The mode of a symbolic link means nothing, and systems differ in what they show.
        (Aspect::Mode, before.mode != after.mode && !symlinks),
        (Aspect::Owner, (before.uid, before.gid) != (after.uid, after.gid)),
        (Aspect::Attributes, before.xattrs != after.xattrs),
        (Aspect::Time, before.mtime != after.mtime),
    ];
    let metadata = metadata
        .into_iter()
        .filter_map(|(aspect, differs)| differs.then_some(aspect));
    Ok(kind(old, new)?.into_iter().chain(metadata).collect())
}

fn kind(old: (&dyn Image, &Entry<'_>), new: (&dyn Image, &Entry<'_>)) -> Result<Option<Aspect>, ReadError> {
    use EntryKind::{BlockDevice, CharacterDevice, Directory, Fifo, File, Socket, Symlink};
    let (differs, aspect) = match (old.1.kind, new.1.kind) {
        (File { .. }, File { .. }) => (!same_content(old, new)?, Aspect::Content),
        (Symlink(before), Symlink(after)) => (before != after, Aspect::Target),
        (CharacterDevice { .. }, CharacterDevice { .. }) | (BlockDevice { .. }, BlockDevice { .. }) => {
            (old.1.kind != new.1.kind, Aspect::Device)
        }
        (Directory, Directory) | (Fifo, Fifo) | (Socket, Socket) => (false, Aspect::Kind),
        _ => (true, Aspect::Kind),
    };
    Ok(differs.then_some(aspect))
}

fn same_content(old: (&dyn Image, &Entry<'_>), new: (&dyn Image, &Entry<'_>)) -> Result<bool, ReadError> {
    if let (Some(before), Some(after)) = (old.1.object(), new.1.object()) {
        return Ok(before == after);
    }
    let size = new.1.size().unwrap_or(0);
    if old.1.size() != new.1.size() {
        return Ok(false);
    }
    let mut start = 0;
    while start < size {
        let range = start..size.min(start + WINDOW);
        if old.0.read_at(old.1.inode, range.clone())? != new.0.read_at(new.1.inode, range.clone())? {
            return Ok(false);
        }
        start = range.end;
    }
    Ok(true)
}

impl fmt::Display for Change {
    /// One line: `+ path`, `- path`, or `~ path (content, mode)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = show(&self.path);
        match &self.what {
            Difference::Added => write!(f, "+ {path}"),
            Difference::Removed => write!(f, "- {path}"),
            Difference::Changed(aspects) => {
                let names: Vec<String> = aspects.iter().map(Aspect::to_string).collect();
                write!(f, "~ {path} ({})", names.join(", "))
            }
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Target => "target",
            Self::Device => "device",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Attributes => "attributes",
            Self::Time => "time",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_a_walk_is_not_that_of_the_bytes() {
        let walk = ["", "a", "a/b", "a/b/c", "a/c", "a!", "b"];
        assert!(walk.is_sorted_by(|a, b| walk_order(a.as_bytes(), b.as_bytes()).is_lt()));
    }
}
