//! An empty ext4 file system (Linux, Documentation/filesystems/ext4): a root directory, `lost+found` and a journal.
//!
//! `mkfs.ext4` would do as well, but its bytes depend on its version and configuration.
//!
//! ```text
//! block 0 superblock | 1 group descriptors | block bitmap | inode bitmap | inodes | directories | journal     group 0
//!         (copies in some groups)          | block bitmap | inode bitmap | inodes | free                      others
//! ```

use super::{MediaError, Sparse};

const BLOCK: u64 = 4096;
/// As many as a block of bits can tell.
const GROUP_BLOCKS: u64 = BLOCK * 8;
const INODE: u64 = 256;
/// One inode for 16 KiB.
const GROUP_INODES: u64 = GROUP_BLOCKS / 4;
const INODE_BLOCKS: u64 = GROUP_INODES * INODE / BLOCK;
const DESCRIPTOR: u64 = 32;
/// Groups whose descriptors fit into the one block that is kept for them: 16 GiB. More take more blocks.
const DESCRIPTORS_PER_BLOCK: u64 = BLOCK / DESCRIPTOR;
/// A last group with fewer blocks is left out.
const LAST_GROUP_MIN: u64 = INODE_BLOCKS + 64;
/// Where the superblock begins in block 0.
const SUPERBLOCK: usize = 1024;
const ROOT_INODE: u64 = 2;
const JOURNAL_INODE: u64 = 8;
const LOST_INODE: u64 = 11;
/// `lost+found` is made large enough to be of use on a full disk.
const LOST_BLOCKS: u64 = 4;
/// Blocks of the journal, below and from `JOURNAL_LARGE_FROM` blocks of the file system on, as mke2fs has it.
const JOURNAL_SMALL: u64 = 1024;
const JOURNAL: u64 = 4096;
const JOURNAL_LARGE_FROM: u64 = 32_768;
/// has_journal, ext_attr, dir_index.
const COMPATIBLE: u32 = 0x4 | 0x8 | 0x20;
/// filetype, extents.
const INCOMPATIBLE: u32 = 0x2 | 0x40;
/// sparse_super, large_file, huge_file, gdt_csum, dir_nlink, extra_isize.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40;
/// What need not be written of a group, since the kernel works it out: its inode bitmap, its block bitmap. Its inodes
/// are zero already.
const INODES_UNUSED: u16 = 1;
const BLOCKS_UNUSED: u16 = 2;
const INODES_ZERO: u16 = 4;
const EXTENTS_FLAG: u32 = 0x8_0000;
const EXTRA_SIZE: u16 = 32;

/// Where everything is, in blocks.
struct Layout {
    blocks: u64,
    groups: u64,
    descriptor_blocks: u64,
    journal_blocks: u64,
}

struct FileSystem<'n> {
    layout: Layout,
    label: &'n str,
    uuid: [u8; 16],
    time: u32,
}

/// Makes an empty file system of so many bytes.
///
/// # Errors
/// [`MediaError`] when that is too few or too many, or the time is beyond 2106.
pub(super) fn empty(bytes: u64, label: &str, uuid: [u8; 16], time: i64) -> Result<Sparse<'static>, MediaError> {
    let layout = Layout::new(bytes)?;
    let time = u32::try_from(time).map_err(|_| MediaError::Time(time))?;
    let system = FileSystem {
        layout,
        label,
        uuid,
        time,
    };
    let mut image = Sparse::new(bytes);
    system.put_heads(&mut image);
    system.put_bitmaps(&mut image);
    system.put_inodes(&mut image);
    system.put_directories(&mut image);
    image.put(system.layout.journal() * BLOCK, system.journal());
    Ok(image)
}

impl Layout {
    fn new(bytes: u64) -> Result<Self, MediaError> {
        let what = "the state partition";
        let mut blocks = bytes / BLOCK;
        let rest = blocks % GROUP_BLOCKS;
        if blocks > GROUP_BLOCKS && rest < LAST_GROUP_MIN {
            blocks -= rest;
        }
        if u32::try_from(blocks).is_err() {
            return Err(MediaError::TooLarge { what, bytes });
        }
        let groups = blocks.div_ceil(GROUP_BLOCKS);
        let layout = Self {
            blocks,
            groups,
            descriptor_blocks: groups.div_ceil(DESCRIPTORS_PER_BLOCK),
            journal_blocks: if blocks < JOURNAL_LARGE_FROM {
                JOURNAL_SMALL
            } else {
                JOURNAL
            },
        };
        let needed = layout.journal() + layout.journal_blocks + 1;
        if blocks < needed {
            return Err(MediaError::NoRoom {
                what,
                needed: needed * BLOCK,
                room: bytes,
                setting: "state_size",
            });
        }
        Ok(layout)
    }

