//! What a mount answers questions from: every inode and every name of an image, in flat arrays.
//!
//! An inode is known to the kernel by its number in the image, so that a restarted daemon answers for the same
//! numbers. Nodes stand in the order of their numbers, the names of a directory side by side in bytewise order: both
//! are found by binary search, and nothing is allocated for a single inode. About 150 bytes for a file.

use std::collections::HashMap;
use std::ops::Range;

use mos_flist::{Entry, EntryKind, Image, ObjectDigest};

/// The number by which the kernel asks for the root (`FUSE_ROOT_ID`).
const ROOT: u64 = 1;
/// `S_IFMT` bits by kind.
const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;
const BLOCK: u32 = 0o060_000;
const FIFO: u32 = 0o010_000;
const SOCKET: u32 = 0o140_000;
/// What a directory says its size is: one block, as most file systems say of a small one.
const DIRECTORY_SIZE: u64 = 4096;

/// An inode's place in the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(u32);

impl NodeId {
    /// Its place among all of them.
    pub(crate) fn place(self) -> usize {
        self.0 as usize
    }
}

/// An inode.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its number in the image.
    pub(crate) ino: u64,
    pub(crate) size: u64,
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
    /// Type and permissions, as in `st_mode`.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u32,
    /// As in `st_rdev`.
    pub(crate) device: u32,
    /// The directory it was met in first.
    parent: NodeId,
    /// Which of the names are its own: of a directory its children, of anything else the name it was met by first.
    names: Range<u32>,
    /// Where its object's digest or its link's target is.
    more: u32,
}

#[derive(Debug)]
struct NameRecord {
    node: NodeId,
    start: u32,
    length: u16,
}

/// Everything but content.
#[derive(Debug)]
pub(crate) struct Index {
    nodes: Vec<Node>,
    root: NodeId,
    names: Vec<NameRecord>,
    name_bytes: Vec<u8>,
    objects: Vec<ObjectDigest>,
    targets: Vec<Box<[u8]>>,
    xattrs: HashMap<NodeId, Xattrs>,
    content: u64,
}

/// Attributes of an inode: names and values.
pub(crate) type Xattrs = Box<[Xattr]>;
/// A name and a value.
pub(crate) type Xattr = (Box<[u8]>, Box<[u8]>);

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Child<'i> {
    pub(crate) name: &'i [u8],
    pub(crate) node: &'i Node,
}

