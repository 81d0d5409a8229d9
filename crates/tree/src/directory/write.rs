//! A tree to the host's directory.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{DirectoryError, Options};
use crate::{Content, Entry, InodeId, Kind, Metadata, Tree};

/// Writes a tree into a directory, which is made when missing. What stands in the way is replaced, a directory only
/// by a directory; what the tree does not name is kept.
///
/// # Errors
/// [`DirectoryError`] for what cannot be written; what was written until then stays.
pub fn write(tree: &Tree, root: &Path, options: Options) -> Result<(), DirectoryError> {
    let at_root = |source| DirectoryError {
        path: root.to_owned(),
        action: "open",
        source,
    };
    std::fs::create_dir_all(root).map_err(at_root)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(root, flags, Mode::empty()).map_err(|errno| at_root(errno.into()))?;
    let mut writer = Writer {
        root: handle,
        first_names: HashMap::new(),
        options,
    };
    let failed = |entry: &Entry<'_>, source| DirectoryError {
        path: root.join(std::ffi::OsStr::from_bytes(&entry.path)),
        action: "write",
        source,
    };
    for entry in tree.walk() {
        writer.create(&entry).map_err(|error| failed(&entry, error))?;
    }
    // Children first: writing into a directory changes its time, and its own mode may forbid writing.
    let directories: Vec<_> = tree.walk().filter(|entry| is_directory(entry)).collect();
    for entry in directories.iter().rev() {
        writer.finish(entry).map_err(|error| failed(entry, error))?;
    }
    Ok(())
}

struct Writer {
    root: OwnedFd,
    first_names: HashMap<InodeId, Vec<u8>>,
    options: Options,
}

impl Writer {
    fn create(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        if entry.path.is_empty() {
            return Ok(());
        }
        let (parent, name) = self.parent(&entry.path)?;
        if let Some(first) = self.first_names.get(&entry.id) {
            remove(&parent, name)?;
            let (first_parent, first_name) = self.parent(first)?;
            return Ok(rustix::fs::linkat(
                first_parent,
                first_name,
                parent,
                name,
                AtFlags::empty(),
            )?);
        }
        self.first_names.insert(entry.id, entry.path.clone());
        if is_directory(entry) {
            return make_directory(&parent, name);
        }
        remove(&parent, name)?;
        make(&parent, name, &entry.inode.kind)?;
        self.finish(entry)
    }

    /// Opens the directory of a path, below the root and without following links.
    fn parent<'p>(&self, path: &'p [u8]) -> io::Result<(OwnedFd, &'p [u8])> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (b".".as_slice(), path),
        };
        Ok((self.open(parent, OFlags::DIRECTORY)?, name))
    }

    fn open(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = if flags.contains(OFlags::DIRECTORY) {
            rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
        } else {
            let (parent, name) = self.parent(path)?;
            rustix::fs::openat(parent, name, flags, Mode::empty())
        };
        Ok(opened?)
    }

    /// Sets owner, mode, attributes and time, in the order in which the system lets them stand.
    fn finish(&self, entry: &Entry<'_>) -> io::Result<()> {
        let metadata = &entry.inode.metadata;
        let path = if entry.path.is_empty() {
            b".".as_slice()
        } else {
            &entry.path
        };
        let flags = if is_directory(entry) {
            OFlags::DIRECTORY
        } else {
            OFlags::empty()
        };
        let handle = self.open(path, flags)?;
        if self.options.owners {
            let owner = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            rustix::fs::chownat(&handle, "", Some(owner.0), Some(owner.1), AtFlags::EMPTY_PATH)?;
        }
        // The magic link leads to the inode that is open, whatever its name has become.
        let proc = format!("/proc/self/fd/{}", handle.as_raw_fd());
        if !matches!(entry.inode.kind, Kind::Symlink(_)) {
            std::fs::set_permissions(&proc, Permissions::from_mode(metadata.mode))?;
        }
        if self.options.xattrs {
            for (name, value) in &metadata.xattrs {
                rustix::fs::setxattr(&proc, name.as_slice(), value, XattrFlags::empty())?;
            }
        }
        Ok(rustix::fs::utimensat(
            &handle,
            "",
            &times(metadata),
            AtFlags::EMPTY_PATH,
        )?)
    }
}

fn is_directory(entry: &Entry<'_>) -> bool {
    matches!(entry.inode.kind, Kind::Directory(_))
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec {
        tv_sec: metadata.mtime.seconds,
        tv_nsec: i64::from(metadata.mtime.nanoseconds),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn remove(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// Makes a directory, or keeps the one that is there; a link to one is replaced.
fn make_directory(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => return Ok(()),
        Ok(_) => remove(parent, name)?,
        Err(_) => {}
    }
    Ok(rustix::fs::mkdirat(parent, name, Mode::RWXU)?)
}

fn make(parent: &OwnedFd, name: &[u8], kind: &Kind) -> io::Result<()> {
    let device = |kind, major, minor| {
        let number = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, number)
    };
    let made = match kind {
        Kind::Directory(_) => rustix::fs::mkdirat(parent, name, Mode::RWXU),
        Kind::File(content) => return make_file(parent, name, content),
        Kind::Symlink(target) => rustix::fs::symlinkat(target.as_slice(), parent, name),
        Kind::CharacterDevice { major, minor } => device(FileType::CharacterDevice, *major, *minor),
        Kind::BlockDevice { major, minor } => device(FileType::BlockDevice, *major, *minor),
        Kind::Fifo => device(FileType::Fifo, 0, 0),
        Kind::Socket => device(FileType::Socket, 0, 0),
    };
    Ok(made?)
}

fn make_file(parent: &OwnedFd, name: &[u8], content: &Content) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent.as_fd(), name, flags, Mode::RUSR | Mode::WUSR)?;
    io::copy(&mut content.open()?, &mut File::from(file)).map(drop)
}
