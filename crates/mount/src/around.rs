//! Giving the kernel all of a decoded frame when somebody reads a page of it.
//!
//! A page costs the decoding of its frame, and frames are kept for a moment only. So when a frame holds mostly the file
//! that is read, all of it is decoded, and the kernel is made to read ahead what it holds of the file, as it does around
//! a page fault: from then on it answers from its page cache, which it gives up when memory is short, and the frame is
//! not decoded again.
//!
//! The kernel takes no content that it did not ask for without making the daemon wait for pages that are on their way,
//! which nobody could end if the daemon died meanwhile. So a thread asks for it, like any reader of the mount:
//! posix_fadvise(2) waits for nothing, and `RESOLVE_CACHED` (openat2(2), Linux 5.12) opens a file without a request to
//! us, or not at all.

use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Advice, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::content::Shared;
use crate::index::NodeId;

/// Parts that wait for their turn. For what finds no room the kernel asks as its readers do.
const WAITING: usize = 16;
/// Bytes that the kernel reads ahead with one call, whatever it was told for the mount (`VM_READAHEAD_PAGES` of Linux
/// `include/linux/mm.h`).
const STEP: u64 = 128 << 10;

/// A part of a file.
type Part = (NodeId, Range<u64>);

/// Has the kernel ask for parts of files.
#[derive(Debug)]
pub(crate) struct Around {
    queue: SyncSender<Part>,
    /// The last one: asking for it makes small requests, too, and these must not begin it again.
    last: Mutex<Option<Part>>,
    /// True once closing a file is no request any more: nobody would answer it if the daemon were killed in that moment,
    /// and the kernel waits for such an answer whatever happens. False again when the kernel cannot be asked.
    works: Arc<AtomicBool>,
}

impl Around {
    /// For a mount at this place. None when the system has no thread for it; the thread ends with what this returns.
    pub(crate) fn start(content: Shared, place: PathBuf) -> Option<Self> {
        let (queue, parts) = sync_channel(WAITING);
        let works = Arc::new(AtomicBool::new(false));
        let working = works.clone();
        let thread = std::thread::Builder::new().name("mos-around".to_owned());
        let run = move || {
            ask_all(&content, &place, &parts);
            working.store(false, Ordering::Relaxed);
        };
        thread.spawn(run).ok()?;
        Some(Self {
            queue,
            last: Mutex::default(),
            works,
        })
    }

    /// From now on, if ever: the kernel was told that closing a file needs no answer.
    pub(crate) fn begin(&self) {
        self.works.store(true, Ordering::Relaxed);
    }

    /// True when it is of use to decode this part as a whole for who reads some of it: the kernel will be asked to take it.
    pub(crate) fn takes(&self, id: NodeId, part: &Range<u64>) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let new = last.as_ref().is_none_or(|last| last.0 != id || last.1 != *part);
        *last = Some((id, part.clone()));
        new && self.works.load(Ordering::Relaxed)
    }

    /// Has the kernel ask for this part.
    pub(crate) fn ask(&self, id: NodeId, part: Range<u64>) {
        let _ = self.queue.try_send((id, part));
    }
}

/// Asks for one part after the other, until that turns out to be impossible.
fn ask_all(content: &Shared, place: &Path, parts: &Receiver<Part>) {
    while let Ok((id, part)) = parts.recv() {
        let path = place.join(OsStr::from_bytes(&content.index.path(id)));
        match ask(&path, part) {
            // Not in the kernel's memory any more: nobody reads it.
            Ok(()) | Err(Errno::AGAIN) => {}
            Err(_) => return,
        }
    }
}

fn ask(path: &Path, part: Range<u64>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED)?;
    for start in part.clone().step_by(STEP as usize) {
        let length = NonZeroU64::new(STEP.min(part.end - start));
        rustix::fs::fadvise(&file, start, length, Advice::WillNeed)?;
    }
    Ok(())
}
