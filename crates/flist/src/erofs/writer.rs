//! A tree into an EROFS image.
//!
//! Four steps, each a function of the one before: *describe* every inode (attributes, bytes), *shrink* those that are
//! written in short, *lay out* (where each inode and each block goes), *write*. Inodes lie in the order of a walk by path, so that listing a directory reads
//! forward; blocks of large directories follow behind all inodes. Nothing depends on the time or the machine.

#[cfg(feature = "pack")]
use std::cmp::Reverse;
use std::collections::BTreeMap;

use mos_tree::{InodeId, Kind, Timestamp, Tree};
use zerocopy::IntoBytes as _;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::directory::{self, Dirent};
use super::format::{
    BLOCK, BLOCK_BITS, COMPAT_MTIME, EXTENDED, FILE_LIMIT, FLAT_INLINE, FLAT_PLAIN, FileType, MAGIC, NAME_LIMIT,
    NULL_ADDRESS, PATH_LIMIT, RawCompactInode, RawInode, SLOT, SUPER_OFFSET, SuperBlock, TAIL_LIMIT, TARGET_LIMIT,
    encode_device,
};
use super::xattr::{self, Style};
use crate::error::show;
use crate::verity::ObjectDigest;

/// What a regular file becomes in the image.
#[derive(Debug)]
pub(crate) enum FileBody {
    /// Its bytes, at most [`TAIL_LIMIT`].
    Inline(Vec<u8>),
    /// Its size, and the object's name.
    External { size: u64, object: ObjectDigest },
}

/// A regular file in an image.
#[derive(Debug)]
pub(crate) struct ImageFile {
    pub(crate) body: FileBody,
    /// When its content was changed last, where that is not what the tree says.
    pub(crate) modified: Option<Timestamp>,
}

/// What an image cannot hold: a path, and why.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) path: Vec<u8>,
    pub(crate) why: String,
}

impl Unfit {
    fn new(path: &[u8], why: &str) -> Self {
        Self {
            path: path.to_owned(),
            why: why.to_owned(),
        }
    }
}

/// An image, and the inode numbers in it.
pub(crate) struct Written {
    /// The image, 1,024 unused bytes first.
    pub(crate) image: Vec<u8>,
    pub(crate) nids: BTreeMap<InodeId, u64>,
}

/// An inode on its way into the image.
struct Draft {
    id: InodeId,
    path: Vec<u8>,
    parent: InodeId,
    links: u32,
    mtime: Timestamp,
    xattrs: Vec<u8>,
    data: Data,
    /// Written as a compact inode, once that is decided.
    compact: bool,
    /// Byte offset in the image, once laid out.
    offset: usize,
    /// First data block, once laid out.
    block: usize,
}

enum Data {
    /// Bytes in the image; those of a directory are only counted until every inode has its number.
    Bytes(Vec<u8>),
    /// Bytes of a file that are elsewhere, so many.
    Outside(u64),
    Device(u32),
}

/// Makes the image of a tree. `files` says what becomes of each regular file.
pub(crate) fn write(tree: &Tree, files: &BTreeMap<InodeId, ImageFile>, style: Style) -> Result<Written, Unfit> {
    let mut drafts = describe(tree, files, style)?;
    let epoch = shrink(&mut drafts, tree, style);
    let length = lay_out(&mut drafts)?;
    let nids: BTreeMap<InodeId, u64> = drafts
        .iter()
        .map(|draft| (draft.id, (draft.offset / SLOT) as u64))
        .collect();
    let mut image = vec![0; length];
    put(
        &mut image,
        SUPER_OFFSET,
        super_block(&drafts, length, epoch)?.as_bytes(),
    );
    for draft in &mut drafts {
        if let Kind::Directory(entries) = &tree.inode(draft.id).kind {
            draft.data = Data::Bytes(directory_bytes(tree, entries, |id| nids[&id], draft));
        }
        write_inode(&mut image, tree, draft, epoch);
    }
    Ok(Written { image, nids })
}

