//! Every change to the disk, one operation each, announced before it is made.
//!
//! Unpacking changes nothing but through this: the operations announced during a run are thus exactly the places where a
//! crash can leave something, and the crash tests take their list from here. Names are looked up in an open directory,
//! beneath it, without following any link.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use mos_sys::durable::TEMPORARY_PREFIX;
use mos_tree::Metadata;
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{UnpackError, same};
use crate::flist::{Entry, EntryKind};
use crate::image::Image;

/// Mode of what is not finished: nobody else looks in.
const UNFINISHED: Mode = Mode::from_raw_mode(0o600);
/// What the owner needs to work in a directory.
const OWNER: u32 = 0o700;

/// One change to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation<'a> {
    /// What, an imperative.
    pub doing: &'static str,
    /// The path in the image that it is for.
    pub path: &'a [u8],
}

/// Is told of every change before it is made, from any thread, and may stop it.
pub type Before<'a> = dyn Fn(&Operation<'_>) -> io::Result<()> + Sync + 'a;

/// The destination.
pub(super) struct Disk<'a> {
    root: OwnedFd,
    path: &'a Path,
    pub(super) privileged: bool,
    before: &'a Before<'a>,
}

/// A directory that is open.
pub(super) struct Directory {
    pub(super) fd: OwnedFd,
    /// Made just now: nothing can be in it.
    pub(super) fresh: bool,
    /// What an earlier run left unfinished has been removed from it and is to be from those below.
    resumed: bool,
}

