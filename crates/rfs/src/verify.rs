//! Do the stores hold what an flist names?

use std::collections::HashSet;

use mos_flist::{Advance, Depth, Finding, Image as _, Progress, ReadError};

use crate::catalogue::Rfs;
use crate::read::{Reader, incomplete};
use crate::stores::Stores;

/// Checks a reader's flist. With [`Depth::Metadata`]: whether each store has the blocks it covers, and whether each file has
/// blocks for its size. With [`Depth::Full`] every file is read.
pub(crate) fn reader(reader: &Reader, stores: &Stores, depth: Depth, progress: &Progress<'_>) -> Vec<Finding> {
    match depth {
        Depth::Full => full(reader, stores, progress),
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
    stores.absent(&different.copied().collect::<Vec<_>>())
}

/// Reads every file; of several stores, each one's copy of every block.
fn full(reader: &Reader, stores: &Stores, progress: &Progress<'_>) -> Vec<Finding> {
    let Some((watched, watch)) = stores.watched() else {
        return mos_flist::verify_files(reader, progress);
    };
    let files = mos_flist::verify_files(&Reader::new(reader.rfs().clone(), watched), progress);
    watch.findings().into_iter().chain(files).collect()
}
