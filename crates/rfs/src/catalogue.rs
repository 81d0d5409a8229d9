//! [`Rfs`]: the rows of an flist, checked, with the paths that they make.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use mos_flist::{Entry, EntryKind};
use mos_tree::{Metadata, Name, Timestamp};
use rustix::fs::FileType;

use crate::block::{BLOCK_SIZE, BlockRef};
use crate::database::{BLOCK, Cell, Database, EXTRA, Fields, INODE, ROUTE, TAG, Writer};
use crate::error::RfsError;
use crate::route::Route;

/// The number of the root in every flist.
pub(crate) const ROOT: i64 = 1;
/// The name of the root.
pub(crate) const ROOT_NAME: &[u8] = b"/";
/// Bytes of the longest name: `NAME_MAX` of Linux.
const NAME_LIMIT: usize = 255;
/// Bytes of the longest link target, and of the longest path: `PATH_MAX` of Linux, without the NUL.
pub(crate) const PATH_LIMIT: usize = 4095;
/// Bytes of a tag's key or value; rfs has no limit.
const TAG_LIMIT: usize = 4096;
/// Bytes of the longest URL: what the schema says.
const URL_LIMIT: usize = 2048;
/// Bits of a mode that say what kind of file it is, `S_IFMT`.
const KIND_BITS: u32 = 0o170_000;

/// A row of the table `inode`, with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) ino: i64,
    pub(crate) parent: i64,
    pub(crate) name: Box<[u8]>,
    pub(crate) size: u64,
    /// All of `st_mode`.
    pub(crate) mode: u32,
    pub(crate) rdev: u64,
    pub(crate) ctime: i64,
    /// Permission bits, owner, group, mtime.
    pub(crate) metadata: Metadata,
    /// The target of a symbolic link.
    pub(crate) extra: Option<Box<[u8]>>,
    /// Which of the blocks are its content, in their order.
    pub(crate) blocks: Range<usize>,
}

/// An flist whose rows have all been checked.
#[derive(Debug, Clone)]
pub struct Rfs {
    /// By number; the first is the root.
    records: Vec<Record>,
    /// By file, in the order of its content.
    blocks: Vec<BlockRef>,
    tags: BTreeMap<String, String>,
    routes: Vec<Route>,
    /// Records by parent, then name.
    children: Vec<u32>,
    /// Which of `children` are below a record.
    below: Vec<Range<u32>>,
    /// Parents first, siblings by name: the record, and how deep it lies.
    order: Vec<(u32, u32)>,
}

