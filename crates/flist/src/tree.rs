//! An image as a tree in memory.

use std::collections::HashMap;

use mos_tree::{Inode, InodeId, Kind, Tree, TreeError};

use crate::error::ReadError;
use crate::flist::{Entry, EntryKind};
use crate::image::Image;

/// Why an image could not be read into a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeReadError {
    /// Content.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A path that a tree does not take.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Reads everything, content included, into memory. The tree is equal to the one that was packed.
///
/// # Errors
/// [`TreeReadError`].
pub fn to_tree(image: &dyn Image) -> Result<Tree, TreeReadError> {
    let mut tree = Tree::default();
    let mut linked: HashMap<u64, InodeId> = HashMap::new();
    for entry in image.entries() {
        if let Some(id) = linked.get(&entry.inode) {
            tree.link(&entry.path, *id)?;
            continue;
        }
        let inode = Inode {
            metadata: entry.metadata.clone(),
            kind: kind(image, &entry)?,
        };
        let id = tree.insert(&entry.path, inode)?;
        if !matches!(entry.kind, EntryKind::Directory) {
            linked.insert(entry.inode, id);
        }
    }
    Ok(tree)
}

fn kind(image: &dyn Image, entry: &Entry<'_>) -> Result<Kind, ReadError> {
    Ok(match entry.kind {
        EntryKind::Directory => Kind::Directory(Default::default()),
        EntryKind::File { .. } => {
            let mut bytes = Vec::new();
            image.read_file(entry, &mut bytes)?;
            Kind::File(bytes.into())
        }
        EntryKind::Symlink(target) => Kind::Symlink(target.to_vec()),
        EntryKind::CharacterDevice { major, minor } => Kind::CharacterDevice { major, minor },
        EntryKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
        EntryKind::Fifo => Kind::Fifo,
        EntryKind::Socket => Kind::Socket,
    })
}
