//! From the root to a file, one name at a time, so that nobody but root can lead us elsewhere.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, readlinkat};
use rustix::io::Errno;

/// So many symbolic links are followed (as by the kernel, path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Only a place in the tree: opening has no effect on what is there.
const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory, and a name in it that need not be there.
#[derive(Debug)]
pub struct Spot {
    directory: OwnedFd,
    name: String,
}

impl Spot {
    /// What is there, itself and not what it links to; `None` when nothing is.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn open(&self) -> io::Result<Option<Found>> {
        match openat(&self.directory, &*self.name, PLACE, Mode::empty()) {
            Ok(file) => Found::of(file).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A path for calls that take one and do not follow a link at its end.
    pub fn path(&self) -> PathBuf {
        path_of(&self.directory).join(&self.name)
    }
}

/// A file that was reached safely.
#[derive(Debug)]
pub struct Found {
    file: OwnedFd,
    /// What it is.
    pub stat: Stat,
}

impl Found {
    fn of(file: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&file)?;
        Ok(Self { file, stat })
    }

    /// What sort of file it is.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// A path that is this file, whatever becomes of its name.
    pub fn path(&self) -> PathBuf {
        path_of(&self.file)
    }

    /// A name in this directory.
    pub fn spot(&self, name: &str) -> io::Result<Spot> {
        let directory = rustix::io::fcntl_dupfd_cloexec(&self.file, 3)?;
        Ok(Spot {
            directory,
            name: name.to_owned(),
        })
    }

    /// The names in this directory.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(self.path())?;
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }
}

impl AsFd for Found {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn path_of(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Walks to an absolute path of the tree at `root`. Directories that are missing on the way are made when `make`.
///
/// # Errors
/// `InvalidInput` for the root itself; `PermissionDenied` when somebody else's link is in the way; `NotFound`, or whatever
/// the system says.
pub fn to(root: &Path, path: &str, make: bool) -> io::Result<Spot> {
    let mut names: VecDeque<String> = parts(path).collect();
    let mut above = vec![rustix::fs::open(root, PLACE | OFlags::DIRECTORY, Mode::empty())?];
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        let here = above.last().ok_or(io::ErrorKind::InvalidInput)?;
        if name == ".." {
            above.truncate(above.len().saturating_sub(1).max(1));
            continue;
        }
        if names.is_empty() {
            let directory = above.pop().ok_or(io::ErrorKind::InvalidInput)?;
            return Ok(Spot { directory, name });
        }
        let next = enter(here, &name, make)?;
        if next.kind() == FileType::Symlink {
            links += 1;
            check_link(here, &next, links)?;
            let target = readlinkat(here, &*name, Vec::new())?.into_bytes();
            let target = String::from_utf8_lossy(&target).into_owned();
            if target.starts_with('/') {
                above.truncate(1);
            }
            parts(&target)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .for_each(|part| names.push_front(part));
        } else {
            above.push(next.file);
        }
    }
    Err(io::ErrorKind::InvalidInput.into())
}

fn parts(path: &str) -> impl Iterator<Item = String> + '_ {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::to_owned)
}

fn enter(here: &OwnedFd, name: &str, make: bool) -> io::Result<Found> {
    loop {
        match openat(here, name, PLACE, Mode::empty()) {
            Ok(file) => return Found::of(file),
            Err(Errno::NOENT) if make => match mkdirat(here, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

/// A link counts when we made it, in a directory of ours.
fn check_link(here: &OwnedFd, link: &Found, links: usize) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    if links > LINKS_MAX {
        return Err(Errno::LOOP.into());
    }
    match link.stat.st_uid == own && fstat(here)?.st_uid == own {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "somebody else's link is in the way",
        )),
    }
}