fn describe(tree: &Tree, files: &BTreeMap<InodeId, ImageFile>, style: Style) -> Result<Vec<Draft>, Unfit> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut seen: BTreeMap<InodeId, usize> = BTreeMap::new();
    let mut parents: Vec<InodeId> = Vec::new();
    for entry in tree.walk() {
        check_path(&entry.path)?;
        let depth = depth(&entry.path);
        parents.truncate(depth);
        let parent = parents.last().copied().unwrap_or(Tree::ROOT);
        parents.push(entry.id);
        if let Some(index) = seen.get(&entry.id) {
            drafts[*index].links += 1;
            continue;
        }
        seen.insert(entry.id, drafts.len());
        let modified = files.get(&entry.id).and_then(|file| file.modified);
        let mut draft = Draft {
            id: entry.id,
            path: entry.path,
            parent,
            links: 1,
            mtime: modified.unwrap_or(entry.inode.metadata.mtime),
            xattrs: Vec::new(),
            data: Data::Bytes(Vec::new()),
            compact: false,
            offset: 0,
            block: 0,
        };
        fill(&mut draft, tree, files, style)?;
        drafts.push(draft);
    }
    Ok(drafts)
}

/// How many names a path has.
fn depth(path: &[u8]) -> usize {
    if path.is_empty() {
        return 0;
    }
    path.split(|byte| *byte == b'/').count()
}

fn check_path(path: &[u8]) -> Result<(), Unfit> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    if path.len() > PATH_LIMIT || name.len() > NAME_LIMIT {
        return Err(Unfit::new(
            path,
            "its name has more than 255 bytes or its path more than 4,096",
        ));
    }
    Ok(())
}

/// Attributes, data and links of an inode that was met for the first time.
fn fill(draft: &mut Draft, tree: &Tree, files: &BTreeMap<InodeId, ImageFile>, style: Style) -> Result<(), Unfit> {
    let inode = tree.inode(draft.id);
    let unfit = |why: &str| Unfit::new(&draft.path, why);
    let mut object = None;
    draft.data = match &inode.kind {
        Kind::Directory(entries) => {
            let below = |id: &&InodeId| matches!(tree.inode(**id).kind, Kind::Directory(_));
            let below = u32::try_from(entries.values().filter(below).count());
            draft.links = below
                .ok()
                .and_then(|below| below.checked_add(2))
                .ok_or_else(|| unfit("too many directories"))?;
            Data::Bytes(directory_bytes(tree, entries, |_| 0, draft))
        }
        Kind::File(_) => match files.get(&draft.id).map(|file| &file.body) {
            Some(FileBody::Inline(bytes)) => Data::Bytes(bytes.clone()),
            Some(FileBody::External { size, object: name }) if *size <= FILE_LIMIT => {
                object = Some(*name);
                Data::Outside(*size)
            }
            _ => return Err(unfit("it is larger than 8 TiB")),
        },
        Kind::Symlink(target) if (1..=TARGET_LIMIT).contains(&target.len()) && !target.contains(&0) => {
            Data::Bytes(target.clone())
        }
        Kind::Symlink(_) => {
            return Err(unfit(
                "its target is empty, longer than 4,095 bytes, or holds a zero byte",
            ));
        }
        Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => Data::Device(
            encode_device(*major, *minor).ok_or_else(|| unfit("its device number is too large for Linux"))?,
        ),
        Kind::Fifo | Kind::Socket => Data::Bytes(Vec::new()),
    };
    if inode.metadata.mode > 0o7777 || inode.metadata.mtime.nanoseconds >= 1_000_000_000 {
        return Err(unfit(
            "its mode has more than permission bits, or its time more than a second of nanoseconds",
        ));
    }
    draft.xattrs = xattr::encode(&inode.metadata.xattrs, object, style)
        .map_err(|name| unfit(&format!("EROFS cannot hold its extended attribute {}", show(&name))))?;
    match xattr::area_count(draft.xattrs.len()) {
        Some(_) => Ok(()),
        None => Err(unfit("its extended attributes have more than 256 KiB")),
    }
}

fn file_type(kind: &Kind) -> FileType {
    match kind {
        Kind::Directory(_) => FileType::Directory,
        Kind::File(_) => FileType::Regular,
        Kind::Symlink(_) => FileType::Symlink,
        Kind::CharacterDevice { .. } => FileType::CharacterDevice,
        Kind::BlockDevice { .. } => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
    }
}

