//! Compressing on many threads without anything depending on how many.
//!
//! ```text
//! frames --> compress (threads) --in order--> assemble blobs (one thread) --> put (one thread)
//! ```

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use mos_store::{Digest, Write};

use super::buffers::Buffers;
use super::{PackError, PackOptions};
use crate::blob::{BlobWriter, IndexedChunk};
use crate::frame::{Compressor, Encoding};
use crate::table::{BlobIndex, BlobRef, Frame};

/// A blob may end once it has this many bytes, when the digest of its last chunk says so. Two blobs are in memory while
/// packing, so their size is most of what packing takes; 50 objects for a gigabyte are few.
const BLOB_MIN: usize = 4 << 20;
/// A blob ends in any case once it has this many bytes.
const BLOB_MAX: usize = 8 << 20;
/// One frame in sixteen may end a blob.
const BLOB_MASK: u8 = 15;

/// Chunks on their way into a frame.
#[derive(Debug, Default)]
pub(super) struct PlainFrame {
    pub(super) bytes: Vec<u8>,
    pub(super) chunks: Vec<IndexedChunk>,
}

struct StoredFrame {
    encoding: Encoding,
    stored: Vec<u8>,
    plain: u32,
    digest: Digest,
    chunks: Vec<IndexedChunk>,
}

/// A blob that is ready to be put, and where its index is.
type Finished = (Vec<u8>, BlobIndex);
type Reply = std::io::Result<StoredFrame>;
type Job = (PlainFrame, SyncSender<Reply>);

/// What the threads share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Of plain frames.
    plain: Buffers,
    /// Of stored frames, which are smaller: apart from the plain ones, or all would come to be as large as these.
    stored: Buffers,
    /// Of whole blobs: two, while one is put and one filled.
    blobs: Buffers,
}

/// Where frames are left.
pub(super) struct Frames<'s> {
    shared: &'s Shared,
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<Reply>>,
}

/// The threads behind.
pub(super) struct Assembly<'s> {
    assembler: ScopedJoinHandle<'s, Result<Vec<Frame>, PackError>>,
    putter: ScopedJoinHandle<'s, Result<Put, PackError>>,
}

/// What became of the frames, in their order.
#[derive(Debug, Default)]
pub(super) struct Assembled {
    pub(super) frames: Vec<Frame>,
    pub(super) put: Put,
}

/// The blobs made, in their order, and which of them the store did not have.
#[derive(Debug, Default)]
pub(super) struct Put {
    pub(super) blobs: Vec<(BlobRef, BlobIndex)>,
    pub(super) missing_blobs: u64,
    pub(super) missing_bytes: u64,
}

impl Frames<'_> {
    /// An empty frame.
    pub(super) fn empty(&self) -> PlainFrame {
        let mut bytes = self.shared.plain.take();
        bytes.clear();
        PlainFrame {
            bytes,
            chunks: Vec::new(),
        }
    }

    /// Hands a frame on; waits while the threads behind are busy.
    pub(super) fn send(&self, frame: PlainFrame) -> Result<(), PackError> {
        let (reply, answer) = sync_channel(1);
        let taken = self.order.send(answer).is_ok() && self.jobs.send((frame, reply)).is_ok();
        // The threads behind stop early only with an error of their own, which `Assembly::finish` gives.
        let stopped = || PackError::Compress(std::io::Error::other("the threads that compress stopped"));
        taken.then_some(()).ok_or_else(stopped)
    }
}

/// Starts the threads; they end when the frames are dropped.
pub(super) fn start<'s>(
    scope: &'s Scope<'s, '_>,
    store: &'s dyn Write,
    options: &'s PackOptions,
    shared: &'s Shared,
) -> (Frames<'s>, Assembly<'s>) {
    let threads = options.threads.max(1);
    let (jobs, job_queue) = sync_channel::<Job>(threads);
    let (order, answers) = sync_channel(threads + 1);
    let job_queue = std::sync::Arc::new(Mutex::new(job_queue));
    for _ in 0..threads {
        let job_queue = job_queue.clone();
        scope.spawn(move || compress(&job_queue, options.compression_level, shared));
    }
    // Nothing waits between the two: one blob is put while the next is assembled, and there is no third in memory.
    let (blobs, finished) = sync_channel(0);
    let assembly = Assembly {
        assembler: scope.spawn(move || assemble(answers, blobs, shared)),
        putter: scope.spawn(move || put(finished, store, shared)),
    };
    (Frames { shared, jobs, order }, assembly)
}

