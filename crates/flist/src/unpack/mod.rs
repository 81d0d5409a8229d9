//! An image written to a directory.
//!
//! Every step works on a name in an open directory and never follows a symbolic link, so nothing is written outside the
//! destination, whatever stands in it. Each file appears under its name complete or not at all (temporary name, then
//! rename), verified chunk by chunk.
//!
//! ```text
//! this thread   directories, links to nowhere, devices, in the order of a walk
//! workers       files, as the walk finds them; content is fetched and decoded once for all
//! this thread   hard links; then owner, mode and time of directories, deepest first; then the file system is synced
//! ```
//!
//! **Crashes.** A run that did not end leaves whole files, temporary ones (`.tmp-` and the inode's number), and a marker
//! ([`session`]) in the root of the destination. Running again completes the work: what is there already, by size, time,
//! mode, owner and attributes, stays. When the machine was started anew since, names may be on the disk whose content
//! is not, so content is compared as well. Two runs never work in one destination at a time.
//!
//! Memory: the image's frames (16 MiB) and a few for each worker.

mod disk;
mod same;
mod session;
mod sparse;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mos_tree::Metadata;

use crate::error::ReadError;
use crate::flist::{Entry, EntryKind};
use crate::image::{Advance, Image, Progress};
use crate::parallel;
pub use disk::{Before, Operation};
use disk::{Directory, Disk, base_name};
use session::Session;
use sparse::SparseFile;

/// How to unpack.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// Set owners and all attributes, and make device nodes; needs root. Without it, files belong to whoever unpacks,
    /// only `user.` attributes are set, and device nodes are left out. By default true for root.
    pub privileged: bool,
    /// Files that are written at a time; as many as there are processors by default.
    pub threads: usize,
    /// Read what is there already, and write it anew when its content is another. By default only size, time, mode,
    /// owner and attributes are looked at.
    pub paranoid: bool,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self {
            privileged: rustix::process::geteuid().is_root(),
            threads: parallel::processors(),
            paranoid: false,
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Names that are there now, the root not counted.
    pub names: u64,
    /// Of these, names of anything but directories that were there already, as they should be.
    pub kept: u64,
    /// Bytes of content written.
    pub bytes: u64,
    /// Device nodes that were left out for want of privilege: their paths.
    pub left_out: Vec<Vec<u8>>,
}

/// Why unpacking stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// Content.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was to be done, an imperative.
        doing: &'static str,
        /// Path on the disk.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else is at it.
    #[error("{}: another unpack works in it; wait until it is done", .0.display())]
    Busy(PathBuf),
}

struct Unpacker<'a> {
    image: &'a dyn Image,
    disk: &'a Disk<'a>,
    /// Compare the content of what is there.
    paranoid: bool,
    progress: &'a Progress<'a>,
    kept: AtomicU64,
    bytes: AtomicU64,
}

/// A file for a worker.
struct Job<'a> {
    entry: Entry<'a>,
    parent: Arc<Directory>,
}

/// What the walk leaves for later.
#[derive(Default)]
struct Later<'a> {
    /// First name and another one of the same inode.
    links: Vec<(Vec<u8>, Entry<'a>)>,
    directories: Vec<(Vec<u8>, &'a Metadata)>,
    left_out: Vec<Vec<u8>>,
    names: u64,
}

struct Walk<'u, 'a> {
    unpacker: &'u Unpacker<'a>,
    entries: Box<dyn Iterator<Item = Entry<'a>> + 'a>,
    /// The directories above the current name.
    stack: Vec<Arc<Directory>>,
    /// Where an inode with several names was put first.
    linked: HashMap<u64, Vec<u8>>,
    later: Later<'a>,
}

/// Writes everything into `directory`, which is made when it is missing. What is in it already stays, but for files
/// of the same names, which are replaced unless they are as they should be, and directories, which are joined.
///
/// # Errors
/// [`UnpackError`]: names that were made until then stay, and running again goes on from there.
pub fn unpack(
    image: &dyn Image,
    directory: &Path,
    options: &UnpackOptions,
    progress: &Progress<'_>,
) -> Result<Unpacked, UnpackError> {
    unpack_observed(image, directory, options, progress, &|_| Ok(()))
}

/// As [`unpack`]; `before` is told of each change to the disk below the destination before it is made, and an error of
/// it stops the run there as a power cut would.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_observed(
    image: &dyn Image,
    directory: &Path,
    options: &UnpackOptions,
    progress: &Progress<'_>,
    before: &Before<'_>,
) -> Result<Unpacked, UnpackError> {
    let disk = Disk::open(directory, options.privileged, before)?;
    let mut session = Session::begin(&disk, image)?;
    let unpacker = Unpacker {
        image,
        disk: &disk,
        paranoid: options.paranoid || session.doubtful,
        progress,
        kept: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    };
    let root = disk.root(session.resumed)?;
    let mut walk = Walk::new(&unpacker, root);
    let weight = |job: &Job<'_>| job.entry.size().unwrap_or(0);
    parallel::for_each(options.threads, &mut walk, weight, |job| unpacker.file(&job))?;
    let later = walk.later;
    for (first, entry) in &later.links {
        unpacker.link(first, entry)?;
    }
    for (path, metadata) in later.directories.iter().rev() {
        if path.is_empty() {
            // The marker goes when all else is on the disk, and that changes the root once more.
            session.end(&disk)?;
        }
        disk.dress_directory(path, metadata)?;
    }
    disk.sync_root()?;
    Ok(Unpacked {
        names: later.names,
        kept: unpacker.kept.into_inner(),
        bytes: unpacker.bytes.into_inner(),
        left_out: later.left_out,
    })
}

