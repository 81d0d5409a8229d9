//! Which files are open, and how each is served while it is.
//!
//! The kernel takes an inode in one way at a time: as long as one opener has it through the page cache of the mount,
//! nobody can have it passed through, and the other way round. So the first opener decides for those that come while
//! it is open.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::BackingId;

use crate::index::NodeId;

/// How an open file is served.
#[derive(Debug, Clone)]
pub(crate) enum Served {
    /// From the image, by the daemon.
    Image,
    /// From an object, by the daemon.
    Object(Arc<File>),
    /// From an object, by the kernel.
    Passthrough(Arc<BackingId>),
}

#[derive(Debug)]
struct Open {
    openers: u64,
    served: Served,
    /// Bytes that the daemon gave of it.
    read: u64,
}

/// The open files.
#[derive(Debug, Default)]
pub(crate) struct Opened(Mutex<HashMap<NodeId, Open>>);

impl Opened {
    /// Counts an opener; `first` decides how the file is served when it is the only one.
    pub(crate) fn open(&self, id: NodeId, first: impl FnOnce() -> Served) -> Served {
        let mut all = self.lock();
        let open = all.entry(id).or_insert_with(|| Open {
            openers: 0,
            served: first(),
            read: 0,
        });
        open.openers += 1;
        open.served.clone()
    }

    /// How an open file is served; notes that this many bytes of it are asked for.
    pub(crate) fn read(&self, id: NodeId, bytes: u64) -> Option<Served> {
        let mut all = self.lock();
        let open = all.get_mut(&id)?;
        open.read += bytes;
        Some(open.served.clone())
    }

    /// Counts an opener less. Gives the number of bytes that the daemon was asked for, when it was the last one and the
    /// file was served from the image.
    pub(crate) fn release(&self, id: NodeId) -> Option<u64> {
        let mut all = self.lock();
        let open = all.get_mut(&id)?;
        open.openers -= 1;
        if open.openers > 0 {
            return None;
        }
        let open = all.remove(&id)?;
        matches!(open.served, Served::Image).then_some(open.read)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Open>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
