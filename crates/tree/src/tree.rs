//! The tree itself: inodes, names, and the ways to change them.

use std::collections::BTreeMap;
use std::fmt;

use crate::Content;

/// A file name: any bytes but `/` and NUL, never empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Which inode of its tree; equal ids are hard links of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(u32);

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// What every inode has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Extended attributes, by full name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What kind of file an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory and its names.
    Directory(BTreeMap<Name, InodeId>),
    /// A regular file.
    File(Content),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A unix socket's place in the tree.
    Socket,
}

/// One file of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Mode, owner, times, attributes.
    pub metadata: Metadata,
    /// What it is and holds.
    pub kind: Kind,
}

/// A name met on a walk.
#[derive(Debug, Clone)]
pub struct Entry<'t> {
    /// The path from the root, without a leading `/`; empty for the root itself.
    pub path: Vec<u8>,
    /// Which inode.
    pub id: InodeId,
    /// The inode.
    pub inode: &'t Inode,
}

/// Why a tree could not be changed as asked. Each variant carries the path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeError {
    /// A path with `..`, an empty name, or a NUL byte.
    #[error("{0}: not a path inside the tree")]
    BadPath(String),
    /// A parent of the path is something other than a directory.
    #[error("{0}: not a directory")]
    NotADirectory(String),
    /// More symbolic links on the way, or longer ones, than anybody follows: most likely they lead in a circle.
    #[error("{0}: too many or too long symbolic links on the way")]
    TooManyLinks(String),
    /// There is no such file.
    #[error("{0}: no such file in the tree")]
    NotFound(String),
}

/// A filesystem tree. See the crate's page for the rules.
#[derive(Debug, Clone)]
pub struct Tree {
    inodes: Vec<Inode>,
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// [`TreeError::BadPath`] when it is empty, `.`, `..`, or holds `/` or NUL.
    pub fn new(bytes: &[u8]) -> Result<Self, TreeError> {
        let bad = bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.iter().any(|b| matches!(b, b'/' | 0));
        if bad {
            Err(TreeError::BadPath(lossy(bytes)))
        } else {
            Ok(Self(bytes.into()))
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lossy(&self.0))
    }
}

impl Metadata {
    /// Root's file with these permission bits, at the start of 1970, without attributes.
    pub fn root(mode: u32) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new(Metadata::root(0o755))
    }
}

impl Tree {
    /// The id of the root directory in every tree.
    pub const ROOT: InodeId = InodeId(0);

    /// A tree with only a root directory.
    pub fn new(root: Metadata) -> Self {
        Self {
            inodes: vec![Inode {
                metadata: root,
                kind: Kind::Directory(BTreeMap::new()),
            }],
        }
    }

    /// How many inodes were ever made, those included that no name stands for any more: what the tree takes in memory.
    pub fn inode_count(&self) -> usize {
        self.inodes.len()
    }

