//! A parsed flist: the tree's metadata, and where each file's content is.

use mos_store::Digest;
use mos_tree::Metadata;

use crate::erofs::reader::{self, Image, Kind, NameRecord};
use crate::error::{FlistError, show};
use crate::header::{ChunkSizes, Header, Section};
use crate::names::Children;
use crate::prefetch;
use crate::table::{BlobRef, Tables};
use crate::verity::ObjectDigest;

/// An flist whose every structure has been checked.
#[derive(Debug)]
pub struct Flist {
    bytes: Vec<u8>,
    digest: Digest,
    sizes: ChunkSizes,
    image: Image,
    children: Children,
    pub(crate) tables: Tables,
    /// Where each of the tables' references starts in its file.
    starts: Vec<u64>,
    prefetch: Vec<u64>,
}

/// A name in an flist.
#[derive(Debug, Clone)]
pub struct Entry<'f> {
    /// The path from the root, without a leading `/`; empty for the root itself. Safe to join to a directory: no
    /// empty name, `.` or `..`, and every parent is a directory of the flist.
    pub path: Vec<u8>,
    /// The inode's number, as the kernel shows it too; names with equal numbers are hard links.
    pub inode: u64,
    /// How many names the inode has (for a directory, as Linux counts them).
    pub links: u32,
    /// Mode, owner, time, attributes.
    pub metadata: &'f Metadata,
    /// What it is.
    pub kind: EntryKind<'f>,
}

/// What a name of an flist stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind<'f> {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// The fs-verity digest of its content; flists of version 2 have it always, other formats may not.
        object: Option<ObjectDigest>,
    },
    /// A symbolic link and its target.
    Symlink(&'f [u8]),
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
    /// A unix socket's place.
    Socket,
}

/// Where a file's content is.
#[derive(Debug)]
pub(crate) enum Place<'f> {
    Inline(&'f [u8]),
    Chunks {
        /// Indices into the chunk table.
        chunks: &'f [u32],
        /// Where each chunk starts in the file.
        starts: &'f [u64],
    },
}

impl Entry<'_> {
    /// The size of a regular file in bytes.
    pub fn size(&self) -> Option<u64> {
        match self.kind {
            EntryKind::File { size, .. } => Some(size),
            _ => None,
        }
    }

    /// The fs-verity digest of a regular file's content, where the image has it.
    pub fn object(&self) -> Option<ObjectDigest> {
        match self.kind {
            EntryKind::File { object, .. } => object,
            _ => None,
        }
    }
}

