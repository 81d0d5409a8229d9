//! A tree into an flist and blocks.
//!
//! ```text
//! read files (this thread) --512 KiB--> hash, compress, encrypt, put (threads) --> rows, sorted --> one transaction
//! ```
//!
//! Blocks are put before the flist exists: a crash leaves blocks that nobody names. The queue is bounded; memory is a
//! few blocks per thread and the rows.

mod blocks;
mod records;
mod targets;

use std::collections::BTreeMap;
use std::sync::Arc;

use mos_flist::{Done, show};
use mos_store::StoreError;
use mos_tree::Tree;

use crate::catalogue::Rfs;
use crate::error::RfsError;
use crate::loss::{self, Loss};
use crate::route::{Route, RouteError};

pub use targets::Targets;

/// How to pack.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// Takes the password out of the routes in the flist, as rfs does; the user's name stays. On by default: who gets
    /// the flist would get the right to write. Readers then name the stores themselves.
    pub strip_password: bool,
    /// Makes the first loss an error.
    pub strict: bool,
    /// `version`, `description`, `author`, or any other key.
    pub tags: BTreeMap<String, String>,
    /// Threads that encode and put. Twice as many as there are processors by default, and 16 at least: half of the time
    /// they wait for the store.
    pub threads: usize,
    /// What is done so far, for somebody who watches.
    pub done: Arc<Done>,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self {
            strip_password: true,
            strict: false,
            tags: BTreeMap::new(),
            threads: (2 * std::thread::available_parallelism().map_or(1, usize::from)).max(16),
            done: Arc::default(),
        }
    }
}

/// An flist. Its blocks are in the stores already.
#[derive(Debug)]
pub struct Packed {
    /// What was packed; [`Rfs::to_bytes`] makes the file.
    pub rfs: Rfs,
    /// What the format could not hold.
    pub losses: Vec<Loss>,
    /// What was done.
    pub stats: PackStats,
}

/// What packing did, in counts and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackStats {
    /// Regular files; each further hard link counts as one.
    pub files: u64,
    /// Bytes in all regular files.
    pub content_bytes: u64,
    /// Blocks of all files.
    pub blocks: u64,
    /// Blocks that were put: neither met before nor in the stores.
    pub put_blocks: u64,
    /// Bytes that went to the stores, each replica counted.
    pub put_bytes: u64,
}

/// Why a tree could not be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A file of the build host cannot be read.
    #[error("{path}: cannot read its content: {source}")]
    Read {
        /// Path in the tree.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The format cannot hold something, and losses were forbidden.
    #[error("the rfs format cannot hold {0}; pack without strict to lose that, or pack in the newer format")]
    Lossy(Loss),
    /// The tree makes no flist.
    #[error("the tree makes no rfs flist: {0}")]
    Unfit(#[from] RfsError),
    /// A store's URL, or a gap between the stores' ranges.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A store failed.
    #[error("cannot store a block: {0}")]
    Store(#[from] StoreError),
}

impl PackError {
    fn read(path: &[u8], source: std::io::Error) -> Self {
        let path = show(path);
        Self::Read { path, source }
    }
}

/// Packs a tree: puts its blocks into every store whose range covers them, and returns the flist, which is not put
/// anywhere. The same tree gives the same rows in the same order, whatever the number of threads.
///
/// # Errors
/// [`PackError`]; blocks that were put before stay in the stores, and the next try finds them there.
pub fn pack(tree: &Tree, targets: &Targets, options: &PackOptions) -> Result<Packed, PackError> {
    targets.check()?;
    let losses = loss::losses(tree);
    if let Some(loss) = losses.first().filter(|_| options.strict) {
        return Err(PackError::Lossy(loss.clone()));
    }
    let mut records = records::records(tree);
    let files = records::files(tree, &mut records);
    let (blocks, stats) = blocks::put(&files, targets, options)?;
    let routes = targets.routes(options.strip_password);
    let rfs = Rfs::new(records, blocks, options.tags.clone(), routes)?;
    Ok(Packed { rfs, losses, stats })
}

/// The routes as they go into an flist.
fn routes<'r>(routes: impl Iterator<Item = &'r Route>, strip_password: bool) -> Vec<Route> {
    routes
        .map(|route| match strip_password {
            true => route.without_password(),
            false => route.clone(),
        })
        .collect()
}