impl Rfs {
    /// Reads an flist and checks everything in it once. Takes time and memory in proportion to its length, whatever it
    /// holds.
    ///
    /// # Errors
    /// [`RfsError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RfsError> {
        let database = Database::open(bytes)?;
        let mut records = read_inodes(&database)?;
        read_extra(&database, &mut records)?;
        let blocks = read_blocks(&database, &mut records)?;
        let tags = read_tags(&database)?;
        let routes = read_routes(&database)?;
        Self::new(records, blocks, tags, routes)
    }

    /// Checks records, which are sorted by number, and finds the paths that they make.
    pub(crate) fn new(
        records: Vec<Record>,
        blocks: Vec<BlockRef>,
        tags: BTreeMap<String, String>,
        routes: Vec<Route>,
    ) -> Result<Self, RfsError> {
        for (index, record) in records.iter().enumerate() {
            check_record(record, index.checked_sub(1).map(|before| records[before].ino))?;
        }
        let parents = parents(&records)?;
        let (children, below) = children(&records, &parents)?;
        let order = order(&records, &children, &below)?;
        Ok(Self {
            records,
            blocks,
            tags,
            routes,
            children,
            below,
            order,
        })
    }

    /// The bytes of the file, made anew: the same flist gives the same bytes (with the same version of SQLite), and
    /// nothing that was removed is left in them.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.write()
            .expect("a database in memory takes any row, and fails only when memory ends")
    }

    fn write(&self) -> rusqlite::Result<Vec<u8>> {
        let writer = Writer::new()?;
        writer.rows(INODE, self.records.iter().map(inode_row))?;
        let extra = self
            .records
            .iter()
            .filter_map(|record| Some((record.ino, record.extra.as_deref()?)));
        writer.rows(EXTRA, extra.map(|(ino, data)| [Cell::Number(ino), Cell::Blob(data)]))?;
        let owners = self
            .records
            .iter()
            .flat_map(|record| record.blocks.clone().map(|at| (record.ino, at)));
        let rows = owners
            .zip(1..)
            .map(|((ino, at), row)| block_row(row, ino, &self.blocks[at]));
        writer.rows(BLOCK, rows)?;
        let tags = self.tags.iter();
        writer.rows(
            TAG,
            tags.map(|(key, value)| [Cell::Text(key.as_bytes()), Cell::Text(value.as_bytes())]),
        )?;
        writer.rows(ROUTE, self.routes.iter().map(route_row))?;
        writer.finish()
    }

    /// Where its blocks are.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Where its blocks are, to be changed.
    pub fn routes_mut(&mut self) -> &mut Vec<Route> {
        &mut self.routes
    }

    /// What its maker says of it: `version`, `description`, `author`, or any other key.
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// As [`Rfs::tags`], to be changed.
    pub fn tags_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.tags
    }

    /// The blocks, by file; a block may be there many times.
    pub fn blocks(&self) -> &[BlockRef] {
        &self.blocks
    }

    /// Bytes of content: what an unpacked copy takes on a disk, at least.
    pub fn content_length(&self) -> u64 {
        let files = self.records.iter().filter(|record| record.is_file());
        files.fold(0, |sum, record| sum.saturating_add(record.size))
    }

    /// Files whose blocks cannot make up their size, as rfs leaves them behind when packing failed half-way or the file
    /// changed meanwhile. rfs reads such a file as if it were shorter; here reading it is an error.
    pub fn incomplete(&self) -> Vec<Entry<'_>> {
        self.entries()
            .filter(|entry| self.record(entry.inode).is_some_and(|record| !record.complete()))
            .collect()
    }

    /// Every name, parents before children, siblings in bytewise order; the root comes first with an empty path.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut path: Vec<u8> = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        self.order.iter().map(move |(index, depth)| {
            ends.truncate(*depth as usize);
            path.truncate(ends.last().copied().unwrap_or(0));
            if *depth > 0 {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&self.records[*index as usize].name);
            }
            ends.push(path.len());
            self.entry(*index as usize, path.clone())
        })
    }

    /// The entry at a path (`usr/bin/env`, slashes at either end are ignored); does not follow symbolic links.
    pub fn find(&self, path: &[u8]) -> Option<Entry<'_>> {
        let mut index = 0;
        let path = trim(path);
        for part in path.split(|byte| *byte == b'/').filter(|_| !path.is_empty()) {
            let below = self.below[index].clone();
            let children = &self.children[below.start as usize..below.end as usize];
            let found = children.binary_search_by(|child| (*self.records[*child as usize].name).cmp(part));
            index = children[found.ok()?] as usize;
        }
        Some(self.entry(index, path.to_vec()))
    }

    fn entry(&self, index: usize, path: Vec<u8>) -> Entry<'_> {
        let record = &self.records[index];
        Entry {
            path,
            inode: record.ino.unsigned_abs(),
            links: self.links(index),
            metadata: &record.metadata,
            kind: kind(record),
        }
    }

    /// Names of an inode: one, and for a directory those that Linux counts besides.
    fn links(&self, index: usize) -> u32 {
        let below = &self.below[index];
        let children = &self.children[below.start as usize..below.end as usize];
        let directories = children
            .iter()
            .filter(|child| self.records[**child as usize].is_directory());
        let own = 1 + u32::from(self.records[index].is_directory());
        own + u32::try_from(directories.count()).unwrap_or(u32::MAX - own)
    }

    pub(crate) fn record(&self, inode: u64) -> Option<&Record> {
        let ino = i64::try_from(inode).ok()?;
        let index = self.records.binary_search_by_key(&ino, |record| record.ino).ok()?;
        Some(&self.records[index])
    }

    /// The path of an inode, for messages.
    pub(crate) fn path_of(&self, inode: u64) -> String {
        let entry = self.entries().find(|entry| entry.inode == inode);
        entry.map_or_else(|| format!("inode {inode}"), |entry| mos_flist::show(&entry.path))
    }
}