    /// Blocks of superblock and descriptors at the beginning of a group.
    fn head(&self, group: u64) -> u64 {
        if has_copy(group) { 1 + self.descriptor_blocks } else { 0 }
    }

    /// The block bitmap; the inode bitmap and the inodes follow.
    fn bitmap(&self, group: u64) -> u64 {
        group * GROUP_BLOCKS + self.head(group)
    }

    fn root(&self) -> u64 {
        self.bitmap(0) + 2 + INODE_BLOCKS
    }

    fn lost(&self) -> u64 {
        self.root() + 1
    }

    fn journal(&self) -> u64 {
        self.lost() + LOST_BLOCKS
    }

    fn group_blocks(&self, group: u64) -> u64 {
        (self.blocks - group * GROUP_BLOCKS).min(GROUP_BLOCKS)
    }

    /// Blocks of a group that are taken, all at its beginning.
    fn used_blocks(&self, group: u64) -> u64 {
        let content = if group == 0 {
            1 + LOST_BLOCKS + self.journal_blocks
        } else {
            0
        };
        self.head(group) + 2 + INODE_BLOCKS + content
    }

    /// The first group has all that there is, and the last may end early, which only its bitmap tells.
    fn flags(&self, group: u64) -> u16 {
        match group {
            0 => INODES_ZERO,
            _ if group + 1 == self.groups => INODES_ZERO | INODES_UNUSED,
            _ => INODES_ZERO | INODES_UNUSED | BLOCKS_UNUSED,
        }
    }

    fn used_inodes(group: u64) -> u64 {
        if group == 0 { LOST_INODE } else { 0 }
    }
}

/// Groups 0, 1 and the powers of 3, 5 and 7 begin with a superblock (sparse_super).
fn has_copy(group: u64) -> bool {
    let is_power = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || [3, 5, 7].into_iter().any(is_power)
}

