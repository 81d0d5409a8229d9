//! Files that become objects before, or after, somebody reads them.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::content::{Content, CopyError, Shared};
use crate::index::{Index, NodeId};
use crate::kernel;
use crate::objects::{Objects, Written};

/// Runs fetched side by side: what hides the time a store takes to answer.
const THREADS: usize = 8;
/// Files next to each other share frames, so they are fetched by one thread: two of them would wait for the same frame
/// instead of asking for two. About as many bytes as a frame has, and files no further apart than this many inodes.
const RUN_BYTES: u64 = 256 << 10;
const RUN_GAP: usize = 64;
/// Objects that get their names together, and so their syncs.
const BATCH: usize = 512;
/// Files that were read get their names together when no other one came for so long.
const PAUSE: Duration = Duration::from_millis(200);

/// Where objects go, and how many bytes of them may stay.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    pub(crate) objects: Objects,
    pub(crate) cache: std::path::PathBuf,
    pub(crate) limit: u64,
}

impl Shelf {
    /// Evicts what is too much.
    pub(crate) fn shrink(&self) -> std::io::Result<u64> {
        let pinned = std::cell::LazyCell::new(|| kernel::pins(&self.cache));
        self.objects.shrink(self.limit, &|name| pinned.contains(name))
    }
}

/// Discards the objects of these files that are damaged.
pub(crate) fn check(content: &Content, shelf: &Shelf, files: &[NodeId]) {
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(id) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(object) = content.index.object(*id) {
                shelf.objects.check(&object, content.index.node(*id).size);
            }
        }
    };
    std::thread::scope(|scope| {
        (0..THREADS.min(files.len())).for_each(|_| drop(scope.spawn(run)));
    });
}

/// Files that will be objects soon, as long as their fetching goes on.
#[derive(Debug, Default)]
pub(crate) struct Coming {
    /// Sorted.
    files: Vec<NodeId>,
    over: AtomicBool,
}

impl Coming {
    pub(crate) fn new(mut files: Vec<NodeId>) -> Self {
        files.sort_unstable();
        let over = AtomicBool::new(files.is_empty());
        Self { files, over }
    }

    /// True for a file that nobody else needs to fetch.
    pub(crate) fn has(&self, id: NodeId) -> bool {
        !self.over.load(Ordering::Relaxed) && self.files.binary_search(&id).is_ok()
    }
}

/// Cuts a list of files where the next one lies elsewhere in the image, or enough came together: each part lies in other
/// frames than most of the rest.
fn runs(index: &Index, files: &[NodeId]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    for (place, id) in files.iter().enumerate() {
        let near = place > start && {
            let before = files[place - 1].place();
            (before..=before + RUN_GAP).contains(&id.place())
        };
        if place > start && !(near && bytes < RUN_BYTES) {
            runs.push(start..place);
            (start, bytes) = (place, 0);
        }
        bytes += index.node(*id).size;
    }
    runs.extend((start < files.len()).then_some(start..files.len()));
    runs
}

/// Makes these files objects, in this order as far as several threads go; stops at the first error, or when told to.
pub(crate) fn fetch(
    content: &Content,
    shelf: &Shelf,
    files: &[NodeId],
    stop: &AtomicBool,
) -> Result<(), (NodeId, CopyError)> {
    let runs = runs(&content.index, files);
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<(NodeId, CopyError)>> = Mutex::new(None);
    let ended = || stop.load(Ordering::Relaxed) || lock(&failed).is_some();
    let run = || {
        let mut batch: Vec<Written> = Vec::new();
        let taken = std::iter::from_fn(|| runs.get(next.fetch_add(1, Ordering::Relaxed)));
        for id in taken.flat_map(|run| &files[run.clone()]).take_while(|_| !ended()) {
            let copied = content.copy_to(&shelf.objects, *id).and_then(|written| {
                batch.extend(written);
                match batch.len() {
                    BATCH => Ok(shelf.objects.commit_all(&mut batch)?),
                    _ => Ok(()),
                }
            });
            if let Err(error) = copied {
                lock(&failed).get_or_insert((*id, error));
                return;
            }
        }
        if let Err(error) = shelf.objects.commit_all(&mut batch)
            && let Some(id) = files.last()
        {
            lock(&failed).get_or_insert((*id, error.into()));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..THREADS.min(runs.len()) {
            scope.spawn(run);
        }
        run();
    });
    failed
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

/// Makes objects of the files that come through a queue, until that ends.
pub(crate) fn promote(content: &Shared, shelf: &Shelf, queue: &Receiver<NodeId>) {
    let mut used = shelf.shrink().unwrap_or(0);
    let mut batch = Vec::new();
    let not_kept = |error: CopyError| content.tell(format!("{}: not kept: {error}", content.source.name));
    loop {
        let next = queue.recv_timeout(PAUSE);
        if let Ok(id) = next {
            match content.copy_to(&shelf.objects, id) {
                Ok(Some(written)) => {
                    used += content.index.node(id).size;
                    batch.push(written);
                }
                Ok(None) => {}
                Err(error) => not_kept(error),
            }
        }
        if next.is_err() || batch.len() == BATCH || used > shelf.limit {
            if let Err(error) = shelf.objects.commit_all(&mut batch) {
                batch.clear();
                not_kept(error.into());
            }
            if used > shelf.limit {
                used = shelf.shrink().unwrap_or(0);
            }
        }
        if next == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Fetches in the background what a list names. Failures are told and cost nothing but the time that was to be saved.
pub(crate) fn in_background(
    content: Shared,
    shelf: Shelf,
    files: Vec<NodeId>,
    coming: Arc<Coming>,
    stop: Arc<AtomicBool>,
) {
    let thread = std::thread::Builder::new().name("mos-prefetch".to_owned());
    let run = move || {
        if let Err((_, error)) = fetch(&content, &shelf, &files, &stop) {
            content.tell(format!("{}: prefetch stopped: {error}", content.source.name));
        }
        coming.over.store(true, Ordering::Relaxed);
        if let Err(error) = shelf.shrink() {
            content.tell(format!("{}: {error}", shelf.cache.display()));
        }
    };
    // Without a thread there is no prefetch, and everything is read when it is needed.
    let _ = thread.spawn(run);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mos_flist::{Flist, PackOptions, Reader, pack};
    use mos_store::Memory;
    use mos_tree::Tree;

    #[test]
    fn neighbours_go_together_and_nothing_is_left_out() {
        let mut tree = Tree::default();
        for file in 0..400 {
            let bytes = vec![file as u8; 10_000];
            tree.insert_file(format!("{file:03}"), 0o644, bytes).unwrap();
        }
        let store = Arc::new(Memory::new());
        let packed = pack(&tree, &*store, &PackOptions::default()).unwrap();
        let image = Reader::new(Arc::new(Flist::parse(packed.flist).unwrap()), store);
        let index = Index::build(&image).unwrap();
        let names = (100..160).chain(300..303).chain([50, 20]);
        let files: Vec<NodeId> = names
            .map(|file| index.at(format!("{file:03}").as_bytes()).unwrap())
            .collect();
        let runs = runs(&index, &files);
        assert_eq!(runs, [0..27, 27..54, 54..60, 60..63, 63..64, 64..65]);
        assert_eq!(super::runs(&index, &[]), []);
        let coming = Coming::new(files.clone());
        assert!(files.iter().all(|id| coming.has(*id)) && !coming.has(index.at(b"000").unwrap()));
        coming.over.store(true, Ordering::Relaxed);
        assert!(!coming.has(files[0]));
    }
}