impl Record {
    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    pub(crate) fn is_file(&self) -> bool {
        self.file_type() == FileType::RegularFile
    }

    fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// Whether it has as many blocks as its size takes.
    pub(crate) fn complete(&self) -> bool {
        !self.is_file() || self.size.div_ceil(BLOCK_SIZE as u64) == self.blocks.len() as u64
    }

    fn wrong(&self, column: &'static str, why: impl Into<String>) -> RfsError {
        RfsError::malformed(INODE.name, column, self.ino, why)
    }
}

fn kind(record: &Record) -> EntryKind<'_> {
    let (major, minor) = (rustix::fs::major(record.rdev), rustix::fs::minor(record.rdev));
    match record.file_type() {
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink(record.extra.as_deref().unwrap_or_default()),
        FileType::CharacterDevice => EntryKind::CharacterDevice { major, minor },
        FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        // `check_record` lets nothing else in.
        _ => EntryKind::File {
            size: record.size,
            object: None,
        },
    }
}

fn read_inodes(database: &Database) -> Result<Vec<Record>, RfsError> {
    let mut records = Vec::new();
    database.scan(INODE, |fields| {
        records.push(read_inode(fields)?);
        Ok(())
    })?;
    // Nothing promises that a hostile table is sorted; `check_record` finds numbers that are there twice.
    records.sort_by_key(|record| record.ino);
    Ok(records)
}

/// The group is read from `gid`. rfs itself reads `uid` in its place.
fn read_inode(fields: &Fields<'_>) -> Result<Record, RfsError> {
    let mode: u32 = fields.number("mode")?;
    Ok(Record {
        ino: fields.number("ino")?,
        parent: fields.number("parent")?,
        name: fields.bytes("name", NAME_LIMIT)?.into(),
        size: fields.number("size")?,
        mode,
        // A device number may use all 64 bits, so it may be negative here.
        rdev: fields.number::<i64>("rdev")?.cast_unsigned(),
        ctime: fields.number("ctime")?,
        metadata: Metadata {
            mode: mode & !KIND_BITS,
            uid: fields.number("uid")?,
            gid: fields.number("gid")?,
            mtime: Timestamp {
                seconds: fields.number("mtime")?,
                nanoseconds: 0,
            },
            xattrs: BTreeMap::new(),
        },
        extra: None,
        blocks: 0..0,
    })
}

fn read_extra(database: &Database, records: &mut [Record]) -> Result<(), RfsError> {
    database.scan(EXTRA, |fields| {
        let record = owner(records, fields)?;
        let twice = record.extra.replace(fields.bytes("data", PATH_LIMIT)?.into());
        twice.map_or(Ok(()), |_| Err(fields.wrong("ino", "there twice")))
    })
}

/// The blocks sorted by file; each file's range of them is entered into its record.
fn read_blocks(database: &Database, records: &mut [Record]) -> Result<Vec<BlockRef>, RfsError> {
    let mut rows: Vec<(i64, BlockRef)> = Vec::new();
    let mut last = i64::MIN;
    database.scan(BLOCK, |fields| {
        let row: i64 = fields.number("rowid")?;
        if row <= last {
            return Err(fields.wrong("rowid", "out of order"));
        }
        last = row;
        let record = owner(records, fields)?;
        let block = BlockRef {
            id: fields.hash("id")?,
            key: fields.hash("key")?,
        };
        rows.push((record.ino, block));
        Ok(())
    })?;
    // Stable: the order of rows is the order of a file's blocks.
    rows.sort_by_key(|(ino, _)| *ino);
    let mut at = 0;
    for group in rows.chunk_by(|a, b| a.0 == b.0) {
        if let Ok(index) = records.binary_search_by_key(&group[0].0, |record| record.ino) {
            records[index].blocks = at..at + group.len();
        }
        at += group.len();
    }
    Ok(rows.into_iter().map(|(_, block)| block).collect())
}