impl Flist {
    /// Reads an flist and checks everything in it once. Takes time and memory in proportion to its length, whatever
    /// it holds.
    ///
    /// # Errors
    /// [`FlistError`] for bytes that are not an flist, are damaged, or ask for what this program does not know.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, FlistError> {
        let header = Header::parse(&bytes)?;
        let image = reader::read(&bytes[..header.range(Section::Erofs).end])?;
        let tables = Tables::parse(&bytes, &header)?;
        check_content(&image, &tables)?;
        let prefetch = header.range(Section::Prefetch);
        let prefetch = prefetch::parse(&bytes[prefetch.clone()], prefetch.start, |nid| {
            let inode = image.inodes.binary_search_by_key(&nid, |inode| inode.nid);
            inode.is_ok_and(|inode| matches!(image.inodes[inode].kind, Kind::External { .. }))
        })?;
        Ok(Self {
            digest: Digest::of(&bytes),
            sizes: header.sizes,
            bytes,
            children: Children::of(&image.names),
            starts: starts(&tables),
            image,
            tables,
            prefetch,
        })
    }

    /// BLAKE3-256 of the whole file: its identity and its name in a channel.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The file's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The sizes its files were cut with.
    pub fn chunk_sizes(&self) -> ChunkSizes {
        self.sizes
    }

    /// The blobs that hold the content, each once.
    pub fn blobs(&self) -> &[BlobRef] {
        &self.tables.blobs
    }

    /// The inode numbers of the files to fetch first, in the order in which they will be wanted: all of them files
    /// with content outside the flist, each once.
    pub fn prefetch(&self) -> &[u64] {
        &self.prefetch
    }

    /// Bytes of content, hard links counted once: what an unpacked copy takes on a disk, at least.
    pub fn content_length(&self) -> u64 {
        let sizes = self.image.inodes.iter().map(|inode| match &inode.kind {
            Kind::Inline { bytes, .. } => bytes.range().len() as u64,
            Kind::External { size, .. } => *size,
            _ => 0,
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// Every name, parents before children, siblings in bytewise order; the root comes first with an empty path.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut path: Vec<u8> = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        self.image.names.iter().map(move |name| {
            ends.truncate(usize::from(name.depth));
            path.truncate(ends.last().copied().unwrap_or(0));
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&self.bytes[name.name.range()]);
            ends.push(path.len());
            self.entry(name, path.clone())
        })
    }

    /// The entry at a path (`usr/bin/env`, slashes at either end are ignored); does not follow symbolic links.
    pub fn find(&self, path: impl AsRef<[u8]>) -> Option<Entry<'_>> {
        let path = trim(path.as_ref());
        let names = &self.image.names;
        let mut at = 0;
        for part in path.split(|byte| *byte == b'/').filter(|_| !path.is_empty()) {
            let children = self.children.below(at);
            let name = |child: &u32| &self.bytes[names[*child as usize].name.range()];
            let found = children.binary_search_by(|child| name(child).cmp(part)).ok()?;
            at = children[found] as usize;
        }
        Some(self.entry(&names[at], path.to_vec()))
    }

    fn entry(&self, name: &NameRecord, path: Vec<u8>) -> Entry<'_> {
        let inode = &self.image.inodes[name.inode as usize];
        Entry {
            path,
            inode: inode.nid,
            links: inode.links,
            metadata: &self.image.metadata[inode.metadata as usize],
            kind: self.entry_kind(&inode.kind),
        }
    }

    fn entry_kind<'f>(&self, kind: &'f Kind) -> EntryKind<'f> {
        match kind {
            Kind::Directory => EntryKind::Directory,
            Kind::Inline { bytes, object } => EntryKind::File {
                size: bytes.range().len() as u64,
                object: Some(**object),
            },
            Kind::External { size, number } => EntryKind::File {
                size: *size,
                object: Some(self.tables.files[*number].object),
            },
            Kind::Symlink(target) => EntryKind::Symlink(target),
            Kind::CharacterDevice { major, minor } => EntryKind::CharacterDevice {
                major: *major,
                minor: *minor,
            },
            Kind::BlockDevice { major, minor } => EntryKind::BlockDevice {
                major: *major,
                minor: *minor,
            },
            Kind::Fifo => EntryKind::Fifo,
            Kind::Socket => EntryKind::Socket,
        }
    }

    /// Where the content of an inode is; `None` when it is not a file of this flist.
    pub(crate) fn place(&self, inode: u64) -> Option<Place<'_>> {
        let inodes = &self.image.inodes;
        let inode = inodes.binary_search_by_key(&inode, |inode| inode.nid).ok()?;
        match &inodes[inode].kind {
            Kind::Inline { bytes, .. } => Some(Place::Inline(&self.bytes[bytes.range()])),
            Kind::External { number, .. } => {
                let range = self.tables.files[*number].references.clone();
                Some(Place::Chunks {
                    chunks: &self.tables.references[range.clone()],
                    starts: &self.starts[range],
                })
            }
            _ => None,
        }
    }

    /// True for a regular file whose content is in the flist itself: it needs no object.
    pub fn is_inline(&self, inode: u64) -> bool {
        matches!(self.place(inode), Some(Place::Inline(_)))
    }

    /// The first name of an inode, for messages. Walks through the whole flist.
    pub(crate) fn name_of(&self, inode: u64) -> String {
        let entry = self.entries().find(|entry| entry.inode == inode);
        entry.map_or_else(|| format!("inode {inode}"), |entry| show(&entry.path))
    }
}