    /// The inode with this id.
    ///
    /// # Panics
    /// When the id comes from another tree.
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0 as usize]
    }

    /// The inode with this id, to be changed.
    ///
    /// # Panics
    /// When the id comes from another tree.
    pub fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.0 as usize]
    }

    /// Finds a path (`usr/bin/env`, a leading `/` is ignored); does not follow symbolic links.
    pub fn find(&self, path: impl AsRef<[u8]>) -> Option<InodeId> {
        let mut id = Self::ROOT;
        for part in parts(path.as_ref()) {
            let Kind::Directory(entries) = &self.inode(id).kind else {
                return None;
            };
            id = *entries.get(&Name::new(part).ok()?)?;
        }
        Some(id)
    }

    /// The inode at a path, if there is one; does not follow symbolic links.
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<&Inode> {
        self.find(path).map(|id| self.inode(id))
    }

    /// Puts an inode at a path, replacing what was there; missing parents become root's directories of mode 0755.
    /// A directory put over a directory keeps the names inside and takes the new metadata.
    ///
    /// # Errors
    /// [`TreeError::BadPath`], [`TreeError::NotADirectory`].
    pub fn insert(&mut self, path: impl AsRef<[u8]>, inode: Inode) -> Result<InodeId, TreeError> {
        let path = path.as_ref();
        if let Some(id) = self.find(path)
            && let (Kind::Directory(_), Kind::Directory(new)) = (&self.inode(id).kind, &inode.kind)
            && (new.is_empty() || id == Self::ROOT)
        {
            self.inode_mut(id).metadata = inode.metadata;
            return Ok(id);
        }
        let id = self.allocate(inode);
        self.link(path, id)?;
        Ok(id)
    }

    /// Puts a regular file owned by root at a path.
    ///
    /// # Errors
    /// As [`Tree::insert`].
    pub fn insert_file(
        &mut self,
        path: impl AsRef<[u8]>,
        mode: u32,
        content: impl Into<Content>,
    ) -> Result<InodeId, TreeError> {
        self.insert(
            path,
            Inode {
                metadata: Metadata::root(mode),
                kind: Kind::File(content.into()),
            },
        )
    }

    /// Makes sure that a directory owned by root stands at a path, with this mode.
    ///
    /// # Errors
    /// As [`Tree::insert`].
    pub fn insert_directory(&mut self, path: impl AsRef<[u8]>, mode: u32) -> Result<InodeId, TreeError> {
        self.insert(
            path,
            Inode {
                metadata: Metadata::root(mode),
                kind: Kind::Directory(BTreeMap::new()),
            },
        )
    }

    /// Puts a symbolic link owned by root at a path.
    ///
    /// # Errors
    /// As [`Tree::insert`].
    pub fn insert_symlink(&mut self, path: impl AsRef<[u8]>, target: impl Into<Vec<u8>>) -> Result<InodeId, TreeError> {
        self.insert(
            path,
            Inode {
                metadata: Metadata::root(0o777),
                kind: Kind::Symlink(target.into()),
            },
        )
    }

    /// Gives an inode of this tree one more name (a hard link), replacing what the name stood for.
    ///
    /// # Errors
    /// As [`Tree::insert`].
    pub fn link(&mut self, path: impl AsRef<[u8]>, id: InodeId) -> Result<(), TreeError> {
        let path = path.as_ref();
        let all: Vec<&[u8]> = parts(path).collect();
        let Some((last, parents)) = all.split_last() else {
            return Err(TreeError::BadPath("/".to_owned()));
        };
        let last = Name::new(last)?;
        let mut directory = Self::ROOT;
        for part in parents {
            let name = Name::new(part)?;
            directory = match self.entries(directory, path)?.get(&name) {
                Some(id) => *id,
                None => {
                    let made = self.allocate(Inode {
                        metadata: Metadata::root(0o755),
                        kind: Kind::Directory(BTreeMap::new()),
                    });
                    self.entries_mut(directory, path)?.insert(name, made);
                    made
                }
            };
        }
        self.entries_mut(directory, path)?.insert(last, id);
        Ok(())
    }

    /// Takes a path and all below it out of the tree.
    ///
    /// # Errors
    /// [`TreeError::NotFound`].
    pub fn remove(&mut self, path: impl AsRef<[u8]>) -> Result<(), TreeError> {
        let path = path.as_ref();
        let not_found = || TreeError::NotFound(lossy(path));
        let all: Vec<&[u8]> = parts(path).collect();
        let (last, parents) = all.split_last().ok_or_else(not_found)?;
        let directory = self.find(parents.join(&b'/')).ok_or_else(not_found)?;
        let name = Name::new(last)?;
        self.entries_mut(directory, path)?
            .remove(&name)
            .map(drop)
            .ok_or_else(not_found)
    }

    /// Every name, parents before children, siblings in bytewise order; the root comes first with an empty path.
    pub fn walk(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut pending = vec![(Vec::new(), Self::ROOT)];
        std::iter::from_fn(move || {
            let (path, id) = pending.pop()?;
            let inode = self.inode(id);
            if let Kind::Directory(entries) = &inode.kind {
                for (name, child) in entries.iter().rev() {
                    let mut child_path = path.clone();
                    if !child_path.is_empty() {
                        child_path.push(b'/');
                    }
                    child_path.extend_from_slice(name.as_bytes());
                    pending.push((child_path, *child));
                }
            }
            Some(Entry { path, id, inode })
        })
    }

    /// How many names each inode has, by id; the root counts one.
    pub fn link_counts(&self) -> BTreeMap<InodeId, u32> {
        let mut counts = BTreeMap::new();
        for entry in self.walk() {
            *counts.entry(entry.id).or_insert(0) += 1;
        }
        counts
    }

    /// Lays `upper` over this tree: its files replace ours, its directories join ours and bring their metadata.
    /// Hard links within `upper` stay hard links.
    ///
    /// # Errors
    /// [`TreeError::NotADirectory`] when `upper` has a path below one of our files.
    pub fn overlay(&mut self, upper: &Tree) -> Result<(), TreeError> {
        let mut moved: BTreeMap<InodeId, InodeId> = BTreeMap::new();
        for entry in upper.walk() {
            if entry.path.is_empty() {
                continue;
            }
            if let Some(id) = moved.get(&entry.id) {
                self.link(&entry.path, *id)?;
                continue;
            }
            let kind = match &entry.inode.kind {
                Kind::Directory(_) => Kind::Directory(BTreeMap::new()),
                other => other.clone(),
            };
            let inode = Inode {
                metadata: entry.inode.metadata.clone(),
                kind,
            };
            moved.insert(entry.id, self.insert(&entry.path, inode)?);
        }
        Ok(())
    }

    /// Another tree as it would be unpacked over this one: where this one has a link to a directory, such as `sbin` for
    /// `usr/sbin`, what the other one has below that name goes where the link leads.
    ///
    /// # Errors
    /// [`TreeError::NotADirectory`] and others, for links of this tree that lead nowhere.
    pub fn through_links(&self, upper: &Tree) -> Result<Tree, TreeError> {
        let root = upper.get("").map(|inode| inode.metadata.clone());
        let mut tree = Tree::new(root.unwrap_or_else(|| Metadata::root(0o755)));
        let mut moved: BTreeMap<InodeId, InodeId> = BTreeMap::new();
        for entry in upper.walk().filter(|entry| !entry.path.is_empty()) {
            let mut place = self.resolve_parent(&entry.path)?;
            let mut kind = entry.inode.kind.clone();
            if let Kind::Directory(entries) = &mut kind {
                entries.clear();
                let leads = matches!(self.get(&place).map(|inode| &inode.kind), Some(Kind::Symlink(_)));
                if leads
                    && matches!(
                        self.follow(&place).map(|id| &self.inode(id).kind),
                        Some(Kind::Directory(_))
                    )
                {
                    place = self.resolve(&place)?;
                    if tree.find(&place).is_some() {
                        continue;
                    }
                }
            }
            if let Some(id) = moved.get(&entry.id) {
                tree.link(&place, *id)?;
                continue;
            }
            let metadata = entry.inode.metadata.clone();
            moved.insert(entry.id, tree.insert(&place, Inode { metadata, kind })?);
        }
        Ok(tree)
    }

    fn allocate(&mut self, inode: Inode) -> InodeId {
        let id = u32::try_from(self.inodes.len()).expect("a tree of 4 billion files does not fit in memory");
        self.inodes.push(inode);
        InodeId(id)
    }

    fn entries(&self, id: InodeId, path: &[u8]) -> Result<&BTreeMap<Name, InodeId>, TreeError> {
        match &self.inode(id).kind {
            Kind::Directory(entries) => Ok(entries),
            _ => Err(TreeError::NotADirectory(lossy(path))),
        }
    }

    fn entries_mut(&mut self, id: InodeId, path: &[u8]) -> Result<&mut BTreeMap<Name, InodeId>, TreeError> {
        match &mut self.inode_mut(id).kind {
            Kind::Directory(entries) => Ok(entries),
            _ => Err(TreeError::NotADirectory(lossy(path))),
        }
    }
}

