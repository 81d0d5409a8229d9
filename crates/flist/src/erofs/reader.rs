//! An EROFS image into inodes and names.
//!
//! Everything is checked here, once, and nothing is trusted: offsets, lengths, sorted unique names, one parent for
//! each directory, inodes in the order of their paths, link counts. Work and memory are bounded by the size of the image, because all distinct inodes
//! together may not claim more bytes than the image has, however a hostile one makes them overlap.

use std::collections::HashMap;
use std::ops::Range;

use mos_tree::{Metadata, Name, Timestamp};
use zerocopy::FromBytes as _;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::directory::{Dirent, decode_block};
use super::format::{
    BLOCK, BLOCK_BITS, COMPAT_MTIME, EXTENDED, FILE_LIMIT, FLAT_INLINE, FLAT_PLAIN, FileType, MAGIC, NULL_ADDRESS,
    PATH_LIMIT, RawCompactInode, RawInode, SLOT, SUPER_OFFSET, SuperBlock, TARGET_LIMIT, decode_device,
};
use super::xattr::{self, area_length};
use crate::error::FlistError;
use crate::verity::ObjectDigest;

/// What an image holds.
#[derive(Debug)]
pub(crate) struct Image {
    /// Every inode once, in the order in which a walk by path meets them, which is that of their numbers.
    pub(crate) inodes: Vec<Inode>,
    /// Every name, parents before children, siblings in bytewise order; the root first.
    pub(crate) names: Vec<NameRecord>,
    /// What inodes have in common: there are far fewer of these.
    pub(crate) metadata: Vec<Metadata>,
}

/// An inode, checked.
#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) nid: u64,
    pub(crate) links: u32,
    /// Index of its metadata.
    pub(crate) metadata: u32,
    pub(crate) kind: Kind,
}

/// What an inode is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    /// A small file: where its bytes lie in the image.
    Inline {
        bytes: Part,
        object: Box<ObjectDigest>,
    },
    /// A file whose content is in chunks: the n-th of these.
    External {
        size: u64,
        number: usize,
    },
    Symlink(Box<[u8]>),
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
    Socket,
}

/// A name in the tree.
#[derive(Debug, Clone)]
pub(crate) struct NameRecord {
    /// Where the name lies in the image; empty for the root.
    pub(crate) name: Part,
    /// How many names the path has; 0 for the root.
    pub(crate) depth: u16,
    /// Index of the inode.
    pub(crate) inode: u32,
}

/// A short part of the image. There is one for every name, and a mount has them in memory for as long as it lasts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Part {
    start: usize,
    length: u16,
}

impl Part {
    /// None for one of 64 KiB or more.
    fn new(range: &Range<usize>) -> Option<Self> {
        Some(Self {
            start: range.start,
            length: u16::try_from(range.len()).ok()?,
        })
    }

    /// As a range of the image's bytes.
    pub(crate) fn range(self) -> Range<usize> {
        self.start..self.start + usize::from(self.length)
    }
}

/// A name still to be looked at.
struct Pending {
    nid: u64,
    parent: u64,
    /// Type in the directory entry.
    code: u8,
    depth: u16,
    path_length: usize,
    name: Range<usize>,
}

struct Reader<'a> {
    image: &'a [u8],
    metadata_start: u64,
    /// What the times of compact inodes count from.
    epoch: Timestamp,
    /// Bytes that inodes and directories may still claim.
    budget: usize,
    /// Names that may still come: each takes a directory entry of its own.
    names_left: usize,
    /// Links each inode says it has, to be compared at the end; by index.
    said_links: Vec<u32>,
    /// Files outside the image so far.
    external: usize,
    /// Metadata so far, with the index that each will have.
    known: HashMap<Metadata, u32>,
    out: Image,
    pending: Vec<Pending>,
}

/// Reads an image; `image` begins with the 1,024 bytes before the superblock.
pub(crate) fn read(image: &[u8]) -> Result<Image, FlistError> {
    let raw = super_block(image)?;
    let root = u64::from(raw.root_nid.get());
    let mut reader = Reader {
        image,
        metadata_start: u64::from(raw.metadata_block.get()) << BLOCK_BITS,
        epoch: Timestamp {
            seconds: raw.build_time.get().cast_signed(),
            nanoseconds: raw.build_time_nanoseconds.get(),
        },
        budget: image.len(),
        names_left: image.len() / size_of::<super::format::RawDirent>() + 1,
        said_links: Vec::new(),
        external: 0,
        known: HashMap::new(),
        out: Image {
            inodes: Vec::new(),
            names: Vec::new(),
            metadata: Vec::new(),
        },
        pending: vec![Pending {
            nid: root,
            parent: root,
            code: FileType::Directory.code(),
            depth: 0,
            path_length: 0,
            name: 0..0,
        }],
    };
    while let Some(name) = reader.pending.pop() {
        reader.visit(name)?;
    }
    reader.check_links()?;
    Ok(reader.finish())
}

