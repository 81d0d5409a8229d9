//! An image written to a directory.
//!
//! Every step works on a name in an open directory and never follows a symbolic link, so nothing is written outside the
//! destination, whatever stands in it. Each file appears under its name complete or not at all (temporary name, then
//! rename); a crash leaves whole files and at most one temporary one, whose name begins with
//! [`TEMPORARY_PREFIX`](mos_sys::durable::TEMPORARY_PREFIX). Nothing is synced before the end, when the whole file
//! system is.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use mos_sys::durable::TEMPORARY_PREFIX;
use mos_tree::Metadata;
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};

use crate::error::ReadError;
use crate::flist::{Entry, EntryKind};
use crate::image::{Advance, Image, Progress};

/// How to unpack.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// Set owners and all attributes, and make device nodes; needs root. Without it, files belong to whoever unpacks,
    /// only `user.` attributes are set, and device nodes are left out. By default true for root.
    pub privileged: bool,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self {
            privileged: rustix::process::geteuid().is_root(),
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Names made.
    pub names: u64,
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
    #[error("{}: {source}", path.display())]
    Io {
        /// Path on the disk.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A directory that is being filled.
struct Open<'f> {
    fd: OwnedFd,
    metadata: &'f Metadata,
    path: Vec<u8>,
}

struct Unpacker<'a> {
    image: &'a dyn Image,
    root: &'a Path,
    options: &'a UnpackOptions,
    progress: &'a Progress<'a>,
    /// Where an inode with several names was put first.
    linked: HashMap<u64, Vec<u8>>,
    done: Unpacked,
}

/// Writes everything into `directory`, which is made when it is missing. What is in it already stays, but for files
/// of the same names, which are replaced, and directories, which are joined.
///
/// # Errors
/// [`UnpackError`]: names that were made until then stay.
pub fn unpack(
    image: &dyn Image,
    directory: &Path,
    options: &UnpackOptions,
    progress: &Progress<'_>,
) -> Result<Unpacked, UnpackError> {
    let fail = |source| UnpackError::Io {
        path: directory.to_owned(),
        source,
    };
    std::fs::create_dir_all(directory).map_err(fail)?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = fs::open(directory, flags, Mode::empty()).map_err(|error| fail(error.into()))?;
    let mut unpacker = Unpacker {
        image,
        root: directory,
        options,
        progress,
        linked: HashMap::new(),
        done: Unpacked::default(),
    };
    unpacker.run(&root)?;
    fs::syncfs(&root).map_err(|error| fail(error.into()))?;
    Ok(unpacker.done)
}