impl Assembly<'_> {
    /// Waits until everything is put. An error is that of the last thread that stopped the others.
    pub(super) fn finish(self) -> Result<Assembled, PackError> {
        let frames = joined(self.assembler);
        let put = joined(self.putter)?;
        Ok(Assembled { frames: frames?, put })
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn compress(jobs: &Mutex<Receiver<Job>>, level: i32, shared: &Shared) {
    let mut compressor = Compressor::new(level);
    loop {
        // The lock is held while waiting, never while compressing.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((frame, reply)) = job else { return };
        let plain = u32::try_from(frame.bytes.len()).expect("a frame has less than 2 MiB");
        let mut stored = shared.stored.take();
        let encoding = compressor.encode(&frame.bytes, &mut stored);
        shared.plain.give(frame.bytes);
        let stored = encoding.map(|encoding| StoredFrame {
            encoding,
            digest: Digest::of(&stored),
            stored,
            plain,
            chunks: frame.chunks,
        });
        // Nobody listens any more when the assembler met an error.
        let _ = reply.send(stored);
    }
}

fn assemble(
    answers: Receiver<Receiver<Reply>>,
    blobs: SyncSender<Finished>,
    shared: &Shared,
) -> Result<Vec<Frame>, PackError> {
    let stopped = |_| PackError::Compress(std::io::Error::other("the thread that stores blobs stopped"));
    let mut frames = Vec::new();
    let mut blob = BlobWriter::new(shared.blobs.take());
    let mut closed = 0;
    for answer in answers {
        // A sender that is gone means that cutting stopped, and that error is reported there.
        let Ok(reply) = answer.recv() else { break };
        let frame = reply.map_err(PackError::Compress)?;
        let ends = frame
            .chunks
            .last()
            .is_some_and(|chunk| chunk.digest.as_bytes()[1] & BLOB_MASK == 0);
        frames.push(push(&mut blob, closed, &frame));
        shared.stored.give(frame.stored);
        if blob.len() >= BLOB_MAX || (blob.len() >= BLOB_MIN && ends) {
            let next = BlobWriter::new(shared.blobs.take());
            blobs
                .send(std::mem::replace(&mut blob, next).finish())
                .map_err(stopped)?;
            closed += 1;
        }
    }
    if blob.len() > 0 {
        blobs.send(blob.finish()).map_err(stopped)?;
    }
    Ok(frames)
}

fn push(blob: &mut BlobWriter, number: u32, frame: &StoredFrame) -> Frame {
    let offset = blob.push(frame.encoding, &frame.stored, frame.plain, &frame.chunks);
    Frame {
        blob: number,
        encoding: frame.encoding,
        offset,
        stored: u32::try_from(frame.stored.len()).expect("a frame has less than 2 MiB"),
        plain: frame.plain,
        digest: frame.digest,
    }
}

/// Stores finished blobs that the store does not have.
fn put(blobs: Receiver<Finished>, store: &dyn Write, shared: &Shared) -> Result<Put, PackError> {
    let mut put = Put::default();
    for (bytes, index) in blobs {
        let blob = BlobRef {
            digest: Digest::of(&bytes),
            length: bytes.len() as u64,
        };
        let name = blob.digest.blob_name();
        if store.length(&name)? != Some(blob.length) {
            store.put(&name, &bytes)?;
            put.missing_blobs += 1;
            put.missing_bytes += blob.length;
        }
        put.blobs.push((blob, index));
        shared.blobs.give(bytes);
    }
    Ok(put)
}
