//! Structures on disk, from Linux `fs/erofs/erofs_fs.h`. All little-endian.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `EROFS_SUPER_MAGIC_V1`.
pub(crate) const MAGIC: u32 = 0xE0F5_E1E2;
/// `EROFS_SUPER_OFFSET`.
pub(crate) const SUPER_OFFSET: usize = 1024;
/// log2 of the block size; 4 KiB blocks mount on every kernel.
pub(crate) const BLOCK_BITS: u8 = 12;
/// Bytes in a block.
pub(crate) const BLOCK: usize = 1 << BLOCK_BITS;
/// Bytes that one step of an inode number stands for (`EROFS_ISLOTBITS` = 5).
pub(crate) const SLOT: usize = 32;
/// `EROFS_FEATURE_COMPAT_MTIME`: inode times are those of the last change.
pub(crate) const COMPAT_MTIME: u32 = 2;
/// `EROFS_INODE_FLAT_PLAIN`: data in consecutive blocks.
pub(crate) const FLAT_PLAIN: u16 = 0;
/// `EROFS_INODE_FLAT_INLINE`: as plain, but the tail lies behind the inode.
pub(crate) const FLAT_INLINE: u16 = 2;
/// Bit 0 of `i_format`: an extended inode.
pub(crate) const EXTENDED: u16 = 1;
/// Block address of a file without data in the image (`EROFS_NULL_ADDR`): a hole to Linux 6.15 and later, beyond the
/// device, so an error, to older ones.
pub(crate) const NULL_ADDRESS: u32 = u32::MAX;
/// Largest file: far beyond what packs, far below where sums of sizes overflow.
pub(crate) const FILE_LIMIT: u64 = 1 << 43;
/// Longest tail behind an inode. It must not cross a block, and may have to start up to 31 bytes into one.
pub(crate) const TAIL_LIMIT: usize = BLOCK - SLOT;
/// Longest path in a tree, as everywhere in Linux (`PATH_MAX`). Also bounds what a hostile flist makes us build.
pub(crate) const PATH_LIMIT: usize = 4096;
/// Longest name (`EROFS_NAME_LEN`).
pub(crate) const NAME_LIMIT: usize = 255;
/// Longest target of a symbolic link: `PATH_MAX` without the closing zero.
pub(crate) const TARGET_LIMIT: usize = 4095;

/// `struct erofs_super_block`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct SuperBlock {
    pub(crate) magic: U32,
    pub(crate) checksum: U32,
    pub(crate) feature_compat: U32,
    pub(crate) block_bits: u8,
    pub(crate) extra_slots: u8,
    pub(crate) root_nid: U16,
    pub(crate) inodes: U64,
    pub(crate) build_time: U64,
    pub(crate) build_time_nanoseconds: U32,
    pub(crate) blocks: U32,
    pub(crate) metadata_block: U32,
    pub(crate) xattr_block: U32,
    pub(crate) uuid: [u8; 16],
    pub(crate) volume_name: [u8; 16],
    pub(crate) feature_incompat: U32,
    pub(crate) unused: [u8; 44],
}

/// `struct erofs_inode_extended`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawInode {
    pub(crate) format: U16,
    pub(crate) xattr_count: U16,
    pub(crate) mode: U16,
    pub(crate) reserved: U16,
    pub(crate) size: U64,
    /// First data block or device number, by type.
    pub(crate) address: U32,
    pub(crate) number: U32,
    pub(crate) uid: U32,
    pub(crate) gid: U32,
    pub(crate) mtime: U64,
    pub(crate) mtime_nanoseconds: U32,
    pub(crate) links: U32,
    pub(crate) reserved2: [u8; 16],
}

/// `struct erofs_inode_compact`: half as long, for what fits.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawCompactInode {
    pub(crate) format: U16,
    pub(crate) xattr_count: U16,
    pub(crate) mode: U16,
    pub(crate) links: U16,
    pub(crate) size: U32,
    /// Seconds after the superblock's build time, nanoseconds as there, to Linux 6.15 and later. Older ones take the build
    /// time for every compact inode, so it is zero in what we write for a kernel to mount.
    pub(crate) mtime: U32,
    pub(crate) address: U32,
    pub(crate) number: U32,
    pub(crate) uid: U16,
    pub(crate) gid: U16,
    pub(crate) reserved: U32,
}

/// `struct erofs_dirent`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawDirent {
    pub(crate) nid: U64,
    pub(crate) name_offset: U16,
    pub(crate) file_type: u8,
    pub(crate) reserved: u8,
}

/// `struct erofs_xattr_ibody_header`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct XattrHeader {
    pub(crate) name_filter: U32,
    pub(crate) shared_count: u8,
    pub(crate) reserved: [u8; 7],
}

/// `struct erofs_xattr_entry`; the name without its prefix and the value follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct XattrEntry {
    pub(crate) name_length: u8,
    pub(crate) prefix: u8,
    pub(crate) value_length: U16,
}

const _: () = assert!(size_of::<SuperBlock>() == 128);
const _: () = assert!(size_of::<RawInode>() == 64 && size_of::<RawCompactInode>() == 32);
const _: () = assert!(size_of::<RawDirent>() == 12 && size_of::<XattrHeader>() == 12);

/// The types a directory entry and a mode can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileType {
    Regular,
    Directory,
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
    Symlink,
}

impl FileType {
    /// Type, `EROFS_FT_*` code, `S_IFMT` bits.
    const TABLE: [(Self, u8, u16); 7] = [
        (Self::Regular, 1, 0o100_000),
        (Self::Directory, 2, 0o040_000),
        (Self::CharacterDevice, 3, 0o020_000),
        (Self::BlockDevice, 4, 0o060_000),
        (Self::Fifo, 5, 0o010_000),
        (Self::Socket, 6, 0o140_000),
        (Self::Symlink, 7, 0o120_000),
    ];

    /// From `st_mode`.
    pub(crate) fn of_mode(mode: u16) -> Option<Self> {
        let row = Self::TABLE.iter().find(|row| row.2 == mode & 0o170_000)?;
        Some(row.0)
    }

    /// The code in a directory entry.
    pub(crate) fn code(self) -> u8 {
        self.row().1
    }

    /// The type bits of `st_mode`.
    pub(crate) fn mode(self) -> u16 {
        self.row().2
    }

    fn row(self) -> (Self, u8, u16) {
        Self::TABLE[self as usize]
    }
}

/// Linux's 32-bit device number (`new_encode_dev`), or `None` when one half is too large for it.
pub(crate) fn encode_device(major: u32, minor: u32) -> Option<u32> {
    let fits = major < 1 << 12 && minor < 1 << 20;
    fits.then_some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// Major and minor of a 32-bit device number (`new_decode_dev`).
pub(crate) fn decode_device(device: u32) -> (u32, u32) {
    ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_come_back() {
        for pair in [(0, 0), (1, 3), (8, 255), (8, 256), (4095, (1 << 20) - 1)] {
            assert_eq!(decode_device(encode_device(pair.0, pair.1).unwrap()), pair);
        }
        assert_eq!(encode_device(4096, 0), None);
    }

    #[test]
    fn the_table_of_types_is_in_the_order_of_the_type() {
        for row in FileType::TABLE {
            assert_eq!(row.0.row(), row);
        }
    }
}
