//! Directories: blocks of entries, each followed by its names, sorted bytewise across all blocks.

use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::format::{BLOCK, RawDirent};

const ENTRY: usize = size_of::<RawDirent>();

/// One name in a directory block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dirent<'a> {
    pub(crate) nid: u64,
    pub(crate) code: u8,
    pub(crate) name: &'a [u8],
}

/// The bytes of a directory with these entries, which must be sorted by name and include `.` and `..`.
pub(crate) fn encode(entries: &[Dirent<'_>]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let mut used = 0;
        let fits = |entry: &&Dirent<'_>| {
            used += ENTRY + entry.name.len();
            used <= BLOCK
        };
        let (block, behind) = rest.split_at(rest.iter().take_while(fits).count());
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        push_block(&mut bytes, block);
        rest = behind;
    }
    bytes
}

fn push_block(bytes: &mut Vec<u8>, block: &[Dirent<'_>]) {
    let mut name_offset = block.len() * ENTRY;
    for entry in block {
        let raw = RawDirent {
            nid: U64::new(entry.nid),
            name_offset: U16::new(u16::try_from(name_offset).expect("a block has 4,096 bytes")),
            file_type: entry.code,
            reserved: 0,
        };
        bytes.extend_from_slice(raw.as_bytes());
        name_offset += entry.name.len();
    }
    for entry in block {
        bytes.extend_from_slice(entry.name);
    }
}

/// The entries of one block; says what is wrong with it.
pub(crate) fn decode_block(block: &[u8]) -> Result<Vec<Dirent<'_>>, &'static str> {
    let (first, _) = RawDirent::ref_from_prefix(block).map_err(|_| "a directory block without an entry")?;
    let names_start = usize::from(first.name_offset.get());
    let heads = block.get(..names_start).ok_or("entries beyond the directory block")?;
    let heads = <[RawDirent]>::ref_from_bytes(heads).map_err(|_| "names that start inside an entry")?;
    if heads.is_empty() {
        return Err("a directory block without an entry");
    }
    let mut entries = Vec::with_capacity(heads.len());
    for (index, head) in heads.iter().enumerate() {
        let start = usize::from(head.name_offset.get());
        let end = heads
            .get(index + 1)
            .map_or(block.len(), |next| usize::from(next.name_offset.get()));
        let mut name = block.get(start..end).ok_or("a name beyond its directory block")?;
        if index + 1 == heads.len() {
            // The last name ends at a zero or with the block.
            name = name.split(|byte| *byte == 0).next().unwrap_or(name);
        }
        entries.push(Dirent {
            nid: head.nid.get(),
            code: head.file_type,
            name,
        });
    }
    Ok(entries)
}
