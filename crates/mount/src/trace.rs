//! Which files are read, in the order in which they are first read: the list for the next mount's prefetch.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::index::{Index, NodeId};

/// A list that is being written. A name with a newline in it has no place in a list of lines and is left out.
#[derive(Debug)]
pub(crate) struct Trace {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seen: Vec<bool>,
    out: File,
}

impl Trace {
    /// Starts a list in a new file.
    pub(crate) fn create(path: &Path, index: &Index) -> io::Result<Self> {
        let state = State {
            seen: vec![false; index.len()],
            out: File::create(path)?,
        };
        Ok(Self {
            state: Mutex::new(state),
        })
    }

    /// Notes that a file is read.
    pub(crate) fn read(&self, index: &Index, id: NodeId) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = state.seen.get_mut(id.place()) else {
            return;
        };
        if std::mem::replace(seen, true) {
            return;
        }
        let mut line = index.path(id);
        if line.contains(&b'\n') {
            return;
        }
        line.push(b'\n');
        // One write for a line, so the list is whole up to the last one whenever the daemon ends. A disk that is full
        // costs the list, not the mount.
        let _ = state.out.write_all(&line);
    }
}

/// The paths of a list that [`MountOptions::trace_to`](crate::MountOptions) wrote.
pub fn parse(list: &[u8]) -> Vec<Vec<u8>> {
    let lines = list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(<[u8]>::to_vec).collect()
}