/// The record that a row of another table belongs to.
fn owner<'r>(records: &'r mut [Record], fields: &Fields<'_>) -> Result<&'r mut Record, RfsError> {
    let ino: i64 = fields.number("ino")?;
    match records.binary_search_by_key(&ino, |record| record.ino) {
        Ok(index) => Ok(&mut records[index]),
        Err(_) => Err(fields.wrong("ino", format!("there is no inode {ino}"))),
    }
}

fn read_tags(database: &Database) -> Result<BTreeMap<String, String>, RfsError> {
    let mut tags = BTreeMap::new();
    database.scan(TAG, |fields| {
        let (key, value) = (fields.text("key", TAG_LIMIT)?, fields.text("value", TAG_LIMIT)?);
        let twice = tags.insert(key, value);
        twice.map_or(Ok(()), |_| Err(fields.wrong("key", "there twice")))
    })?;
    Ok(tags)
}

fn read_routes(database: &Database) -> Result<Vec<Route>, RfsError> {
    let mut routes = Vec::new();
    database.scan(ROUTE, |fields| {
        routes.push(Route {
            start: fields.number("start")?,
            end: fields.number("end")?,
            url: fields.text("url", URL_LIMIT)?,
        });
        Ok(())
    })?;
    Ok(routes)
}

fn check_record(record: &Record, before: Option<i64>) -> Result<(), RfsError> {
    match before {
        None if record.ino != ROOT => return Err(record.wrong("ino", "the root, number 1, is missing")),
        Some(before) if before == record.ino => return Err(record.wrong("ino", "there twice")),
        _ => {}
    }
    check_kind(record)?;
    if record.ino == ROOT {
        return check_root(record);
    }
    match Name::new(&record.name) {
        Ok(_) if record.name.len() <= NAME_LIMIT => Ok(()),
        Ok(_) => Err(record.wrong("name", format!("longer than {NAME_LIMIT} bytes"))),
        Err(_) => Err(record.wrong(
            "name",
            format!("{:?} is no file name", String::from_utf8_lossy(&record.name)),
        )),
    }
}

fn check_root(record: &Record) -> Result<(), RfsError> {
    match record.is_directory() && record.parent == 0 {
        true => Ok(()),
        false => Err(record.wrong("parent", "the root must be a directory with parent 0")),
    }
}

fn check_kind(record: &Record) -> Result<(), RfsError> {
    if record.mode > 0o177_777 || matches!(record.file_type(), FileType::Unknown) {
        return Err(record.wrong("mode", format!("{:o} is no kind of file", record.mode)));
    }
    if !record.is_file() && !record.blocks.is_empty() {
        return Err(RfsError::malformed(
            BLOCK.name,
            "ino",
            record.ino,
            "blocks for something that is no file",
        ));
    }
    let target = record.extra.as_deref().unwrap_or_default();
    if target.len() > PATH_LIMIT {
        return Err(RfsError::malformed(
            EXTRA.name,
            "data",
            record.ino,
            format!("longer than {PATH_LIMIT} bytes"),
        ));
    }
    if record.file_type() == FileType::Symlink && (target.is_empty() || target.contains(&0)) {
        return Err(RfsError::malformed(
            EXTRA.name,
            "data",
            record.ino,
            "a symbolic link without a target",
        ));
    }
    Ok(())
}