impl<'u, 'a> Walk<'u, 'a> {
    fn new(unpacker: &'u Unpacker<'a>, root: Directory) -> Self {
        Self {
            unpacker,
            entries: unpacker.image.entries(),
            stack: vec![Arc::new(root)],
            linked: HashMap::new(),
            later: Later::default(),
        }
    }

    /// Makes everything but files until it meets one.
    fn next_file(&mut self) -> Result<Option<Job<'a>>, UnpackError> {
        while let Some(entry) = self.entries.next() {
            if let Some(job) = self.visit(entry)? {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    fn visit(&mut self, entry: Entry<'a>) -> Result<Option<Job<'a>>, UnpackError> {
        if entry.path.is_empty() {
            self.later.directories.push((entry.path, entry.metadata));
            return Ok(None);
        }
        let depth = entry.path.iter().filter(|byte| **byte == b'/').count();
        self.stack.truncate(depth + 1);
        // An image gives parents before children; were there none, the name would land in another directory of it.
        let Some(parent) = self.stack.last().cloned() else {
            return Ok(None);
        };
        let disk = self.unpacker.disk;
        if !disk.privileged && is_device(&entry) {
            self.later.left_out.push(entry.path);
            return Ok(None);
        }
        self.later.names += 1;
        if let EntryKind::Directory = entry.kind {
            self.stack.push(Arc::new(disk.directory(&parent, &entry.path)?));
            self.later.directories.push((entry.path, entry.metadata));
            self.unpacker.advance(0);
            return Ok(None);
        }
        if let Some(first) = self.linked.get(&entry.inode) {
            self.later.links.push((first.clone(), entry));
            return Ok(None);
        }
        if entry.links > 1 {
            self.linked.insert(entry.inode, entry.path.clone());
        }
        if let EntryKind::File { .. } = entry.kind {
            return Ok(Some(Job { entry, parent }));
        }
        self.unpacker.special(&parent, &entry)?;
        Ok(None)
    }
}

impl<'a> Iterator for Walk<'_, 'a> {
    type Item = Result<Job<'a>, UnpackError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_file().transpose()
    }
}

impl Unpacker<'_> {
    fn advance(&self, bytes: u64) {
        (self.progress)(Advance { files: 1, bytes });
    }

    fn file(&self, job: &Job<'_>) -> Result<(), UnpackError> {
        let size = job.entry.size().unwrap_or(0);
        if self.is_there(&job.parent, &job.entry)? {
            self.kept.fetch_add(1, Ordering::Relaxed);
        } else {
            self.write(&job.parent.fd, &job.entry)?;
            self.bytes.fetch_add(size, Ordering::Relaxed);
        }
        self.advance(size);
        Ok(())
    }

    fn write(&self, parent: &OwnedFd, entry: &Entry<'_>) -> Result<(), UnpackError> {
        let (disk, path) = (self.disk, entry.path.as_slice());
        let temporary = disk::temporary(entry.inode);
        let written = (|| {
            let fd = disk.create(parent, &temporary, path)?;
            let mut file = SparseFile::new(disk, &fd, path, entry.size().unwrap_or(0));
            match self.image.read_file(entry, &mut file) {
                // Why the destination failed says more than that it did.
                Err(ReadError::Write { .. }) if file.failed.is_some() => {}
                other => other?,
            }
            file.finish()?;
            disk.dress(&fd, path, entry.metadata)?;
            disk.rename(parent, &temporary, base_name(path), path)
        })();
        if written.is_err() {
            disk.discard(parent, &temporary);
        }
        written
    }

    /// Links, devices, pipes and sockets.
    fn special(&self, parent: &Directory, entry: &Entry<'_>) -> Result<(), UnpackError> {
        if self.is_there(parent, entry)? {
            self.kept.fetch_add(1, Ordering::Relaxed);
        } else {
            self.disk.special(&parent.fd, entry)?;
        }
        self.advance(0);
        Ok(())
    }

    /// Another name for what was unpacked at `first`.
    fn link(&self, first: &[u8], entry: &Entry<'_>) -> Result<(), UnpackError> {
        if !self.disk.link(first, &entry.path, entry.inode)? {
            self.kept.fetch_add(1, Ordering::Relaxed);
        }
        self.advance(0);
        Ok(())
    }

    fn is_there(&self, parent: &Directory, entry: &Entry<'_>) -> Result<bool, UnpackError> {
        if parent.fresh || !same::is_same(&parent.fd, entry, self.disk.privileged) {
            return Ok(false);
        }
        match entry.kind {
            EntryKind::File { .. } if self.paranoid => self.disk.has_content(parent, entry, self.image),
            _ => Ok(true),
        }
    }
}

fn is_device(entry: &Entry<'_>) -> bool {
    matches!(
        entry.kind,
        EntryKind::CharacterDevice { .. } | EntryKind::BlockDevice { .. }
    )
}
