//! Files into blocks on many threads, without anything depending on how many.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use mos_flist::Done;

use super::records::File;
use super::{PackError, PackOptions, PackStats, Targets};
use crate::block::{self, BLOCK_SIZE, BlockRef, Hash};

/// A block that was not met before.
struct Job {
    /// Its place among such blocks.
    place: usize,
    key: Hash,
    plain: Vec<u8>,
}

/// Blocks that one thread made, by their places, and what it did.
type Made = (Vec<(usize, BlockRef)>, PackStats);

/// What the thread that reads files found.
#[derive(Default)]
struct Cut {
    /// For each block of the flist, its place among different ones.
    places: Vec<usize>,
    known: HashMap<Hash, usize>,
    stats: PackStats,
}

/// What the threads share.
struct Shared<'a> {
    jobs: Mutex<Receiver<Job>>,
    targets: &'a Targets,
    failed: AtomicBool,
}

/// Puts the blocks of all files, equal ones once; returns them in the order of the files.
pub(super) fn put(
    files: &[File<'_>],
    targets: &Targets,
    options: &PackOptions,
) -> Result<(Vec<BlockRef>, PackStats), PackError> {
    let threads = options.threads.max(1);
    let (sender, jobs) = sync_channel(threads);
    let shared = Shared {
        jobs: Mutex::new(jobs),
        targets,
        failed: AtomicBool::new(false),
    };
    let (cut, made) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&shared))).collect();
        let cut = cut(files, sender, &shared.failed, &options.done);
        let made: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        (cut, made)
    });
    let (cut, mut different) = (cut?, Vec::new());
    let mut stats = cut.stats;
    for worker in made {
        let (list, done) = worker.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        stats.put_blocks += done.put_blocks;
        stats.put_bytes += done.put_bytes;
        different.extend(list);
    }
    different.sort_by_key(|(place, _)| *place);
    Ok((cut.places.iter().map(|place| different[*place].1).collect(), stats))
}

/// Cuts every file, and hands on what was not met before; waits while the threads behind are busy.
fn cut(files: &[File<'_>], jobs: SyncSender<Job>, failed: &AtomicBool, done: &Done) -> Result<Cut, PackError> {
    let mut cut = Cut::default();
    for file in files {
        let error = |source| PackError::read(&file.path, source);
        let mut reader = file.content.open().map_err(error)?;
        let mut left = file.content.len();
        while left > 0 && !failed.load(Ordering::Relaxed) {
            let length = left.min(BLOCK_SIZE as u64);
            let mut plain = vec![0; length as usize];
            reader.read_exact(&mut plain).map_err(error)?;
            if let Some(job) = cut.place(plain) {
                // The threads take jobs until this end is dropped, also when one of them has failed.
                let _ = jobs.send(job);
            }
            left -= length;
            done.bytes(length);
        }
        cut.stats.files += 1;
        done.file();
        cut.stats.content_bytes += file.content.len();
    }
    Ok(cut)
}

impl Cut {
    /// Gives a block its place; it is a job when its content was not met before.
    fn place(&mut self, plain: Vec<u8>) -> Option<Job> {
        let key = block::hash(&plain);
        let next = self.known.len();
        let place = *self.known.entry(key).or_insert(next);
        self.places.push(place);
        self.stats.blocks += 1;
        (place == next).then_some(Job { place, key, plain })
    }
}

fn work(shared: &Shared<'_>) -> Result<Made, PackError> {
    let mut made = Made::default();
    let mut result = Ok(());
    loop {
        // The lock is held while waiting, never while encoding; nothing panics while it is held.
        let job = shared.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { break };
        if shared.failed.load(Ordering::Relaxed) {
            continue;
        }
        if let Err(error) = make(shared.targets, &job, &mut made) {
            shared.failed.store(true, Ordering::Relaxed);
            result = Err(error);
        }
    }
    result.map(|()| made)
}

fn make(targets: &Targets, job: &Job, made: &mut Made) -> Result<(), PackError> {
    let (block, stored) = block::encode(&job.plain, job.key);
    let put = targets.put(&block, &stored)?;
    made.1.put_blocks += u64::from(put > 0);
    made.1.put_bytes += put;
    made.0.push((job.place, block));
    Ok(())
}