impl<'a> Disk<'a> {
    pub(super) fn open(path: &'a Path, privileged: bool, before: &'a Before<'a>) -> Result<Self, UnpackError> {
        let fail = |doing, source| UnpackError::Io {
            doing,
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(path).map_err(|error| fail("create", error))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(path, flags, Mode::empty()).map_err(|error| fail("open", error.into()))?;
        Ok(Self {
            root,
            path,
            privileged,
            before,
        })
    }

    /// Makes one change.
    pub(super) fn run<T>(
        &self,
        doing: &'static str,
        path: &[u8],
        change: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        let announced = (self.before)(&Operation { doing, path });
        announced
            .and_then(|()| Ok(change()?))
            .map_err(|source| self.fail(doing, path, source))
    }

    pub(super) fn fail(&self, doing: &'static str, path: &[u8], source: io::Error) -> UnpackError {
        UnpackError::Io {
            doing,
            path: self.path.join(OsStr::from_bytes(path)),
            source,
        }
    }

    pub(super) fn busy(&self) -> UnpackError {
        UnpackError::Busy(self.path.to_owned())
    }

    pub(super) fn root_fd(&self) -> &OwnedFd {
        &self.root
    }

    pub(super) fn root(&self, resumed: bool) -> Result<Directory, UnpackError> {
        let fd = self.root.try_clone().map_err(|error| self.fail("open", b"", error))?;
        let root = Directory {
            fd,
            fresh: false,
            resumed,
        };
        self.sweep(&root, b"")?;
        Ok(root)
    }

    /// Makes or joins a directory.
    pub(super) fn directory(&self, parent: &Directory, path: &[u8]) -> Result<Directory, UnpackError> {
        let name = base_name(path);
        let make = || match fs::mkdirat(&parent.fd, name, Mode::from_raw_mode(OWNER)) {
            Err(Errno::EXIST) => Ok(false),
            other => other.map(|()| true),
        };
        let fresh = self.run("make the directory", path, make)?;
        let opened = open(&parent.fd, name, OFlags::DIRECTORY);
        let fd = opened.map_err(|error| self.fail("open the directory", path, error.into()))?;
        let directory = Directory {
            fd,
            fresh,
            resumed: parent.resumed && !fresh,
        };
        if !fresh {
            self.unlock(&directory.fd, path)?;
            self.sweep(&directory, path)?;
        }
        Ok(directory)
    }

    /// Lets the owner write into a directory that was finished before; its mode is set again at the end.
    fn unlock(&self, fd: &OwnedFd, path: &[u8]) -> Result<(), UnpackError> {
        let mode = fs::fstat(fd)
            .map_err(|error| self.fail("look at", path, error.into()))?
            .st_mode;
        if self.privileged || mode & OWNER == OWNER {
            return Ok(());
        }
        let open = Mode::from_raw_mode(mode & 0o7777 | OWNER);
        self.run("open up", path, || fs::fchmod(fd, open))
    }

    /// Removes the temporary files that an earlier run left.
    fn sweep(&self, directory: &Directory, path: &[u8]) -> Result<(), UnpackError> {
        if !directory.resumed {
            return Ok(());
        }
        let names = unfinished(&directory.fd).map_err(|error| self.fail("read the directory", path, error.into()))?;
        for name in names {
            self.run("sweep", path, || remove(&directory.fd, &name))?;
        }
        Ok(())
    }

    /// An empty file under a temporary name.
    pub(super) fn create(&self, parent: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || fs::openat(parent, name, flags, UNFINISHED);
        self.run("create", path, || match create() {
            Err(Errno::EXIST) => remove(parent, name).and_then(|()| create()),
            other => other,
        })
    }

    pub(super) fn rename(&self, parent: &OwnedFd, from: &OsStr, to: &OsStr, path: &[u8]) -> Result<(), UnpackError> {
        self.run("put in place", path, || fs::renameat(parent, from, parent, to))
    }

    /// Removes a temporary file after an error, which is the one to report. A crash here leaves what one before leaves.
    pub(super) fn discard(&self, parent: &OwnedFd, name: &OsStr) {
        let _ = remove(parent, name);
    }

    /// Links, devices, pipes and sockets: made under a temporary name, dressed, renamed.
    pub(super) fn special(&self, parent: &OwnedFd, entry: &Entry<'_>) -> Result<(), UnpackError> {
        let (temporary, path) = (temporary(entry.inode), entry.path.as_slice());
        let made = self
            .run("create", path, || make_node(parent, &temporary, &entry.kind))
            .and_then(|()| self.dress_name(parent, &temporary, entry))
            .and_then(|()| self.rename(parent, &temporary, base_name(path), path));
        if made.is_err() {
            self.discard(parent, &temporary);
        }
        made
    }

    /// Gives the file at `first` one more name; false when it has that name already.
    pub(super) fn link(&self, first: &[u8], path: &[u8], inode: u64) -> Result<bool, UnpackError> {
        let failed = |path, error: Errno| self.fail("open the directory of", path, error.into());
        let from = self.parent(first).map_err(|error| failed(first, error))?;
        let parent = self.parent(path).map_err(|error| failed(path, error))?;
        if same::is_linked((&from, base_name(first)), (&parent, base_name(path))) {
            return Ok(false);
        }
        let (temporary, name) = (temporary(inode), base_name(path));
        let link = || {
            remove(&parent, &temporary)?;
            fs::linkat(&from, base_name(first), &parent, &*temporary, AtFlags::empty())
        };
        let linked = self
            .run("link", path, link)
            .and_then(|()| self.rename(&parent, &temporary, name, path));
        if linked.is_err() {
            self.discard(&parent, &temporary);
        }
        linked.map(|()| true)
    }

    /// The directory that a path lies in.
    fn parent(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => open(&self.root, OsStr::from_bytes(&path[..slash]), OFlags::DIRECTORY),
            None => open(&self.root, OsStr::new("."), OFlags::DIRECTORY),
        }
    }

    /// Owner, mode, attributes and time of a directory in which nothing is made any more.
    pub(super) fn dress_directory(&self, path: &[u8], metadata: &Metadata) -> Result<(), UnpackError> {
        let name = if path.is_empty() { b"." } else { path };
        let fd = open(&self.root, OsStr::from_bytes(name), OFlags::DIRECTORY)
            .map_err(|error| self.fail("open the directory", path, error.into()))?;
        self.dress(&fd, path, metadata)
    }

    /// Owner, mode, attributes and time of an open file or directory. The owner comes first: changing it takes
    /// set-user-id bits and capabilities away.
    pub(super) fn dress(&self, fd: &OwnedFd, path: &[u8], metadata: &Metadata) -> Result<(), UnpackError> {
        let is = fs::fstat(fd).map_err(|error| self.fail("look at", path, error.into()))?;
        let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
        let mut changed = false;
        if self.privileged && (is.st_uid, is.st_gid) != (metadata.uid, metadata.gid) {
            self.run("set the owner of", path, || fs::fchown(fd, Some(uid), Some(gid)))?;
            changed = true;
        }
        for (name, value) in attributes(metadata, self.privileged) {
            let set = || fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
            self.run("set an attribute of", path, set)?;
            changed = true;
        }
        // An owner or an access control list that was set may have changed it.
        if changed || is.st_mode & 0o7777 != metadata.mode {
            let mode = Mode::from_raw_mode(metadata.mode);
            self.run("set the mode of", path, || fs::fchmod(fd, mode))?;
        }
        self.run("set the time of", path, || fs::futimens(fd, &times(metadata)))
    }