/// A path without slashes at either end.
fn trim(mut path: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] | [rest @ .., b'/'] = path {
        path = rest;
    }
    path
}

/// Where each reference starts in its file.
fn starts(tables: &Tables) -> Vec<u64> {
    let mut starts = vec![0; tables.references.len()];
    for file in &tables.files {
        let mut start = 0;
        for position in file.references.clone() {
            starts[position] = start;
            start += u64::from(tables.chunks[tables.references[position] as usize].length);
        }
    }
    starts
}

/// Every file outside the image has its chunks, they add up to its size, and there are no others.
fn check_content(image: &Image, tables: &Tables) -> Result<(), FlistError> {
    let wrong = |nid: u64, why: &str| FlistError::malformed("file map: inode", nid, why);
    let mut files = tables.files.iter();
    for inode in &image.inodes {
        let Kind::External { size, .. } = inode.kind else {
            continue;
        };
        if files.next().map(|file| tables.content_length(file)) != Some(size) {
            return Err(wrong(inode.nid, "chunks that are not its size"));
        }
    }
    match files.next() {
        None => Ok(()),
        Some(_) => Err(wrong(0, "chunks for something that is not a file")),
    }
}

#[cfg(test)]
#[cfg(feature = "pack")]
mod tests {
    use super::*;
    use crate::Image as _;
    use crate::header::reseal;
    use mos_store::Memory;
    use mos_tree::{Inode, Tree};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn sample() -> Vec<u8> {
        let mut tree = Tree::default();
        let content: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(i) >> 9) as u8).collect();
        let id = tree.insert_file("bin/tool", 0o755, content).unwrap();
        tree.link("bin/again", id).unwrap();
        tree.inode_mut(id)
            .metadata
            .xattrs
            .insert(b"user.a".to_vec(), b"b".to_vec());
        tree.insert_file("etc/small", 0o644, "small").unwrap();
        tree.insert_symlink("lib", "usr/lib").unwrap();
        let fifo = Inode {
            metadata: Metadata::root(0o600),
            kind: mos_tree::Kind::Fifo,
        };
        tree.insert("a/b/c/d", fifo).unwrap();
        crate::pack(&tree, &Memory::new(), &crate::PackOptions::default())
            .unwrap()
            .flist
    }

    /// What a caller does with an flist that parsed: none of it may panic.
    fn use_all(flist: Flist) {
        let flist = Arc::new(flist);
        let reader = crate::Reader::new(flist.clone(), Arc::new(Memory::new()));
        for entry in flist.entries() {
            let _ = reader.read_file(&entry, &mut std::io::sink());
            let _ = reader.read_at(entry.inode, 3..70_000);
            assert_eq!(reader.find(&entry.path).map(|found| found.inode), Some(entry.inode));
        }
        assert!(flist.entries().count() <= flist.as_bytes().len());
    }

    #[test]
    fn every_byte_changed_behind_the_digests_never_panics() {
        let good = sample();
        let mut refused = 0;
        for position in 0..good.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[position] ^= mask;
                reseal(&mut bad);
                match Flist::parse(bad) {
                    Ok(flist) => use_all(flist),
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 1000, "only {refused} changes were refused");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn random_changes_behind_the_digests_never_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<[u8; 4]>(), 1..=4_usize), 1..6)
        ) {
            static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(sample);
            let mut bad = GOOD.clone();
            for (position, bytes, count) in changes {
                let position = position.index(bad.len() - 4);
                bad[position..position + count].copy_from_slice(&bytes[..count]);
            }
            reseal(&mut bad);
            if let Ok(flist) = Flist::parse(bad) {
                use_all(flist);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            prop_assert!(Flist::parse([b"MOSFLIST", &bytes[..]].concat()).is_err());
        }
    }
}