fn directory_bytes(
    tree: &Tree,
    entries: &BTreeMap<mos_tree::Name, InodeId>,
    nid: impl Fn(InodeId) -> u64,
    draft: &Draft,
) -> Vec<u8> {
    let code = FileType::Directory.code();
    let dot = |name, id| Dirent {
        nid: nid(id),
        code,
        name,
    };
    let mut all = vec![dot(&b"."[..], draft.id), dot(&b".."[..], draft.parent)];
    all.extend(entries.iter().map(|(name, id)| Dirent {
        nid: nid(*id),
        code: file_type(&tree.inode(*id).kind).code(),
        name: name.as_bytes(),
    }));
    all.sort_unstable_by_key(|entry| entry.name);
    directory::encode(&all)
}

/// Decides which inodes are compact, and what their times count from, which is returned.
fn shrink(drafts: &mut [Draft], tree: &Tree, style: Style) -> Timestamp {
    let epoch = match style {
        #[cfg(feature = "pack")]
        Style::Flist => widest(drafts),
        Style::Overlay => commonest(drafts.iter().map(|draft| draft.mtime)),
    };
    for draft in drafts {
        let timely = style != Style::Overlay || draft.mtime == epoch;
        draft.compact = timely && compact(draft, tree, epoch).is_some();
    }
    epoch
}

/// The value that is met most often; the default without any.
fn commonest<T: Ord + Default>(values: impl Iterator<Item = T>) -> T {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map(|(value, _)| value).unwrap_or_default()
}

/// The time that most others can count from: compact inodes share their nanoseconds, and have seconds after it.
#[cfg(feature = "pack")]
fn widest(drafts: &[Draft]) -> Timestamp {
    let nanoseconds = commonest(drafts.iter().map(|draft| draft.mtime.nanoseconds));
    let alike = drafts.iter().filter(|draft| draft.mtime.nanoseconds == nanoseconds);
    let mut seconds: Vec<i64> = alike.map(|draft| draft.mtime.seconds).collect();
    seconds.sort_unstable();
    let reached = |first: &i64| {
        let last = first.saturating_add(i64::from(u32::MAX));
        seconds.partition_point(|second| *second <= last) - seconds.partition_point(|second| second < first)
    };
    Timestamp {
        seconds: seconds
            .iter()
            .copied()
            .max_by_key(|first| (reached(first), Reverse(*first)))
            .unwrap_or_default(),
        nanoseconds,
    }
}

/// The compact form of an inode, where its numbers fit.
fn compact(draft: &Draft, tree: &Tree, epoch: Timestamp) -> Option<RawCompactInode> {
    let raw = extended(draft, tree);
    let after = draft.mtime.seconds.checked_sub(epoch.seconds)?;
    let fits = draft.mtime.nanoseconds == epoch.nanoseconds;
    fits.then_some(RawCompactInode {
        format: U16::new(raw.format.get() & !EXTENDED),
        xattr_count: raw.xattr_count,
        mode: raw.mode,
        links: U16::new(u16::try_from(raw.links.get()).ok()?),
        size: U32::new(u32::try_from(raw.size.get()).ok()?),
        mtime: U32::new(u32::try_from(after).ok()?),
        address: raw.address,
        number: raw.number,
        uid: U16::new(u16::try_from(raw.uid.get()).ok()?),
        gid: U16::new(u16::try_from(raw.gid.get()).ok()?),
        reserved: U32::ZERO,
    })
}

/// Gives every inode its place; returns the length of the image.
fn lay_out(drafts: &mut [Draft]) -> Result<usize, Unfit> {
    let mut position = SUPER_OFFSET + size_of::<SuperBlock>();
    for draft in drafts.iter_mut() {
        position = position.next_multiple_of(SLOT);
        let head = draft.length() + draft.xattrs.len();
        let tail = draft.data.tail();
        let into_block = (position + head) % BLOCK;
        if into_block + tail > BLOCK {
            // A tail may not cross a block: start it (nearly) on the next one.
            position += (BLOCK - into_block).next_multiple_of(SLOT);
        }
        draft.offset = position;
        position += head + tail;
    }
    let mut block = position.div_ceil(BLOCK);
    for draft in drafts.iter_mut() {
        let blocks = draft.data.blocks();
        draft.block = if blocks > 0 { block } else { 0 };
        block += blocks;
    }
    // Block numbers are 32 bits wide; this many bytes of metadata are beyond what a machine holds.
    match u32::try_from(block) {
        Ok(_) => Ok(block * BLOCK),
        Err(_) => Err(Unfit::new(b"", "its metadata does not fit into EROFS (16 TiB)")),
    }
}