impl Index {
    /// Reads the entries of an image; says what is wrong with them.
    pub(crate) fn build(image: &dyn Image) -> Result<Self, &'static str> {
        let mut numbers: Vec<u64> = image.entries().map(|entry| entry.inode).collect();
        let names = numbers.len();
        let root = *numbers.first().ok_or("it has no root")?;
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.iter().any(|number| *number <= ROOT && *number != root) {
            return Err("an inode has a number that is the root's");
        }
        if u32::try_from(names).is_err() {
            return Err("it has more than 2^32 names");
        }
        let mut builder = Builder::new(numbers, names);
        for entry in image.entries() {
            builder.take(&entry)?;
        }
        Ok(builder.finish())
    }

    /// The inode that the kernel calls by this number.
    pub(crate) fn find(&self, ino: u64) -> Option<NodeId> {
        if ino == ROOT {
            return Some(self.root);
        }
        let place = self.nodes.binary_search_by_key(&ino, |node| node.ino).ok()?;
        u32::try_from(place).ok().map(NodeId)
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The directory that an inode is in; of several names, that of the first.
    pub(crate) fn parent(&self, id: NodeId) -> &Node {
        self.node(self.node(id).parent)
    }

    /// The names of a directory from the `skip`th on; nothing for what is no directory.
    pub(crate) fn children(&self, id: NodeId, skip: usize) -> impl Iterator<Item = Child<'_>> {
        let names = self.records(id);
        names.get(skip..).unwrap_or_default().iter().map(|record| Child {
            name: self.name(record),
            node: self.node(record.node),
        })
    }

    /// The inode of this name in a directory.
    pub(crate) fn child(&self, id: NodeId, name: &[u8]) -> Option<&Node> {
        let records = self.records(id);
        let place = records.binary_search_by(|record| self.name(record).cmp(name)).ok()?;
        Some(self.node(records[place].node))
    }

    /// The path of a character device 0:0, if there is one: what overlayfs takes for a name that was removed.
    pub(crate) fn whiteout(&self) -> Option<Vec<u8>> {
        let found = self.ids().find(|id| self.node(*id).is_whiteout());
        found.map(|id| self.path(id))
    }

    /// The inode at a path below the root.
    pub(crate) fn at(&self, path: &[u8]) -> Option<NodeId> {
        let mut id = self.root;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            id = self.find(self.child(id, name)?.ino)?;
        }
        Some(id)
    }

    /// The first path of an inode, without a leading slash; empty for the root.
    pub(crate) fn path(&self, id: NodeId) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = id;
        while at != self.root {
            let parent = self.node(at).parent;
            let name = self.records_of(parent).iter().find(|record| record.node == at);
            names.push(name.map_or(&b"?"[..], |record| self.name(record)));
            at = parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The fs-verity digest of a regular file, if the image names it.
    pub(crate) fn object(&self, id: NodeId) -> Option<ObjectDigest> {
        let node = self.node(id);
        node.is_file().then(|| self.objects.get(node.more as usize).copied())?
    }

    /// For a mount that keeps no objects: their names, 32 bytes for each file, are of no use to it.
    pub(crate) fn forget_objects(&mut self) {
        self.objects = Vec::new();
    }

    /// The target of a symbolic link.
    pub(crate) fn target(&self, id: NodeId) -> Option<&[u8]> {
        let node = self.node(id);
        (node.mode & 0o170_000 == SYMLINK).then(|| &*self.targets[node.more as usize])
    }

    /// An inode's extended attributes.
    pub(crate) fn xattrs(&self, id: NodeId) -> &[Xattr] {
        self.xattrs.get(&id).map_or(&[], |xattrs| xattrs)
    }

    /// True when any inode has extended attributes.
    pub(crate) fn has_xattrs(&self) -> bool {
        !self.xattrs.is_empty()
    }

    /// True when any inode has an access list, which the kernel must be told to look at.
    pub(crate) fn has_access_lists(&self) -> bool {
        let mut all = self.xattrs.values().flat_map(|xattrs| xattrs.iter());
        all.any(|(name, _)| name.starts_with(b"system.posix_acl_"))
    }

    /// All inodes.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> {
        (0..self.nodes.len()).filter_map(|place| u32::try_from(place).ok().map(NodeId))
    }

    /// Bytes of content of the inode at a place; 0 for what is no file.
    pub(crate) fn content_at(&self, place: usize) -> u64 {
        self.nodes
            .get(place)
            .filter(|node| node.is_file())
            .map_or(0, |node| node.size)
    }

    /// The number of the inode at a place.
    pub(crate) fn ino_at(&self, place: usize) -> Option<u64> {
        self.nodes.get(place).map(|node| node.ino)
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of all files.
    pub(crate) fn content_length(&self) -> u64 {
        self.content
    }

    fn records(&self, id: NodeId) -> &[NameRecord] {
        if self.node(id).is_directory() {
            self.records_of(id)
        } else {
            &[]
        }
    }

    fn records_of(&self, id: NodeId) -> &[NameRecord] {
        let names = &self.node(id).names;
        &self.names[names.start as usize..names.end as usize]
    }

    fn name(&self, record: &NameRecord) -> &[u8] {
        &self.name_bytes[record.start as usize..record.start as usize + usize::from(record.length)]
    }
}

impl Node {
    pub(crate) fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == DIRECTORY
    }

    pub(crate) fn is_file(&self) -> bool {
        self.mode & 0o170_000 == FILE
    }

    fn is_whiteout(&self) -> bool {
        self.mode & 0o170_000 == CHARACTER && self.device == 0
    }
}

/// Collects entries, which come parents first.
struct Builder {
    numbers: Vec<u64>,
    nodes: Vec<Option<Node>>,
    /// Directories on the way to the last entry: where its path ends in `path`, and which it is.
    way: Vec<(usize, NodeId)>,
    path: Vec<u8>,
    /// Names and their directories, in the order of the entries.
    found: Vec<(NodeId, NameRecord)>,
    index: Index,
}

impl Builder {
    fn new(numbers: Vec<u64>, names: usize) -> Self {
        Self {
            nodes: numbers.iter().map(|_| None).collect(),
            numbers,
            way: Vec::new(),
            path: Vec::new(),
            found: Vec::with_capacity(names),
            index: Index {
                nodes: Vec::new(),
                root: NodeId(0),
                names: Vec::new(),
                name_bytes: Vec::new(),
                objects: Vec::new(),
                targets: Vec::new(),
                xattrs: HashMap::new(),
                content: 0,
            },
        }
    }

