//! Compressing on many threads without anything depending on how many.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use mos_store::{Digest, Write};

use super::{PackError, PackOptions, PackStats};
use crate::blob::{BlobWriter, IndexedChunk};
use crate::frame::{self, Encoding};
use crate::table::{BlobRef, Frame};

/// A blob may end once it has this many bytes, when the digest of its last chunk says so.
const BLOB_MIN: usize = 8 << 20;
/// A blob ends in any case once it has this many bytes.
const BLOB_MAX: usize = 16 << 20;
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
    chunks: Vec<IndexedChunk>,
}

type Reply = std::io::Result<StoredFrame>;
type Job = (PlainFrame, SyncSender<Reply>);

/// Where the cutting thread leaves its frames.
pub(super) struct Frames {
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<Reply>>,
}

/// What became of the frames, in their order.
#[derive(Debug, Default)]
pub(super) struct Assembled {
    pub(super) blobs: Vec<BlobRef>,
    pub(super) frames: Vec<Frame>,
    pub(super) stats: PackStats,
}

impl Frames {
    /// Hands a frame on; waits while the threads behind are busy.
    pub(super) fn send(&self, frame: PlainFrame) -> Result<(), PackError> {
        let (reply, answer) = sync_channel(1);
        let taken = self.order.send(answer).is_ok() && self.jobs.send((frame, reply)).is_ok();
        // The threads behind stop early only with an error of their own, which `run` prefers to this one.
        let stopped = || PackError::Compress(std::io::Error::other("the threads that compress stopped"));
        taken.then_some(()).ok_or_else(stopped)
    }
}

/// Runs `produce` on this thread with compressing and assembling threads behind it.
pub(super) fn run<T>(
    store: &dyn Write,
    options: &PackOptions,
    produce: impl FnOnce(Frames) -> Result<T, PackError>,
) -> Result<(T, Assembled), PackError> {
    let threads = options.threads.max(1);
    let (jobs, job_queue) = sync_channel::<Job>(threads);
    let (order, answers) = sync_channel(2 * threads);
    let job_queue = Mutex::new(job_queue);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| compress(&job_queue, options.compression_level));
        }
        let assembler = scope.spawn(|| assemble(answers, store));
        let produced = produce(Frames { jobs, order });
        let assembled = match assembler.join() {
            Ok(assembled) => assembled?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok((produced?, assembled))
    })
}

fn compress(jobs: &Mutex<Receiver<Job>>, level: i32) {
    loop {
        // The lock is held while waiting, never while compressing.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((frame, reply)) = job else { return };
        let plain = u32::try_from(frame.bytes.len()).expect("a frame has less than 2 MiB");
        let stored = frame::encode(frame.bytes, level).map(|(encoding, stored)| StoredFrame {
            encoding,
            stored,
            plain,
            chunks: frame.chunks,
        });
        // Nobody listens any more when the assembler met an error.
        let _ = reply.send(stored);
    }
}

fn assemble(answers: Receiver<Receiver<Reply>>, store: &dyn Write) -> Result<Assembled, PackError> {
    let mut assembled = Assembled::default();
    let mut blob = BlobWriter::default();
    for answer in answers {
        // A sender that is gone means that cutting stopped, and that error is reported there.
        let Ok(reply) = answer.recv() else { break };
        let frame = reply.map_err(PackError::Compress)?;
        let ends = frame
            .chunks
            .last()
            .is_some_and(|chunk| chunk.digest.as_bytes()[1] & BLOB_MASK == 0);
        assembled.push(&mut blob, frame);
        if blob.len() >= BLOB_MAX || (blob.len() >= BLOB_MIN && ends) {
            assembled.close(std::mem::take(&mut blob), store)?;
        }
    }
    if blob.len() > 0 {
        assembled.close(blob, store)?;
    }
    Ok(assembled)
}

impl Assembled {
    fn push(&mut self, blob: &mut BlobWriter, frame: StoredFrame) {
        let offset = blob.push(frame.encoding, &frame.stored, frame.plain, frame.chunks);
        self.frames.push(Frame {
            blob: u32::try_from(self.blobs.len()).expect("there are at most as many blobs as frames"),
            encoding: frame.encoding,
            offset,
            stored: u32::try_from(frame.stored.len()).expect("a frame has less than 2 MiB"),
            plain: frame.plain,
        });
    }

    /// Stores a finished blob, unless the store has it.
    fn close(&mut self, blob: BlobWriter, store: &dyn Write) -> Result<(), PackError> {
        let bytes = blob.finish();
        let blob = BlobRef {
            digest: Digest::of(&bytes),
            length: bytes.len() as u64,
        };
        let name = blob.digest.blob_name();
        if store.length(&name)? != Some(blob.length) {
            store.put(&name, &bytes)?;
            self.stats.put_blobs += 1;
            self.stats.put_bytes += blob.length;
        }
        self.stats.new_blobs += 1;
        self.stats.new_blob_bytes += blob.length;
        self.blobs.push(blob);
        Ok(())
    }
}