impl Unpacker<'_> {
    fn run(&mut self, root: &OwnedFd) -> Result<(), UnpackError> {
        let mut stack: Vec<Open<'_>> = Vec::new();
        for entry in self.image.entries() {
            let depth = match entry.path.as_slice() {
                [] => 0,
                path => path.split(|byte| *byte == b'/').count(),
            };
            while stack.len() > depth {
                self.close(stack.pop())?;
            }
            let made = match stack.last() {
                None => root.try_clone().map(Some),
                Some(parent) => self.make(&parent.fd, root, &entry)?,
            };
            (self.progress)(Advance {
                files: 1,
                bytes: entry.size().unwrap_or(0),
            });
            if let Some(fd) = made.map_err(|source| self.fail(&entry.path, source))? {
                stack.push(Open {
                    fd,
                    metadata: entry.metadata,
                    path: entry.path,
                });
            }
        }
        while let Some(open) = stack.pop() {
            self.close(Some(open))?;
        }
        Ok(())
    }

    /// A directory gets its mode and time last, when nothing is made in it any more.
    fn close(&self, open: Option<Open<'_>>) -> Result<(), UnpackError> {
        let Some(open) = open else { return Ok(()) };
        self.dress(&open.fd, open.metadata)
            .map_err(|source| self.fail(&open.path, source))
    }

    /// Makes one name; gives the open directory when it is one. The outer error is that of content.
    #[allow(
        clippy::type_complexity,
        reason = "two kinds of error that end up in different variants"
    )]
    fn make(
        &mut self,
        parent: &OwnedFd,
        root: &OwnedFd,
        entry: &Entry<'_>,
    ) -> Result<io::Result<Option<OwnedFd>>, UnpackError> {
        if !self.options.privileged && is_device(entry) {
            self.done.left_out.push(entry.path.clone());
            return Ok(Ok(None));
        }
        self.done.names += 1;
        let name = base_name(&entry.path);
        if let EntryKind::Directory = entry.kind {
            return Ok(directory(parent, name).map(Some));
        }
        if let Some(first) = self.linked.get(&entry.inode) {
            return Ok(link(root, first, parent, name).map(|()| None));
        }
        if entry.links > 1 {
            self.linked.insert(entry.inode, entry.path.clone());
        }
        if let EntryKind::File { size, .. } = entry.kind {
            self.file(parent, name, entry)?;
            self.done.bytes += size;
            return Ok(Ok(None));
        }
        Ok(self.special(parent, name, entry).map(|()| None))
    }

    fn file(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry<'_>) -> Result<(), UnpackError> {
        let temporary = temporary(entry.inode);
        let failed = |source| self.fail(&entry.path, source);
        let fd = create(parent, &temporary).map_err(failed)?;
        let written = (|| {
            let mut out = BufWriter::with_capacity(1 << 16, File::from(fd));
            self.image.read_file(entry, &mut out)?;
            let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
            self.dress(&file, entry.metadata).map_err(failed)?;
            fs::renameat(parent, &*temporary, parent, name).map_err(|error| failed(error.into()))
        })();
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::unlinkat(parent, &*temporary, AtFlags::empty());
        }
        written
    }

    /// Links, devices, pipes and sockets: made under a temporary name, dressed, renamed.
    fn special(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry<'_>) -> io::Result<()> {
        let temporary = temporary(entry.inode);
        remove(parent, &temporary)?;
        let node = |kind, device| fs::mknodat(parent, &*temporary, kind, Mode::from_raw_mode(0o600), device);
        match entry.kind {
            EntryKind::Symlink(target) => fs::symlinkat(OsStr::from_bytes(target), parent, &*temporary)?,
            EntryKind::CharacterDevice { major, minor } => node(FileType::CharacterDevice, fs::makedev(major, minor))?,
            EntryKind::BlockDevice { major, minor } => node(FileType::BlockDevice, fs::makedev(major, minor))?,
            EntryKind::Socket => node(FileType::Socket, 0)?,
            EntryKind::Fifo | EntryKind::File { .. } | EntryKind::Directory => node(FileType::Fifo, 0)?,
        }
        let dressed = self.dress_name(parent, &temporary, entry);
        let moved = dressed.and_then(|()| Ok(fs::renameat(parent, &*temporary, parent, name)?));
        if moved.is_err() {
            // The first error is the one to report.
            let _ = remove(parent, &temporary);
        }
        moved
    }

    /// Owner, mode, attributes and time of an open file or directory. The owner comes first: changing it takes
    /// set-user-id bits and capabilities away.
    fn dress(&self, fd: impl AsFd, metadata: &Metadata) -> io::Result<()> {
        if self.options.privileged {
            fs::fchown(
                &fd,
                Some(Uid::from_raw(metadata.uid)),
                Some(Gid::from_raw(metadata.gid)),
            )?;
        }
        for (name, value) in self.attributes(metadata) {
            fs::fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty())?;
        }
        fs::fchmod(&fd, Mode::from_raw_mode(metadata.mode))?;
        Ok(fs::futimens(&fd, &times(metadata))?)
    }

    /// As `dress`, for what cannot be opened.
    fn dress_name(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry<'_>) -> io::Result<()> {
        let metadata = entry.metadata;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if self.options.privileged {
            let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            fs::chownat(parent, name, Some(uid), Some(gid), flags)?;
        }
        // There is no call that takes a directory and a name; this path leads to the same file.
        let path = Path::new("/proc/self/fd")
            .join(parent.as_fd().as_raw_fd().to_string())
            .join(name);
        for (attribute, value) in self.attributes(metadata) {
            fs::lsetxattr(&path, attribute.as_slice(), value, XattrFlags::empty())?;
        }
        if !matches!(entry.kind, EntryKind::Symlink(_)) {
            // We made this name a moment ago, and it is no symbolic link.
            fs::chmodat(parent, name, Mode::from_raw_mode(metadata.mode), AtFlags::empty())?;
        }
        Ok(fs::utimensat(parent, name, &times(metadata), flags)?)
    }

    fn attributes<'m>(&self, metadata: &'m Metadata) -> impl Iterator<Item = (&'m Vec<u8>, &'m Vec<u8>)> {
        let all = self.options.privileged;
        metadata
            .xattrs
            .iter()
            .filter(move |(name, _)| all || name.starts_with(b"user."))
    }

    fn fail(&self, path: &[u8], source: io::Error) -> UnpackError {
        UnpackError::Io {
            path: self.root.join(OsStr::from_bytes(path)),
            source,
        }
    }
}

fn is_device(entry: &Entry<'_>) -> bool {
    matches!(
        entry.kind,
        EntryKind::CharacterDevice { .. } | EntryKind::BlockDevice { .. }
    )
}

fn base_name(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(path.rsplit(|byte| *byte == b'/').next().unwrap_or(path))
}

/// One inode is unpacked at a time, so its number is enough to tell temporary names apart.
fn temporary(inode: u64) -> std::ffi::OsString {
    format!("{TEMPORARY_PREFIX}{}-{inode}", std::process::id()).into()
}

fn create(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    remove(parent, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?)
}

fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(rustix::io::Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes or joins a directory.
fn directory(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
        Err(rustix::io::Errno::EXIST) | Ok(()) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(parent, name, flags, Mode::empty())?)
}

/// Another name for what was unpacked at `first`. Its parents are opened one by one, none of them through a link.
fn link(root: &OwnedFd, first: &[u8], parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let mut from = root.try_clone()?;
    let names: Vec<&[u8]> = first.split(|byte| *byte == b'/').collect();
    for directory in &names[..names.len() - 1] {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        from = fs::openat(&from, OsStr::from_bytes(directory), flags, Mode::empty())?;
    }
    remove(parent, name)?;
    Ok(fs::linkat(&from, base_name(first), parent, name, AtFlags::empty())?)
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec {
        tv_sec: metadata.mtime.seconds,
        tv_nsec: metadata.mtime.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