    fn take(&mut self, entry: &Entry<'_>) -> Result<(), &'static str> {
        const ODD: &str = "its entries are not in the order of a walk";
        let place = self.numbers.binary_search(&entry.inode).map_err(|_| ODD)?;
        let id = NodeId(u32::try_from(place).map_err(|_| ODD)?);
        let parent = self.parent(&entry.path, id).ok_or(ODD)?;
        if self.nodes[place].is_none() {
            let node = self.node(entry, parent, id);
            self.nodes[place] = Some(node);
        }
        if matches!(entry.kind, EntryKind::Directory) {
            self.path.clone_from(&entry.path);
            self.way.push((entry.path.len(), id));
        }
        Ok(())
    }

    /// Notes the name under its directory; gives the directory.
    fn parent(&mut self, path: &[u8], id: NodeId) -> Option<NodeId> {
        if path.is_empty() {
            self.index.root = id;
            return Some(id);
        }
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let directory = &path[..slash.unwrap_or(0)];
        while self.way.last().is_some_and(|(end, _)| self.path[..*end] != *directory) {
            self.way.pop();
        }
        let (_, parent) = *self.way.last()?;
        let name = &path[slash.map_or(0, |slash| slash + 1)..];
        let record = NameRecord {
            node: id,
            start: u32::try_from(self.index.name_bytes.len()).ok()?,
            length: u16::try_from(name.len()).ok()?,
        };
        self.index.name_bytes.extend_from_slice(name);
        self.found.push((parent, record));
        Some(parent)
    }

    fn node(&mut self, entry: &Entry<'_>, parent: NodeId, id: NodeId) -> Node {
        let metadata = entry.metadata;
        if !metadata.xattrs.is_empty() {
            let all = metadata.xattrs.iter();
            let all = all.map(|(name, value)| (name.as_slice().into(), value.as_slice().into()));
            self.index.xattrs.insert(id, all.collect());
        }
        let (kind, size, device, more) = self.kind(&entry.kind);
        Node {
            ino: entry.inode,
            size,
            seconds: metadata.mtime.seconds,
            nanoseconds: metadata.mtime.nanoseconds,
            mode: kind | (metadata.mode & 0o7777),
            uid: metadata.uid,
            gid: metadata.gid,
            links: entry.links,
            device,
            parent,
            names: 0..0,
            more,
        }
    }

    /// Type bits, size, device number, and where the rest is.
    fn kind(&mut self, kind: &EntryKind<'_>) -> (u32, u64, u32, u32) {
        // There are fewer of either than names, of which there are fewer than 2^32.
        let place = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        match *kind {
            EntryKind::Directory => (DIRECTORY, DIRECTORY_SIZE, 0, 0),
            EntryKind::File { size, object } => {
                self.index.content = self.index.content.saturating_add(size);
                let more = object.map_or(u32::MAX, |_| place(self.index.objects.len()));
                self.index.objects.extend(object);
                (FILE, size, 0, more)
            }
            EntryKind::Symlink(target) => {
                self.index.targets.push(target.into());
                (SYMLINK, target.len() as u64, 0, place(self.index.targets.len() - 1))
            }
            EntryKind::CharacterDevice { major, minor } => (CHARACTER, 0, device(major, minor), 0),
            EntryKind::BlockDevice { major, minor } => (BLOCK, 0, device(major, minor), 0),
            EntryKind::Fifo => (FIFO, 0, 0, 0),
            EntryKind::Socket => (SOCKET, 0, 0, 0),
        }
    }

    /// Puts the names of each directory side by side, in the order in which they came.
    fn finish(mut self) -> Index {
        self.found.sort_by_key(|(parent, _)| *parent);
        let mut nodes: Vec<Node> = self.nodes.into_iter().flatten().collect();
        for (place, (parent, _)) in (0..).zip(&self.found) {
            let names = &mut nodes[parent.0 as usize].names;
            if names.start == names.end {
                *names = place..place;
            }
            names.end = place + 1;
        }
        self.index.names = self.found.into_iter().map(|(_, record)| record).collect();
        self.index.name_bytes.shrink_to_fit();
        self.index.objects.shrink_to_fit();
        self.index.nodes = nodes;
        self.index
    }
}

/// A device number as FUSE has it: the 32 bits of `new_encode_dev` in Linux.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}
