//! Many threads that read, one order.
//!
//! Threads take groups of neighbouring files, whoever is free the next one, and each group has a queue of its own; the
//! queues are emptied in the order of the groups. So what comes out does not depend on who read what, and nobody runs
//! ahead by more than a few batches.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;

use mos_tree::Content;

use super::buffers::Buffers;
use super::cutter::{Batch, Cut, Cutter, Piece, Stop, ZeroChunk};
use super::{PackError, PackOptions};

/// A group of files ends once it has this many bytes or files: enough that handing it out costs nothing.
const GROUP_BYTES: u64 = 512 << 10;
const GROUP_FILES: usize = 128;
/// Batches that wait per group.
const QUEUE: usize = 1;

/// A file to read.
#[derive(Debug, Clone)]
pub(super) struct Job<'t> {
    pub(super) path: Vec<u8>,
    pub(super) content: &'t Content,
}

/// What the threads share.
pub(super) struct Readers<'t> {
    options: &'t PackOptions,
    zeros: ZeroChunk,
    pub(super) buffers: Buffers,
    groups: Mutex<Vec<Vec<Job<'t>>>>,
}

/// What was read, in the order of the files.
pub(super) struct Pieces<'r> {
    buffers: &'r Buffers,
    groups: Receiver<Receiver<Cut>>,
    batches: Option<Receiver<Cut>>,
    bytes: Vec<u8>,
    pieces: std::vec::IntoIter<Piece>,
}

impl<'t> Readers<'t> {
    pub(super) fn new(options: &'t PackOptions, jobs: Vec<Job<'t>>) -> Self {
        let mut groups = group(jobs);
        groups.reverse();
        Self {
            options,
            zeros: ZeroChunk::of(options.chunk_sizes),
            buffers: Buffers::default(),
            groups: Mutex::new(groups),
        }
    }

    /// Starts the threads.
    pub(super) fn start<'r>(&'r self, scope: &'r Scope<'r, '_>) -> Pieces<'r> {
        let threads = self.options.threads.max(1);
        let (order, groups) = sync_channel(threads);
        for _ in 0..threads {
            let order = order.clone();
            scope.spawn(move || while self.read_group(&order).is_some() {});
        }
        Pieces {
            buffers: &self.buffers,
            groups,
            batches: None,
            bytes: Vec::new(),
            pieces: Vec::new().into_iter(),
        }
    }

    /// Reads the next group; `None` when there is none, or nobody wants it.
    fn read_group(&self, order: &SyncSender<Receiver<Cut>>) -> Option<()> {
        let (out, batches) = sync_channel(QUEUE);
        let group = {
            // Under the lock, so that the queues are in the order of the groups.
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            let group = groups.pop()?;
            order.send(batches).ok()?;
            group
        };
        let mut cutter = Cutter::new(self.options, self.zeros, &self.buffers, out.clone());
        let mut read = || group.iter().try_for_each(|job| cutter.file(&job.path, job.content));
        match read().and_then(|()| cutter.finish()) {
            Ok(()) => Some(()),
            Err(Stop::Unwanted) => None,
            Err(Stop::Failed(error)) => out.send(Err(error)).ok(),
        }
    }
}

fn group(jobs: Vec<Job<'_>>) -> Vec<Vec<Job<'_>>> {
    let mut groups = Vec::new();
    let mut open: Vec<Job<'_>> = Vec::new();
    let mut bytes = 0;
    for job in jobs {
        bytes += job.content.len();
        open.push(job);
        if bytes >= GROUP_BYTES || open.len() == GROUP_FILES {
            groups.push(std::mem::take(&mut open));
            bytes = 0;
        }
    }
    if !open.is_empty() {
        groups.push(open);
    }
    groups
}

impl Pieces<'_> {
    /// The next piece, and the bytes of its batch.
    pub(super) fn next(&mut self) -> Result<(Piece, &[u8]), PackError> {
        loop {
            if let Some(piece) = self.pieces.next() {
                return Ok((piece, &self.bytes));
            }
            let batch = self.next_batch()?;
            let old = std::mem::replace(&mut self.bytes, batch.bytes);
            if !old.is_empty() {
                self.buffers.give(old);
            }
            self.pieces = batch.pieces.into_iter();
        }
    }

    fn next_batch(&mut self) -> Result<Batch, PackError> {
        loop {
            if let Some(batches) = &self.batches
                && let Ok(batch) = batches.recv()
            {
                return batch;
            }
            // A thread ends early only with an error, which was received before this.
            let stopped = |_| PackError::read(b"", std::io::Error::other("the threads that read stopped"));
            self.batches = Some(self.groups.recv().map_err(stopped)?);
        }
    }
}