impl FileSystem<'_> {
    /// Superblock and descriptors, with their copies.
    fn put_heads(&self, image: &mut Sparse<'_>) {
        let descriptors = self.descriptors();
        for group in (0..self.layout.groups).filter(|group| has_copy(*group)) {
            let block = group * GROUP_BLOCKS;
            let offset = if group == 0 { SUPERBLOCK as u64 } else { 0 };
            image.put(block * BLOCK + offset, self.superblock(group));
            image.put((block + 1) * BLOCK, descriptors.clone());
        }
    }

    fn superblock(&self, group: u64) -> Vec<u8> {
        let layout = &self.layout;
        let used: u64 = (0..layout.groups).map(|group| layout.used_blocks(group)).sum();
        let mut superblock = vec![0; 1024];
        let mut put = |at: usize, bytes: &[u8]| superblock[at..at + bytes.len()].copy_from_slice(bytes);
        for (at, number) in [
            (0x00, layout.groups * GROUP_INODES),
            (0x04, layout.blocks),
            (0x08, layout.blocks / 20), // kept for root: 5 %
            (0x0c, layout.blocks - used),
            (0x10, layout.groups * GROUP_INODES - LOST_INODE),
            (0x18, 2), // log2 of the block size, less 10
            (0x1c, 2),
            (0x20, GROUP_BLOCKS),
            (0x24, GROUP_BLOCKS),
            (0x28, GROUP_INODES),
            (0x30, u64::from(self.time)),
            (0x40, u64::from(self.time)),
            (0x4c, 1), // revision
            (0x54, LOST_INODE),
            (0xe0, JOURNAL_INODE),
            (0x108, u64::from(self.time)),
        ] {
            put(at, &(number as u32).to_le_bytes());
        }
        for (at, number) in [
            (0x36, u16::MAX), // no check after a number of mounts
            (0x38, 0xef53),
            (0x3a, 1), // clean
            (0x3c, 1), // go on after errors, as mke2fs has it
            (0x58, INODE as u16),
            (0x5a, group as u16),
            (0x15c, EXTRA_SIZE),
            (0x15e, EXTRA_SIZE),
        ] {
            put(at, &number.to_le_bytes());
        }
        for (at, features) in [(0x5c, COMPATIBLE), (0x60, INCOMPATIBLE), (0x64, READ_ONLY_COMPATIBLE)] {
            put(at, &features.to_le_bytes());
        }
        put(0x68, &self.uuid);
        put(0x78, self.label.as_bytes());
        // The seed and the kind of hash of large directories: half MD4 with signed characters, as on x86.
        put(0xec, &self.uuid);
        put(0xfc, &[1]);
        put(0x160, &1_u32.to_le_bytes());
        // mount: user_xattr, acl
        put(0x100, &0x000c_u32.to_le_bytes());
        // A copy of where the journal is.
        put(0xfd, &[1]);
        put(0x10c, &extent(layout.journal(), layout.journal_blocks));
        put(0x10c + 16 * 4, &((layout.journal_blocks * BLOCK) as u32).to_le_bytes());
        superblock
    }

    fn descriptors(&self) -> Vec<u8> {
        let layout = &self.layout;
        let each = (0..layout.groups).flat_map(|group| {
            let bitmap = layout.bitmap(group) as u32;
            let free = layout.group_blocks(group) - layout.used_blocks(group);
            let inodes = GROUP_INODES - Layout::used_inodes(group);
            let directories = if group == 0 { 2 } else { 0 };
            let mut descriptor = Vec::new();
            descriptor.extend([bitmap, bitmap + 1, bitmap + 2].into_iter().flat_map(u32::to_le_bytes));
            for number in [free as u16, inodes as u16, directories, layout.flags(group)] {
                descriptor.extend(number.to_le_bytes());
            }
            descriptor.resize(0x1c, 0);
            descriptor.extend((inodes as u16).to_le_bytes());
            let covered = [&self.uuid[..], &(group as u32).to_le_bytes(), &descriptor];
            descriptor.extend(crc16(&covered.concat()).to_le_bytes());
            descriptor
        });
        each.collect()
    }

    fn put_bitmaps(&self, image: &mut Sparse<'_>) {
        let layout = &self.layout;
        for group in 0..layout.groups {
            let flags = layout.flags(group);
            if flags & BLOCKS_UNUSED == 0 {
                let blocks = bitmap(layout.used_blocks(group), layout.group_blocks(group));
                image.put(layout.bitmap(group) * BLOCK, blocks);
            }
            if flags & INODES_UNUSED == 0 {
                let inodes = bitmap(Layout::used_inodes(group), GROUP_INODES);
                image.put((layout.bitmap(group) + 1) * BLOCK, inodes);
            }
        }
    }

    fn put_inodes(&self, image: &mut Sparse<'_>) {
        let layout = &self.layout;
        let table = layout.bitmap(0) + 2;
        for (number, mode, links, block, blocks) in [
            (ROOT_INODE, 0o040_755, 3, layout.root(), 1),
            (JOURNAL_INODE, 0o100_600, 1, layout.journal(), layout.journal_blocks),
            (LOST_INODE, 0o040_700, 2, layout.lost(), LOST_BLOCKS),
        ] {
            let inode = self.inode(mode, links, block, blocks);
            image.put(table * BLOCK + (number - 1) * INODE, inode);
        }
    }

    fn inode(&self, mode: u16, links: u16, block: u64, blocks: u64) -> Vec<u8> {
        let mut inode = vec![0; INODE as usize];
        let mut put = |at: usize, bytes: &[u8]| inode[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x00, &mode.to_le_bytes());
        put(0x04, &((blocks * BLOCK) as u32).to_le_bytes());
        // Access, change, modification; creation.
        [0x08, 0x0c, 0x10, 0x90]
            .into_iter()
            .for_each(|at| put(at, &self.time.to_le_bytes()));
        put(0x1a, &links.to_le_bytes());
        put(0x1c, &((blocks * (BLOCK / 512)) as u32).to_le_bytes());
        put(0x20, &EXTENTS_FLAG.to_le_bytes());
        put(0x28, &extent(block, blocks));
        put(0x80, &EXTRA_SIZE.to_le_bytes());
        inode
    }

    fn put_directories(&self, image: &mut Sparse<'_>) {
        let layout = &self.layout;
        let root = [(ROOT_INODE, "."), (ROOT_INODE, ".."), (LOST_INODE, "lost+found")];
        image.put(layout.root() * BLOCK, directory(&root));
        image.put(
            layout.lost() * BLOCK,
            directory(&[(LOST_INODE, "."), (ROOT_INODE, "..")]),
        );
        for block in 1..LOST_BLOCKS {
            image.put((layout.lost() + block) * BLOCK, directory(&[(0, "")]));
        }
    }

    /// The superblock of an empty journal; big-endian (`journal_superblock_t`).
    fn journal(&self) -> Vec<u8> {
        const MAGIC: u32 = 0xc03b_3998;
        const SUPERBLOCK_V2: u32 = 4;
        let mut superblock = Vec::new();
        let blocks = self.layout.journal_blocks as u32;
        // Header; block size, length, first block of the log, first transaction, where to begin: nowhere.
        for number in [MAGIC, SUPERBLOCK_V2, 0, BLOCK as u32, blocks, 1, 1, 0] {
            superblock.extend(number.to_be_bytes());
        }
        superblock.resize(0x30, 0);
        superblock.extend(self.uuid);
        superblock.extend(1_u32.to_be_bytes()); // one user
        superblock
    }
}