/// Two trees are equal when they have the same names for the same inodes, whatever the ids are.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        let mut ours = self.walk();
        let mut theirs = other.walk();
        let mut pairs: BTreeMap<InodeId, InodeId> = BTreeMap::new();
        let mut back: BTreeMap<InodeId, InodeId> = BTreeMap::new();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(a), Some(b)) => {
                    let same_links =
                        *pairs.entry(a.id).or_insert(b.id) == b.id && *back.entry(b.id).or_insert(a.id) == a.id;
                    if a.path != b.path || !same_links || !same_inode(a.inode, b.inode) {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }
}

fn same_inode(a: &Inode, b: &Inode) -> bool {
    let same_kind = match (&a.kind, &b.kind) {
        (Kind::Directory(_), Kind::Directory(_)) => true,
        (Kind::File(a), Kind::File(b)) => a == b || (a.len() == b.len() && a.read().ok() == b.read().ok()),
        (a, b) => a == b,
    };
    same_kind && a.metadata == b.metadata
}

/// The names of a path; a leading `/`, `./`, doubled and trailing slashes do not count.
pub(crate) fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tree: &Tree) -> Vec<String> {
        tree.walk().map(|entry| lossy(&entry.path)).collect()
    }

    #[test]
    fn a_tree_is_laid_through_links_to_directories() {
        let mut lower = Tree::default();
        lower.insert_directory("usr/sbin", 0o755).unwrap();
        lower.insert_symlink("sbin", "usr/sbin").unwrap();
        lower.insert_symlink("file", "usr/nothing").unwrap();
        let mut upper = Tree::default();
        let id = upper.insert_file("sbin/init", 0o755, "i").unwrap();
        upper.link("usr/sbin/again", id).unwrap();
        upper.insert_file("file", 0o644, "f").unwrap();
        let through = lower.through_links(&upper).unwrap();
        assert_eq!(
            paths(&through),
            ["", "file", "usr", "usr/sbin", "usr/sbin/again", "usr/sbin/init"]
        );
        assert_eq!(through.find("usr/sbin/again"), through.find("usr/sbin/init"));
        lower.overlay(&through).unwrap();
        assert!(matches!(lower.get("sbin").unwrap().kind, Kind::Symlink(_)));
        assert!(matches!(lower.get("file").unwrap().kind, Kind::File(_)));
        assert!(Tree::default().through_links(&upper).unwrap() == upper);
    }

    #[test]
    fn walk_is_sorted_and_parents_come_first() {
        let mut tree = Tree::default();
        tree.insert_file("b/z", 0o644, "z").unwrap();
        tree.insert_file("/b/a", 0o644, "a").unwrap();
        tree.insert_file("./a", 0o644, "").unwrap();
        assert_eq!(paths(&tree), ["", "a", "b", "b/a", "b/z"]);
    }

    #[test]
    fn paths_cannot_leave_the_tree() {
        let mut tree = Tree::default();
        assert!(matches!(
            tree.insert_file("a/../../etc/passwd", 0o644, ""),
            Err(TreeError::BadPath(_))
        ));
        assert!(matches!(
            tree.insert_file("a\0b", 0o644, ""),
            Err(TreeError::BadPath(_))
        ));
        tree.insert_symlink("link", "/etc").unwrap();
        assert!(matches!(
            tree.insert_file("link/passwd", 0o644, ""),
            Err(TreeError::NotADirectory(_))
        ));
    }

    #[test]
    fn overlay_joins_directories_replaces_files_and_keeps_hard_links() {
        let mut lower = Tree::default();
        lower.insert_file("etc/hostname", 0o644, "old").unwrap();
        lower.insert_file("etc/hosts", 0o644, "kept").unwrap();
        let mut upper = Tree::default();
        let id = upper.insert_file("etc/hostname", 0o600, "new").unwrap();
        upper.link("etc/name", id).unwrap();
        lower.overlay(&upper).unwrap();
        assert_eq!(paths(&lower), ["", "etc", "etc/hostname", "etc/hosts", "etc/name"]);
        assert_eq!(lower.find("etc/hostname"), lower.find("etc/name"));
        assert_eq!(lower.get("etc/name").unwrap().metadata.mode, 0o600);
    }

    #[test]
    fn remove_takes_all_below() {
        let mut tree = Tree::default();
        tree.insert_file("usr/share/doc/a", 0o644, "").unwrap();
        tree.remove("usr/share").unwrap();
        assert_eq!(paths(&tree), ["", "usr"]);
        assert_eq!(
            tree.remove("usr/share"),
            Err(TreeError::NotFound("usr/share".to_owned()))
        );
    }
}