fn super_block(image: &[u8]) -> Result<&SuperBlock, FlistError> {
    let wrong = |why: &str| FlistError::malformed("EROFS superblock", SUPER_OFFSET, why);
    let bytes = image.get(SUPER_OFFSET..).ok_or_else(|| wrong("missing"))?;
    let (raw, _) = SuperBlock::ref_from_prefix(bytes).map_err(|_| wrong("cut off"))?;
    if raw.magic.get() != MAGIC || raw.block_bits != BLOCK_BITS {
        return Err(wrong("not EROFS with blocks of 4 KiB"));
    }
    if raw.feature_incompat.get() != 0 || raw.feature_compat.get() != COMPAT_MTIME {
        return Err(wrong("EROFS features that an flist does not use"));
    }
    if !image.len().is_multiple_of(BLOCK) || raw.blocks.get() as usize != image.len() / BLOCK {
        return Err(wrong("a number of blocks that is not the image's"));
    }
    Ok(raw)
}

impl<'a> Reader<'a> {
    fn visit(&mut self, name: Pending) -> Result<(), FlistError> {
        let index = match self.out.inodes.binary_search_by_key(&name.nid, |inode| inode.nid) {
            Ok(index) => self.hard_link(index, &name)?,
            Err(index) => self.new_inode(index, &name)?,
        };
        let wrong = |why: &str| FlistError::malformed("directory", name.name.start, why);
        self.out.names.push(NameRecord {
            name: Part::new(&name.name).ok_or_else(|| wrong("a name that is not allowed"))?,
            depth: name.depth,
            inode: u32::try_from(index).map_err(|_| wrong("more than 2^32 inodes"))?,
        });
        Ok(())
    }

    fn hard_link(&mut self, index: usize, name: &Pending) -> Result<usize, FlistError> {
        let inode = &mut self.out.inodes[index];
        if inode.kind == Kind::Directory {
            return Err(FlistError::malformed(
                "directory",
                name.name.start,
                "a directory with two names",
            ));
        }
        if name.code != inode.kind.file_type().code() {
            return Err(FlistError::malformed(
                "directory",
                name.name.start,
                "a name with the wrong file type",
            ));
        }
        inode.links += 1;
        Ok(index)
    }

    fn new_inode(&mut self, index: usize, name: &Pending) -> Result<usize, FlistError> {
        let offset = self.offset(name.nid)?;
        let wrong = |why: &str| FlistError::malformed("inode", offset, why);
        if index != self.out.inodes.len() {
            return Err(wrong("inodes that are not in the order of their paths"));
        }
        let (raw, behind) = self.raw_inode(offset).ok_or_else(|| wrong("cut off, or too late"))?;
        let mode = raw.mode.get();
        let file_type = FileType::of_mode(mode).ok_or_else(|| wrong("an unknown file type"))?;
        if raw.format.get() & !0xf != 0 || file_type.code() != name.code {
            return Err(wrong(
                "a format that an flist does not use, or a type other than its name's",
            ));
        }
        let area = behind..behind + area_length(raw.xattr_count.get());
        let attributes = self
            .image
            .get(area.clone())
            .ok_or_else(|| wrong("attributes beyond the image"))?;
        let attributes = xattr::decode(attributes).map_err(wrong)?;
        self.claim(area.end - offset, offset)?;
        let kind = self.kind(&raw, file_type, area.end, name)?;
        let metadata = metadata(&raw, attributes).ok_or_else(|| wrong("a time with too many nanoseconds"))?;
        let metadata = self.known(metadata).ok_or_else(|| wrong("more than 2^32 inodes"))?;
        self.said_links.push(raw.links.get());
        self.out.inodes.push(Inode {
            nid: name.nid,
            links: 1,
            metadata,
            kind,
        });
        Ok(index)
    }

    /// The index of this metadata, which may be new.
    fn known(&mut self, metadata: Metadata) -> Option<u32> {
        let next = u32::try_from(self.known.len()).ok()?;
        Some(*self.known.entry(metadata).or_insert(next))
    }

    /// The inode at a place, a compact one in its long form, and where it ends.
    fn raw_inode(&self, offset: usize) -> Option<(RawInode, usize)> {
        let bytes = &self.image[offset..];
        if bytes.first()? & EXTENDED as u8 != 0 {
            let (raw, _) = RawInode::read_from_prefix(bytes).ok()?;
            return Some((raw, offset + size_of::<RawInode>()));
        }
        let (raw, _) = RawCompactInode::ref_from_prefix(bytes).ok()?;
        let raw = raw.extended(self.epoch)?;
        Some((raw, offset + size_of::<RawCompactInode>()))
    }

