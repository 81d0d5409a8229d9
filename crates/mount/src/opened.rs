//! Which files are open, and how each is served while it is.
//!
//! The kernel takes an inode in one way at a time: as long as one opener has it through the page cache of the mount,
//! nobody can have it passed through, and the other way round. So the first opener decides for those that come while
//! it is open.
//!
//! What is passed through stays ready for the next opener for a while: telling the kernel about an object costs more than
//! everything else about opening a file.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::BackingId;

use crate::index::NodeId;

/// Objects that stay ready though nobody has them open.
const READY: usize = 4096;

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
pub(crate) struct Opened(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    files: HashMap<NodeId, Open>,
    /// Files that were passed through and had no opener left, the oldest first. Some have one again.
    ready: VecDeque<NodeId>,
}

impl Opened {
    /// Counts an opener; `first` decides how the file is served when that is not settled.
    pub(crate) fn open(&self, id: NodeId, first: impl FnOnce() -> Served) -> Served {
        let mut state = self.lock();
        let open = state.files.entry(id).or_insert_with(|| Open {
            openers: 0,
            served: first(),
            read: 0,
        });
        open.openers += 1;
        open.served.clone()
    }

    /// How an open file is served; notes that this many bytes of it are asked for.
    pub(crate) fn read(&self, id: NodeId, bytes: u64) -> Option<Served> {
        let mut state = self.lock();
        let open = state.files.get_mut(&id)?;
        open.read += bytes;
        Some(open.served.clone())
    }

    /// Counts an opener less. Gives the number of bytes that the daemon was asked for, when it was the last one and the
    /// file was served from the image.
    pub(crate) fn release(&self, id: NodeId) -> Option<u64> {
        let mut state = self.lock();
        let open = state.files.get_mut(&id)?;
        open.openers = open.openers.saturating_sub(1);
        if open.openers > 0 {
            return None;
        }
        if let Served::Passthrough(_) = open.served {
            state.keep_ready(id);
            return None;
        }
        let open = state.files.remove(&id)?;
        matches!(open.served, Served::Image).then_some(open.read)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep_ready(&mut self, id: NodeId) {
        self.ready.push_back(id);
        while self.ready.len() > READY {
            let oldest = self.ready.pop_front();
            // One that was opened again stands at the back again once it is closed, or has openers now.
            if let Some(oldest) = oldest.filter(|id| !self.ready.contains(id))
                && self.files.get(&oldest).is_some_and(|open| open.openers == 0)
            {
                self.files.remove(&oldest);
            }
        }
    }
}
