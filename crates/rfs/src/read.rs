//! The content of files, from stores that are not trusted.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use mos_flist::{Depth, Entry, Finding, Image, Part, Progress, ReadError, Slice, show};

use crate::block::{BLOCK_SIZE, BlockRef};
use crate::cache::Cache;
use crate::catalogue::{Record, Rfs};
use crate::stores::{Fetch, Stores};

/// Reads files of one flist. May be shared between threads.
#[derive(Debug)]
pub struct Reader {
    rfs: Arc<Rfs>,
    stores: Stores,
    cache: Cache,
}

impl Reader {
    /// A reader of this flist. The stores are usually those of its routes, see [`Stores::open`]; any others that have
    /// its blocks do as well, since every block is verified.
    pub fn new(rfs: Arc<Rfs>, stores: Stores) -> Self {
        Self {
            rfs,
            stores,
            cache: Cache::default(),
        }
    }

    /// The flist that is read.
    pub fn rfs(&self) -> &Arc<Rfs> {
        &self.rfs
    }

    /// Hands the bytes of `range` of a file, which must lie within it, to `out`, block by block.
    fn read(
        &self,
        record: &Record,
        file: &dyn Fn() -> String,
        range: Range<u64>,
        out: &mut dyn FnMut(&[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        if !record.complete() {
            return Err(incomplete(record.ino.unsigned_abs(), file()));
        }
        let blocks = &self.rfs.blocks()[record.blocks.clone()];
        let mut at = range.start;
        while at < range.end {
            let index = (at / BLOCK_SIZE as u64) as usize;
            let start = index as u64 * BLOCK_SIZE as u64;
            let length = (record.size - start).min(BLOCK_SIZE as u64);
            let block = &blocks[index];
            let plain = self.block(block, file)?;
            if plain.len() as u64 != length {
                return Err(tampered(
                    file(),
                    block,
                    "its length is not what the file's size asks for",
                ));
            }
            let end = (range.end - start).min(length);
            out(&plain[(at - start) as usize..end as usize])?;
            at = start + end;
        }
        Ok(())
    }

    fn block(&self, block: &BlockRef, file: &dyn Fn() -> String) -> Result<Arc<Vec<u8>>, ReadError> {
        self.cache.get(block.key, || match self.stores.fetch(block) {
            Fetch::Good(plain) => Ok(plain),
            Fetch::Tampered(why) => Err(tampered(file(), block, why)),
            Fetch::Failed(source) => Err(ReadError::Store {
                file: file(),
                part: Part::Block(block.name()),
                source: Box::new(source),
            }),
        })
    }

    fn file(&self, inode: u64) -> Option<&Record> {
        self.rfs.record(inode).filter(|record| record.is_file())
    }
}

impl Image for Reader {
    fn entries(&self) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
        Box::new(self.rfs.entries())
    }

    fn find(&self, path: &[u8]) -> Option<Entry<'_>> {
        self.rfs.find(path)
    }

    fn read_file(&self, entry: &Entry<'_>, out: &mut dyn Write) -> Result<(), ReadError> {
        let file = || show(&entry.path);
        let record = self.file(entry.inode).ok_or_else(|| ReadError::NotAFile(file()))?;
        let mut write = |bytes: &[u8]| {
            out.write_all(bytes)
                .map_err(|source| ReadError::Write { file: file(), source })
        };
        self.read(record, &file, 0..record.size, &mut write)
    }

    fn read_at(&self, inode: u64, range: Range<u64>) -> Result<Slice, ReadError> {
        let file = || self.rfs.path_of(inode);
        let record = self.file(inode).ok_or_else(|| ReadError::NotAFile(file()))?;
        let range = range.start..range.end.min(record.size);
        let mut bytes = Vec::new();
        self.read(record, &file, range, &mut |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes.into())
    }

    fn verify(&self, depth: Depth, progress: &Progress<'_>) -> Vec<Finding> {
        crate::verify::reader(self, &self.stores, depth, progress)
    }
}

fn tampered(file: String, block: &BlockRef, why: &'static str) -> ReadError {
    ReadError::Tampered {
        file,
        part: Part::Block(block.name()),
        why,
    }
}

/// A file that was packed only in part has nothing that could be asked for: it is the flist that is wrong.
pub(crate) fn incomplete(inode: u64, file: String) -> ReadError {
    let why = "the flist names fewer or more blocks than its size takes: it was packed only in part; pack it again";
    ReadError::Tampered {
        file,
        part: Part::Block(format!("list of inode {inode}")),
        why,
    }
}
