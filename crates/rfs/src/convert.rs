//! From one format to the other: any image as a tree that either packer takes.
//!
//! The content goes through one file on disk, because a gigabyte would not fit into memory twice. It is removed when
//! the [`Spooled`] is dropped; until then the tree reads from it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mos_flist::{Entry, EntryKind, Image, ReadError};
use mos_tree::{Content, Inode, InodeId, Kind, Tree, TreeError};

/// A tree and the file that its content lies in.
#[derive(Debug)]
pub struct Spooled {
    tree: Tree,
    path: PathBuf,
}

/// Why an image could not be made a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// Content.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A path that a tree does not take.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The file that the content goes through.
    #[error("{path}: {source}; is there room for all content?")]
    Spool {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Spooled {
    /// Reads an image, content included. `directory` needs room for all of it.
    ///
    /// # Errors
    /// [`ConvertError`]; nothing is left behind.
    pub fn new(image: &dyn Image, directory: &Path) -> Result<Self, ConvertError> {
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |source| ConvertError::Spool { path, source }
        };
        let path = mos_sys::durable::temporary_beside(&directory.join("spool")).map_err(wrong(directory))?;
        let file = File::create_new(&path).map_err(wrong(&path))?;
        // From here on the file is removed whatever happens.
        let mut spooled = Self {
            tree: Tree::default(),
            path,
        };
        let mut spool = Spool {
            path: Arc::new(spooled.path.clone()),
            out: BufWriter::new(file),
            length: 0,
        };
        spooled.tree = spool.tree(image)?;
        spool.out.flush().map_err(wrong(&spooled.path))?;
        Ok(spooled)
    }

    /// The tree; its content can be read as long as this value lives.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        // What cannot be removed has the name of an unfinished file, which is swept later.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The file while it is written.
struct Spool {
    path: Arc<PathBuf>,
    out: BufWriter<File>,
    length: u64,
}

impl Spool {
    fn tree(&mut self, image: &dyn Image) -> Result<Tree, ConvertError> {
        let mut tree = Tree::default();
        let mut linked: HashMap<u64, InodeId> = HashMap::new();
        for entry in image.entries() {
            if let Some(id) = linked.get(&entry.inode) {
                tree.link(&entry.path, *id)?;
                continue;
            }
            let inode = Inode {
                metadata: entry.metadata.clone(),
                kind: self.kind(image, &entry)?,
            };
            let id = tree.insert(&entry.path, inode)?;
            if !matches!(entry.kind, EntryKind::Directory) {
                linked.insert(entry.inode, id);
            }
        }
        Ok(tree)
    }

    fn kind(&mut self, image: &dyn Image, entry: &Entry<'_>) -> Result<Kind, ConvertError> {
        Ok(match entry.kind {
            EntryKind::Directory => Kind::Directory(Default::default()),
            EntryKind::File { size, .. } => {
                image.read_file(entry, &mut self.out)?;
                let offset = self.length;
                self.length += size;
                Kind::File(Content::Range {
                    path: self.path.clone(),
                    offset,
                    length: size,
                    stamp: None,
                })
            }
            EntryKind::Symlink(target) => Kind::Symlink(target.to_vec()),
            EntryKind::CharacterDevice { major, minor } => Kind::CharacterDevice { major, minor },
            EntryKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            EntryKind::Fifo => Kind::Fifo,
            EntryKind::Socket => Kind::Socket,
        })
    }
}
