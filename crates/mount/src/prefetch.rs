//! Files that become objects before, or after, somebody reads them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use crate::content::{Content, CopyError, Shared};
use crate::index::NodeId;
use crate::kernel;
use crate::objects::{Objects, Written};

/// Files fetched side by side: what hides the time a store takes to answer, without taking it from readers.
const THREADS: usize = 4;
/// Objects that get their names together, and so their syncs.
const BATCH: usize = 512;

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

/// Makes these files objects, in this order as far as several threads go; stops at the first error, or when told to.
pub(crate) fn fetch(
    content: &Content,
    shelf: &Shelf,
    files: &[NodeId],
    stop: &AtomicBool,
) -> Result<(), (NodeId, CopyError)> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<(NodeId, CopyError)>> = Mutex::new(None);
    let run = || {
        let mut batch: Vec<Written> = Vec::new();
        while let Some(id) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let copied = content.copy_to(&shelf.objects, *id).and_then(|written| {
                batch.extend(written);
                match batch.len() {
                    BATCH => Ok(shelf.objects.commit_all(&mut batch)?),
                    _ => Ok(()),
                }
            });
            if let Err(error) = copied {
                next.store(files.len(), Ordering::Relaxed);
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
        for _ in 1..THREADS.min(files.len()) {
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
    for id in queue {
        let copied = content.copy_to(&shelf.objects, id).and_then(|written| match written {
            Some(written) => Ok(shelf.objects.commit(written).map(|()| content.index.node(id).size)?),
            None => Ok(0),
        });
        match copied {
            Ok(bytes) => used += bytes,
            Err(error) => content.tell(format!("{}: not kept: {error}", content.source.name)),
        }
        if used > shelf.limit {
            used = shelf.shrink().unwrap_or(0);
        }
    }
}

/// Fetches in the background what a list names. Failures are told and cost nothing but the time that was to be saved.
pub(crate) fn in_background(content: Shared, shelf: Shelf, files: Vec<NodeId>, stop: Arc<AtomicBool>) {
    let thread = std::thread::Builder::new().name("mos-prefetch".to_owned());
    let run = move || {
        if let Err((_, error)) = fetch(&content, &shelf, &files, &stop) {
            content.tell(format!("{}: prefetch stopped: {error}", content.source.name));
        }
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