    /// Where an inode lies in the image.
    fn offset(&self, nid: u64) -> Result<usize, FlistError> {
        let offset = nid
            .checked_mul(SLOT as u64)
            .and_then(|offset| offset.checked_add(self.metadata_start));
        offset
            .and_then(|offset| usize::try_from(offset).ok())
            .filter(|offset| *offset < self.image.len())
            .ok_or_else(|| FlistError::malformed("inode number", nid, "beyond the image"))
    }

    /// Accounts for bytes of the image, see the module's page.
    fn claim(&mut self, bytes: usize, offset: usize) -> Result<(), FlistError> {
        self.budget = self
            .budget
            .checked_sub(bytes)
            .ok_or_else(|| FlistError::malformed("inode", offset, "inodes that overlap"))?;
        Ok(())
    }

    fn kind(&mut self, raw: &RawInode, file_type: FileType, tail: usize, name: &Pending) -> Result<Kind, FlistError> {
        let (major, minor) = decode_device(raw.address.get());
        Ok(match file_type {
            FileType::Regular => self.regular(raw, tail)?,
            FileType::Directory => self.directory(raw, tail, name)?,
            FileType::Symlink => Kind::Symlink(self.target(raw, tail)?.into()),
            FileType::CharacterDevice => Kind::CharacterDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
        })
    }

    fn regular(&mut self, raw: &RawInode, tail: usize) -> Result<Kind, FlistError> {
        let wrong = |why: &str| FlistError::malformed("file", tail, why);
        let size = raw.size.get();
        if raw.address.get() == NULL_ADDRESS {
            if size == 0 || size > FILE_LIMIT || raw.format.get() >> 1 != FLAT_PLAIN {
                return Err(wrong(
                    "a file outside the flist that is empty, too large, or has data inside",
                ));
            }
            let number = self.external;
            self.external += 1;
            return Ok(Kind::External { size, number });
        }
        let blocks = self.data(raw, tail)?;
        let bytes = match blocks.as_slice() {
            [] => tail..tail,
            [one] => one.clone(),
            _ => return Err(wrong("more than a block of data inside an flist")),
        };
        let object = Box::new(ObjectDigest::of(&self.image[bytes.clone()]));
        let bytes = Part::new(&bytes).ok_or_else(|| wrong("more than a block of data inside an flist"))?;
        Ok(Kind::Inline { bytes, object })
    }

    fn target(&mut self, raw: &RawInode, tail: usize) -> Result<Vec<u8>, FlistError> {
        let wrong = |why: &str| FlistError::malformed("symbolic link", tail, why);
        if raw.size.get() == 0 || raw.size.get() > TARGET_LIMIT as u64 {
            return Err(wrong("a target that is empty or longer than a path can be"));
        }
        let blocks = self.data(raw, tail)?;
        let target = blocks
            .into_iter()
            .flat_map(|range| &self.image[range])
            .copied()
            .collect::<Vec<u8>>();
        if target.contains(&0) {
            return Err(wrong("a target with a zero byte"));
        }
        Ok(target)
    }

    /// The data of an inode inside the image, as ranges of at most one block, in order.
    fn data(&mut self, raw: &RawInode, tail: usize) -> Result<Vec<Range<usize>>, FlistError> {
        let wrong = || FlistError::malformed("inode", tail, "data beyond the image, or a tail across blocks");
        let size = usize::try_from(raw.size.get()).map_err(|_| wrong())?;
        self.claim(size, tail)?;
        let inline = match raw.format.get() >> 1 {
            FLAT_INLINE => size % BLOCK,
            FLAT_PLAIN => 0,
            _ => return Err(wrong()),
        };
        let start = (raw.address.get() as usize).checked_mul(BLOCK).ok_or_else(wrong)?;
        let end = start.checked_add(size - inline).ok_or_else(wrong)?;
        let mut ranges: Vec<Range<usize>> = Vec::new();
        if end > start {
            self.image.get(start..end).ok_or_else(wrong)?;
            ranges.extend((start..end).step_by(BLOCK).map(|at| at..end.min(at + BLOCK)));
        }
        if inline > 0 {
            let fits = tail % BLOCK + inline <= BLOCK && tail + inline <= self.image.len();
            ranges.push(fits.then_some(tail..tail + inline).ok_or_else(wrong)?);
        }
        Ok(ranges)
    }