/// CRC-16 with the reflected polynomial 0xa001, as the kernel's `crc16()`; of a group's descriptor (gdt_csum).
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(u16::MAX, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xa001 } else { 0 }
        })
    })
}

/// The root of an extent tree with one extent, as it stands in an inode.
fn extent(block: u64, blocks: u64) -> Vec<u8> {
    const MAGIC: u16 = 0xf30a;
    let mut bytes = Vec::new();
    bytes.extend([MAGIC, 1, 4, 0, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend((blocks as u16).to_le_bytes());
    bytes.extend(0_u16.to_le_bytes());
    bytes.extend((block as u32).to_le_bytes());
    bytes.resize(60, 0);
    bytes
}

/// A block of directory entries; the last takes what is left.
fn directory(entries: &[(u64, &str)]) -> Vec<u8> {
    const IS_DIRECTORY: u8 = 2;
    let mut block = Vec::new();
    for (number, (inode, name)) in entries.iter().enumerate() {
        let last = number + 1 == entries.len();
        let length = (8 + name.len()).next_multiple_of(4);
        let length = if last { BLOCK as usize - block.len() } else { length };
        let kind = if *inode == 0 { 0 } else { IS_DIRECTORY };
        let end = block.len() + length;
        block.extend((*inode as u32).to_le_bytes());
        block.extend((length as u16).to_le_bytes());
        block.extend([name.len() as u8, kind]);
        block.extend(name.as_bytes());
        block.resize(end, 0);
    }
    block
}

/// A block of bits: the first `used` are set, and those from `total` on, which stand for nothing.
fn bitmap(used: u64, total: u64) -> Vec<u8> {
    let bit = |at: u64| at < used || at >= total;
    let byte = |at: u64| (0..8).fold(0, |byte, number| byte | u8::from(bit(at * 8 + number)) << number);
    (0..BLOCK).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tests::{TIME, tool, written};

    #[test]
    fn e2fsck_finds_every_size_clean() {
        let directory = tempfile::tempdir().unwrap();
        for mebibytes in [8, 16, 100, 128, 129, 131, 1024, 4096, 20_000] {
            let uuid = crate::media::uuid(b"x", "ext4");
            let image = empty(mebibytes << 20, "mosdata", uuid, TIME).unwrap();
            assert!(image.content() < 150_000, "{mebibytes}: {}", image.content());
            let path = written(&directory, "ext4", &image);
            let Some(said) = tool("e2fsck", &["-f", "-n", &path]) else {
                return;
            };
            assert!(said.contains("mosdata: 11/"), "{mebibytes} MiB: {said}");
            if let Some(said) = tool("dumpe2fs", &["-h", &path]) {
                assert!(
                    said.contains("mosdata") && said.contains("clean") && said.contains("has_journal"),
                    "{said}"
                );
            }
        }
    }

    #[test]
    fn too_small_is_refused() {
        assert!(matches!(
            empty(4 << 20, "x", [0; 16], TIME),
            Err(MediaError::NoRoom { .. })
        ));
    }
}
