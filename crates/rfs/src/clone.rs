//! The blocks of an flist copied to other stores: only what is missing there travels.
//!
//! Every block is verified on the way, and travels as it is stored: another compressor might give it another name. An flist
//! that names the new stores may be written when this is done, not before.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use mos_flist::{Advance, Depth, Progress};
use mos_store::StoreError;

use crate::block::BlockRef;
use crate::catalogue::Rfs;
use crate::pack::Targets;
use crate::route::RouteError;
use crate::stores::{Fetch, Stores};

/// Blocks that travel at a time, half a MiB each: half of the time they wait for a store.
const AT_ONCE: usize = 16;

/// What was done, in counts and bytes as stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cloned {
    /// Different blocks of the flist.
    pub blocks: u64,
    /// Those that were put somewhere.
    pub copied_blocks: u64,
    /// Bytes that went out, each replica counted.
    pub copied_bytes: u64,
}

/// Why a clone is not complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloneError {
    /// No source has the block as the flist names it: a trust failure. Nothing of it was put.
    #[error("block {block} is not what the flist names ({why}): the store is damaged or was tampered with")]
    Tampered {
        /// Its name.
        block: String,
        /// How it showed.
        why: &'static str,
    },
    /// The new stores do not take every block.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies the blocks of an flist that are missing in any of the stores they belong into; with [`Depth::Full`] also those
/// whose bytes there are others. `progress` counts every different block as a file.
///
/// # Errors
/// [`CloneError`]: the first; blocks that were put before stay, and the next try finds them there.
pub fn clone(
    rfs: &Rfs,
    from: &Stores,
    to: &Targets,
    depth: Depth,
    progress: &Progress<'_>,
) -> Result<Cloned, CloneError> {
    to.check()?;
    let mut seen = HashSet::new();
    let all: Vec<BlockRef> = rfs
        .blocks()
        .iter()
        .filter(|block| seen.insert(block.id))
        .copied()
        .collect();
    let blocks = all.len() as u64;
    let todo = match depth {
        Depth::Metadata => to.lacking(all)?,
        Depth::Full => all,
    };
    progress(Advance {
        files: blocks - todo.len() as u64,
        bytes: 0,
    });
    let done = Mutex::new(Cloned {
        blocks,
        ..Cloned::default()
    });
    each(&todo, |block| {
        let put = copy(block, from, to, depth)?;
        progress(Advance { files: 1, bytes: put });
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        done.copied_blocks += u64::from(put > 0);
        done.copied_bytes += put;
        Ok(())
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Returns how many bytes went out.
fn copy(block: &BlockRef, from: &Stores, to: &Targets, depth: Depth) -> Result<u64, CloneError> {
    match from.fetch_stored(block) {
        Fetch::Good(stored) if depth == Depth::Full => Ok(to.mend(block, &stored)?),
        Fetch::Good(stored) => Ok(to.put(block, &stored)?),
        Fetch::Failed(error) => Err(error.into()),
        Fetch::Tampered(why) => Err(CloneError::Tampered {
            block: block.name(),
            why,
        }),
    }
}

/// Does `work` for each block on a few threads, until one fails.
fn each(blocks: &[BlockRef], work: impl Fn(&BlockRef) -> Result<(), CloneError> + Sync) -> Result<(), CloneError> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let fail = |error| {
        next.store(blocks.len(), Ordering::Relaxed);
        failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(blocks.len()) {
            scope.spawn(|| {
                while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(block).unwrap_or_else(fail);
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}
