//! Bytes of files, from the image, with what goes wrong told once.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mos_flist::{ReadError, Slice};

use crate::index::{Index, NodeId};
use crate::objects::{Objects, Written};
use crate::options::{Log, Source};

/// The same message is told again only after this long: the kernel asks several times for what it does not get.
const SILENCE: Duration = Duration::from_secs(60);
/// Different messages that are remembered.
const REMEMBERED: usize = 256;
/// Bytes that a file is copied in.
const STEP: u64 = 1 << 20;

/// An image with its index.
pub(crate) struct Content {
    pub(crate) source: Source,
    pub(crate) index: Index,
    log: Log,
    told: Mutex<HashMap<String, Instant>>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Content {
    pub(crate) fn new(source: Source, index: Index, log: Log) -> Self {
        Self {
            source,
            index,
            log,
            told: Mutex::default(),
        }
    }

    /// Part of a file; `None` after an error, which was told.
    pub(crate) fn read(&self, id: NodeId, range: Range<u64>) -> Option<Slice> {
        match self.try_read(id, range) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.tell(format!("{}: {error}", self.source.name));
                None
            }
        }
    }

    /// What is better decoded together with these bytes of a file, as [`mos_flist::Image::around`] has it.
    pub(crate) fn around(&self, id: NodeId, range: &Range<u64>) -> Option<Range<u64>> {
        self.source.image.around(self.index.node(id).ino, range)
    }

    fn try_read(&self, id: NodeId, range: Range<u64>) -> Result<Slice, ReadError> {
        self.source.image.read_at(self.index.node(id).ino, range)
    }

    /// Has the image fetch and decode the beginning of each of these inodes, and with it what lies around it. Whatever
    /// goes wrong goes wrong again when somebody reads it.
    pub(crate) fn warm(&self, inodes: Range<usize>) {
        for place in inodes.filter(|place| self.index.content_at(*place) > 0) {
            if let Some(ino) = self.index.ino_at(place)
                && self.source.image.read_at(ino, 0..1).is_err()
            {
                return;
            }
        }
    }

    /// Copies a file to the objects, checked as a whole; it still needs its name.
    pub(crate) fn copy_to(&self, objects: &Objects, id: NodeId) -> Result<Option<Written>, CopyError> {
        let node = self.index.node(id);
        let Some(object) = self.index.object(id) else {
            return Ok(None);
        };
        if objects.has(&object, node.size) {
            return Ok(None);
        }
        let written = objects.write(&object, |out| {
            for start in (0..node.size).step_by(STEP as usize) {
                let bytes = self.try_read(id, start..(start + STEP).min(node.size))?;
                out.write_all(&bytes)?;
            }
            Ok::<(), CopyError>(())
        })?;
        Ok(Some(written))
    }

    /// Gives a line to the log, unless it was given lately.
    pub(crate) fn tell(&self, line: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&line).is_some_and(|time| time.elapsed() < SILENCE) {
            return;
        }
        if told.len() >= REMEMBERED {
            told.clear();
        }
        (self.log)(&line);
        told.insert(line, Instant::now());
    }
}

/// Why a file could not be copied to the objects.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Content that is shared by the threads of a mount.
pub(crate) type Shared = Arc<Content>;