    /// As `dress`, for what cannot be opened.
    fn dress_name(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry<'_>) -> Result<(), UnpackError> {
        let (metadata, path) = (entry.metadata, entry.path.as_slice());
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if self.privileged {
            let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            let set = || fs::chownat(parent, name, Some(uid), Some(gid), flags);
            self.run("set the owner of", path, set)?;
        }
        for (attribute, value) in attributes(metadata, self.privileged) {
            let by_fd = by_descriptor(parent, name);
            let set = || fs::lsetxattr(&by_fd, attribute.as_slice(), value, XattrFlags::empty());
            self.run("set an attribute of", path, set)?;
        }
        if !matches!(entry.kind, EntryKind::Symlink(_)) {
            // We made this name a moment ago, and it is no symbolic link.
            let mode = Mode::from_raw_mode(metadata.mode);
            let set = || fs::chmodat(parent, name, mode, AtFlags::empty());
            self.run("set the mode of", path, set)?;
        }
        let set = || fs::utimensat(parent, name, &times(metadata), flags);
        self.run("set the time of", path, set)
    }

    /// True when the file that stands at an entry's name has its content.
    pub(super) fn has_content(
        &self,
        parent: &Directory,
        entry: &Entry<'_>,
        image: &dyn Image,
    ) -> Result<bool, UnpackError> {
        let opened = open(&parent.fd, base_name(&entry.path), OFlags::NOFOLLOW);
        let file = opened.map_err(|error| self.fail("open", &entry.path, error.into()))?;
        same::has_content(File::from(file), entry, image)
            .map_err(|error| self.fail("read", &entry.path, error))?
            .map_err(UnpackError::from)
    }

    pub(super) fn sync_root(&self) -> Result<(), UnpackError> {
        self.run("sync", b"", || fs::fsync(&self.root))
    }
}

/// Opens a name, or a path of names, beneath a directory, for reading.
fn open(directory: &OwnedFd, path: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    fs::openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

pub(super) fn base_name(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(path.rsplit(|byte| *byte == b'/').next().unwrap_or(path))
}

/// The name of an inode's file until it is complete. The same in every run: a file left over is replaced.
pub(super) fn temporary(inode: u64) -> OsString {
    format!("{TEMPORARY_PREFIX}{inode}").into()
}

/// Temporary files of ours in a directory.
fn unfinished(directory: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let number = name.strip_prefix(TEMPORARY_PREFIX.as_bytes());
        if number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit)) {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

pub(super) fn remove(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn make_node(parent: &OwnedFd, name: &OsStr, kind: &EntryKind<'_>) -> Result<(), Errno> {
    remove(parent, name)?;
    let node = |kind, device| fs::mknodat(parent, name, kind, UNFINISHED, device);
    match *kind {
        EntryKind::Symlink(target) => fs::symlinkat(OsStr::from_bytes(target), parent, name),
        EntryKind::CharacterDevice { major, minor } => node(FileType::CharacterDevice, fs::makedev(major, minor)),
        EntryKind::BlockDevice { major, minor } => node(FileType::BlockDevice, fs::makedev(major, minor)),
        EntryKind::Socket => node(FileType::Socket, 0),
        EntryKind::Fifo | EntryKind::File { .. } | EntryKind::Directory => node(FileType::Fifo, 0),
    }
}

/// There is no call for attributes that takes a directory and a name; this path leads to the same file.
pub(super) fn by_descriptor(parent: &OwnedFd, name: &OsStr) -> std::path::PathBuf {
    let directory = parent.as_fd().as_raw_fd().to_string();
    Path::new("/proc/self/fd").join(directory).join(name)
}

/// The attributes that are set.
pub(super) fn attributes(metadata: &Metadata, privileged: bool) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
    let all = metadata.xattrs.iter();
    all.filter(move |(name, _)| privileged || name.starts_with(b"user."))
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