/// The index of each record's parent; the root is its own.
fn parents(records: &[Record]) -> Result<Vec<u32>, RfsError> {
    if records.is_empty() {
        return Err(RfsError::malformed(
            INODE.name,
            "ino",
            ROOT,
            "the root, number 1, is missing",
        ));
    }
    let index_of: HashMap<i64, u32> = records.iter().map(|record| record.ino).zip(0..).collect();
    let parent = |record: &Record| match index_of.get(&record.parent) {
        None if record.ino == ROOT => Ok(0),
        Some(index) if records[*index as usize].is_directory() => Ok(*index),
        Some(_) => Err(record.wrong("parent", format!("inode {} is no directory", record.parent))),
        None => Err(record.wrong("parent", format!("there is no inode {}", record.parent))),
    };
    records.iter().map(parent).collect()
}

type Children = (Vec<u32>, Vec<Range<u32>>);

/// Records but the root by parent and name, and which of them are below each record.
fn children(records: &[Record], parents: &[u32]) -> Result<Children, RfsError> {
    let count = u32::try_from(records.len()).map_err(|_| RfsError::TooLarge(format!("{} files", records.len())))?;
    let mut sorted: Vec<u32> = (1..count).collect();
    let key = |index: &u32| (parents[*index as usize], &records[*index as usize].name);
    sorted.sort_by(|a, b| key(a).cmp(&key(b)));
    if let Some(pair) = sorted.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
        let record = &records[pair[1] as usize];
        let name = String::from_utf8_lossy(&record.name);
        return Err(record.wrong("name", format!("{name:?} is twice in its directory")));
    }
    let mut below = vec![0..0; records.len()];
    let mut at = 0;
    for group in sorted.chunk_by(|a, b| parents[*a as usize] == parents[*b as usize]) {
        let end = at + u32::try_from(group.len()).unwrap_or(u32::MAX);
        below[parents[group[0] as usize] as usize] = at..end;
        at = end;
    }
    Ok((sorted, below))
}

/// The order of a walk from the root. What it does not meet hangs on itself.
fn order(records: &[Record], children: &[u32], below: &[Range<u32>]) -> Result<Vec<(u32, u32)>, RfsError> {
    let mut order = Vec::with_capacity(records.len());
    let mut pending = vec![(0_u32, 0_u32, 0_usize)];
    while let Some((index, depth, length)) = pending.pop() {
        if length > PATH_LIMIT {
            return Err(records[index as usize].wrong("name", format!("its path is longer than {PATH_LIMIT} bytes")));
        }
        order.push((index, depth));
        let range = &below[index as usize];
        for child in children[range.start as usize..range.end as usize].iter().rev() {
            pending.push((*child, depth + 1, length + 1 + records[*child as usize].name.len()));
        }
    }
    if order.len() == records.len() {
        return Ok(order);
    }
    let mut met = vec![false; records.len()];
    order.iter().for_each(|(index, _)| met[*index as usize] = true);
    let lost = met.iter().position(|met| !met).unwrap_or_default();
    Err(records[lost].wrong("parent", "it hangs on itself, not on the root"))
}

fn inode_row(record: &Record) -> [Cell<'_>; 10] {
    let number = |value: u64| Cell::Number(value.cast_signed());
    [
        Cell::Number(record.ino),
        Cell::Number(record.parent),
        Cell::Text(&record.name),
        number(record.size),
        number(record.metadata.uid.into()),
        number(record.metadata.gid.into()),
        number(record.mode.into()),
        number(record.rdev),
        Cell::Number(record.ctime),
        Cell::Number(record.metadata.mtime.seconds),
    ]
}

fn block_row(row: i64, ino: i64, block: &BlockRef) -> [Cell<'_>; 4] {
    [
        Cell::Number(row),
        Cell::Number(ino),
        Cell::Blob(&block.id),
        Cell::Blob(&block.key),
    ]
}

fn route_row(route: &Route) -> [Cell<'_>; 3] {
    [
        Cell::Number(route.start.into()),
        Cell::Number(route.end.into()),
        Cell::Text(route.url.as_bytes()),
    ]
}

/// A path without slashes at either end.
fn trim(mut path: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] | [rest @ .., b'/'] = path {
        path = rest;
    }
    path
}
