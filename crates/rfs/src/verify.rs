//! Do the stores hold what an flist names?

use std::collections::HashSet;

use mos_flist::{Advance, Depth, Finding, Image as _, Part, Progress, ReadError};

use crate::block::BlockRef;
use crate::catalogue::Rfs;
use crate::read::{Reader, incomplete};
use crate::stores::Stores;

/// Checks a reader's flist. With [`Depth::Metadata`]: whether some store has each block, and whether each file has
/// blocks for its size. With [`Depth::Full`] every file is read.
pub(crate) fn reader(reader: &Reader, stores: &Stores, depth: Depth, progress: &Progress<'_>) -> Vec<Finding> {
    match depth {
        Depth::Full => mos_flist::verify_files(reader, progress),
        Depth::Metadata => {
            let mut findings = incomplete_files(reader.rfs());
            findings.extend(missing(reader.rfs(), stores));
            let files = reader.entries().count() as u64;
            progress(Advance { files, bytes: 0 });
            findings
        }
    }
}

fn incomplete_files(rfs: &Rfs) -> Vec<Finding> {
    let entries = rfs.incomplete().into_iter();
    let error = |entry: mos_flist::Entry<'_>| -> ReadError { incomplete(entry.inode, mos_flist::show(&entry.path)) };
    entries.map(|entry| error(entry).into()).collect()
}

fn missing(rfs: &Rfs, stores: &Stores) -> Vec<Finding> {
    let mut seen = HashSet::new();
    let different = rfs.blocks().iter().filter(|block| seen.insert(block.id));
    let (missing, failed) = stores.missing(different.copied().collect());
    let part = |block: &BlockRef| Part::Block(block.name());
    match (missing.first(), failed) {
        // Which of them are missing is not known.
        (Some(first), Some(source)) => vec![Finding::Store {
            part: part(first),
            source: source.into(),
        }],
        _ => missing.iter().map(|block| Finding::Missing(part(block))).collect(),
    }
}