    /// Queues the names of a directory.
    fn directory(&mut self, raw: &RawInode, tail: usize, name: &Pending) -> Result<Kind, FlistError> {
        let image: &'a [u8] = self.image;
        let blocks = self.data(raw, tail)?;
        let at = blocks.first().map_or(tail, |range| range.start);
        let wrong = |why: &str| FlistError::malformed("directory", at, why);
        let mut entries: Vec<Dirent<'a>> = Vec::new();
        for range in blocks {
            entries.extend(decode_block(&image[range]).map_err(wrong)?);
        }
        self.names_left = self
            .names_left
            .checked_sub(entries.len())
            .ok_or_else(|| wrong("directories that overlap"))?;
        if !entries.is_sorted_by(|a, b| a.name < b.name) {
            return Err(wrong("names out of order"));
        }
        let mut dots = 0;
        for entry in entries.iter().rev() {
            let expected = match entry.name {
                b"." => name.nid,
                b".." => name.parent,
                _ => {
                    self.queue(entry, name).map_err(wrong)?;
                    continue;
                }
            };
            if entry.nid != expected || entry.code != FileType::Directory.code() {
                return Err(wrong("`.` or `..` that lead elsewhere"));
            }
            dots += 1;
        }
        if dots == 2 {
            Ok(Kind::Directory)
        } else {
            Err(wrong("no `.` or no `..`"))
        }
    }

    fn queue(&mut self, entry: &Dirent<'_>, directory: &Pending) -> Result<(), &'static str> {
        Name::new(entry.name).map_err(|_| "a name that is not allowed")?;
        let path_length = directory.path_length + usize::from(directory.depth > 0) + entry.name.len();
        if path_length > PATH_LIMIT {
            return Err("a path longer than 4,096 bytes");
        }
        let start = entry.name.as_ptr().addr() - self.image.as_ptr().addr();
        self.pending.push(Pending {
            nid: entry.nid,
            parent: directory.nid,
            code: entry.code,
            // A path has at most 4,096 bytes, so it has fewer names than 65,536.
            depth: directory.depth.saturating_add(1),
            path_length,
            name: start..start + entry.name.len(),
        });
        Ok(())
    }

    fn finish(mut self) -> Image {
        let mut known: Vec<(Metadata, u32)> = self.known.into_iter().collect();
        known.sort_unstable_by_key(|(_, index)| *index);
        self.out.metadata = known.into_iter().map(|(metadata, _)| metadata).collect();
        self.out
    }

    /// Adds the links of directories that no name shows, and compares the counts that inodes give with what was found.
    fn check_links(&mut self) -> Result<(), FlistError> {
        let inodes = &mut self.out.inodes;
        let mut path: Vec<usize> = Vec::new();
        for name in &self.out.names {
            path.truncate(usize::from(name.depth));
            let index = name.inode as usize;
            if inodes[index].kind == Kind::Directory {
                // `.`, and `..` of the directory below.
                inodes[index].links += 1;
                if let Some(parent) = path.last() {
                    inodes[*parent].links += 1;
                }
            }
            path.push(index);
        }
        let mut both = inodes.iter().zip(&self.said_links);
        match both.find(|(inode, said)| inode.links != **said) {
            None => Ok(()),
            Some((Inode { nid, .. }, _)) => {
                let why = "a link count that is not the number of names";
                Err(FlistError::malformed("inode", nid * SLOT as u64, why))
            }
        }
    }
}

impl RawCompactInode {
    /// The same inode at length; `None` for a time beyond all times.
    fn extended(&self, epoch: Timestamp) -> Option<RawInode> {
        let seconds = epoch.seconds.checked_add(i64::from(self.mtime.get()))?;
        Some(RawInode {
            format: self.format,
            xattr_count: self.xattr_count,
            mode: self.mode,
            reserved: U16::ZERO,
            size: U64::new(u64::from(self.size.get())),
            address: self.address,
            number: self.number,
            uid: U32::new(u32::from(self.uid.get())),
            gid: U32::new(u32::from(self.gid.get())),
            mtime: U64::new(seconds.cast_unsigned()),
            mtime_nanoseconds: U32::new(epoch.nanoseconds),
            links: U32::new(u32::from(self.links.get())),
            reserved2: [0; 16],
        })
    }
}

impl Kind {
    fn file_type(&self) -> FileType {
        match self {
            Self::Directory => FileType::Directory,
            Self::Inline { .. } | Self::External { .. } => FileType::Regular,
            Self::Symlink(_) => FileType::Symlink,
            Self::CharacterDevice { .. } => FileType::CharacterDevice,
            Self::BlockDevice { .. } => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

fn metadata(raw: &RawInode, xattrs: xattr::Xattrs) -> Option<Metadata> {
    let nanoseconds = raw.mtime_nanoseconds.get();
    (nanoseconds < 1_000_000_000).then(|| Metadata {
        mode: u32::from(raw.mode.get() & 0o7777),
        uid: raw.uid.get(),
        gid: raw.gid.get(),
        mtime: Timestamp {
            seconds: raw.mtime.get().cast_signed(),
            nanoseconds,
        },
        xattrs,
    })
}