impl Draft {
    /// Bytes of the inode alone.
    fn length(&self) -> usize {
        if self.compact {
            size_of::<RawCompactInode>()
        } else {
            size_of::<RawInode>()
        }
    }
}

impl Data {
    /// Bytes of the tail that lies behind the inode.
    fn tail(&self) -> usize {
        match self {
            Self::Bytes(bytes) if bytes.len() % BLOCK <= TAIL_LIMIT => bytes.len() % BLOCK,
            _ => 0,
        }
    }

    /// Blocks of its own.
    fn blocks(&self) -> usize {
        match self {
            Self::Bytes(bytes) => (bytes.len() - self.tail()).div_ceil(BLOCK),
            _ => 0,
        }
    }

    fn layout(&self) -> u16 {
        match self {
            other if other.tail() > 0 => FLAT_INLINE,
            _ => FLAT_PLAIN,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Outside(size) => *size,
            Self::Device(_) => 0,
        }
    }
}

fn super_block(drafts: &[Draft], length: usize, epoch: Timestamp) -> Result<SuperBlock, Unfit> {
    let root = drafts.first().map_or(0, |root| root.offset / SLOT);
    let root = u16::try_from(root).map_err(|_| Unfit::new(b"", "its root has too many attributes"))?;
    Ok(SuperBlock {
        magic: U32::new(MAGIC),
        checksum: U32::ZERO,
        feature_compat: U32::new(COMPAT_MTIME),
        block_bits: BLOCK_BITS,
        extra_slots: 0,
        root_nid: U16::new(root),
        inodes: U64::new(drafts.len() as u64),
        build_time: U64::new(epoch.seconds.cast_unsigned()),
        build_time_nanoseconds: U32::new(epoch.nanoseconds),
        blocks: U32::new(u32::try_from(length / BLOCK).expect("lay_out checked the number of blocks")),
        metadata_block: U32::ZERO,
        xattr_block: U32::ZERO,
        uuid: [0; 16],
        volume_name: [0; 16],
        feature_incompat: U32::ZERO,
        unused: [0; 44],
    })
}

fn write_inode(image: &mut [u8], tree: &Tree, draft: &Draft, epoch: Timestamp) {
    match compact(draft, tree, epoch).filter(|_| draft.compact) {
        Some(raw) => put(image, draft.offset, raw.as_bytes()),
        None => put(image, draft.offset, extended(draft, tree).as_bytes()),
    }
    let xattrs = draft.offset + draft.length();
    put(image, xattrs, &draft.xattrs);
    let behind = xattrs + draft.xattrs.len();
    match &draft.data {
        Data::Bytes(bytes) => {
            let (blocks, tail) = bytes.split_at(bytes.len() - draft.data.tail());
            put(image, draft.block * BLOCK, blocks);
            put(image, behind, tail);
        }
        Data::Outside(_) | Data::Device(_) => {}
    }
}

fn extended(draft: &Draft, tree: &Tree) -> RawInode {
    let inode = tree.inode(draft.id);
    let metadata = &inode.metadata;
    let permissions = u16::try_from(metadata.mode).expect("fill checked the mode");
    RawInode {
        format: U16::new(draft.data.layout() << 1 | EXTENDED),
        xattr_count: U16::new(xattr::area_count(draft.xattrs.len()).expect("fill checked the size")),
        mode: U16::new(permissions | file_type(&inode.kind).mode()),
        reserved: U16::ZERO,
        size: U64::new(draft.data.size()),
        address: U32::new(address(draft)),
        number: U32::new(u32::try_from(draft.offset / SLOT).unwrap_or(u32::MAX)),
        uid: U32::new(metadata.uid),
        gid: U32::new(metadata.gid),
        mtime: U64::new(draft.mtime.seconds.cast_unsigned()),
        mtime_nanoseconds: U32::new(draft.mtime.nanoseconds),
        links: U32::new(draft.links),
        reserved2: [0; 16],
    }
}

fn address(draft: &Draft) -> u32 {
    match &draft.data {
        Data::Bytes(_) => u32::try_from(draft.block).expect("lay_out checked the number of blocks"),
        Data::Outside(_) => NULL_ADDRESS,
        Data::Device(device) => *device,
    }
}

fn put(image: &mut [u8], offset: usize, bytes: &[u8]) {
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}
