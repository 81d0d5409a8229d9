//! A tree as rows.

use std::collections::{BTreeMap, HashMap};

use mos_tree::{Content, Entry, Kind, Metadata, Tree};
use rustix::fs::makedev;

use crate::block::BLOCK_SIZE;
use crate::catalogue::{ROOT, ROOT_NAME, Record};

/// `S_IFMT` bits by kind.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const BLOCK_DEVICE: u32 = 0o060_000;
const FIFO: u32 = 0o010_000;
const SOCKET: u32 = 0o140_000;
/// The size of every directory; rfs writes what the disk says, which for a short one is this on ext4.
const DIRECTORY_SIZE: u64 = 4096;

/// A file whose blocks come next.
pub(super) struct File<'t> {
    pub(super) path: Vec<u8>,
    pub(super) content: &'t Content,
}

/// Records for every name, numbered in the order of paths from 1; blocks are still to be counted.
pub(super) fn records(tree: &Tree) -> Vec<Record> {
    let mut numbers: HashMap<Vec<u8>, i64> = HashMap::new();
    let mut records = Vec::new();
    for (entry, ino) in tree.walk().zip(ROOT..) {
        let (parent, name) = match entry.path.iter().rposition(|byte| *byte == b'/') {
            _ if entry.path.is_empty() => (0, ROOT_NAME),
            // The walk comes by a parent before its children.
            Some(slash) => (numbers[&entry.path[..slash]], &entry.path[slash + 1..]),
            None => (ROOT, &entry.path[..]),
        };
        records.push(record(&entry, ino, parent, name));
        if matches!(entry.inode.kind, Kind::Directory(_)) {
            numbers.insert(entry.path, ino);
        }
    }
    records
}

fn record(entry: &Entry<'_>, ino: i64, parent: i64, name: &[u8]) -> Record {
    let metadata = &entry.inode.metadata;
    let (kind, size, rdev, extra) = facts(&entry.inode.kind);
    let mut mtime = metadata.mtime;
    mtime.nanoseconds = 0;
    Record {
        ino,
        parent,
        name: String::from_utf8_lossy(name).into_owned().into_bytes().into(),
        size,
        mode: kind | metadata.mode,
        rdev,
        // A tree has no time of the last change of metadata.
        ctime: mtime.seconds,
        metadata: Metadata {
            mtime,
            xattrs: BTreeMap::new(),
            ..*metadata
        },
        extra,
        blocks: 0..0,
    }
}

type Facts = (u32, u64, u64, Option<Box<[u8]>>);

/// The kind as bits of the mode, the size, the device, and the target.
fn facts(kind: &Kind) -> Facts {
    match kind {
        Kind::Directory(_) => (DIRECTORY, DIRECTORY_SIZE, 0, None),
        Kind::File(content) => (FILE, content.len(), 0, None),
        Kind::Symlink(target) => (SYMLINK, target.len() as u64, 0, Some(target[..].into())),
        Kind::CharacterDevice { major, minor } => (CHARACTER_DEVICE, 0, makedev(*major, *minor), None),
        Kind::BlockDevice { major, minor } => (BLOCK_DEVICE, 0, makedev(*major, *minor), None),
        Kind::Fifo => (FIFO, 0, 0, None),
        Kind::Socket => (SOCKET, 0, 0, None),
    }
}

/// The files of a tree in the order of the records, which learn which blocks will be theirs.
pub(super) fn files<'t>(tree: &'t Tree, records: &mut [Record]) -> Vec<File<'t>> {
    let mut files = Vec::new();
    let mut first = 0;
    for (entry, record) in tree.walk().zip(records) {
        let Kind::File(content) = &entry.inode.kind else {
            continue;
        };
        let count = usize::try_from(content.len().div_ceil(BLOCK_SIZE as u64)).unwrap_or(usize::MAX);
        record.blocks = first..first + count;
        files.push(File {
            path: entry.path,
            content,
        });
        first += count;
    }
    files
}
