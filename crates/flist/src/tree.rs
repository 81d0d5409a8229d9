//! An image as a tree in memory.

use std::collections::HashMap;

use mos_tree::{Content, Inode, InodeId, Kind, Tree, TreeError};

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
    let content = |entry: &Entry<'_>| -> Result<Content, TreeReadError> {
        let mut bytes = Vec::new();
        image.read_file(entry, &mut bytes)?;
        Ok(bytes.into())
    };
    Ok(plant(image.entries(), content)?.0)
}

/// A tree of these entries; `content` gives that of each file. Also says which inode of the tree each inode of the image
/// became.
pub(crate) fn plant<'f, E: From<TreeError>>(
    entries: impl Iterator<Item = Entry<'f>>,
    content: impl Fn(&Entry<'f>) -> Result<Content, E>,
) -> Result<(Tree, HashMap<u64, InodeId>), E> {
    let mut tree = Tree::default();
    let mut known: HashMap<u64, InodeId> = HashMap::new();
    for entry in entries {
        if let Some(id) = known.get(&entry.inode) {
            tree.link(&entry.path, *id)?;
            continue;
        }
        let inode = Inode {
            metadata: entry.metadata.clone(),
            kind: match entry.kind {
                EntryKind::File { .. } => Kind::File(content(&entry)?),
                EntryKind::Directory => Kind::Directory(Default::default()),
                EntryKind::Symlink(target) => Kind::Symlink(target.to_vec()),
                EntryKind::CharacterDevice { major, minor } => Kind::CharacterDevice { major, minor },
                EntryKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
                EntryKind::Fifo => Kind::Fifo,
                EntryKind::Socket => Kind::Socket,
            },
        };
        let id = tree.insert(&entry.path, inode)?;
        if !matches!(entry.kind, EntryKind::Directory) {
            known.insert(entry.inode, id);
        }
    }
    Ok((tree, known))
}
